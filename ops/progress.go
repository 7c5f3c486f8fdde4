package ops

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Progress lets a caller watch a running operation: the workers bump counters, the
// caller polls Counts. The zero value is ready, nil is allowed wherever an option
// takes one, and one value may serve several operations, which then add up.
type Progress struct {
	totalFiles, totalBytes     atomic.Int64
	doneFiles, doneBytes       atomic.Int64
	skippedFiles, skippedBytes atomic.Int64
}

// Counts is the state of an operation at one moment. Files are regular files, or
// objects in CacheSync; links, directories and deletions are not counted.
type Counts struct {
	TotalFiles, TotalBytes     int64 // all that has to be done, as far as known
	DoneFiles, DoneBytes       int64 // read, stored, fetched or copied
	SkippedFiles, SkippedBytes int64 // found to be there already
}

// Counts returns the present numbers. Totals grow while an operation still finds
// out how much there is to do.
func (p *Progress) Counts() Counts {
	if p == nil {
		return Counts{}
	}
	return Counts{
		TotalFiles: p.totalFiles.Load(), TotalBytes: p.totalBytes.Load(),
		DoneFiles: p.doneFiles.Load(), DoneBytes: p.doneBytes.Load(),
		SkippedFiles: p.skippedFiles.Load(), SkippedBytes: p.skippedBytes.Load(),
	}
}

// Percent returns how much of the bytes is done or skipped, from 0 to 100. It is 0
// when there are none.
func (c Counts) Percent() float64 {
	if c.TotalBytes <= 0 {
		return 0
	}
	return min(100, 100*float64(c.DoneBytes+c.SkippedBytes)/float64(c.TotalBytes))
}

// tally counts the work of one operation and passes every number on to the
// Progress of the caller.
type tally struct {
	own    Progress
	caller *Progress
	start  time.Time
	mu     sync.Mutex
	meter  Meter
}

func newTally(caller *Progress) *tally {
	return &tally{caller: caller, start: time.Now()}
}

func (t *tally) expect(files, bytes int64) {
	t.own.totalFiles.Add(files)
	t.own.totalBytes.Add(bytes)
	if t.caller != nil {
		t.caller.totalFiles.Add(files)
		t.caller.totalBytes.Add(bytes)
	}
}

func (t *tally) done(files, bytes int64) {
	t.own.doneFiles.Add(files)
	t.own.doneBytes.Add(bytes)
	if t.caller != nil {
		t.caller.doneFiles.Add(files)
		t.caller.doneBytes.Add(bytes)
	}
	t.measure()
}

func (t *tally) skip(files, bytes int64) {
	t.own.skippedFiles.Add(files)
	t.own.skippedBytes.Add(bytes)
	if t.caller != nil {
		t.caller.skippedFiles.Add(files)
		t.caller.skippedBytes.Add(bytes)
	}
	t.measure()
}

func (t *tally) measure() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meter.Add(time.Since(t.start), t.own.doneBytes.Load()+t.own.skippedBytes.Load())
}

// finish returns the final numbers, how long the work took and its rate.
func (t *tally) finish() (Counts, time.Duration, float64) {
	elapsed := time.Since(t.start)
	counts := t.own.Counts()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meter.last = 0 // the final sample always counts
	t.meter.Add(elapsed, counts.DoneBytes+counts.SkippedBytes)
	return counts, elapsed, t.meter.Rate()
}

// rateWindow is the time over which a rate is taken, and sampleGap the least time
// between the samples that are kept for it.
const (
	rateWindow = 12 * time.Second
	sampleGap  = 50 * time.Millisecond
)

// Meter computes a rate over a sliding window of 12 s (spec/types.md §8). The zero
// value is ready. It is not safe for concurrent use.
type Meter struct {
	samples []sample
	last    time.Duration
}

type sample struct {
	at    time.Duration
	bytes int64
}

// Add records that bytes had been handled in all when the given time had passed
// since the start. Samples that follow each other closely are merged.
func (m *Meter) Add(at time.Duration, bytes int64) {
	if len(m.samples) == 0 {
		m.samples = append(m.samples, sample{})
	}
	if n := len(m.samples); n > 2 && m.last > 0 && at-m.last < sampleGap {
		m.samples[n-1] = sample{at, bytes}
		return
	}
	m.last = at
	m.samples = append(m.samples, sample{at, bytes})
	for len(m.samples) > 2 && at-m.samples[1].at > rateWindow {
		m.samples = m.samples[1:]
	}
}

// Rate returns the bytes per second over the window, 0 when nothing is known yet.
func (m *Meter) Rate() float64 {
	if len(m.samples) < 2 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	if last.at <= first.at {
		return 0
	}
	return float64(last.bytes-first.bytes) / (last.at - first.at).Seconds()
}

// HumanSize returns n bytes in decimal units with up to two decimals, for example
// "268.44 MB" (spec/types.md §7).
func HumanSize(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	const units = "KMGTPE"
	hundredths, i := float64(n)/10, 0 // hundredths of the unit
	for i < len(units)-1 && hundredths+0.5 >= 100_000 {
		hundredths /= 1000
		i++
	}
	text := strconv.FormatFloat(float64(uint64(hundredths+0.5))/100, 'f', -1, 64)
	return text + " " + units[i:i+1] + "B"
}

// message returns the closing line of an operation (spec/ops.md §0.2), for example
// "Hashed 12.3 MB (42 files) in 0.53s (23.21 MB/s)".
func message(verb string, bytes, count int64, unit string, elapsed time.Duration, rate float64) string {
	text := fmt.Sprintf("%s %s (%d %s) in %.2fs", verb, HumanSize(uint64(max(bytes, 0))), count, unit, elapsed.Seconds())
	if rate > 0 {
		text += fmt.Sprintf(" (%s/s)", HumanSize(uint64(rate)))
	}
	return text
}
