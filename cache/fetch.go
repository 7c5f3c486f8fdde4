package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/snapfs/snapfs/blobstore"
)

// wakeEvery is how many bytes land before waiting readers are told.
const wakeEvery = 64 << 10

// fetcher reads from the store within the budgets of all readers.
type fetcher struct {
	store    blobstore.Store
	requests *semaphore.Weighted
	bytes    *semaphore.Weighted
	ahead    *semaphore.Weighted // the part of bytes that read-ahead may use
	stats    *counters
}

func newFetcher(store blobstore.Store, o Options, stats *counters) *fetcher {
	return &fetcher{
		store:    store,
		requests: semaphore.NewWeighted(int64(o.Requests)),
		bytes:    semaphore.NewWeighted(o.FlightBytes),
		ahead:    semaphore.NewWeighted(o.FlightBytes / 2),
		stats:    stats,
	}
}

// reserve waits for the memory for a transfer of n bytes.
func (f *fetcher) reserve(ctx context.Context, n int64) error {
	if err := f.bytes.Acquire(ctx, n); err != nil {
		return err
	}
	f.stats.inFlight.Add(1)
	f.stats.flightBytes.Add(n)
	return nil
}

func (f *fetcher) release(n int64) {
	f.bytes.Release(n)
	f.stats.inFlight.Add(-1)
	f.stats.flightBytes.Add(-n)
}

// open starts the request for n bytes of a blob.
func (f *fetcher) open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	if err := f.requests.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	f.stats.requests.Add(1)
	begin := time.Now()
	r, err := f.store.Open(ctx, key, off, n)
	if err != nil {
		f.requests.Release(1)
		return nil, f.failed(ctx, err)
	}
	f.stats.latency.observe(time.Since(begin))
	return &response{ReadCloser: r, done: func() { f.requests.Release(1) }}, nil
}

// response is a stream that takes a part of the budget for requests until it is closed.
type response struct {
	io.ReadCloser
	done func()
}

// Close implements io.Closer. It is called once.
func (r *response) Close() error {
	defer r.done()
	return r.ReadCloser.Close()
}

// fill reads len(buf) bytes, and calls landed with the count so far.
func (f *fetcher) fill(ctx context.Context, r io.Reader, buf []byte, landed func(n int)) error {
	told := 0
	for at := 0; at < len(buf); {
		n, err := r.Read(buf[at:])
		at += n
		f.stats.fetched.Add(int64(n))
		if at-told >= wakeEvery || at == len(buf) {
			landed(at)
			told = at
		}
		if err != nil && at < len(buf) {
			return f.failed(ctx, fmt.Errorf("transfer broke off after %d of %d bytes: %w", at, len(buf), err))
		}
	}
	return nil
}

// fetch reads len(buf) bytes of a blob from off on.
func (f *fetcher) fetch(ctx context.Context, key blobstore.Key, off int64, buf []byte) error {
	r, err := f.open(ctx, key, off, int64(len(buf)))
	if err != nil {
		return err
	}
	defer r.Close()
	return f.fill(ctx, r, buf, func(int) {})
}

// failed returns what an error of the store means to readers. Neither an end of a
// stream nor a cancellation inside of the store may look like one of theirs.
func (f *fetcher) failed(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	f.stats.fetchErrors.Add(1)
	switch {
	case errors.Is(err, blobstore.ErrRange):
		return fmt.Errorf("%w: the stored blob is shorter than the manifest says: %w", blobstore.ErrMismatch, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %v", blobstore.ErrUnavailable, err)
	}
	return err
}
