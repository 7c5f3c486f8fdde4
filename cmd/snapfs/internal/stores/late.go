package stores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/snapfs/snapfs/blobstore"
)

// lateInterval is how long a store that could not be opened is left alone.
const lateInterval = time.Second

// late is a store that is opened when it is needed.
type late struct {
	open func(context.Context) (blobstore.Store, error)

	mu    sync.Mutex
	store blobstore.Store // nil until it was opened
	tried time.Time
	err   error // of the last try
}

// Late returns a store that is opened with its first use by means of open, and again
// with later ones as long as that fails; meanwhile it is blobstore.ErrUnavailable.
func Late(open func(context.Context) (blobstore.Store, error)) blobstore.Store {
	return &late{open: open}
}

// get returns the opened store.
func (l *late) get(ctx context.Context) (blobstore.Store, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store != nil {
		return l.store, nil
	}
	if l.err == nil || time.Since(l.tried) >= lateInterval {
		l.store, l.err = l.open(ctx)
		l.tried = time.Now()
	}
	if l.err == nil || errors.Is(l.err, blobstore.ErrUnavailable) {
		return l.store, l.err
	}
	return nil, fmt.Errorf("%w: %w", blobstore.ErrUnavailable, l.err)
}

// Stat is part of blobstore.Store.
func (l *late) Stat(ctx context.Context, key blobstore.Key) (blobstore.Info, error) {
	s, err := l.get(ctx)
	if err != nil {
		return blobstore.Info{}, err
	}
	return s.Stat(ctx, key)
}

// Open is part of blobstore.Store.
func (l *late) Open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return s.Open(ctx, key, off, n)
}

// Put is part of blobstore.Store.
func (l *late) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	s, err := l.get(ctx)
	if err != nil {
		return err
	}
	return s.Put(ctx, key, body)
}
