package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// Temp is a file being written. It has no name, so that nothing is left of it when
// the process dies, until it is placed. Where the file system cannot do that it has
// a temporary name.
type Temp struct {
	*os.File
	dir     *Dir
	name    string // "" for a file without a name
	part    bool   // it has the name of a part
	resumed bool   // an earlier process has written some of it
}

// maxClashes bounds how often a temporary name is tried again after somebody else
// took it, or took it away.
const maxClashes = 100

// CreateTemp creates a file in d with the given permissions, less the umask. It must
// be closed with Discard, also after it was placed.
func (d *Dir) CreateTemp(perm uint32) (*Temp, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, perm)
	})
	if err == nil {
		return &Temp{File: os.NewFile(uintptr(fd), d.Path()+" (new file)"), dir: d}, nil
	}
	if !is(err, unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL, unix.ENOENT) {
		return nil, d.fail("create a file in", "", err)
	}
	return d.createNamed(perm)
}

// createNamed is CreateTemp where files must have names.
func (d *Dir) createNamed(perm uint32) (*Temp, error) {
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_RDWR | unix.O_NOFOLLOW | unix.O_CLOEXEC
	for i := range maxClashes {
		name := tempName(strconv.Itoa(os.Getpid()) + "/" + strconv.Itoa(i) + "/" + d.rel)
		fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, flags, perm) })
		if !is(err, unix.EEXIST) {
			if err != nil {
				return nil, d.fail("create", name, err)
			}
			return &Temp{File: os.NewFile(uintptr(fd), path.Join(d.Path(), name)), dir: d, name: name}, nil
		}
	}
	return nil, d.fail("create", tempName(""), unix.EEXIST)
}

// tempName returns the temporary name that belongs to a seed. It fits wherever any
// name fits.
func tempName(seed string) string {
	return fmt.Sprintf(".snapfs-%016x.tmp", sum(seed))
}

// Discard closes the file, and removes it when it was not placed.
func (t *Temp) Discard() {
	if t.name != "" {
		_ = t.dir.Remove(t.name)
	}
	t.Close()
}

// Place gives the file its name, which must not exist yet: otherwise the error
// matches fs.ErrExist.
func (t *Temp) Place(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if t.name != "" {
		_, err := retry(func() (int, error) {
			return 0, unix.Renameat2(t.dir.fd, t.name, t.dir.fd, name, unix.RENAME_NOREPLACE)
		})
		if is(err, unix.EINVAL, unix.ENOSYS) {
			_, err = retry(func() (int, error) { return 0, unix.Linkat(t.dir.fd, t.name, t.dir.fd, name, 0) })
		} else if err == nil {
			t.name = ""
		}
		return t.dir.fail("place", name, err)
	}
	return t.dir.fail("place", name, t.link(name))
}

// link gives a name to a file that has none.
func (t *Temp) link(name string) error {
	if !t.dir.root.byProc.Load() {
		_, err := retry(func() (int, error) {
			return 0, unix.Linkat(int(t.Fd()), "", t.dir.fd, name, unix.AT_EMPTY_PATH)
		})
		if !is(err, unix.ENOENT, unix.EPERM) { // what those without the privilege get
			return err
		}
		t.dir.root.byProc.Store(true)
	}
	self := "/proc/self/fd/" + strconv.Itoa(int(t.Fd()))
	_, err := retry(func() (int, error) {
		return 0, unix.Linkat(unix.AT_FDCWD, self, t.dir.fd, name, unix.AT_SYMLINK_FOLLOW)
	})
	return err
}

// SetModTime sets the modification time of the file, in microseconds since the
// epoch.
func (t *Temp) SetModTime(micros int64) error {
	stamp := Timespec(micros)
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, stamp}
	_, err := retry(func() (int, error) { return 0, unix.UtimesNanoAt(int(t.Fd()), "", times, unix.AT_EMPTY_PATH) })
	if is(err, unix.EINVAL, unix.ENOENT) { // kernels before 5.8
		both := unix.NsecToTimeval(stamp.Nano())
		err = unix.Futimes(int(t.Fd()), []unix.Timeval{both, both})
	}
	return t.dir.fail("set times of", t.name, err)
}

// Replace gives the file its name, in place of the file or link that has it now, if
// any. Nobody ever finds the name missing. A directory is not replaced: the error
// matches unix.EISDIR.
func (t *Temp) Replace(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if t.name != "" {
		err := t.dir.rename(t.name, name)
		if err == nil {
			t.name = ""
		}
		return t.dir.fail("place", name, err)
	}
	return t.dir.fail("place", name, t.dir.swapIn(name, t.link))
}

// Symlink creates the link name with the given text. A name that exists matches
// fs.ErrExist.
func (d *Dir) Symlink(text, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return d.fail("symlink", name, d.symlink(text, name))
}

func (d *Dir) symlink(text, name string) error {
	_, err := retry(func() (int, error) { return 0, unix.Symlinkat(text, d.fd, name) })
	return err
}

// ReplaceSymlink is Symlink in place of the file or link that has the name now.
func (d *Dir) ReplaceSymlink(text, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return d.fail("symlink", name, d.swapIn(name, func(temp string) error { return d.symlink(text, temp) }))
}

// swapIn creates something under a temporary name and renames it to name. The
// temporary name depends on name only, so that what a killed process left there is
// found and removed by the next attempt.
func (d *Dir) swapIn(name string, create func(temp string) error) error {
	temp := tempName(name)
	var err error
	for range maxClashes {
		err = create(temp)
		if errors.Is(err, fs.ErrExist) {
			_ = d.Remove(temp)
			continue
		}
		if err != nil {
			return err
		}
		if err = d.rename(temp, name); err == nil {
			return nil
		}
		_ = d.Remove(temp)
		if !is(err, unix.ENOENT) { // else another process took the temporary name away
			return err
		}
	}
	return err
}

func (d *Dir) rename(from, to string) error {
	_, err := retry(func() (int, error) { return 0, unix.Renameat(d.fd, from, d.fd, to) })
	return err
}
