package ops

import (
	"math"
	"testing"
	"time"
)

// Vectors of spec/types.md §7.
func TestHumanSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1 KB", 1234: "1.23 KB", 1500: "1.5 KB",
		999_994: "999.99 KB", 999_995: "1 MB", 268_435_456: "268.44 MB",
		12_300_000: "12.3 MB", math.MaxUint64: "18.45 EB",
	} {
		if got := HumanSize(n); got != want {
			t.Errorf("HumanSize(%d) = %q, want %q", n, got, want)
		}
	}
}

// Vectors of spec/types.md §8 and spec/tests.md §20.
func TestMeter(t *testing.T) {
	type point struct {
		at    time.Duration
		bytes int64
	}
	for _, tc := range []struct {
		name   string
		points []point
		want   float64
	}{
		{"nothing known", nil, 0},
		{"constant", []point{{time.Second, 100}, {2 * time.Second, 200}}, 100},
		{"no time passed", []point{{0, 100}}, 0},
		{"the window drops the start", []point{{time.Second, 1000}, {14 * time.Second, 2000}}, 1000.0 / 13},
		{"a burst fades", []point{{time.Second, 1000}, {2 * time.Second, 1000}, {4 * time.Second, 1000}}, 250},
		{"close samples merge", []point{{time.Second, 1}, {2 * time.Second, 2}, {2*time.Second + 1, 4}}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var m Meter
			for _, p := range tc.points {
				m.Add(p.at, p.bytes)
			}
			if got := m.Rate(); math.Abs(got-tc.want) > 1e-6 {
				t.Errorf("rate %v, want %v", got, tc.want)
			}
		})
	}
}

func TestMeterKeepsFewSamples(t *testing.T) {
	var m Meter
	for i := range int64(1_000_000) {
		m.Add(time.Duration(i)*20*time.Microsecond, i)
	}
	if len(m.samples) > 300 {
		t.Errorf("%d samples are kept for 20 s of work", len(m.samples))
	}
	if got := m.Rate(); math.Abs(got-50_000) > 10 {
		t.Errorf("rate %v, want 50000", got)
	}
}

func TestProgressIsNilSafeAndMirrored(t *testing.T) {
	var none *Progress
	if none.Counts() != (Counts{}) {
		t.Error("a nil Progress must count nothing")
	}
	newTally(nil).done(1, 2)
	var p Progress
	a, b := newTally(&p), newTally(&p)
	a.expect(2, 30)
	a.done(1, 10)
	a.skip(1, 20)
	b.expect(1, 70)
	got := p.Counts()
	want := Counts{TotalFiles: 3, TotalBytes: 100, DoneFiles: 1, DoneBytes: 10, SkippedFiles: 1, SkippedBytes: 20}
	if got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if got.Percent() != 30 {
		t.Errorf("percent %v, want 30", got.Percent())
	}
	if (Counts{}).Percent() != 0 {
		t.Error("nothing to do is 0 %")
	}
}

func TestMessage(t *testing.T) {
	if got, want := message("Hashed", 12_300_000, 3, "files", 530*time.Millisecond, 23_210_000), "Hashed 12.3 MB (3 files) in 0.53s (23.21 MB/s)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := message("Synced", 0, 0, "objects", 0, 0), "Synced 0 B (0 objects) in 0.00s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
