// Package faulty wraps a blob store and makes it fail as a script says: errors,
// latency, calls that hang, streams that break off, bytes that are wrong. It is
// meant for tests of whatever stands on a store.
package faulty

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/snapfs/snapfs/blobstore"
)

// Op names a method of a store.
type Op string

// The methods that may fail. Any, the zero value, stands for all of them.
const (
	Any  Op = ""
	Stat Op = "Stat"
	Open Op = "Open"
	Put  Op = "Put"
)

// Always, as Fault.Times, means that the fault never ends.
const Always = -1

// Fault is one thing that goes wrong. Op, Key, Skip and Times say for which calls;
// the other fields say what happens to them, in the order in which they stand here.
type Fault struct {
	Op    Op
	Key   blobstore.Key // the only blob concerned; empty means every blob
	Skip  int           // so many matching calls pass untouched first
	Times int           // how many calls are hit; 0 means one, Always all that follow

	// Stream spares the call of Open itself, and hits the stream it returns once
	// After bytes of it have been read.
	Stream bool
	After  int64

	Delay   time.Duration // waits so long, or until the context ends
	Hang    bool          // waits until the context ends, and returns its error
	Err     error         // fails; a stream with io.EOF pretends to be complete
	Corrupt bool          // goes on, with the next byte of the stream changed
}

// Call is one call that a Store received.
type Call struct {
	Op     Op
	Key    blobstore.Key
	Off, N int64 // of Open
}

// Store is a store that fails on demand. It must be made by Wrap.
type Store struct {
	blobstore.Store

	mu     sync.Mutex
	faults []*Fault
	calls  []Call
}

// Wrap returns s without any fault yet.
func Wrap(s blobstore.Store) *Store { return &Store{Store: s} }

// Unwrap returns the store that is wrapped. Its other abilities do not fail.
func (s *Store) Unwrap() blobstore.Store { return s.Store }

// Inject adds faults. A call is hit by the first fault that matches it.
func (s *Store) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, &f)
	}
}

// Heal removes all faults. Calls that hang or wait go on doing so.
func (s *Store) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Calls returns the calls received so far, in order.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Stat implements blobstore.Store.
func (s *Store) Stat(ctx context.Context, key blobstore.Key) (blobstore.Info, error) {
	if f := s.record(Call{Op: Stat, Key: key}); f != nil {
		if err := f.strike(ctx); err != nil {
			return blobstore.Info{}, err
		}
	}
	return s.Store.Stat(ctx, key)
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	f := s.record(Call{Open, key, off, n})
	if f != nil && !f.Stream && !f.Corrupt {
		if err := f.strike(ctx); err != nil {
			return nil, err
		}
		f = nil
	}
	r, err := s.Store.Open(ctx, key, off, n)
	if err != nil || f == nil {
		return r, err
	}
	return &stream{ReadCloser: r, ctx: ctx, fault: f, left: f.After}, nil
}

// Put implements blobstore.Store.
func (s *Store) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	if f := s.record(Call{Op: Put, Key: key}); f != nil {
		if err := f.strike(ctx); err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, key, body)
}

// record notes a call and returns the fault that hits it, or nil.
func (s *Store) record(c Call) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	for _, f := range s.faults {
		switch {
		case !f.matches(c), f.Times == 0:
		case f.Skip > 0:
			f.Skip--
		default:
			if f.Times > 0 {
				f.Times--
			}
			return f
		}
	}
	return nil
}

func (f *Fault) matches(c Call) bool {
	if f.Stream || f.Corrupt {
		return c.Op == Open && (f.Key == "" || f.Key == c.Key)
	}
	return (f.Op == Any || f.Op == c.Op) && (f.Key == "" || f.Key == c.Key)
}

// strike waits as long as the fault says and returns its error, if any.
func (f *Fault) strike(ctx context.Context) error {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.Err
}

// stream is the stream of an Open that was hit.
type stream struct {
	io.ReadCloser
	ctx   context.Context
	fault *Fault // nil once it has struck without an error
	left  int64  // bytes before it strikes
	err   error
}

// Read implements io.Reader.
func (r *stream) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	if r.fault == nil {
		return r.ReadCloser.Read(p)
	}
	if r.left > 0 {
		n, err := r.ReadCloser.Read(p[:min(int64(len(p)), r.left)])
		r.left -= int64(n)
		return n, err
	}
	if r.err = r.fault.strike(r.ctx); r.err != nil {
		return 0, r.err
	}
	n, err := r.ReadCloser.Read(p)
	if n > 0 && r.fault.Corrupt {
		p[0] ^= 0xff
	}
	r.fault = nil
	return n, err
}
