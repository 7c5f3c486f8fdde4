// Package progress shows people how far a long operation is: as a bar on a terminal,
// and otherwise as a line every ten seconds.
package progress

import (
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/snapfs/snapfs/ops"
	"golang.org/x/term"
)

// How often the bar is drawn, and how often a line is written.
const (
	barInterval  = 200 * time.Millisecond
	lineInterval = 10 * time.Second
)

// Screen is where progress is shown. The zero value shows nothing.
type Screen struct {
	out      io.Writer
	terminal bool
}

// New returns a Screen on out, with bars when out is a terminal.
func New(out io.Writer) Screen {
	f, ok := out.(*os.File)
	return Screen{out: out, terminal: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"}
}

// Watch shows what counts returns until stop is called, which removes the bar and
// may be called more than once. Verb says what is being done ("uploading"), and noun
// what is counted ("file").
func (s Screen) Watch(verb, noun string, counts func() ops.Counts) (stop func()) {
	if s.out == nil {
		return func() {}
	}
	w := &watch{out: s.out, verb: verb, noun: noun, counts: counts, start: time.Now(), done: make(chan struct{})}
	var finished sync.WaitGroup
	finished.Go(func() {
		if s.terminal {
			w.bar()
		} else {
			w.lines()
		}
	})
	return sync.OnceFunc(func() {
		close(w.done)
		finished.Wait()
	})
}

// watch is one operation that is shown.
type watch struct {
	out        io.Writer
	verb, noun string
	counts     func() ops.Counts
	start      time.Time
	meter      ops.Meter
	done       chan struct{}
}

func (w *watch) lines() {
	tick := time.NewTicker(lineInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.done:
			return
		case <-tick.C:
			fmt.Fprintln(w.out, w.line())
		}
	}
}

// line describes the present state: "uploading: 1.5 GiB of 4.0 GiB (37%), 12 of 40
// files, 110 MiB/s, 23s left". While nothing is done yet it tells what was found.
func (w *watch) line() string {
	c := w.counts()
	bytes, files := c.DoneBytes+c.SkippedBytes, c.DoneFiles+c.SkippedFiles
	w.meter.Add(time.Since(w.start), bytes)
	if files == 0 && bytes == 0 {
		return fmt.Sprintf("%s: %s, %s", w.verb, w.plural(c.TotalFiles), humanize.IBytes(uint64(max(c.TotalBytes, 0))))
	}
	text := fmt.Sprintf("%s: %s of %s (%.0f%%), %s of %s", w.verb, humanize.IBytes(uint64(bytes)),
		humanize.IBytes(uint64(max(c.TotalBytes, 0))), math.Floor(c.Percent()), humanize.Comma(files), w.plural(c.TotalFiles))
	rate := w.meter.Rate()
	if rate < 1 {
		return text
	}
	left := time.Duration(float64(max(c.TotalBytes-bytes, 0)) / rate * float64(time.Second))
	return text + fmt.Sprintf(", %s/s, %s left", humanize.IBytes(uint64(rate)), left.Round(time.Second))
}

func (w *watch) plural(n int64) string {
	if n == 1 {
		return "1 " + w.noun
	}
	return humanize.Comma(n) + " " + w.noun + "s"
}

// bar draws a bar while the total is known to hold bytes, and a spinner otherwise.
// An operation that ends within the first interval draws nothing.
func (w *watch) bar() {
	tick := time.NewTicker(barInterval)
	defer tick.Stop()
	var bar *progressbar.ProgressBar
	for {
		select {
		case <-w.done:
			if bar != nil {
				bar.Clear()
			}
			return
		case <-tick.C:
		}
		c := w.counts()
		done := c.DoneBytes + c.SkippedBytes
		counting := done == 0 || c.TotalBytes <= 0
		if bar == nil || bar.GetMax64() < 0 != counting {
			bar = w.newBar(counting)
		}
		if counting {
			bar.Describe(w.line())
			bar.Add64(1)
			continue
		}
		bar.Describe(fmt.Sprintf("%s %s of %s", w.verb, humanize.Comma(c.DoneFiles+c.SkippedFiles), w.plural(c.TotalFiles)))
		bar.ChangeMax64(c.TotalBytes)
		bar.Set64(min(done, c.TotalBytes-1)) // a full bar is final, and the total may grow
	}
}

func (w *watch) newBar(counting bool) *progressbar.ProgressBar {
	opts := []progressbar.Option{
		progressbar.OptionSetWriter(w.out), progressbar.OptionSetElapsedTime(false), progressbar.OptionClearOnFinish(),
	}
	if counting {
		return progressbar.NewOptions64(-1, append(opts, progressbar.OptionSpinnerType(14))...)
	}
	return progressbar.NewOptions64(math.MaxInt64, append(opts,
		progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(24))...)
}
