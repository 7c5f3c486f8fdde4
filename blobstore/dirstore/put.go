package dirstore

import (
	"context"
	"errors"
	"io"

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

	// copyBuffer is the size of the buffers that bodies are copied and verified through.
	// It fits the second level cache of a core, where hashing finds what was just read.
	copyBuffer = 256 << 10

	// statMin is the size from which Put looks first whether the blob is there. What is
	// smaller is written as quickly, and then found to be there.
	statMin = 64 << 10
)

// Put implements blobstore.Store. A blob that is present with another size than
// body was cut short by a power loss, and is replaced.
func (s *Store) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	err := check(ctx, key)
	if err == nil && body.Size() >= statMin {
		var info blobstore.Info
		if info, err = s.stat(ctx, key); err == nil && info.Size == body.Size() {
			return nil
		}
		if errors.Is(err, blobstore.ErrNotFound) {
			err = nil
		}
	}
	if err == nil {
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
	d, err := s.newDraft()
	if err != nil {
		return s.gone(err)
	}
	defer d.close()
	if err = s.fill(ctx, d, key, body); err == nil {
		err = d.place(s.path(key), body.Size())
	}
	if err == nil {
		s.wrote(body.Size())
	}
	return s.gone(err)
}

// fill writes body to d and verifies it.
func (s *Store) fill(ctx context.Context, d *draft, key blobstore.Key, body *io.SectionReader) error {
	buf := s.bufs.Get().(*[copyBuffer]byte)
	defer s.bufs.Put(buf)
	if body.Size() >= kernelCopyMin {
		done, err := kernelCopy(ctx, d, body)
		if err != nil {
			return err
		}
		if done { // verify what is stored: the body may have changed since it was copied
			return blobio.CopyBuffer(ctx, io.Discard, key, io.NewSectionReader(d, 0, body.Size()), buf[:])
		}
	}
	return blobio.CopyBuffer(ctx, d, key, body, buf[:])
}

// kernelCopy copies body to d inside the kernel. It reports false when that is not
// possible: the body is no file, or its file system will not. Then d is empty.
func kernelCopy(ctx context.Context, d *draft, body *io.SectionReader) (bool, error) {
	outer, off, size := body.Outer()
	src, ok := outer.(interface{ Fd() uintptr })
	if !ok {
		return false, nil
	}
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := unix.CopyFileRange(int(src.Fd()), &off, d.fd, nil, int(min(left, kernelCopyStep)), 0)
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
			// Let the disk begin: it is a hint, so that failing does not matter.
			_ = unix.SyncFileRange(d.fd, size-left, int64(n), unix.SYNC_FILE_RANGE_WRITE)
			left -= int64(n)
		}
	}
	return true, nil
}
