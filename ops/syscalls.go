package ops

import (
	"errors"
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
