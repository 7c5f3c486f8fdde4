package dirstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/snapfs/snapfs/blobstore"
)

// errIrregular reports something at the place of a blob that is none. To be not
// found is right for it: the next Put replaces it.
var errIrregular = fmt.Errorf("%w: what lies there is not a regular file", blobstore.ErrNotFound)

// sentinels maps what the system says to what a caller branches on. ENOENT is not
// here: see missing.
var sentinels = map[syscall.Errno]error{
	syscall.ENOSPC:       blobstore.ErrNoSpace,
	syscall.EDQUOT:       blobstore.ErrNoSpace,
	syscall.EACCES:       blobstore.ErrPermission,
	syscall.EPERM:        blobstore.ErrPermission,
	syscall.EROFS:        blobstore.ErrPermission,
	syscall.ESTALE:       blobstore.ErrUnavailable,
	syscall.ETIMEDOUT:    blobstore.ErrUnavailable,
	syscall.EHOSTDOWN:    blobstore.ErrUnavailable,
	syscall.EHOSTUNREACH: blobstore.ErrUnavailable,
	syscall.ENOTCONN:     blobstore.ErrUnavailable,
}

// classify adds the sentinel that fits. Of an error that names the file or the
// system call it keeps only the reason: the caller says which blob it was.
func classify(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	if sentinel, ok := sentinels[errno]; ok {
		return fmt.Errorf("%w: %w", sentinel, errno)
	}
	return err
}

// missing turns "no such file" into blobstore.ErrNotFound, or into
// blobstore.ErrNoStore when it is the directory that is gone. Neither matches
// fs.ErrNotExist.
func (s *Store) missing(err error) error {
	if errors.Is(err, syscall.ELOOP) {
		return errIrregular
	}
	if err = s.gone(err); errors.Is(err, fs.ErrNotExist) {
		return blobstore.ErrNotFound
	}
	return err
}

// gone turns "no such file" into blobstore.ErrNoStore when the directory is gone.
func (s *Store) gone(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, e := os.Stat(s.root); errors.Is(e, fs.ErrNotExist) {
		return blobstore.ErrNoStore
	}
	return err
}

// wrap says what failed, for which blob and where.
func (s *Store) wrap(op string, key blobstore.Key, err error) error {
	return fmt.Errorf("%s blob %s in %s: %w", op, key, s.root, classify(err))
}
