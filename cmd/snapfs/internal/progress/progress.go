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
	return text + fmt.Sprintf(", %s/s", humanize.IBytes(uint64(rate))) + w.left(c)
}

// An estimate means something once the rate has been watched for a while, or a good part
// is done.
const (
	estimateAfter   = 10 * time.Second
	estimatePercent = 10
)

// left returns ", 23s left", or "" while nobody can tell.
func (w *watch) left(c ops.Counts) string {
	rate, elapsed := w.meter.Rate(), time.Since(w.start)
	if rate < 1 || elapsed < time.Second || elapsed < estimateAfter && c.Percent() < estimatePercent {
		return ""
	}
	seconds := float64(max(c.TotalBytes-c.DoneBytes-c.SkippedBytes, 0)) / rate
	if seconds > (100 * time.Hour).Seconds() {
		return "" // it hardly moves
	}
	return fmt.Sprintf(", %s left", time.Duration(seconds*float64(time.Second)).Round(time.Second))
}

func (w *watch) plural(n int64) string {
	if n == 1 {
		return "1 " + w.noun
	}
	return humanize.Comma(n) + " " + w.noun + "s"
}

// bar draws until the operation ends. One that ends within the first interval draws
// nothing.
func (w *watch) bar() {
	tick := time.NewTicker(barInterval)
	defer tick.Stop()
	var d drawing
	for {
		select {
		case <-w.done:
			d.clear()
			return
		case <-tick.C:
			d.draw(w)
		}
	}
}

// drawing is what is on the terminal: a bar while the total is known to hold bytes
// and some are done, and a spinner otherwise.
type drawing struct {
	bar      *progressbar.ProgressBar // nil while nothing is drawn
	spinning bool
}

// Errors of the terminal are of no interest: they are no failures of the operation.

func (d *drawing) clear() {
	if d.bar != nil {
		_ = d.bar.Clear()
	}
}

func (d *drawing) draw(w *watch) {
	c := w.counts()
	done := c.DoneBytes + c.SkippedBytes
	if done == 0 || c.TotalBytes <= 0 {
		if d.bar == nil || !d.spinning {
			d.clear()
			d.bar, d.spinning = w.newSpinner(), true
		}
		d.bar.Describe(w.line())
		_ = d.bar.Add64(1)
		return
	}
	if d.bar == nil || d.spinning {
		d.clear()
		d.bar, d.spinning = w.newBar(c.TotalBytes), false
	}
	if d.bar.GetMax64() != c.TotalBytes {
		d.bar.ChangeMax64(c.TotalBytes)
	}
	w.meter.Add(time.Since(w.start), done)
	d.bar.Describe(fmt.Sprintf("%s %s of %s%s", w.verb, humanize.Comma(c.DoneFiles+c.SkippedFiles), w.plural(c.TotalFiles), w.left(c)))
	_ = d.bar.Set64(min(done, c.TotalBytes-1)) // a full bar is final, and the total may grow
}

// newSpinner returns a spinner that turns when it is told to: with an interval it
// would turn on its own, for ever.
func (w *watch) newSpinner() *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w.out), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionClearOnFinish(), progressbar.OptionSpinnerType(14), progressbar.OptionSetSpinnerChangeInterval(0))
}

func (w *watch) newBar(total int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(w.out), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false), progressbar.OptionSetWidth(24))
}
