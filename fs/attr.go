package fs

import (
	"time"

	"golang.org/x/sys/unix"
)

// Attr is what stat shows of an inode.
type Attr struct {
	Ino                 Ino
	Mode                uint32 // type and permission bits, as in stat(2)
	Nlink               uint32
	UID, GID            uint32
	Rdev                uint32
	Size                int64 // bytes
	Holes               int64 // bytes of the size that take no space; negative: space beyond the size
	Atime, Mtime, Ctime int64 // nanoseconds since the Unix epoch
}

// Type returns the file type bits of the mode.
func (a *Attr) Type() uint32 { return a.Mode & unix.S_IFMT }

// Blocks returns the number of 512-byte blocks that du counts.
func (a *Attr) Blocks() int64 { return max(0, a.Size-a.Holes+511) / 512 }

// SetAttr says which attributes to change; nil fields stay as they are.
type SetAttr struct {
	Mode         *uint32 // permission bits only
	UID, GID     *uint32
	Size         *int64
	Atime, Mtime *int64 // nanoseconds since the Unix epoch

	// DropPrivileges takes the set-user-ID and set-group-ID bits from a file, as when
	// somebody unprivileged changes its size. A change of the owner always does.
	DropPrivileges bool
}

// dropsPrivileges reports whether a file with the given mode loses privileges.
func (s *SetAttr) dropsPrivileges(mode uint32) bool {
	return (s.DropPrivileges || s.UID != nil || s.GID != nil) && mode != withoutPrivileges(mode)
}

// withoutPrivileges returns a mode without the bits that give the rights of the owner
// or the group to whoever runs the file. Directories keep them: there they mean
// something else. So do files that the group may not run.
func withoutPrivileges(mode uint32) uint32 {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		return mode
	}
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	return mode &^ unix.S_ISUID
}

// GetAttr returns the attributes of an inode.
func (t *Tree) GetAttr(ino Ino) (Attr, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.attr(ino)
}

// attr needs t.mu.
func (t *Tree) attr(ino Ino) (Attr, error) {
	if n := t.nodes[ino]; n != nil {
		a := n.attr()
		a.Holes = t.holes(n)
		return a, nil
	}
	if !t.base.has(ino) {
		return Attr{}, unix.ESTALE
	}
	return t.rowAttr(ino), nil
}

// rowAttr returns the attributes of a base entry that has no node.
func (t *Tree) rowAttr(ino Ino) Attr {
	r := &t.base.rows[ino]
	a := Attr{
		Ino: ino, Nlink: 1, UID: t.opts.UID, GID: t.opts.GID, Size: r.size,
		Mode: 0o666, Mtime: r.mtime * 1000, Ctime: r.mtime * 1000, Atime: r.mtime * 1000,
	}
	switch r.kind {
	case rowDir:
		a.Mode, a.Size = 0o777, dirSize
		a.Nlink = 2 + t.base.subdirs(uint32(ino))
	case rowLink:
		a.Size = int64(len(t.base.linkText(uint32(ino))))
	case rowFile:
		if r.runnable {
			a.Mode = 0o777
		}
	}
	a.Mode &^= t.opts.Umask
	switch r.kind {
	case rowDir:
		a.Mode |= unix.S_IFDIR
	case rowLink:
		a.Mode = unix.S_IFLNK | 0o777
	case rowFile:
		a.Mode |= unix.S_IFREG
	}
	return a
}

// dirSize is the size that directories show.
const dirSize = 4096

// SetAttr changes attributes and returns the new ones. A change of size and the
// others with it happen together or not at all, save that a truncated file keeps
// its new size when the log cannot take the rest.
func (t *Tree) SetAttr(ino Ino, s SetAttr) (Attr, error) {
	n, err := t.writableNode(ino)
	if err != nil {
		return Attr{}, err
	}
	defer t.release(n)
	if err := t.setAttr(n, s); err != nil {
		return Attr{}, err
	}
	return t.GetAttr(ino)
}

func (t *Tree) setAttr(n *node, s SetAttr) error {
	if s.Size != nil {
		n.lockIO()
		defer n.io.Unlock()
		if err := t.truncate(n, *s.Size); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.Mode == nil && s.UID == nil && s.GID == nil && s.Atime == nil && s.Mtime == nil && !s.dropsPrivileges(n.mode) {
		return nil
	}
	n.catchUp()
	rec := n.attrOp(t.now())
	s.applyTo(rec)
	if err := t.logNode(n, rec); err != nil {
		return err
	}
	if s.Mtime != nil {
		if n.file != nil {
			n.file.timed = true
		}
		return t.stampData(n)
	}
	return nil
}

func (s *SetAttr) applyTo(rec *opAttr) {
	if s.dropsPrivileges(rec.mode) {
		rec.mode = withoutPrivileges(rec.mode)
	}
	if s.Mode != nil {
		rec.mode = rec.mode&unix.S_IFMT | *s.Mode&0o7777
	}
	if s.UID != nil {
		rec.uid = *s.UID
	}
	if s.GID != nil {
		rec.gid = *s.GID
	}
	if s.Atime != nil {
		rec.atime = *s.Atime
	}
	if s.Mtime != nil {
		rec.mtime = *s.Mtime
	}
}

// now is the clock of the tree, in nanoseconds.
func (t *Tree) now() int64 { return time.Now().UnixNano() }

func timespec(ns int64) unix.Timespec { return unix.NsecToTimespec(ns) }
