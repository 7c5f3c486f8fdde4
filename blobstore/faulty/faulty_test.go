package faulty_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
)

func TestHealthyStoreKeepsContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) blobstore.Store { return faulty.Wrap(memstore.New()) })
}

func TestErrorsAreScripted(t *testing.T) {
	s := faulty.Wrap(memstore.New())
	a := storetest.Put(t, s, []byte("a"))
	b := storetest.Put(t, s, []byte("b"))
	s.Inject(
		faulty.Fault{Op: faulty.Stat, Key: a, Skip: 1, Times: 2, Err: blobstore.ErrUnavailable},
		faulty.Fault{Op: faulty.Put, Err: blobstore.ErrNoSpace},
	)
	var got []bool
	for range 5 {
		_, err := s.Stat(t.Context(), a)
		got = append(got, errors.Is(err, blobstore.ErrUnavailable))
	}
	if diff := cmp.Diff([]bool{false, true, true, false, false}, got); diff != "" {
		t.Errorf("which calls failed (-want +got):\n%s", diff)
	}
	if _, err := s.Stat(t.Context(), b); err != nil {
		t.Errorf("Stat of another blob: %v", err)
	}
	if err := s.Put(t.Context(), b, storetest.Body([]byte("b"))); !errors.Is(err, blobstore.ErrNoSpace) {
		t.Errorf("Put = %v, want ErrNoSpace", err)
	}
	s.Inject(faulty.Fault{Times: faulty.Always, Err: blobstore.ErrPermission})
	s.Heal()
	if _, err := s.Stat(t.Context(), a); err != nil {
		t.Errorf("Stat after Heal: %v", err)
	}
}

func TestStreams(t *testing.T) {
	p := storetest.Bytes(100)
	broken := errors.New("connection reset")
	for name, c := range map[string]struct {
		fault faulty.Fault
		n     int
		err   error
		right int // bytes that are those of the blob
	}{
		"breaks off":                 {faulty.Fault{Stream: true, After: 30, Err: broken}, 30, broken, 30},
		"pretends to be complete":    {faulty.Fault{Stream: true, After: 30, Err: io.EOF}, 30, nil, 30},
		"a wrong byte":               {faulty.Fault{Stream: true, After: 30, Corrupt: true}, 100, nil, 30},
		"a wrong byte at the start":  {faulty.Fault{Corrupt: true}, 100, nil, 0},
		"a fault after the last one": {faulty.Fault{Stream: true, After: 101, Err: broken}, 100, nil, 100},
	} {
		s := faulty.Wrap(memstore.New())
		key := storetest.Put(t, s, p)
		s.Inject(c.fault)
		got, err := storetest.Get(t.Context(), s, key, 0, -1)
		right := 0
		for right < len(got) && got[right] == p[right] {
			right++
		}
		if len(got) != c.n || !errors.Is(err, c.err) || right != c.right {
			t.Errorf("%s: %d bytes, %d right, %v; want %d, %d, %v", name, len(got), right, err, c.n, c.right, c.err)
		}
		if got, err := storetest.Get(t.Context(), s, key, 0, -1); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: the second Open yields %d bytes, %v; want all", name, len(got), err)
		}
	}
}

func TestLatencyAndHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faulty.Wrap(memstore.New())
		key := storetest.Put(t, s, []byte("x"))
		s.Inject(
			faulty.Fault{Op: faulty.Stat, Delay: time.Minute},
			faulty.Fault{Op: faulty.Open, Hang: true},
		)
		start := time.Now()
		if _, err := s.Stat(t.Context(), key); err != nil || time.Since(start) != time.Minute {
			t.Errorf("Stat took %v, %v; want a minute", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := s.Open(ctx, key, 0, -1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Open = %v, want context.DeadlineExceeded", err)
		}
		want := []faulty.Call{{Op: faulty.Put, Key: key}, {Op: faulty.Stat, Key: key}, {faulty.Open, key, 0, -1}}
		if diff := cmp.Diff(want, s.Calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}
