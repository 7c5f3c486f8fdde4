package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
)

// kinds are a blob that is fetched whole and one that is fetched by ranges.
var kinds = map[string]int{"small": 300 << 10, "large": 10 << 20}

func TestReadersWaitOutWhatPasses(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{
		"unavailable":         {Op: faulty.Open, Err: blobstore.ErrUnavailable},
		"credentials expired": {Op: faulty.Open, Err: fmt.Errorf("%w: %w", blobstore.ErrExpired, blobstore.ErrPermission)},
		"broken streams":      {Stream: true, After: 1000, Err: errors.New("connection reset")},
		"an unknown error":    {Op: faulty.Open, Err: errors.New("something new")},
	} {
		for kind, size := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				data, blob := content(size, 90)
				f := newFixture(t, Options{IOTimeout: time.Minute}, data)
				fault.Times = faulty.Always
				f.store.Inject(fault)
				p := make([]byte, 4096)
				result := make(chan error, 1)
				go func() {
					_, err := f.ReadBlobAt(context.Background(), blob, p, 200<<10)
					result <- err
				}()
				eventually(t, "a few retries", func() bool {
					n := int64(0)
					for _, m := range f.Stats().Retries {
						n += m
					}
					return n >= 3
				})
				f.store.Heal()
				select {
				case err := <-result:
					if err != nil || !bytes.Equal(p, data[200<<10:][:len(p)]) {
						t.Errorf("after the fault: err = %v", err)
					}
				case <-time.After(mostPause + time.Second):
					t.Error("the reader is not served after the fault has ended")
				}
			})
		}
	}
}

func TestReadersDoNotWaitForWhatStays(t *testing.T) {
	for name, want := range map[string]error{
		"not found":     blobstore.ErrNotFound,
		"no store":      blobstore.ErrNoStore,
		"access denied": blobstore.ErrPermission,
	} {
		for kind, size := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				data, blob := content(size, 91)
				f := newFixture(t, Options{IOTimeout: time.Minute}, data)
				f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Err: want})
				_, err := f.ReadBlobAt(t.Context(), blob, make([]byte, 10), 0)
				if !errors.Is(err, want) || errors.Is(err, ErrTimeout) || f.Stats().Requests != 1 {
					t.Errorf("err = %v after %d requests; want %v after one", err, f.Stats().Requests, want)
				}
			})
		}
	}
}

func TestReadersGiveUpEachAfterTheirOwnTime(t *testing.T) {
	for kind, size := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			data, blob := content(size, 92)
			f := newFixture(t, Options{IOTimeout: 2 * time.Second}, data)
			f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Err: blobstore.ErrUnavailable})
			second := make(chan error, 1)
			time.AfterFunc(1900*time.Millisecond, func() {
				_, err := f.ReadBlobAt(context.Background(), blob, make([]byte, 10), 0)
				second <- err
			})
			start := time.Now()
			_, err := f.ReadBlobAt(t.Context(), blob, make([]byte, 10), 0)
			if took := time.Since(start); !errors.Is(err, ErrTimeout) || !errors.Is(err, blobstore.ErrUnavailable) || took < 2*time.Second {
				t.Errorf("err = %v after %v; want ErrTimeout after 2 s", err, took)
			}
			f.store.Heal()
			if err := <-second; err != nil {
				t.Errorf("the second reader, who had time left: %v", err)
			}
		})
	}
}

func TestBrokenTransfersGoOnWhereTheyStopped(t *testing.T) {
	for kind, size := range kinds {
		t.Run(kind, func(t *testing.T) {
			data, blob := content(size, 93)
			f := newFixture(t, Options{}, data)
			f.store.Inject(faulty.Fault{Stream: true, After: 100_000, Err: errors.New("connection reset")})
			mustRead(t, f.Blobs, blob, data, 0, 200<<10)
			calls := f.store.Calls()
			if len(calls) < 3 || calls[2].Off != 100_000 {
				t.Errorf("calls: %+v; want the second request to start at 100000", calls)
			}
		})
	}
}

func TestReadAheadGivesUpWhenNobodyWaits(t *testing.T) {
	for kind, size := range kinds {
		t.Run(kind, func(t *testing.T) {
			data, blob := content(size, 94)
			f := newFixture(t, Options{IOTimeout: time.Minute}, data)
			f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Err: blobstore.ErrUnavailable})
			f.Prefetch(t.Context(), blob, 0, 1<<20)
			eventually(t, "a request", func() bool { return f.Stats().Requests > 0 })
			settled(t, f.Blobs)
			if n := f.Stats().Requests; n > maxIdleFailures {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestSlowAnswersAreHedged(t *testing.T) {
	var blobs []readerAt
	f := newFixture(t, Options{})
	var data []byte
	for i := range uint64(60) {
		d, blob := content(5000, 9000+i)
		put(t, f.store, d)
		blobs, data = append(blobs, readerAt{f.Blobs, blob}), d
	}
	p := make([]byte, 5000)
	for _, b := range blobs[:59] {
		if _, err := b.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.store.Inject(faulty.Fault{Op: faulty.Open, Hang: true})
	if _, err := blobs[59].ReadAt(p, 0); err != nil || !bytes.Equal(p, data) {
		t.Fatalf("of two requests one hung: %v", err)
	}
	if got := f.Stats().Hedges[hedgeReason]; got < 1 || got > 3 {
		t.Errorf("%d requests were hedged, want 1", got)
	}
}

func TestHedgesAreFew(t *testing.T) {
	var h hedger
	allowed := 0
	for range 1000 {
		h.start(1000)
		if h.allow() {
			allowed++
		}
	}
	if allowed != 1000/hedgeShare {
		t.Errorf("%d of 1000 requests may be hedged, want %d", allowed, 1000/hedgeShare)
	}
	if h.start(1000) != 0 {
		t.Error("hedged without knowing what is usual")
	}
	for range hedgeSamples {
		h.observe(1000, 100*time.Millisecond)
	}
	if late := h.start(900); late != hedgeFactor*100*time.Millisecond {
		t.Errorf("late after %v", late)
	}
	if h.start(8<<20) != 0 {
		t.Error("what is usual for small requests is not for large ones")
	}
}
