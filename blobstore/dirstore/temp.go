package dirstore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tempDir holds blobs while they are written. A directory of its own makes it
	// cheap to find what a killed writer left: a store may hold a million blobs.
	tempDir = ".tmp"

	// staleAfter is the age at which a temporary file of another machine is rubbish.
	// Removing one that is still written to would fail that Put and do no other harm.
	staleAfter = 24 * time.Hour

	// maxClashes bounds how often a temporary file is created anew because somebody
	// took the last one for rubbish.
	maxClashes = 100
)

// A writer locks its temporary file. So one that was made since this machine has
// started, and is not locked, is rubbish: its writer is dead. Files of other machines, or
// from before, are judged by their age, as locks may not reach them. The name tells.

// tempPrefix returns how the names of temporary files begin that this machine makes until
// it is started again.
func tempPrefix() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) < 8 {
		return ""
	}
	return "put-" + string(id[:8]) + "-"
}

// createTemp creates an empty file in the directory for temporary files, which it
// makes when it is missing. The file stays locked until it is closed.
func (s *Store) createTemp() (*os.File, error) {
	dir := filepath.Join(s.root, tempDir)
	pattern := s.temp + "*"
	if s.temp == "" {
		pattern = "put-*"
	}
	for range maxClashes {
		f, err := os.CreateTemp(dir, pattern)
		if errors.Is(err, fs.ErrNotExist) {
			if err = s.makeTempDir(dir); err == nil {
				f, err = os.CreateTemp(dir, pattern)
			}
		}
		if err != nil || s.temp == "" || claim(f) {
			return f, err
		}
		f.Close()
	}
	return nil, &fs.PathError{Op: "create a temporary file in", Path: dir, Err: fs.ErrExist}
}

// claim locks a new temporary file. It returns false when that was too late, because the
// file was taken for rubbish. Where there are no locks, it is not.
func claim(f *os.File) bool {
	var st unix.Stat_t
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false
	case err != nil:
		return true
	}
	return unix.Fstat(int(f.Fd()), &st) != nil || st.Nlink > 0
}

// makeTempDir creates dir with the mode of the root: who may write to a shared
// store must be able to write there too, whatever the umask of the first writer.
func (s *Store) makeTempDir(dir string) error {
	fi, err := os.Stat(s.root)
	if err != nil {
		return err
	}
	mode := fi.Mode() & (fs.ModePerm | fs.ModeSetgid | fs.ModeSticky)
	if err := os.Mkdir(dir, mode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil // another writer was faster
		}
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		// Only a member of the group may hand it over; without it, the directory
		// serves the first writer's own group.
		_ = os.Lchown(dir, -1, int(st.Gid))
	}
	return os.Chmod(dir, mode)
}

// Clean implements blobstore.Cleaner.
func (s *Store) Clean(ctx context.Context, age time.Duration) (removed int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return s.removeStale(age), nil
}

// removeStale removes what killed writers left behind, and returns how many files that
// were. It is housekeeping: what cannot be removed, because it belongs to another user,
// stays. The directory is held by a descriptor, because someone who may write to a shared
// store could put a link to a directory of ours in its place.
func (s *Store) removeStale(age time.Duration) (removed int) {
	dir, err := os.OpenFile(filepath.Join(s.root, tempDir), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0
	}
	fd, limit := int(dir.Fd()), time.Now().Add(-age)
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue
		}
		isOld := time.Unix(st.Mtim.Unix()).Before(limit)
		isOurs := s.temp != "" && strings.HasPrefix(name, s.temp)
		if (isOurs && removeUnlocked(fd, name, isOld)) || (!isOurs && isOld && unix.Unlinkat(fd, name, 0) == nil) {
			removed++
		}
	}
	return removed
}

// removeUnlocked removes a temporary file unless its writer, who holds a lock, is alive.
// Where there are no locks, its age decides.
func removeUnlocked(dir int, name string, isOld bool) bool {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || err != nil && !isOld {
		return false
	}
	return unix.Unlinkat(dir, name, 0) == nil
}
