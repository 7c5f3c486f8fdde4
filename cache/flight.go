package cache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/snapfs/snapfs/blobstore"
)

// flight is one transfer of consecutive bytes of a blob that is under way, and those
// who wait for parts of it. It is detached from all of them: it ends early only when
// every one has given up.
type flight struct {
	cancel  context.CancelFunc
	timeout time.Duration // how long a waiter waits without seeing progress

	mu       sync.Mutex
	buf      []byte // set before the first byte lands
	landed   int    // bytes at the front of buf that may be read
	err      error
	over     bool // nothing more will land
	kept     bool // goes on without waiters
	dropped  bool // given up: no one may join
	waiters  int
	trouble  error         // of the last request, while there is no progress
	failures int           // in a row
	moved    time.Time     // when bytes arrived last
	wake     chan struct{} // closed and replaced at every change
}

// newFlight returns a flight that nobody waits for yet. A kept flight is never given
// up.
func newFlight(cancel context.CancelFunc, kept bool, timeout time.Duration) *flight {
	return &flight{cancel: cancel, kept: kept, timeout: timeout, wake: make(chan struct{})}
}

// maxIdleFailures is how often in a row requests may fail for a flight that nobody waits
// for.
const maxIdleFailures = 3

// fails notes that a request has failed, or with nil that requests succeed again. It
// reports whether to go on: somebody is waiting, or it has not gone wrong often.
func (f *flight) fails(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = err
	if err == nil {
		f.failures = 0
		return true
	}
	f.failures++
	return f.waiters > 0 || f.failures < maxIdleFailures
}

// join announces a waiter, who must call wait. It reports false when the flight was
// given up or has failed.
func (f *flight) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dropped || f.err != nil {
		return false
	}
	f.waiters++
	return true
}

// wait returns nil when the first n bytes have landed, the error of the flight when
// they never will, that of ctx at once when it ends, and ErrTimeout when nothing has
// landed for too long.
func (f *flight) wait(ctx context.Context, n int) error {
	begin := time.Now()
	timer := time.NewTimer(f.timeout)
	defer timer.Stop()
	for {
		f.mu.Lock()
		if f.landed >= n || f.over {
			err := f.err
			if f.landed >= n {
				f.kept, err = true, nil // it is useful: let it finish
			}
			f.waiters--
			f.mu.Unlock()
			return err
		}
		wake := f.wake
		f.mu.Unlock()
		select {
		case <-wake:
		case <-timer.C:
			if left := f.patience(begin); left > 0 {
				timer.Reset(left)
				continue
			}
			return f.timedOut()
		case <-ctx.Done():
			f.leave()
			return ctx.Err()
		}
	}
}

// move notes that bytes have arrived.
func (f *flight) move() {
	f.mu.Lock()
	f.moved = time.Now()
	f.mu.Unlock()
}

// patience returns how much longer a waiter waits who has waited since begin.
func (f *flight) patience(begin time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moved.After(begin) {
		begin = f.moved
	}
	return f.timeout - time.Since(begin)
}

// timedOut ends the wait of one who has waited in vain.
func (f *flight) timedOut() error {
	f.mu.Lock()
	cause := f.trouble
	f.mu.Unlock()
	f.leave()
	if cause == nil {
		cause = blobstore.ErrUnavailable
	}
	return fmt.Errorf("%w (%v): %w", ErrTimeout, f.timeout, cause)
}

// leave takes back a join, and gives the flight up when no one is left.
func (f *flight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && !f.kept && !f.over {
		f.dropped = true
		f.cancel()
	}
}

// begin gives the flight its buffer.
func (f *flight) begin(buf []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buf = buf
}

// land makes the first n bytes of the buffer readable.
func (f *flight) land(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.landed {
		f.landed = n
		f.signal()
	}
}

// finish ends the flight; err is what those get who wait for bytes that have not landed.
func (f *flight) finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.over = err, true
	f.signal()
}

// has reports whether the first n bytes have landed.
func (f *flight) has(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.buf != nil && f.landed >= n
}

// isOver reports whether the flight has ended.
func (f *flight) isOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.over
}

// bytes returns what has landed. It is never written to again.
func (f *flight) bytes() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.buf[:f.landed]
}

func (f *flight) signal() {
	close(f.wake)
	f.wake = make(chan struct{})
}
