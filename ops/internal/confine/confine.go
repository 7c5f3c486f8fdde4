// Package confine makes changes below one directory and nowhere else.
//
// Every path is relative to a Root and is walked without following any symbolic
// link, in one system call (openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS)
// or, where the kernel lacks it, component by component. What is then done to a
// name is done relative to the handle of its directory, never to a path, so that
// nobody can redirect it by replacing a directory by a link meanwhile.
package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrUnsafe means that a path leads through a symbolic link, or out of the root.
var ErrUnsafe = errors.New("refusing to go through a symbolic link or out of the directory")

// Root is a directory that confines what is done through it.
type Root struct {
	dir    Dir
	path   string
	walked atomic.Bool // openat2 is not available
	byProc atomic.Bool // files without a name are linked through /proc
}

// Dir is the handle of a directory at or below a Root.
type Dir struct {
	root *Root
	fd   int
	rel  string // for messages
}

// Open returns the directory at path as a Root. Links on the way to it are
// followed: the caller names the directory it trusts.
func Open(path string) (*Root, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	fd, err := retry(func() (int, error) { return unix.Open(abs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: abs, Err: err}
	}
	r := &Root{path: abs}
	r.dir = Dir{root: r, fd: fd, rel: "."}
	return r, nil
}

// Path returns the absolute path of the root.
func (r *Root) Path() string { return r.path }

// Close releases the root. Directories opened through it stay usable.
func (r *Root) Close() { r.dir.Close() }

// Join returns the absolute path of what lies at rel.
func (r *Root) Join(rel string) string { return path.Join(r.path, rel) }

// Free returns how many bytes the file system of the root has room for.
func (r *Root) Free() (int64, error) {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(r.dir.fd, &st) }); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: r.path, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Dir opens the directory at rel, which must exist; "." is the root itself.
func (r *Root) Dir(rel string) (*Dir, error) {
	if rel != "." && (!filepath.IsLocal(rel) || path.Clean(rel) != rel) {
		return nil, fmt.Errorf("%w: %q", ErrUnsafe, rel)
	}
	fd, err := r.openDir(rel)
	if err != nil {
		return nil, r.explain("open", rel, err)
	}
	return &Dir{root: r, fd: fd, rel: rel}, nil
}

func (r *Root) openDir(rel string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	if !r.walked.Load() {
		fd, err := retry(func() (int, error) {
			return unix.Openat2(r.dir.fd, rel, &unix.OpenHow{
				Flags:   flags,
				Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
			})
		})
		if !is(err, unix.ENOSYS, unix.EPERM) { // EPERM: sandboxes that do not know the call
			return fd, err
		}
		r.walked.Store(true)
	}
	fd, err := retry(func() (int, error) { return unix.Openat(r.dir.fd, ".", flags, 0) })
	for rest := rel; err == nil && rest != "" && rest != "."; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		var next int
		next, err = retry(func() (int, error) { return unix.Openat(fd, name, flags|unix.O_NOFOLLOW, 0) })
		_ = unix.Close(fd)
		fd = next
	}
	return fd, err
}

// explain turns the error of opening the directory rel into one that names what is
// in the way.
func (r *Root) explain(op, rel string, err error) error {
	if is(err, unix.ELOOP, unix.ENOTDIR, unix.EXDEV) {
		for end := 0; end < len(rel); {
			next := strings.IndexByte(rel[end:], '/')
			if next < 0 {
				next = len(rel) - end
			}
			part := rel[:end+next]
			parent, name := path.Split(part)
			fd, e := r.openDir(path.Clean(parent))
			if e != nil {
				break
			}
			info, e := (&Dir{root: r, fd: fd, rel: parent}).Lstat(name)
			_ = unix.Close(fd)
			if e == nil && info.IsLink() {
				return fmt.Errorf("%w: %s is a symbolic link", ErrUnsafe, r.Join(part))
			}
			if e == nil && !info.IsDir() {
				return &fs.PathError{Op: op, Path: r.Join(part), Err: unix.ENOTDIR}
			}
			end += next + 1
		}
	}
	return &fs.PathError{Op: op, Path: r.Join(rel), Err: err}
}

// MakeDir opens the directory at rel after having created it, and those above it,
// where they are missing. It reports whether rel itself was created.
func (r *Root) MakeDir(rel string) (dir *Dir, created bool, err error) {
	dir, err = r.Dir(rel)
	if !errors.Is(err, fs.ErrNotExist) {
		return dir, false, err
	}
	parent, _, err := r.MakeDir(path.Dir(rel))
	if err != nil {
		return nil, false, err
	}
	defer parent.Close()
	created, err = parent.Mkdir(path.Base(rel))
	if err != nil {
		return nil, false, err
	}
	dir, err = r.Dir(rel)
	return dir, created, err
}

// Close releases the handle.
func (d *Dir) Close() { _ = unix.Close(d.fd) }

// Path returns the absolute path under which the directory was opened.
func (d *Dir) Path() string { return d.root.Join(d.rel) }

// fail wraps an error of a system call on name.
func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path.Join(d.Path(), name), Err: err}
}

// checkName refuses anything that is not the name of an entry.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 {
		return fmt.Errorf("%w: %q is not a name", ErrUnsafe, name)
	}
	return nil
}

// Mkdir creates the directory name, and reports whether that was needed. That
// something which is not a directory is in its place shows when it is opened.
func (d *Dir) Mkdir(name string) (bool, error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	_, err := retry(func() (int, error) { return 0, unix.Mkdirat(d.fd, name, 0o777) })
	if is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, d.fail("mkdir", name, err)
}

// Remove removes the file or link name.
func (d *Dir) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := retry(func() (int, error) { return 0, unix.Unlinkat(d.fd, name, 0) })
	return d.fail("unlink", name, err)
}

// RemoveDir removes the empty directory name.
func (d *Dir) RemoveDir(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := retry(func() (int, error) { return 0, unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
	return d.fail("rmdir", name, err)
}

// Open opens the regular file name for reading. It follows no link and waits for no
// writer.
func (d *Dir) Open(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, flags, 0) })
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), path.Join(d.Path(), name)), nil
}

// Readlink returns the text of the link name.
func (d *Dir) Readlink(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	buf := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(d.fd, name, buf) })
	if err != nil {
		return "", d.fail("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// SetModTime sets the modification time of name, of a link itself, in microseconds
// since the epoch. The access time stays. The name "." stands for the directory.
func (d *Dir) SetModTime(name string, micros int64) error {
	if name != "." {
		if err := checkName(name); err != nil {
			return err
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, Timespec(micros)}
	_, err := retry(func() (int, error) { return 0, unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW) })
	return d.fail("set times of", name, err)
}

// Timespec returns the time that is micros after the epoch.
func Timespec(micros int64) unix.Timespec {
	sec, rest := micros/1_000_000, micros%1_000_000
	if rest < 0 {
		sec, rest = sec-1, rest+1_000_000
	}
	return unix.Timespec{Sec: sec, Nsec: rest * 1000}
}

// retry calls fn until it is not interrupted by a signal.
func retry(fn func() (int, error)) (int, error) {
	for {
		n, err := fn()
		if !is(err, unix.EINTR) {
			return n, err
		}
	}
}

// is reports whether err is one of the codes.
func is(err error, codes ...unix.Errno) bool {
	for _, code := range codes {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
