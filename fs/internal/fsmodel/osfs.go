package fsmodel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

// OS is a directory of the running system.
type OS struct {
	root  string
	slots [Slots]*os.File
}

// NewOS returns the tree below the directory root.
func NewOS(root string) *OS { return &OS{root: root} }

// CloseAll closes every slot.
func (o *OS) CloseAll() {
	for i := range o.slots {
		o.close(i)
	}
}

func (o *OS) close(slot int) error {
	f := o.slots[slot]
	if f == nil {
		return unix.EBADF
	}
	o.slots[slot] = nil
	return f.Close()
}

func (o *OS) abs(path string) string { return filepath.Join(o.root, path) }

// Do carries out an operation.
func (o *OS) Do(op Op) Result {
	text, err := o.do(op)
	if err == nil {
		return Result{Text: text}
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		errno = unix.EIO
	}
	return Result{Errno: errno}
}

func (o *OS) do(op Op) (string, error) {
	switch op.Kind {
	case Open, Tmpfile, Close:
		return "", o.doOpen(op)
	}
	if op.usesSlot() {
		f := o.slots[op.Slot]
		if f == nil {
			return "", unix.EBADF
		}
		return o.doFile(op, f)
	}
	return "", o.doPath(op, o.abs(op.Path))
}

func (o *OS) doOpen(op Op) error {
	err := o.close(op.Slot)
	if op.Kind == Close {
		return err
	}
	flags := op.Flags | unix.O_CLOEXEC | unix.O_NOFOLLOW
	if op.Kind == Tmpfile {
		flags |= unix.O_TMPFILE | unix.O_RDWR
	}
	path := o.abs(op.Path)
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO && op.Kind == Open {
		return unix.ENXIO // one might wait forever for the other end
	}
	fd, err := unix.Open(path, flags, op.Mode)
	if err != nil {
		return err
	}
	unix.Fstat(fd, &st)
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return unix.EISDIR // reading directories is not modelled
	}
	o.slots[op.Slot] = os.NewFile(uintptr(fd), path)
	return nil
}

func (o *OS) doPath(op Op, path string) error {
	switch op.Kind {
	case Mkdir:
		return unix.Mkdir(path, op.Mode)
	case Rmdir:
		return unix.Rmdir(path)
	case Unlink:
		return unix.Unlink(path)
	case Rename:
		return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, o.abs(op.To), uint(op.Flags))
	case Link:
		return unix.Link(path, o.abs(op.To))
	case Symlink:
		return unix.Symlink(op.To, path)
	case Mkfifo:
		return unix.Mkfifo(path, op.Mode)
	case Chmod:
		return o.chmod(path, op.Mode)
	case Utimens:
		t := unix.NsecToTimespec(op.Off)
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	case SetXattr:
		return unix.Lsetxattr(path, op.Name, op.Data, op.Flags)
	case DelXattr:
		return unix.Lremovexattr(path, op.Name)
	case Truncate:
		return unix.Truncate(path, op.Len)
	}
	return unix.ENOSYS
}

// chmod leaves links alone: what chmod(2) does to one depends on where it leads.
func (o *OS) chmod(path string, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	return unix.Chmod(path, mode)
}

func (o *OS) doFile(op Op, f *os.File) (string, error) {
	fd := int(f.Fd())
	switch op.Kind {
	case Read:
		buf := make([]byte, op.Len)
		n, err := unix.Pread(fd, buf, op.Off)
		return Summary(buf[:max(n, 0)]), err
	case Write:
		n, err := unix.Pwrite(fd, op.Data, op.Off)
		return fmt.Sprint(n), err
	case Append:
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return "", err
		}
		n, err := unix.Pwrite(fd, op.Data, st.Size)
		return fmt.Sprint(n), err
	case Ftruncate:
		return "", unix.Ftruncate(fd, op.Len)
	case Fallocate:
		return "", unix.Fallocate(fd, uint32(op.Flags), op.Off, op.Len)
	case Fsync:
		return "", unix.Fsync(fd)
	case Fstat:
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		return fmt.Sprintf("mode %o nlink %d size %d mtime %s", st.Mode, st.Nlink, st.Size, Time(st.Mtim.Nano())), err
	case Fchmod:
		return "", unix.Fchmod(fd, op.Mode)
	case Flink:
		return "", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, o.abs(op.To), unix.AT_SYMLINK_FOLLOW)
	}
	return "", unix.ENOSYS
}

// Summary is how the content of a file is shown: as it is while it is short.
func Summary(content []byte) string {
	if len(content) <= 200 {
		return strings.ReplaceAll(string(content), "\x00", ".")
	}
	h := xxh3.Hash128(content)
	return fmt.Sprintf("%d bytes, hash %x%x", len(content), h.Hi, h.Lo)
}

// clockTime is before any time that the clock can show, and after any that tests set.
const clockTime = 1_750_000_000e9

// Time shows a time in nanoseconds: "now" for one that came from the clock.
func Time(ns int64) string {
	if ns > clockTime {
		return "now"
	}
	return fmt.Sprint(ns)
}

// Dump lists the tree.
func (o *OS) Dump() ([]string, error) {
	var lines []string
	first := make(map[uint64]string) // path under which an inode was seen first
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := os.ReadDir(o.abs(dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			line, err := o.line(path, first)
			if err != nil {
				return err
			}
			lines = append(lines, line)
			if e.IsDir() {
				if err := walk(path); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := walk("")
	slices.Sort(lines)
	return lines, err
}

func (o *OS) line(path string, first map[uint64]string) (string, error) {
	abs := o.abs(path)
	var st unix.Stat_t
	if err := unix.Lstat(abs, &st); err != nil {
		return "", fmt.Errorf("lstat %s: %w", path, err)
	}
	l := Line{Path: path, Mode: st.Mode, Nlink: uint32(st.Nlink), Size: st.Size, Mtime: st.Mtim.Nano()}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, ok := first[st.Ino]; !ok {
			first[st.Ino] = path
		}
		l.Same = first[st.Ino]
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		l.Content, err = os.Readlink(abs)
		return l.String(), err
	case unix.S_IFREG:
		var b []byte
		b, err = os.ReadFile(abs)
		l.Content = Summary(b)
	case unix.S_IFIFO:
		return l.String(), nil
	}
	if err == nil {
		l.Xattrs, err = xattrs(abs)
	}
	return l.String(), err
}

func xattrs(path string) ([]string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return nil, err
	}
	var list []string
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.snapfs.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		list = append(list, name+"="+string(value[:n]))
	}
	return list, nil
}
