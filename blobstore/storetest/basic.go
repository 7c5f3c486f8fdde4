package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/snapfs/snapfs/blobstore"
)

func testRoundTrip(t *testing.T, s blobstore.Store) {
	for _, n := range []int{0, 1, 4095, 4096, 1<<20 - 1, 1 << 20, 5<<20 + 3} {
		p := Bytes(n)
		Put(t, s, p)
		wantBlob(t, s, p)
	}
}

func testMissing(t *testing.T, s blobstore.Store) {
	key := Key([]byte("never stored"))
	_, statErr := s.Stat(t.Context(), key)
	_, openErr := s.Open(t.Context(), key, 0, -1)
	_, rangeErr := s.Open(t.Context(), key, 1, 1)
	for call, err := range map[string]error{"Stat": statErr, "Open": openErr, "Open of a range": rangeErr} {
		if !errors.Is(err, blobstore.ErrNotFound) {
			t.Errorf("%s = %v, want ErrNotFound", call, err)
		}
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s = %v, which matches fs.ErrNotExist: an application would see a missing file", call, err)
		}
	}
}

func testBadKeys(t *testing.T, s blobstore.Store) {
	for _, key := range badKeys {
		untouched := readerFunc(func([]byte, int64) (int, error) {
			t.Errorf("Put(%q) read its body", key)
			return 0, io.ErrUnexpectedEOF
		})
		_, statErr := s.Stat(t.Context(), key)
		_, openErr := s.Open(t.Context(), key, 0, -1)
		errs := map[string]error{
			"Stat": statErr,
			"Open": openErr,
			"Put":  s.Put(t.Context(), key, io.NewSectionReader(untouched, 0, 3)),
		}
		if d, ok := blobstore.As[blobstore.Deleter](s); ok {
			errs["Delete"] = d.Delete(t.Context(), key)
		}
		if c, ok := blobstore.As[blobstore.Copier](s); ok {
			errs["CopyFrom"] = c.CopyFrom(t.Context(), s, key)
		}
		if f, ok := blobstore.As[blobstore.Files](s); ok {
			_, errs["Path"] = f.Path(key)
		}
		for call, err := range errs {
			if !errors.Is(err, blobstore.ErrBadKey) {
				t.Errorf("%s(%q) = %v, want ErrBadKey", call, key, err)
			}
		}
	}
}

func testRanges(t *testing.T, s blobstore.Store) {
	p := Bytes(1000)
	key, empty := Put(t, s, p), Put(t, s, nil)
	for _, c := range []struct {
		name   string
		key    blobstore.Key
		off, n int64
		want   []byte // nil: ErrRange
	}{
		{"all", key, 0, 1000, p},
		{"all to the end", key, 0, -1, p},
		{"middle", key, 10, 20, p[10:30]},
		{"one byte", key, 999, 1, p[999:]},
		{"tail", key, 990, -1, p[990:]},
		{"tail, any negative length", key, 990, -7, p[990:]},
		{"nothing at the start", key, 0, 0, []byte{}},
		{"nothing in the middle", key, 500, 0, []byte{}},
		{"nothing at the end", key, 1000, 0, []byte{}},
		{"to the end from the end", key, 1000, -1, []byte{}},
		{"one byte past the end", key, 0, 1001, nil},
		{"starts inside, ends outside", key, 999, 2, nil},
		{"starts outside", key, 1001, 0, nil},
		{"starts outside, to the end", key, 1001, -1, nil},
		{"starts at the end", key, 1000, 1, nil},
		{"negative offset", key, -1, 1, nil},
		{"end overflows", key, 1, 1<<63 - 1, nil},
		{"empty blob", empty, 0, -1, []byte{}},
		{"nothing of an empty blob", empty, 0, 0, []byte{}},
		{"one byte of an empty blob", empty, 0, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Get(t.Context(), s, c.key, c.off, c.n)
			if c.want == nil {
				if !errors.Is(err, blobstore.ErrRange) {
					t.Errorf("Open(%d, %d) = %d bytes, %v; want ErrRange", c.off, c.n, len(got), err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("Open(%d, %d) = %d bytes, %v; want %d bytes", c.off, c.n, len(got), err, len(c.want))
			}
		})
	}
}

func testBodyPosition(t *testing.T, s blobstore.Store) {
	p := Bytes(3000)
	whole := bytes.NewReader(append(append([]byte("before"), p...), "after"...))
	body := io.NewSectionReader(whole, 6, 3000)
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), Key(p), body); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, s, p)
}

func testIdempotent(t *testing.T, s blobstore.Store) {
	p := Bytes(100)
	for range 3 {
		Put(t, s, p)
	}
	wantBlob(t, s, p)
}

func testMismatch(t *testing.T, s blobstore.Store) {
	right := Bytes(5 << 20)
	wrong := bytes.Clone(right)
	wrong[len(wrong)-1] ^= 1
	key := Key(right)
	for name, p := range map[string][]byte{"last bit flipped": wrong, "shorter": right[:100], "empty": nil} {
		if err := s.Put(t.Context(), key, Body(p)); !errors.Is(err, blobstore.ErrMismatch) {
			t.Errorf("%s: Put = %v, want ErrMismatch", name, err)
		}
		wantAbsent(t, s, key)
	}
	if err := s.Put(t.Context(), key, Body(right)); err != nil {
		t.Errorf("Put of the right bytes after wrong ones: %v", err)
	}
	wantBlob(t, s, right)
}

func testBrokenBody(t *testing.T, s blobstore.Store) {
	p := Bytes(3 << 20)
	broken := errors.New("disk on fire")
	for name, c := range map[string]struct {
		body *io.SectionReader
		want error
	}{
		"ends early": {io.NewSectionReader(bytes.NewReader(p[:2<<20]), 0, int64(len(p))), io.ErrUnexpectedEOF},
		"fails": {io.NewSectionReader(readerFunc(func(b []byte, off int64) (int, error) {
			if off > 1<<20 {
				return 0, broken
			}
			return copy(b, p[off:]), nil
		}), 0, int64(len(p))), broken},
	} {
		if err := s.Put(t.Context(), Key(p), c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: Put = %v, want %v", name, err, c.want)
		}
		wantAbsent(t, s, Key(p))
	}
}

func testCancelled(t *testing.T, s blobstore.Store) {
	p, other := Bytes(10), Bytes(20)
	key := Put(t, s, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, statErr := s.Stat(ctx, key)
	_, openErr := s.Open(ctx, key, 0, -1)
	for call, err := range map[string]error{
		"Stat": statErr,
		"Open": openErr,
		"Put":  s.Put(ctx, Key(other), Body(other)),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", call, err)
		}
	}
	wantAbsent(t, s, Key(other))
}

func testCancelledRead(t *testing.T, s blobstore.Store) {
	p := Bytes(8 << 20)
	key := Put(t, s, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, r); err == nil && n < int64(len(p)-10) {
		t.Errorf("the stream ended after %d bytes as if that were all", n+10)
	}
}

// readerFunc is an io.ReaderAt from a function.
type readerFunc func(p []byte, off int64) (int, error)

func (f readerFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }
