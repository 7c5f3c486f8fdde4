package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// small reads a blob that is fetched whole and verified before it is served.
type small struct {
	b    *Blobs
	e    *entry
	blob manifest.Blob
	key  blobstore.Key

	ahead atomic.Bool // fetched ahead, and not read yet

	mu      sync.Mutex
	f       *os.File // verified by this process
	inPlace bool     // f belongs to the store
	fl      *flight  // under way, or all there is of the blob
}

func (s *small) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	if s.ahead.CompareAndSwap(true, false) {
		s.b.stats.aheadUseful.Add(s.blob.Size)
	}
	for {
		if data, ok := s.b.memory.Get(string(s.key)); ok && int64(len(data)) == s.blob.Size {
			s.b.stats.memoryHits.Add(1)
			return copy(p, data[off:]), nil
		}
		s.mu.Lock()
		if f := s.f; f != nil {
			inPlace := s.inPlace
			s.mu.Unlock()
			if n, _ := f.ReadAt(p, off); n == len(p) {
				s.b.countHit(inPlace)
				return n, nil
			}
			s.lose(f)
			continue
		}
		fl := s.join()
		s.mu.Unlock()
		if err := fl.wait(ctx, int(s.blob.Size)); err != nil {
			return 0, s.b.flightError(err)
		}
		return copy(p, fl.bytes()[off:]), nil
	}
}

// join returns a flight that it has joined. The caller holds mu.
func (s *small) join() *flight {
	if s.fl == nil || !s.fl.join() {
		s.launch(false)
		s.fl.join()
	}
	return s.fl
}

// launch starts a flight; one that is kept has a share of the read-ahead budget. The caller
// holds mu.
func (s *small) launch(kept bool) {
	ctx, cancel := context.WithCancel(s.b.ctx)
	fl := newFlight(cancel, kept, s.b.opts.IOTimeout)
	s.fl = fl
	s.b.hold(s.e)
	go func() {
		defer s.b.release(s.e)
		defer cancel()
		s.run(ctx, fl)
		if kept {
			s.b.fetch.ahead.Release(s.blob.Size)
		}
	}()
}

// run obtains the blob, serves the waiters, and then stores it.
func (s *small) run(ctx context.Context, fl *flight) {
	got, err := s.obtain(ctx, fl)
	if err != nil {
		s.mu.Lock()
		if s.fl == fl {
			s.fl = nil
		}
		s.mu.Unlock()
		fl.finish(err)
		return
	}
	fl.begin(got.data)
	fl.land(len(got.data))
	if got.f == nil {
		got.f = s.persist(got.data)
	}
	got.unlock()
	s.mu.Lock()
	if got.f != nil && s.f == nil {
		s.f, s.inPlace = got.f, got.inPlace
	} else if got.f != nil {
		got.f.Close()
	}
	stay := s.f == nil
	if !stay && s.fl == fl {
		s.fl = nil
	}
	s.mu.Unlock()
	fl.finish(nil)
	if !stay {
		s.b.nowLocal(s.blob)
	}
	if stay {
		s.b.residents.add(s.blob.Size, func() { s.displace(fl) })
	}
}

func (s *small) displace(fl *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fl == fl {
		s.fl = nil
		s.b.memory.Set(string(s.key), fl.bytes(), s.blob.Size)
	}
}

// obtained is the verified content of a blob, and the file it came from, if any.
type obtained struct {
	data    []byte
	f       *os.File
	inPlace bool
	unlock  func() // lets other processes fetch the blob
}

// obtain reads the blob from where it is.
func (s *small) obtain(ctx context.Context, fl *flight) (obtained, error) {
	got := obtained{unlock: func() {}}
	if s.fromCache(&got) {
		return got, nil
	}
	if f, ok := s.b.openInPlace(s.key); ok {
		return s.fromStoreFile(f)
	}
	control := s.b.space.ledger.f
	at := keyLock(digestOf(s.blob.Hash))
	switch err := waitLock(ctx, control, unix.F_WRLCK, at, 1); {
	case err == nil:
		got.unlock = func() { unlock(control, at, 1) }
		if s.fromCache(&got) { // another process had the lock
			return got, nil
		}
	case ctx.Err() != nil:
		return got, err
	}
	release := got.unlock
	if err := s.b.fetch.reserve(ctx, s.blob.Size); err != nil {
		release()
		return got, err
	}
	got.unlock = func() {
		s.b.fetch.release(s.blob.Size)
		release()
	}
	data, err := s.download(ctx, fl)
	if err != nil {
		got.unlock()
	}
	got.data = data
	return got, err
}

// fromCache reads the complete file in the cache. One that is damaged is removed.
func (s *small) fromCache(got *obtained) bool {
	f, err := s.b.dir.openBlob(s.key)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		s.b.diskError(err)
		return false
	}
	data, err := s.readVerified(f)
	if err != nil {
		f.Close()
		s.b.mismatch(s.blob.Hash, fmt.Errorf("cached blob was damaged and is fetched again: %w", err))
		s.b.space.removeBlob(s.key, s.blob.Size)
		return false
	}
	s.b.stats.diskHits.Add(1)
	got.data, got.f = data, f
	return true
}

// fromStoreFile reads the file of the store, twice if need be.
func (s *small) fromStoreFile(f *os.File) (obtained, error) {
	if s.b.places.firstUse(digestOf(s.blob.Hash)) {
		s.b.stats.fetched.Add(s.blob.Size)
	}
	data, err := s.readVerified(f)
	if err != nil {
		s.b.mismatch(s.blob.Hash, err)
		if data, err = s.readVerified(f); err != nil {
			f.Close()
			return obtained{}, err
		}
	}
	s.b.stats.storeFileHits.Add(1)
	return obtained{data: data, f: f, inPlace: true, unlock: func() {}}, nil
}

func (s *small) readVerified(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() != s.blob.Size {
		return nil, fmt.Errorf("%w: %s has %d bytes instead of %d", blobstore.ErrMismatch, f.Name(), st.Size(), s.blob.Size)
	}
	data := make([]byte, s.blob.Size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("%w: %s cannot be read to its end: %v", blobstore.ErrMismatch, f.Name(), err)
	}
	if h := manifest.Sum(data); h != s.blob.Hash {
		return nil, fmt.Errorf("%w: %s has hash %s", blobstore.ErrMismatch, f.Name(), h)
	}
	return data, nil
}

// download fetches the blob from the store. Content that is wrong is fetched once more.
func (s *small) download(ctx context.Context, fl *flight) ([]byte, error) {
	s.b.stats.flights.Add(1)
	for attempt := 1; ; attempt++ {
		data := make([]byte, s.blob.Size)
		t := &transfer{f: s.b.fetch, key: s.key, buf: data, landed: func(int) { fl.move() }, trouble: fl.fails}
		err := t.advance(ctx, len(data))
		t.close()
		if err == nil {
			h := manifest.Sum(data)
			if h == s.blob.Hash {
				return data, nil
			}
			err = fmt.Errorf("%w: the store returned content with hash %s", blobstore.ErrMismatch, h)
		}
		if !errors.Is(err, blobstore.ErrMismatch) {
			return nil, err
		}
		s.b.mismatch(s.blob.Hash, fmt.Errorf("blob %s: %w", s.key, err))
		if attempt == 2 {
			return nil, err
		}
	}
}

// persist stores the blob in the cache and opens it, or returns nil.
func (s *small) persist(data []byte) *os.File {
	err := s.b.space.write(charge(s.blob.Size), func() error { return s.b.dir.install(s.key, data) })
	if err == nil {
		var f *os.File
		if f, err = s.b.dir.openBlob(s.key); err == nil {
			return f
		}
	}
	s.b.diskError(err)
	return nil
}

// lose forgets a file that can no longer be read.
func (s *small) lose(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != f {
		return
	}
	s.f = nil
	if !s.inPlace {
		s.b.space.removeBlob(s.key, s.blob.Size)
	}
	f.Close() // a reader that is at it fails and comes here as well
}

func (s *small) prefetch(_, _ int64) {
	s.mu.Lock()
	here := s.f != nil || s.fl != nil
	s.mu.Unlock()
	if here || s.isLocal() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil && s.fl == nil && s.b.fetch.ahead.TryAcquire(s.blob.Size) {
		s.ahead.Store(true)
		s.b.stats.readAhead.Add(s.blob.Size)
		s.launch(true)
	}
}

// isLocal reports whether there is a file of the blob on the disk.
func (s *small) isLocal() bool {
	_, err := os.Lstat(s.b.dir.blobPath(s.key))
	if err != nil && s.b.files != nil {
		if path, perr := s.b.files.Path(s.key); perr == nil {
			_, err = os.Lstat(path)
		}
	}
	return err == nil
}

func (s *small) fetch(ctx context.Context, _, _ int64) error { return s.ensure(ctx) }

func (s *small) ensure(ctx context.Context) error {
	s.mu.Lock()
	if s.f != nil {
		s.mu.Unlock()
		return nil
	}
	fl := s.join()
	s.mu.Unlock()
	if err := fl.wait(ctx, int(s.blob.Size)+1); err != nil { // one more than there is: until it is stored
		return s.b.flightError(err)
	}
	return nil
}

func (s *small) open() (*os.File, bool) {
	if s.ensureLocal() != nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return nil, false
	}
	return reopen(s.f, !s.inPlace)
}

// ensureLocal verifies the file of the blob if there is one that was not.
func (s *small) ensureLocal() error {
	s.mu.Lock()
	f, fl := s.f, s.fl
	s.mu.Unlock()
	switch {
	case f != nil:
		return nil
	case fl != nil && fl.has(int(s.blob.Size)): // about to be stored
		return s.ensure(s.b.ctx)
	case fl != nil:
		return errIncomplete
	}
	if !s.isLocal() {
		return errIncomplete
	}
	return s.ensure(s.b.ctx)
}

func (s *small) close() {
	if s.ahead.Load() {
		s.b.stats.aheadWasted.Add(s.blob.Size)
	}
	if s.f != nil {
		s.f.Close()
	}
}
