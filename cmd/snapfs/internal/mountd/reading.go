package mountd

import (
	"context"
	"errors"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
)

// Reading says how the contents of a mount are fetched and kept.
type Reading struct {
	MinFree   int64         // bytes that the cache leaves free on its file system
	MaxMemory int64         // bytes of memory for contents; 0 for the default of the cache
	IOTimeout time.Duration // how long a reader waits for a store without progress; 0 for the default
	Strict    bool          // large contents, too, are verified before their first byte is served
	Trace     string        // file for a recording of what is read; "" for none
	Replay    string        // recording of what to fetch ahead; "" for none
}

// cacheOptions returns the options of the cache of s.
func (s *Session) cacheOptions() cache.Options {
	r := s.Config.Reading
	return cache.Options{
		Dir: s.Config.CacheDir, MaxBytes: s.Config.CacheSize, MinFree: r.MinFree, Strict: r.Strict, IOTimeout: r.IOTimeout,
		MaxMemory: r.MaxMemory,
		OnProblem: s.problem,
	}
}

// problem logs what the cache has found. Of a content that is wrong, bytes may have been
// served before that was known; the kernel must not go on serving them.
func (s *Session) problem(err error) {
	s.Log.Error().Err(err).Msg("cache")
	var wrong *cache.WrongContent
	if drop := s.drop.Load(); drop != nil && errors.As(err, &wrong) {
		go (*drop)(wrong.Hash)
	}
}

// reach opens the store of s. A read-only mount shows what is cached although the store
// is out of reach, and tries to open it again when a content is needed.
func (s *Session) reach(ctx context.Context) (blobstore.Store, error) {
	store, err := stores.Open(ctx, s.Config.Store, s.Config.S3, false)
	if err == nil || !s.Config.ReadOnly || !errors.Is(err, blobstore.ErrNoStore) && !errors.Is(err, blobstore.ErrUnavailable) {
		return store, err
	}
	s.Log.Warn().Err(err).Msg("the store is out of reach: only what is cached can be read")
	return stores.Late(func(ctx context.Context) (blobstore.Store, error) {
		return stores.Open(ctx, s.Config.Store, s.Config.S3, false)
	}), nil
}
