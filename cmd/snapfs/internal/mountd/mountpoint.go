package mountd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/fs/fusefs"
	"golang.org/x/sys/unix"
)

// PrepareMountPoint checks where to mount and returns the canonical path of it, with
// a warning for people if there is one. A mount whose process has died is detached.
func PrepareMountPoint(arg string) (dir, warning string, err error) {
	abs, err := filepath.Abs(arg)
	if err != nil {
		return "", "", err
	}
	if warning, err = detachDead(abs); err != nil {
		return "", "", err
	}
	dir, err = filepath.EvalSymlinks(abs)
	if errors.Is(err, os.ErrNotExist) {
		return "", "", &failure.Error{
			Code: failure.NotFound, Path: abs, Err: err,
			Message: "the mount point " + abs + " does not exist", Hint: "make it with: mkdir -p " + abs,
		}
	}
	if err != nil {
		return "", "", err
	}
	if m, ok, err := MountAt(dir); err != nil {
		return "", "", err
	} else if ok && m.Type == FSType {
		return "", "", &failure.Error{
			Code: failure.Conflict, Path: dir, Message: dir + " is already a snapfs mount (" + m.Source + ")",
			Hint: "unmount it first: snapfs umount " + dir,
		}
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, unix.ENOTDIR) {
		return "", "", &failure.Error{Code: failure.Usage, Path: dir, Message: "the mount point " + dir + " is not a directory", Err: err}
	}
	if err != nil {
		return "", "", err
	}
	if len(entries) > 0 && warning == "" {
		warning = fmt.Sprintf("%s is not empty: its %d entries are hidden while it is mounted", dir, len(entries))
	}
	return dir, warning, nil
}

// dead reports whether the process of the mount at dir has died. The root of a dead
// mount may still answer stat from the cache of the kernel; statfs always asks the
// process.
func dead(dir string) bool {
	var st unix.Statfs_t
	return errors.Is(unix.Statfs(dir, &st), unix.ENOTCONN)
}

// DetachDead detaches the mount at dir, of which the process cannot be reached. It
// returns cause when the mount is alive, or none of ours.
func DetachDead(dir string, cause error) error {
	m, ok, err := MountAt(dir)
	if err != nil {
		return err
	}
	if !ok || m.Type != FSType || !dead(dir) {
		return cause
	}
	return fusefs.Detach(dir)
}

// detachDead detaches the mount at dir if it is one of ours whose process has died.
func detachDead(dir string) (warning string, err error) {
	canonical, err := Canonical(dir)
	if err != nil {
		return "", err
	}
	m, ok, err := MountAt(canonical)
	if err != nil || !ok || m.Type != FSType {
		return "", err
	}
	if _, err := Find(canonical); err == nil {
		return "", nil
	}
	if !dead(canonical) {
		return "", nil
	}
	if err := fusefs.Detach(canonical); err != nil {
		return "", fmt.Errorf("detach the dead mount at %s: %w", canonical, err)
	}
	return "the process of an earlier mount at " + canonical + " has died; its mount was detached", nil
}

// Canonical returns the path by which mounts are known. It works for dead mounts too,
// which cannot be looked at.
func Canonical(arg string) (string, error) {
	abs, err := filepath.Abs(arg)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return abs, nil
	}
	if dir, err := filepath.EvalSymlinks(abs); err == nil {
		return dir, nil
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}
