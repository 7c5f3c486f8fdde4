package dirstore

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/internal/blobio"
)

const (
	// kernelCopyMin is the size from which a body that is a file is copied by the
	// kernel, which shares the extents where the file system can.
	kernelCopyMin = 4 << 20

	// kernelCopyStep bounds one system call, so that a cancelled context is noticed.
	kernelCopyStep = 64 << 20
)

// Put implements blobstore.Store. A blob that is present with another size than
// body was cut short by a power loss, and is replaced.
func (s *Store) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	info, err := s.stat(ctx, key)
	if err == nil && info.Size == body.Size() {
		return nil
	}
	if err == nil || errors.Is(err, blobstore.ErrNotFound) {
		err = s.write(ctx, key, body)
	}
	if err != nil {
		return s.wrap("put", key, err)
	}
	return nil
}

// CopyFrom implements blobstore.Copier for another directory store.
func (s *Store) CopyFrom(ctx context.Context, src blobstore.Store, key blobstore.Key) error {
	from, ok := blobstore.As[*Store](src)
	if !ok {
		return errors.ErrUnsupported
	}
	f, size, err := from.open(ctx, key)
	if err != nil {
		return from.wrap("open", key, err)
	}
	defer f.Close()
	return s.Put(ctx, key, io.NewSectionReader(f, 0, size))
}

// write puts body in place whatever lies there now.
func (s *Store) write(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	f, err := s.createTemp()
	if err != nil {
		return s.gone(err)
	}
	err = fill(ctx, f, key, body)
	if err == nil {
		err = f.Chmod(0o444)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path(key))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return s.gone(err)
}

// fill writes body to f and verifies it.
func fill(ctx context.Context, f *os.File, key blobstore.Key, body *io.SectionReader) error {
	if body.Size() >= kernelCopyMin {
		done, err := kernelCopy(ctx, f, body)
		if err != nil {
			return err
		}
		if done { // verify what is stored: the body may have changed since it was copied
			return blobio.Verify(ctx, key, io.NewSectionReader(f, 0, body.Size()))
		}
	}
	return blobio.Copy(ctx, f, key, body)
}

// kernelCopy copies body to f inside the kernel. It reports false when that is not
// possible: the body is no file, or its file system will not. Then f is empty.
func kernelCopy(ctx context.Context, f *os.File, body *io.SectionReader) (bool, error) {
	outer, off, size := body.Outer()
	src, ok := outer.(*os.File)
	if !ok {
		return false, nil
	}
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := unix.CopyFileRange(int(src.Fd()), &off, int(f.Fd()), nil, int(min(left, kernelCopyStep)), 0)
		switch {
		case err == unix.EINTR:
		case err != nil && left == size && !errors.Is(err, unix.ENOSPC):
			return false, nil // whatever it is, an ordinary copy will tell
		case err != nil:
			return false, err
		case n == 0 && left == size:
			return false, nil // some file systems say so when they cannot
		case n == 0:
			return false, io.ErrUnexpectedEOF
		default:
			left -= int64(n)
		}
	}
	return true, nil
}
