package failure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	snapfs "github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"golang.org/x/sys/unix"
)

// TestCodes pins the numbers and names that scripts rely on.
func TestCodes(t *testing.T) {
	want := map[Code]string{
		0: "", 1: "failed", 2: "usage", 3: "partial", 4: "differences", 5: "not-found", 6: "permission", 7: "integrity",
		8: "conflict", 9: "no-space", 10: "no-store", 11: "busy", 12: "invalid-manifest", 124: "timeout",
		129: "hung-up", 130: "interrupted", 143: "terminated",
	}
	for code, name := range want {
		if code.Name() != name {
			t.Errorf("the name of %d is %q, want %q", code, code.Name(), name)
		}
	}
}

func TestClassify(t *testing.T) {
	failures := func(errs ...error) error {
		f := &ops.Failures{}
		for i, err := range errs {
			f.List = append(f.List, ops.Failure{Path: fmt.Sprintf("f%d", i), Err: err})
		}
		return fmt.Errorf("hash: %w", f)
	}
	tests := []struct {
		name string
		err  error
		want Code
	}{
		{"anything else", errors.New("boom"), Failed},
		{"one of ours", fmt.Errorf("wrapped: %w", &Error{Code: Conflict}), Conflict},
		{"no such file", &fs.PathError{Op: "open", Path: "x", Err: unix.ENOENT}, NotFound},
		{"permission on a file", &fs.PathError{Op: "open", Path: "x", Err: unix.EACCES}, Permission},
		{"disk full", &fs.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}, NoSpace},
		{"invalid manifest", fmt.Errorf("%w: bad", manifest.ErrInvalid), Invalid},
		{"no such store", blobstore.ErrNoStore, NoStore},
		{"no such blob", blobstore.ErrNotFound, Integrity},
		{"damaged blob", blobstore.ErrMismatch, Integrity},
		{"wrong credentials", blobstore.ErrPermission, Permission},
		{"server down", blobstore.ErrUnavailable, Failed},
		{"a link in the way of a download", failures(fmt.Errorf("%w: /tmp is a symbolic link", ops.ErrUnsafe)), Invalid},
		{"overlay in use", snapfs.ErrInUse, Busy},
		{"overlay of another base", snapfs.ErrOtherBase, Conflict},
		{"damaged overlay", snapfs.ErrDamaged, Integrity},
		{"busy", unix.EBUSY, Busy},
		{"target exists", os.ErrExist, Conflict},
		{"store full", blobstore.ErrNoSpace, NoSpace},
		{"over quota", unix.EDQUOT, NoSpace},
		{"deadline passed", context.DeadlineExceeded, Timeout},
		{"file that keeps changing", ops.ErrChanged, Partial},
		{"cancelled", fmt.Errorf("stopped: %w", context.Canceled), Interrupted},
		{"cancelled, with what had failed by then", errors.Join(context.Canceled, failures(blobstore.ErrNotFound)), Interrupted},
		{"one entry failed", failures(blobstore.ErrNotFound), Integrity},
		{"several entries failed alike", failures(blobstore.ErrNotFound, blobstore.ErrMismatch), Integrity},
		{"several entries failed differently", failures(blobstore.ErrNotFound, os.ErrPermission), Partial},
		{"an entry failed for no known reason", failures(errors.New("boom")), Partial},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Classify(tt.err); got.Code != tt.want {
				t.Errorf("code %d, want %d", got.Code, tt.want)
			}
		})
	}
}

func TestClassifyListsEntries(t *testing.T) {
	err := &ops.Failures{List: []ops.Failure{{Path: "a", Err: blobstore.ErrNotFound}, {Path: "b", Err: os.ErrPermission}}}
	want := JSON{
		Type: "error", Code: "partial", ExitCode: 3, Message: err.Error(),
		Failures: []Item{
			{Code: "integrity", Path: "a", Message: "blob not found"},
			{Code: "permission", Path: "b", Message: "permission denied"},
		},
	}
	got := Classify(err).JSON()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, FromJSON(got).JSON()); diff != "" {
		t.Errorf("changed on the way through the control socket: %s", diff)
	}
}

func TestNamed(t *testing.T) {
	for _, tt := range []struct{ message, want string }{
		{"broken", "a.json: broken"},
		{"read a.json: broken", "read a.json: broken"},
	} {
		err := Named("a.json", fmt.Errorf("%w: %s", manifest.ErrInvalid, tt.message))
		if err.Error() != tt.want || Classify(err).Path != "a.json" || Classify(err).Code != Invalid {
			t.Errorf("got %+v, want message %q", err, tt.want)
		}
	}
}
