// Package dirstore keeps blobs as files of one directory.
//
// The layout is that of the reference's file system cache (spec/caches.md §2): the
// blob lies at <root>/<hash>.xxh128. Its defect of half-written blobs
// (spec/gaps.md G-25) is absent: a blob is written to a file without a name (to one in
// <root>/.tmp where the file system has no such files), verified on the way, and only
// then given its name. Blobs are read-only files. Symbolic links, and anything else that
// is not a regular file, are not blobs: they are never followed.
//
// Put does not wait for the disk. It makes the disk begin, and Sync waits for it, once
// for all (design.md §5.5): a blob that a power loss cut short before that is recognised
// by its size and put again.
package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/internal/blobio"
)

// Options change how Open works. The zero value opens an existing directory.
type Options struct {
	// Create makes the directory, and its parents, when it does not exist, for the
	// calling user alone (mode 0700): contents of files are as private as the
	// files. A store that is shared by users is made with mkdir beforehand.
	Create bool
}

// Store is a blobstore.Store in a directory. It must be made by Open.
type Store struct {
	root string   // absolute
	dir  *os.File // the root, held so that Sync hears of every failed write-back
	temp string   // how the names of our temporary files begin, "" without locks

	// What the file system was found to need: names for files being written, /proc to
	// name those that have none; and that it creates files with exactly blobMode.
	byName, byProc, exactMode atomic.Bool

	bufs      sync.Pool    // of *[copyBuffer]byte
	unflushed atomic.Int64 // bytes put since the last flush began
	flushing  atomic.Bool
}

var (
	_ blobstore.Store   = (*Store)(nil)
	_ blobstore.Copier  = (*Store)(nil)
	_ blobstore.Syncer  = (*Store)(nil)
	_ blobstore.Lister  = (*Store)(nil)
	_ blobstore.Deleter = (*Store)(nil)
	_ blobstore.Cleaner = (*Store)(nil)
	_ blobstore.Files   = (*Store)(nil)
	_ blobstore.Locator = (*Store)(nil)
)

// Open returns the store in the directory root. A directory that does not exist is
// blobstore.ErrNoStore, unless it is to be created. Open also removes what killed
// writers have left behind: those of this machine at once, others after a day.
func Open(root string, opts Options) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", root, err)
	}
	if opts.Create {
		if err := os.MkdirAll(abs, 0o700); err != nil {
			return nil, fmt.Errorf("create store %s: %w", abs, classify(err))
		}
	}
	dir, err := os.OpenFile(abs, os.O_RDONLY|unix.O_DIRECTORY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open store %s: %w", abs, blobstore.ErrNoStore)
	case errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("open store %s: %w: not a directory", abs, blobstore.ErrNoStore)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", abs, classify(err))
	}
	s := &Store{root: abs, dir: dir, temp: tempPrefix()}
	s.bufs.New = func() any { return new([copyBuffer]byte) }
	s.removeStale(staleAfter)
	return s, nil
}

// Root returns the absolute path of the directory.
func (s *Store) Root() string { return s.root }

// Location implements blobstore.Locator.
func (s *Store) Location() string {
	return (&url.URL{Scheme: "file", Path: s.root}).String()
}

// Path implements blobstore.Files.
func (s *Store) Path(key blobstore.Key) (string, error) {
	if err := key.Check(); err != nil {
		return "", err
	}
	return s.path(key), nil
}

func (s *Store) path(key blobstore.Key) string {
	return s.root + string(filepath.Separator) + string(key)
}

// Stat implements blobstore.Store.
func (s *Store) Stat(ctx context.Context, key blobstore.Key) (blobstore.Info, error) {
	info, err := s.stat(ctx, key)
	if err != nil {
		return blobstore.Info{}, s.wrap("stat", key, err)
	}
	return info, nil
}

func (s *Store) stat(ctx context.Context, key blobstore.Key) (blobstore.Info, error) {
	if err := check(ctx, key); err != nil {
		return blobstore.Info{}, err
	}
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Lstat(s.path(key), &st) }); err != nil {
		return blobstore.Info{}, s.missing(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return blobstore.Info{}, errIrregular
	}
	return blobstore.Info{Size: st.Size}, nil
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, s.wrap("open", key, err)
	}
	n, err = blobstore.Span(size, off, n)
	if err == nil && off > 0 {
		_, err = f.Seek(off, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, s.wrap("open", key, err)
	}
	return blobio.Exactly(ctx, f, n), nil
}

// open returns the file of a blob and its size. It neither follows a link nor waits
// for the writer of a named pipe.
func (s *Store) open(ctx context.Context, key blobstore.Key) (*os.File, int64, error) {
	if err := check(ctx, key); err != nil {
		return nil, 0, err
	}
	f, err := os.OpenFile(s.path(key), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, s.missing(err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errIrregular
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// List implements blobstore.Lister.
func (s *Store) List(ctx context.Context, fn func(blobstore.Key, blobstore.Info) error) error {
	dir, err := os.Open(s.root)
	if err != nil {
		return fmt.Errorf("list store %s: %w", s.root, classify(s.gone(err)))
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			if err := visit(ctx, e, fn); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list store %s: %w", s.root, classify(err))
		}
	}
}

// visit calls fn for e when it is a blob.
func visit(ctx context.Context, e fs.DirEntry, fn func(blobstore.Key, blobstore.Info) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	key := blobstore.Key(e.Name())
	if key.Check() != nil || !e.Type().IsRegular() {
		return nil
	}
	fi, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted since
	}
	if err != nil {
		return classify(err)
	}
	return fn(key, blobstore.Info{Size: fi.Size()})
}

// Delete implements blobstore.Deleter.
func (s *Store) Delete(ctx context.Context, key blobstore.Key) error {
	if err := check(ctx, key); err != nil {
		return s.wrap("delete", key, err)
	}
	err := s.missing(syscall.Unlink(s.path(key)))
	if err != nil && !errors.Is(err, blobstore.ErrNotFound) {
		return s.wrap("delete", key, err)
	}
	return nil
}

// Sync implements blobstore.Syncer: it makes everything durable that was written to
// the file system of the store before. The file system cannot be hurried: when ctx
// ends first, Sync returns and the writing goes on.
func (s *Store) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now, err := os.Stat(s.root)
	if err != nil {
		return fmt.Errorf("sync store %s: %w", s.root, classify(s.gone(err)))
	}
	if then, err := s.dir.Stat(); err != nil || !os.SameFile(then, now) {
		return fmt.Errorf("sync store %s: %w: another directory has taken its place", s.root, blobstore.ErrNoStore)
	}
	done := make(chan error, 1)
	go func() { done <- unix.Syncfs(int(s.dir.Fd())) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("sync store %s: %w", s.root, classify(err))
	}
	return nil
}

func check(ctx context.Context, key blobstore.Key) error {
	if err := key.Check(); err != nil {
		return err
	}
	return ctx.Err()
}
