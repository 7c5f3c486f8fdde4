package blobstore

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"sync/atomic"
)

// Tally counts by reason, for any number of goroutines. The zero value is ready.
type Tally struct {
	mu sync.Mutex
	m  map[string]int64
}

// Add counts one more.
func (t *Tally) Add(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]int64{}
	}
	t.m[reason]++
}

// Counts returns the counts so far, in a map of the caller's own; it is never nil.
func (t *Tally) Counts() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := make(map[string]int64, len(t.m))
	maps.Copy(counts, t.m)
	return counts
}

// Stats counts what passes through the stores that Count returned for it. It may be
// read at any time, by any goroutine. The zero value is ready, and a nil *Stats
// counts nothing.
type Stats struct {
	stats, opens, puts, failures atomic.Int64
	bytesFetched, bytesPut       atomic.Int64
}

// Totals are the values of Stats at one moment.
type Totals struct {
	Stats        int64 // calls of Stat
	Opens        int64 // calls of Open
	Puts         int64 // calls of Put
	Failures     int64 // calls and streams that failed; that a blob is not there is an answer
	BytesFetched int64 // bytes read from the streams of Open
	BytesPut     int64 // sizes of the bodies of Puts that succeeded
}

// Totals returns the values so far.
func (s *Stats) Totals() Totals {
	if s == nil {
		return Totals{}
	}
	return Totals{
		Stats:        s.stats.Load(),
		Opens:        s.opens.Load(),
		Puts:         s.puts.Load(),
		Failures:     s.failures.Load(),
		BytesFetched: s.bytesFetched.Load(),
		BytesPut:     s.bytesPut.Load(),
	}
}

func (s *Stats) failed(err error) {
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.failures.Add(1)
	}
}

// Count returns a store that is s and adds what passes through it to stats. Several
// stores may share one Stats. What s does by other abilities is not counted.
func Count(s Store, stats *Stats) Store {
	if stats == nil {
		return s
	}
	return counted{s, stats}
}

type counted struct {
	Store
	stats *Stats
}

// Unwrap returns the store that is counted.
func (c counted) Unwrap() Store { return c.Store }

// Stat implements Store.
func (c counted) Stat(ctx context.Context, key Key) (Info, error) {
	c.stats.stats.Add(1)
	info, err := c.Store.Stat(ctx, key)
	c.stats.failed(err)
	return info, err
}

// Open implements Store.
func (c counted) Open(ctx context.Context, key Key, off, n int64) (io.ReadCloser, error) {
	c.stats.opens.Add(1)
	r, err := c.Store.Open(ctx, key, off, n)
	if err != nil {
		c.stats.failed(err)
		return nil, err
	}
	return countedReader{r, c.stats}, nil
}

// Put implements Store.
func (c counted) Put(ctx context.Context, key Key, body *io.SectionReader) error {
	c.stats.puts.Add(1)
	err := c.Store.Put(ctx, key, body)
	if err == nil {
		c.stats.bytesPut.Add(body.Size())
	}
	c.stats.failed(err)
	return err
}

type countedReader struct {
	io.ReadCloser
	stats *Stats
}

func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.stats.bytesFetched.Add(int64(n))
	if err != io.EOF {
		r.stats.failed(err)
	}
	return n, err
}
