package progress

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/ops"
)

// lockedBuffer may be written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var now ops.Counts
		set := func(c ops.Counts) {
			mu.Lock()
			defer mu.Unlock()
			now = c
		}
		var out lockedBuffer
		stop := Screen{out: &out}.Watch("uploading", "file", func() ops.Counts {
			mu.Lock()
			defer mu.Unlock()
			return now
		})
		set(ops.Counts{TotalFiles: 1200, TotalBytes: 1 << 30})
		time.Sleep(lineInterval + time.Second)
		set(ops.Counts{TotalFiles: 1200, TotalBytes: 4 << 30, DoneFiles: 100, DoneBytes: 1 << 30, SkippedFiles: 1})
		time.Sleep(lineInterval)
		stop()
		stop()
		time.Sleep(5 * lineInterval)
		want := []string{
			"uploading: 1,200 files, 1.0 GiB",
			"uploading: 1.0 GiB of 4.0 GiB (25%), 101 of 1,200 files, 51 MiB/s, 1m0s left",
			"",
		}
		if diff := cmp.Diff(want, strings.Split(out.String(), "\n")); diff != "" {
			t.Error(diff)
		}
	})
}

// What is left is not told from the first moments of a long operation.
func TestEstimateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{verb: "uploading", noun: "file", start: time.Now()}
		var now ops.Counts
		w.counts = func() ops.Counts { return now }
		for _, step := range []struct {
			after time.Duration
			done  int64
			want  string
		}{
			{200 * time.Millisecond, 4 << 10, ""},
			{3 * time.Second, 1 << 20, ""},
			{8 * time.Second, 1 << 30, ", 34s left"},
		} {
			time.Sleep(step.after)
			now = ops.Counts{TotalFiles: 10, TotalBytes: 4 << 30, DoneFiles: 1, DoneBytes: step.done}
			if line := w.line(); !strings.HasSuffix(line, "/s"+step.want) {
				t.Errorf("with %d bytes done: %s", step.done, line)
			}
		}
	})
}

func TestBarDrawsAndCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		stop := Screen{out: &out, terminal: true}.Watch("downloading", "file", func() ops.Counts {
			return ops.Counts{TotalFiles: 4, TotalBytes: 1 << 30, DoneFiles: 1, DoneBytes: 1 << 29}
		})
		time.Sleep(time.Second)
		drawn := out.String()
		stop()
		if !strings.Contains(drawn, "downloading 1 of 4 files") || !strings.Contains(drawn, "50%") {
			t.Errorf("drawn: %q", drawn)
		}
		if after := out.String()[len(drawn):]; strings.Contains(after, "\n") || !strings.HasSuffix(after, "\r") {
			t.Errorf("left on the screen: %q", after)
		}
	})
}

func TestQuickOperationsShowNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, terminal := range []bool{false, true} {
			var out lockedBuffer
			stop := Screen{out: &out, terminal: terminal}.Watch("hashing", "file", func() ops.Counts { return ops.Counts{} })
			time.Sleep(barInterval / 2)
			stop()
			if got := out.String(); got != "" {
				t.Errorf("terminal %v: drew %q", terminal, got)
			}
		}
	})
}

func TestNoScreen(t *testing.T) {
	Screen{}.Watch("hashing", "file", func() ops.Counts { panic("nobody looks") })()
}
