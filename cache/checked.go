package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapfs/snapfs/blobstore"
)

const (
	believedFor    = time.Hour // for so long after it was seen, a blob needs no verification
	alwaysVerified = 100       // answers of a run that are verified, before sampling begins
	sampleRate     = 0.01      // of the answers after that
	preloadLimit   = 200_000   // rows of a check cache up to which it is read at once
	recheckers     = 16        // requests in flight when earlier answers are verified
)

// CheckOptions configures Checked.
type CheckOptions struct {
	// Bucket and Prefix say where the blobs of the store lie: the key in the check
	// cache is "<Bucket>/<Prefix>/<blob key>", without "<Prefix>/" when it is empty.
	Bucket, Prefix string
	// Force makes every Stat ask the store.
	Force bool
}

// CheckedStore is a store whose Stat is answered by a CheckCache where possible, with
// blobstore.SizeUnknown. What was seen in the last hour before this run is believed, so
// that a second run sends no request. Of the other answers the first 100 are verified, and one in a
// hundred of those that follow. When one is wrong the cache is not believed any more: its row
// is deleted, every later Stat asks the store, and Sync verifies the answers given
// before (spec/gaps.md G-26). Errors of the store are returned as they are (G-27).
type CheckedStore struct {
	blobstore.Store
	cache  *CheckCache
	force  bool
	prefix string
	sample func() bool
	since  float64 // seconds since the epoch

	load sync.Once
	mu   sync.Mutex
	// known are the blobs in the cache, and whether they were seen lately; when nil, the
	// cache is asked about each.
	known    map[digest]bool
	answered int
	skipped  map[digest]struct{} // answered and not verified
	stale    bool                // an answer was wrong
}

// Checked returns store with a Stat that is answered from c where possible.
func Checked(store blobstore.Store, c *CheckCache, o CheckOptions) *CheckedStore {
	prefix := o.Bucket + "/"
	if p := strings.Trim(o.Prefix, "/"); p != "" {
		prefix += p + "/"
	}
	return &CheckedStore{
		since: seconds(time.Now()), Store: store, cache: c, force: o.Force, prefix: prefix,
		sample:  func() bool { return rand.Float64() < sampleRate },
		skipped: map[digest]struct{}{},
	}
}

// Unwrap returns the store that is asked.
func (s *CheckedStore) Unwrap() blobstore.Store { return s.Store }

// Stat implements blobstore.Store.
func (s *CheckedStore) Stat(ctx context.Context, key blobstore.Key) (blobstore.Info, error) {
	if err := key.Check(); err != nil {
		return blobstore.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return blobstore.Info{}, err
	}
	believed, lately := false, false
	if !s.force {
		believed, lately = s.believes(key)
	}
	if believed && !s.toVerify(key, lately) {
		return blobstore.Info{Size: blobstore.SizeUnknown}, nil
	}
	info, err := s.Store.Stat(ctx, key)
	switch {
	case err == nil && !believed:
		s.record(key)
	case believed && errors.Is(err, blobstore.ErrNotFound):
		s.forget(key)
	}
	return info, err
}

// believes reports whether the blob is in the cache and the cache is to be trusted, and
// whether the blob was seen lately.
func (s *CheckedStore) believes(key blobstore.Key) (believed, lately bool) {
	s.load.Do(s.preload)
	s.mu.Lock()
	stale, known := s.stale, s.known
	lately, ok := known[digestOfKey(key)]
	s.mu.Unlock()
	switch {
	case stale:
		return false, false
	case known != nil:
		return ok, lately
	}
	at := s.cache.seenAt(s.prefix + string(key))
	return at > s.cache.oldest(), s.isLate(at)
}

// isLate reports whether an earlier run has seen a blob at this time, and so recently that
// it needs no verification.
func (s *CheckedStore) isLate(at float64) bool {
	return at > s.since-believedFor.Seconds() && at <= s.since
}

// preload reads all of the cache that concerns this store, unless it is large.
func (s *CheckedStore) preload() {
	known := map[digest]bool{}
	all := s.cache.seenUnder(s.prefix, preloadLimit, func(path string, at float64) {
		if key := blobstore.Key(path[len(s.prefix):]); key.Check() == nil {
			known[digestOfKey(key)] = s.isLate(at)
		}
	})
	if all {
		s.mu.Lock()
		s.known = known
		s.mu.Unlock()
	}
}

// toVerify counts an answer of the cache, and reports whether to verify it.
func (s *CheckedStore) toVerify(key blobstore.Key, lately bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !lately || s.stale {
		s.answered++
		if s.stale || s.answered <= alwaysVerified || s.sample() {
			return true
		}
	}
	s.skipped[digestOfKey(key)] = struct{}{}
	return false
}

// record remembers that the store has the blob.
func (s *CheckedStore) record(key blobstore.Key) {
	s.cache.Record(s.prefix + string(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.skipped, digestOfKey(key))
	if s.known != nil {
		s.known[digestOfKey(key)] = false
	}
}

// forget notes that the store does not have the blob although the cache said so.
func (s *CheckedStore) forget(keys ...blobstore.Key) {
	paths := make([]string, len(keys))
	s.mu.Lock()
	s.stale = true
	for i, key := range keys {
		delete(s.known, digestOfKey(key))
		delete(s.skipped, digestOfKey(key))
		paths[i] = s.prefix + string(key)
	}
	s.mu.Unlock()
	s.cache.Forget(paths...)
}

// Put implements blobstore.Store.
func (s *CheckedStore) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	err := s.Store.Put(ctx, key, body)
	if err == nil {
		s.record(key)
	}
	return err
}

// CopyFrom implements blobstore.Copier if the store does.
func (s *CheckedStore) CopyFrom(ctx context.Context, src blobstore.Store, key blobstore.Key) error {
	c, ok := blobstore.As[blobstore.Copier](s.Store)
	if !ok {
		return errors.ErrUnsupported
	}
	err := c.CopyFrom(ctx, src, key)
	if err == nil {
		s.record(key)
	}
	return err
}

// Sync implements blobstore.Syncer. If an answer of the cache was found wrong, it
// first verifies all the others, and fails with a *MissingError when blobs that were
// said to be there are not: nothing may be published that names them.
func (s *CheckedStore) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.verifySkipped(ctx); err != nil {
		return err
	}
	if y, ok := blobstore.As[blobstore.Syncer](s.Store); ok {
		if err := y.Sync(ctx); err != nil {
			return err
		}
	}
	_ = s.cache.Flush() // Err tells
	return nil
}

// verifySkipped asks the store about the answers that were not verified, if the cache
// is known to be wrong.
func (s *CheckedStore) verifySkipped(ctx context.Context) error {
	s.mu.Lock()
	var keys []blobstore.Key
	for d := range s.skipped {
		if !s.stale {
			break
		}
		keys = append(keys, d.key())
	}
	s.mu.Unlock()
	var mu sync.Mutex
	var there, missing []blobstore.Key
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(recheckers)
	for _, key := range keys {
		g.Go(func() error {
			_, err := s.Store.Stat(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				there = append(there, key)
			case errors.Is(err, blobstore.ErrNotFound):
				missing, err = append(missing, key), nil
			}
			return err
		})
	}
	err := g.Wait()
	for _, key := range there {
		s.record(key)
	}
	if len(missing) > 0 {
		s.forget(missing...)
		return &MissingError{Keys: missing}
	}
	return err
}

// MissingError means that blobs which the check cache remembered are not in the store.
type MissingError struct {
	Keys []blobstore.Key
}

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%d blobs that the check cache remembered are gone from the store, the first is %s; "+
		"they are forgotten now: run again to upload them", len(e.Keys), e.Keys[0])
}

// Unwrap returns blobstore.ErrNotFound.
func (e *MissingError) Unwrap() error { return blobstore.ErrNotFound }
