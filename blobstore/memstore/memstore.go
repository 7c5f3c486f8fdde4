// Package memstore holds blobs in memory. It is meant for tests and examples: it
// keeps every promise of blobstore.Store and nothing survives the process.
package memstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/internal/blobio"
)

// Store is a blobstore.Store in memory. It must be made by New.
type Store struct {
	mu    sync.RWMutex
	blobs map[blobstore.Key][]byte // the slices are never written to again
}

var (
	_ blobstore.Store   = (*Store)(nil)
	_ blobstore.Copier  = (*Store)(nil)
	_ blobstore.Lister  = (*Store)(nil)
	_ blobstore.Deleter = (*Store)(nil)
	_ blobstore.Locator = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{blobs: map[blobstore.Key][]byte{}}
}

// Stat implements blobstore.Store.
func (s *Store) Stat(ctx context.Context, key blobstore.Key) (blobstore.Info, error) {
	p, err := s.get(ctx, key)
	if err != nil {
		return blobstore.Info{}, fmt.Errorf("stat blob %s in memory: %w", key, err)
	}
	return blobstore.Info{Size: int64(len(p))}, nil
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	p, err := s.get(ctx, key)
	if err == nil {
		n, err = blobstore.Span(int64(len(p)), off, n)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s in memory: %w", key, err)
	}
	r := io.NopCloser(bytes.NewReader(p[off:]))
	return blobio.Exactly(ctx, r, n), nil
}

// Put implements blobstore.Store.
func (s *Store) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	if _, err := s.get(ctx, key); !errors.Is(err, blobstore.ErrNotFound) {
		return err
	}
	var buf bytes.Buffer
	if err := blobio.Copy(ctx, &buf, key, body); err != nil {
		return fmt.Errorf("put blob %s in memory: %w", key, err)
	}
	s.set(key, buf.Bytes())
	return nil
}

// CopyFrom implements blobstore.Copier for another store in memory.
func (s *Store) CopyFrom(ctx context.Context, src blobstore.Store, key blobstore.Key) error {
	from, ok := blobstore.As[*Store](src)
	if !ok {
		return errors.ErrUnsupported
	}
	p, err := from.get(ctx, key)
	if err != nil {
		return fmt.Errorf("copy blob %s in memory: %w", key, err)
	}
	s.set(key, p)
	return nil
}

// List implements blobstore.Lister. It lists what the store held when it was
// called; fn may use the store.
func (s *Store) List(ctx context.Context, fn func(blobstore.Key, blobstore.Info) error) error {
	s.mu.RLock()
	blobs := maps.Clone(s.blobs)
	s.mu.RUnlock()
	for key, p := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(key, blobstore.Info{Size: int64(len(p))}); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements blobstore.Deleter.
func (s *Store) Delete(ctx context.Context, key blobstore.Key) error {
	if _, err := s.get(ctx, key); err != nil && !errors.Is(err, blobstore.ErrNotFound) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, key)
	return nil
}

// Location implements blobstore.Locator.
func (s *Store) Location() string { return "mem:" }

func (s *Store) get(ctx context.Context, key blobstore.Key) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := key.Check(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.blobs[key]
	if !ok {
		return nil, blobstore.ErrNotFound
	}
	return p, nil
}

func (s *Store) set(key blobstore.Key, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[key] = p
}
