package ops

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openFile opens path with exactly the given flags. Whatever it creates is for the
// user alone.
func openFile(path string, flags int) (*os.File, error) {
	var fd int
	err := ignoringEINTR(func() (e error) {
		fd, e = unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		return e
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// input is a regular file to be read. An os.File costs five system calls more, which
// counts where files are small.
type input struct {
	fd   int
	path string
}

// openInput opens path for reading. Nothing in its place, a fifo say, blocks it.
func openInput(path string) (*input, error) {
	var fd int
	err := ignoringEINTR(func() (e error) {
		fd, e = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return e
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &input{fd: fd, path: path}, nil
}

// Fd returns the descriptor, so that stores can let the kernel copy the file.
func (f *input) Fd() uintptr { return uintptr(f.fd) }

// ReadAt implements io.ReaderAt.
func (f *input) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return done, &os.PathError{Op: "read", Path: f.path, Err: err}
		case n == 0:
			return done, io.EOF
		default:
			done += n
		}
	}
	return len(p), nil
}

func (f *input) stat(st *unix.Stat_t) error {
	if err := ignoringEINTR(func() error { return unix.Fstat(f.fd, st) }); err != nil {
		return &os.PathError{Op: "fstat", Path: f.path, Err: err}
	}
	return nil
}

func (f *input) close() { _ = unix.Close(f.fd) }

// lstat is unix.Lstat that does not fail because of a signal.
func lstat(path string, st *unix.Stat_t) error {
	return ignoringEINTR(func() error { return unix.Lstat(path, st) })
}

// ignoringEINTR calls fn until it is not interrupted by a signal.
func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
