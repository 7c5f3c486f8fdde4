package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/snapfs/snapfs/blobstore"
)

func TestErrorsOfTheSystem(t *testing.T) {
	s := &Store{root: t.TempDir()}
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOSPC: blobstore.ErrNoSpace,
		syscall.EDQUOT: blobstore.ErrNoSpace,
		syscall.EACCES: blobstore.ErrPermission,
		syscall.EROFS:  blobstore.ErrPermission,
		syscall.ESTALE: blobstore.ErrUnavailable,
		syscall.EIO:    syscall.EIO,
	} {
		err := s.wrap("put", "k", &fs.PathError{Op: "write", Path: "/store/.tmp/put-1", Err: errno})
		if !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v became %v, want %v that still says why", errno, err, want)
		}
		if want != errno && strings.Contains(err.Error(), tempDir) {
			t.Errorf("the message %q names a file that is gone", err)
		}
	}
}

func TestPermissionDenied(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may do everything")
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, Options{}); !errors.Is(err, blobstore.ErrPermission) {
		t.Errorf("Open = %v, want ErrPermission", err)
	}
}
