package fusefs

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestBuckets(t *testing.T) {
	bounds := LatencyBounds()
	for i, bound := range bounds {
		if got := bucket(bound); got != i {
			t.Errorf("%v is in bucket %d, want %d", bound, got, i)
		}
		if got := bucket(bound + 1); got != i+1 {
			t.Errorf("%v and a bit is in bucket %d, want %d", bound, got, i+1)
		}
	}
	for d, want := range map[time.Duration]int{-1: 0, 0: 0, time.Hour: buckets} {
		if got := bucket(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}

// Requests are counted by kind and outcome, by whomever they are answered.
func TestRequestsAreCounted(t *testing.T) {
	m := meter(nil)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 100 {
				m.done(opRead, m.now()-3*time.Millisecond, fuse.OK)
				m.done(opLookup, m.now(), fuse.ENOENT)
			}
		})
	}
	wait.Wait()
	got := map[string]int64{}
	for _, s := range m.stats() {
		for _, n := range s.Counts {
			got[s.Operation+" "+s.Errno.Error()] += n
		}
		if mean := s.Sum / 400; s.Operation == "read" && (mean < 3*time.Millisecond || mean > time.Second) {
			t.Errorf("reads took %v each", mean)
		}
	}
	if len(got) != 2 || got["read "+syscall.Errno(0).Error()] != 400 || got["lookup "+syscall.ENOENT.Error()] != 400 {
		t.Errorf("counted %v", got)
	}
}

func BenchmarkMeter(b *testing.B) {
	m := meter(nil)
	for b.Loop() {
		m.done(opRead, m.now(), fuse.OK)
	}
}
