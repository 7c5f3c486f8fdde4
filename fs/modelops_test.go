package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/fs/internal/fsmodel"
	"golang.org/x/sys/unix"
)

func (x *treeTarget) owner() Owner { return Owner{x.uid, x.gid} }

func (x *treeTarget) Do(op fsmodel.Op) fsmodel.Result {
	text, err := x.do(op)
	if err != nil {
		return fsmodel.Result{Errno: Errno(err)}
	}
	return fsmodel.Result{Text: text}
}

func (x *treeTarget) do(op fsmodel.Op) (string, error) {
	switch op.Kind {
	case fsmodel.Open:
		x.closeSlot(op.Slot)
		return "", x.open(op)
	case fsmodel.Tmpfile:
		x.closeSlot(op.Slot)
		return "", x.tmpfile(op)
	case fsmodel.Close:
		return "", x.closeSlot(op.Slot)
	case fsmodel.Read, fsmodel.Write, fsmodel.Append, fsmodel.Ftruncate, fsmodel.Fallocate, fsmodel.Fsync,
		fsmodel.Fstat, fsmodel.Fchmod, fsmodel.Flink:
		if f := &x.slots[op.Slot]; f.File != nil {
			return x.doFile(op, f)
		}
		return "", unix.EBADF
	case fsmodel.Mkdir, fsmodel.Symlink, fsmodel.Mkfifo:
		return "", x.make(op)
	case fsmodel.Unlink, fsmodel.Rmdir:
		dir, name, err := x.parentOf(op.Path)
		if err != nil {
			return "", err
		}
		if op.Kind == fsmodel.Rmdir {
			return "", x.tree.Rmdir(dir, name)
		}
		return "", x.tree.Unlink(dir, name)
	case fsmodel.Rename:
		return "", x.renameOp(op)
	case fsmodel.Link:
		return "", x.link(op)
	}
	return "", x.change(op)
}

func (x *treeTarget) make(op fsmodel.Op) error {
	dir, name, err := x.parentOf(op.Path)
	if err != nil {
		return err
	}
	var a Attr
	switch op.Kind {
	case fsmodel.Mkdir:
		// The kernel keeps the set-group-ID bit from mkdir.
		a, err = x.tree.Mkdir(dir, name, op.Mode&0o1777, x.owner())
	case fsmodel.Symlink:
		a, err = x.tree.Symlink(dir, name, op.To, x.owner())
	case fsmodel.Mkfifo:
		a, err = x.tree.Mknod(dir, name, unix.S_IFIFO|op.Mode, 0, x.owner())
	}
	if err == nil {
		x.tree.Forget(a.Ino, 1)
	}
	return err
}

func (x *treeTarget) open(op fsmodel.Op) error {
	dir, name, err := x.parentOf(op.Path)
	if err != nil {
		return err
	}
	a, err := x.tree.Lookup(dir, name)
	if errors.Is(err, unix.ENOENT) && op.Flags&unix.O_CREAT != 0 {
		f, _, err := x.tree.Create(dir, name, op.Mode, x.owner())
		if err == nil {
			x.slots[op.Slot] = slot{File: f, access: op.Flags & unix.O_ACCMODE}
		}
		return err
	}
	if err != nil {
		return err
	}
	f, err := x.openFound(op, a)
	if err != nil {
		x.tree.Forget(a.Ino, 1)
		return err
	}
	x.slots[op.Slot] = slot{File: f, access: op.Flags & unix.O_ACCMODE}
	return nil
}

func (x *treeTarget) openFound(op fsmodel.Op, a Attr) (*File, error) {
	switch {
	case a.Type() == unix.S_IFIFO:
		return nil, unix.ENXIO
	case op.Flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL:
		return nil, unix.EEXIST
	}
	return x.tree.Open(a.Ino, uint32(op.Flags))
}

func (x *treeTarget) tmpfile(op fsmodel.Op) error {
	dir, err := x.walk(op.Path)
	switch {
	case err != nil:
		return err
	case dir.Type() == unix.S_IFLNK:
		return unix.ENOTDIR
	}
	f, _, err := x.tree.Tmpfile(dir.Ino, op.Mode, x.owner())
	if err == nil {
		x.slots[op.Slot] = slot{File: f, access: unix.O_RDWR, tmp: true}
	}
	return err
}

func (x *treeTarget) renameOp(op fsmodel.Op) error {
	from, oldName, err := x.parentOf(op.Path)
	if err != nil {
		return err
	}
	to, newName, err := x.parentOf(op.To)
	if err != nil {
		return err
	}
	// A path below itself: the kernel refuses both ways before it asks us.
	if strings.HasPrefix(op.Path, op.To+"/") && op.Flags == 0 {
		if _, err := x.walk(op.Path); err != nil {
			return err
		}
		return unix.ENOTEMPTY
	}
	return x.tree.Rename(from, oldName, to, newName, uint32(op.Flags))
}

func (x *treeTarget) link(op fsmodel.Op) error {
	a, err := x.walk(op.Path)
	if err != nil {
		return err
	}
	dir, name, err := x.parentOf(op.To)
	if err != nil {
		return err
	}
	return x.linkTo(a.Ino, dir, name)
}

func (x *treeTarget) linkTo(ino, dir Ino, name string) error {
	_, err := x.tree.Link(ino, dir, name)
	if err == nil {
		x.tree.Forget(ino, 1)
	}
	return err
}

// change does what changes an inode found by path.
func (x *treeTarget) change(op fsmodel.Op) error {
	a, err := x.walk(op.Path)
	if err != nil {
		return err
	}
	var s SetAttr
	switch op.Kind {
	case fsmodel.Chmod:
		if a.Type() == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		s.Mode = &op.Mode
	case fsmodel.Utimens:
		s.Atime, s.Mtime = &op.Off, &op.Off
	case fsmodel.Truncate:
		switch a.Type() {
		case unix.S_IFLNK:
			return unix.ENOENT
		case unix.S_IFDIR:
			return unix.EISDIR
		case unix.S_IFIFO:
			return unix.EINVAL
		}
		s.Size = &op.Len
	default:
		return x.xattr(op, a)
	}
	_, err = x.tree.SetAttr(a.Ino, s)
	return err
}

func (x *treeTarget) xattr(op fsmodel.Op, a Attr) error {
	switch {
	case a.Type() == unix.S_IFREG || a.Type() == unix.S_IFDIR:
	case op.Kind == fsmodel.DelXattr || op.Kind == fsmodel.SetXattr:
		return unix.EPERM
	}
	if op.Kind == fsmodel.SetXattr {
		return x.tree.SetXattr(a.Ino, op.Name, op.Data, uint32(op.Flags))
	}
	return x.tree.RemoveXattr(a.Ino, op.Name)
}

func (x *treeTarget) doFile(op fsmodel.Op, f *slot) (string, error) {
	readOnly := f.access == unix.O_RDONLY
	switch op.Kind {
	case fsmodel.Read:
		return x.read(op, f)
	case fsmodel.Write, fsmodel.Append:
		if readOnly {
			return "", unix.EBADF
		}
		return x.write(op, f)
	case fsmodel.Ftruncate:
		if readOnly {
			return "", unix.EINVAL
		}
		_, err := x.tree.SetAttr(f.Ino(), SetAttr{Size: &op.Len})
		return "", err
	case fsmodel.Fallocate:
		switch {
		case op.Len == 0:
			return "", unix.EINVAL
		case readOnly:
			return "", unix.EBADF
		}
		return "", f.Allocate(uint32(op.Flags), op.Off, op.Len)
	case fsmodel.Fsync:
		return "", f.Sync()
	case fsmodel.Fchmod:
		_, err := x.tree.SetAttr(f.Ino(), SetAttr{Mode: &op.Mode})
		return "", err
	case fsmodel.Fstat:
		a, err := x.tree.GetAttr(f.Ino())
		return fmt.Sprintf("mode %o nlink %d size %d mtime %s", a.Mode, a.Nlink, a.Size, fsmodel.Time(a.Mtime)), err
	}
	return "", x.flink(op, f)
}

func (x *treeTarget) read(op fsmodel.Op, f *slot) (string, error) {
	if f.access == unix.O_WRONLY {
		return "", unix.EBADF
	}
	buf := make([]byte, op.Len)
	n, err := f.ReadAt(context.Background(), buf, op.Off)
	return fsmodel.Summary(buf[:n]), err
}

func (x *treeTarget) write(op fsmodel.Op, f *slot) (string, error) {
	off := op.Off
	if op.Kind == fsmodel.Append {
		a, err := x.tree.GetAttr(f.Ino())
		if err != nil {
			return "", err
		}
		off = a.Size
	}
	n, err := f.WriteAt(op.Data, off)
	return fmt.Sprint(n), err
}

func (x *treeTarget) flink(op fsmodel.Op, f *slot) error {
	dir, name, err := x.parentOf(op.To)
	if err != nil {
		return err
	}
	if a, err := x.tree.Lookup(dir, name); err == nil {
		x.tree.Forget(a.Ino, 1)
		return unix.EEXIST
	}
	if a, err := x.tree.GetAttr(f.Ino()); err == nil && a.Nlink == 0 && !f.tmp {
		return unix.ENOENT // the kernel gives no new name to a deleted file
	}
	f.tmp = false
	return x.linkTo(f.Ino(), dir, name)
}

// Dump lists the tree as fsmodel.OS does.
func (x *treeTarget) Dump() ([]string, error) {
	var lines []string
	first := make(map[Ino]string)
	var walk func(ino Ino, prefix string) error
	walk = func(ino Ino, prefix string) error {
		for _, e := range x.list(ino) {
			line, err := x.line(e, prefix+e.Name, first)
			if err != nil {
				return fmt.Errorf("%s: %w", prefix+e.Name, err)
			}
			lines = append(lines, line)
			if e.Type != unix.S_IFDIR {
				continue
			}
			if err := walk(e.Ino, prefix+e.Name+"/"); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk(RootIno, "")
	slices.Sort(lines)
	return lines, err
}

func (x *treeTarget) line(e Dirent, path string, first map[Ino]string) (string, error) {
	a, err := x.tree.GetAttr(e.Ino)
	if err != nil {
		return "", err
	}
	l := fsmodel.Line{Path: path, Mode: a.Mode, Nlink: a.Nlink, Size: a.Size, Mtime: a.Mtime}
	if a.Nlink > 1 && e.Type != unix.S_IFDIR {
		if _, ok := first[e.Ino]; !ok {
			first[e.Ino] = path
		}
		l.Same = first[e.Ino]
	}
	switch e.Type {
	case unix.S_IFLNK:
		l.Content, err = x.tree.Readlink(e.Ino)
	case unix.S_IFREG:
		l.Content = fsmodel.Summary([]byte(x.raw(e.Ino)))
	}
	if err != nil {
		return "", err
	}
	names, err := x.tree.ListXattr(e.Ino)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if name == HashXattr {
			continue
		}
		v, err := x.tree.GetXattr(e.Ino, name)
		if err != nil {
			return "", err
		}
		l.Xattrs = append(l.Xattrs, name+"="+string(v))
	}
	return l.String(), nil
}
