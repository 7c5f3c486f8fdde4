package ops

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxPath is the longest path the kernel takes in one call, without the final NUL.
const maxPath = unix.PathMax - 1

// openLong opens path however long it is: a path that does not fit into one call is
// walked directory by directory.
func openLong(path string, flags int) (*os.File, error) {
	dirfd, rest, err := shorten(path)
	if err == nil {
		var fd int
		err = ignoringEINTR(func() (e error) {
			fd, e = unix.Openat(dirfd, rest, flags|unix.O_CLOEXEC, 0)
			return e
		})
		closeShort(dirfd)
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: err}
}

// lstat is unix.Lstat for paths of any length.
func lstat(path string, st *unix.Stat_t) error {
	dirfd, rest, err := shorten(path)
	if err != nil {
		return err
	}
	defer closeShort(dirfd)
	return ignoringEINTR(func() error { return unix.Fstatat(dirfd, rest, st, unix.AT_SYMLINK_NOFOLLOW) })
}

// shorten returns a directory and the rest of path from there, short enough for one
// call. closeShort must be called for the directory.
func shorten(path string) (dirfd int, rest string, err error) {
	dirfd, rest = unix.AT_FDCWD, path
	for len(rest) > maxPath {
		cut := strings.LastIndexByte(rest[:maxPath], '/')
		if cut <= 0 {
			closeShort(dirfd)
			return unix.AT_FDCWD, "", unix.ENAMETOOLONG
		}
		var next int
		err := ignoringEINTR(func() (e error) {
			next, e = unix.Openat(dirfd, rest[:cut], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			return e
		})
		closeShort(dirfd)
		if err != nil {
			return unix.AT_FDCWD, "", err
		}
		dirfd, rest = next, rest[cut+1:]
	}
	return dirfd, rest, nil
}

func closeShort(dirfd int) {
	if dirfd != unix.AT_FDCWD {
		unix.Close(dirfd)
	}
}

// ignoringEINTR calls fn until it is not interrupted by a signal.
func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); err != unix.EINTR {
			return err
		}
	}
}
