package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/snapfs/snapfs/blobstore"
)

// wakeEvery is how many bytes land before waiting readers are told.
const wakeEvery = 64 << 10

// A request that failed is sent again after a pause that doubles from leastPause to
// mostPause: so soon is the end of an outage noticed.
const (
	leastPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
)

// ErrTimeout means that a reader has waited in vain for as long as Options.IOTimeout
// says. It wraps the last error of the store.
var ErrTimeout = errors.New("the store did not answer in time")

// fetcher reads from the store within the budgets of all readers.
type fetcher struct {
	store    blobstore.Store
	requests *semaphore.Weighted
	bytes    *semaphore.Weighted
	ahead    *semaphore.Weighted // the part of bytes that read-ahead may use
	hedger   hedger
	stats    *counters
}

func newFetcher(store blobstore.Store, o Options, stats *counters) *fetcher {
	return &fetcher{
		store:    store,
		requests: semaphore.NewWeighted(int64(o.Requests)),
		bytes:    semaphore.NewWeighted(o.flightBytes()),
		ahead:    semaphore.NewWeighted(o.flightBytes() / 2),
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

// open starts a request for n bytes of a blob.
func (f *fetcher) open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	if err := f.requests.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	f.stats.requests.Add(1)
	begin := time.Now()
	r, err := f.openHedged(ctx, key, off, n)
	if err != nil {
		f.requests.Release(1)
		return nil, f.failed(ctx, err)
	}
	took := time.Since(begin)
	f.stats.latency.observe(took)
	f.hedger.observe(n, took)
	return &response{r, func() { f.requests.Release(1) }}, nil
}

// transfer is a range of a blob on its way into a buffer.
type transfer struct {
	f      *fetcher
	key    blobstore.Key
	off    int64 // of the range in the blob
	buf    []byte
	at     int           // bytes of buf that have arrived
	r      io.ReadCloser // nil while no request is under way
	landed func(n int)   // is told when the first n bytes have arrived; it may fill the time

	// trouble is told of each failure that may pass, and of its end with nil. The
	// transfer gives up when it reports false.
	trouble func(error) bool
	pause   time.Duration
}

// advance goes on until the first n bytes of the buffer have arrived, through all
// failures that may pass.
func (t *transfer) advance(ctx context.Context, n int) error {
	for t.at < n {
		before := t.at
		err := t.try(ctx, n)
		if t.at > before && t.pause > 0 {
			t.pause = 0
			t.trouble(nil)
		}
		switch {
		case err == nil:
			continue
		case !passes(err) || ctx.Err() != nil || !t.trouble(err):
			return err
		}
		t.f.stats.retries.Add(reasonOf(err))
		t.pause = min(max(2*t.pause, leastPause), mostPause)
		if err := pause(ctx, t.pause/2+rand.N(t.pause/2)); err != nil {
			return err
		}
	}
	return nil
}

// try is advance until the first failure.
func (t *transfer) try(ctx context.Context, n int) (err error) {
	if t.r == nil {
		if t.r, err = t.f.open(ctx, t.key, t.off+int64(t.at), int64(len(t.buf)-t.at)); err != nil {
			t.r = nil
			return err
		}
	}
	defer func() {
		if err != nil || t.at == len(t.buf) {
			t.close()
		}
	}()
	told := t.at
	for t.at < n {
		m, err := t.r.Read(t.buf[t.at:n])
		t.at += m
		t.f.stats.fetched.Add(int64(m))
		if t.at-told >= wakeEvery || t.at == n {
			t.landed(t.at)
			told = t.at
		}
		if err != nil && t.at < n {
			t.landed(t.at)
			return t.f.failed(ctx, fmt.Errorf("transfer broke off after %d of %d bytes: %w", t.at, len(t.buf), err))
		}
	}
	return nil
}

// close ends the request under way.
func (t *transfer) close() {
	if t.r != nil {
		t.r.Close()
		t.r = nil
	}
}

// passes reports whether a failure may be over when the request is sent again. That a blob
// is missing, wrong or forbidden does not change.
func passes(err error) bool {
	if errors.Is(err, blobstore.ErrExpired) {
		return true
	}
	for _, final := range []error{
		blobstore.ErrNotFound, blobstore.ErrNoStore, blobstore.ErrMismatch, blobstore.ErrPermission, blobstore.ErrBadKey,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// reasonOf says in a word why a request is sent again that the store has given up.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, blobstore.ErrExpired):
		return "credentials"
	case errors.Is(err, blobstore.ErrUnavailable):
		return "unavailable"
	}
	return "other"
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
