package fs

import (
	"golang.org/x/sys/unix"
)

// maxName is the longest name that a directory takes, in bytes.
const maxName = 255

// maxLinks is the largest number of names of one file.
const maxLinks = 65000

// Owner is who makes a new entry.
type Owner struct{ UID, GID uint32 }

// Lookup returns the attributes of the entry with the given name in a directory,
// and counts one reference to it.
func (t *Tree) Lookup(dir Ino, name string) (Attr, error) {
	if len(name) > maxName {
		return Attr{}, unix.ENAMETOOLONG
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.lookup(dir, name)
}

func (t *Tree) lookup(dir Ino, name string) (Attr, error) {
	if err := t.checkDir(dir); err != nil {
		return Attr{}, err
	}
	ino := t.child(dir, name)
	if ino == 0 {
		return Attr{}, unix.ENOENT
	}
	return t.refer(ino)
}

// LookupParent returns the directory that holds a directory; the root holds itself.
func (t *Tree) LookupParent(dir Ino) (Attr, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if dir == RootIno {
		return t.refer(RootIno)
	}
	if err := t.checkDir(dir); err != nil {
		return Attr{}, err
	}
	p := t.parentOf(dir)
	if p == 0 {
		return Attr{}, unix.ENOENT
	}
	return t.refer(p)
}

// checkCreate says why a name cannot be added to a directory. It needs t.mu.
func (t *Tree) checkCreate(dir Ino, name string) error {
	switch {
	case t.ov == nil:
		return unix.EROFS
	case len(name) > maxName:
		return unix.ENAMETOOLONG
	case name == "" || name == "." || name == "..":
		return unix.EEXIST
	}
	if err := t.checkDir(dir); err != nil {
		return err
	}
	if t.isGone(dir) {
		return unix.ENOENT
	}
	if t.child(dir, name) != 0 {
		return unix.EEXIST
	}
	return nil
}

// newInode returns the op that makes an inode in a directory, with the group and
// the set-group-ID bit that it inherits. It needs t.mu held for writing.
func (t *Tree) newInode(dir Ino, mode uint32, owner Owner) (*opCreate, error) {
	d, err := t.attr(dir)
	if err != nil {
		return nil, err
	}
	if d.Mode&unix.S_ISGID != 0 {
		owner.GID = d.GID
		if mode&unix.S_IFMT == unix.S_IFDIR {
			mode |= unix.S_ISGID
		}
	}
	now := t.now()
	return &opCreate{opAttr: opAttr{
		ino: t.nextIno, mode: mode, uid: owner.UID, gid: owner.GID,
		atime: now, mtime: now, ctime: now,
	}}, nil
}

// create adds a new inode under a name. The reference to it is counted. It needs
// t.mu held for writing.
func (t *Tree) create(dir Ino, name string, mode uint32, owner Owner, fill func(*opCreate)) (Attr, error) {
	if err := t.checkCreate(dir, name); err != nil {
		return Attr{}, err
	}
	rec, err := t.newInode(dir, mode, owner)
	if err != nil {
		return Attr{}, err
	}
	if fill != nil {
		fill(rec)
	}
	if err := t.log(rec, &opEntry{parent: dir, name: name, ino: rec.ino, when: rec.ctime}); err != nil {
		return Attr{}, err
	}
	return t.refer(rec.ino)
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(dir Ino, name string, perm uint32, owner Owner) (Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.create(dir, name, unix.S_IFDIR|perm&0o7777, owner, nil)
}

// Symlink makes a symbolic link with the given text.
func (t *Tree) Symlink(dir Ino, name, text string, owner Owner) (Attr, error) {
	if text == "" {
		return Attr{}, unix.ENOENT
	}
	if len(text) > 4095 {
		return Attr{}, unix.ENAMETOOLONG
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.create(dir, name, unix.S_IFLNK|0o777, owner, func(rec *opCreate) { rec.text = text })
}

// Mknod makes an empty file, a fifo, a socket or a device. Only files can be
// committed.
func (t *Tree) Mknod(dir Ino, name string, mode, rdev uint32, owner Owner) (Attr, error) {
	switch mode & unix.S_IFMT {
	case 0:
		mode |= unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
	default:
		return Attr{}, unix.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.create(dir, name, mode, owner, func(rec *opCreate) { rec.rdev = rdev })
}

// Link gives a file another name. Hard links live in the overlay only: a manifest
// has no notion of them, and a commit writes one entry for each name.
func (t *Tree) Link(ino, dir Ino, name string) (Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.checkCreate(dir, name); err != nil {
		return Attr{}, err
	}
	n := t.materialize(ino)
	switch {
	case n == nil:
		return Attr{}, unix.ESTALE
	case n.dir != nil:
		return Attr{}, unix.EPERM
	case len(n.links) >= maxLinks:
		return Attr{}, unix.EMLINK
	}
	entry := &opEntry{parent: dir, name: name, ino: ino, when: t.now()}
	log := t.log
	if len(n.links) == 0 {
		log = func(ops ...op) error { return t.logFirstName(n, entry) }
	}
	if err := log(entry); err != nil {
		return Attr{}, err
	}
	return t.refer(ino)
}

// logFirstName gives a file a name that has none, made with O_TMPFILE: nothing of
// it has been logged yet. It needs t.mu held for writing.
func (t *Tree) logFirstName(n *node, entry *opEntry) error {
	n.mu.Lock() // what is written from now on is logged behind this record
	err := t.ov.append(append(n.state(), entry)...)
	if err == nil {
		n.unlinked = false
	}
	n.mu.Unlock()
	if err == nil {
		entry.apply(t)
	}
	return err
}

// Readlink returns the text of a symbolic link.
func (t *Tree) Readlink(ino Ino) (string, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.typeOf(ino) != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	return t.linkText(ino), nil
}

// linkText returns the text of the symbolic link ino. It needs t.mu.
func (t *Tree) linkText(ino Ino) string {
	if n := t.nodes[ino]; n != nil {
		return n.text
	}
	return t.base.linkText(uint32(ino))
}

// Unlink removes a name that is not a directory.
func (t *Tree) Unlink(dir Ino, name string) error {
	return t.remove(dir, name, false)
}

// Rmdir removes an empty directory.
func (t *Tree) Rmdir(dir Ino, name string) error {
	return t.remove(dir, name, true)
}

func (t *Tree) remove(dir Ino, name string, wantDir bool) error {
	if t.ov == nil {
		return unix.EROFS
	}
	t.mu.Lock()
	ino, err := t.checkRemove(dir, name, wantDir)
	if err == nil {
		err = t.log(&opEntry{parent: dir, name: name, when: t.now()})
	}
	n := t.nodes[ino]
	t.mu.Unlock()
	if err == nil && n != nil {
		t.reapUnlinked(n)
	}
	return err
}

// checkRemove returns the inode under a name that may be removed. It needs t.mu.
func (t *Tree) checkRemove(dir Ino, name string, wantDir bool) (Ino, error) {
	if err := t.checkDir(dir); err != nil {
		return 0, err
	}
	ino := t.child(dir, name)
	if ino == 0 {
		return 0, unix.ENOENT
	}
	isDir := t.typeOf(ino) == unix.S_IFDIR
	switch {
	case wantDir && !isDir:
		return 0, unix.ENOTDIR
	case !wantDir && isDir:
		return 0, unix.EISDIR
	case isDir && !t.isEmpty(ino):
		return 0, unix.ENOTEMPTY
	}
	return ino, nil
}

// Rename moves the entry oldName of oldDir to newName of newDir. Flags are those of
// renameat2: RENAME_NOREPLACE and RENAME_EXCHANGE. Moving a directory costs the same
// whatever lies below it.
func (t *Tree) Rename(oldDir Ino, oldName string, newDir Ino, newName string, flags uint32) error {
	switch {
	case t.ov == nil:
		return unix.EROFS
	case flags != 0 && flags != unix.RENAME_NOREPLACE && flags != unix.RENAME_EXCHANGE:
		return unix.EINVAL
	case len(newName) > maxName:
		return unix.ENAMETOOLONG
	}
	t.mu.Lock()
	replaced, err := t.rename(oldDir, oldName, newDir, newName, flags)
	t.mu.Unlock()
	if err == nil && replaced != nil {
		t.reapUnlinked(replaced)
	}
	return err
}

// rename needs t.mu held for writing. It returns the node that lost a name.
func (t *Tree) rename(oldDir Ino, oldName string, newDir Ino, newName string, flags uint32) (*node, error) {
	if err := t.checkDir(oldDir); err != nil {
		return nil, err
	}
	if err := t.checkDir(newDir); err != nil {
		return nil, err
	}
	src, dst := t.child(oldDir, oldName), t.child(newDir, newName)
	if err := t.checkRename(src, dst, oldDir, newDir, flags); err != nil {
		return nil, err
	}
	if src == dst {
		return nil, nil // two names of one file: nothing to do (rename(2))
	}
	now := t.now()
	if flags == unix.RENAME_EXCHANGE {
		return nil, t.log(
			&opEntry{parent: oldDir, name: oldName, when: now},
			&opEntry{parent: newDir, name: newName, ino: src, when: now},
			&opEntry{parent: oldDir, name: oldName, ino: dst, when: now},
		)
	}
	err := t.log(
		&opEntry{parent: oldDir, name: oldName, when: now},
		&opEntry{parent: newDir, name: newName, ino: src, when: now},
	)
	return t.nodes[dst], err
}

func (t *Tree) checkRename(src, dst, oldDir, newDir Ino, flags uint32) error {
	switch {
	case src == 0:
		return unix.ENOENT
	case flags == unix.RENAME_NOREPLACE && dst != 0:
		return unix.EEXIST
	case flags == unix.RENAME_EXCHANGE && dst == 0:
		return unix.ENOENT
	}
	if t.isGone(newDir) {
		return unix.ENOENT
	}
	srcIsDir := t.typeOf(src) == unix.S_IFDIR
	if srcIsDir && t.isBelow(newDir, src) {
		return unix.EINVAL
	}
	if dst == 0 || dst == src {
		return nil
	}
	dstIsDir := t.typeOf(dst) == unix.S_IFDIR
	if flags == unix.RENAME_EXCHANGE {
		if dstIsDir && t.isBelow(oldDir, dst) {
			return unix.EINVAL
		}
		return nil
	}
	switch {
	case srcIsDir && !dstIsDir:
		return unix.ENOTDIR
	case !srcIsDir && dstIsDir:
		return unix.EISDIR
	case dstIsDir && !t.isEmpty(dst):
		return unix.ENOTEMPTY
	}
	return nil
}

// isBelow reports whether dir is anc or lies below it. It needs t.mu.
func (t *Tree) isBelow(dir, anc Ino) bool {
	for dir != 0 {
		if dir == anc {
			return true
		}
		if dir == RootIno {
			return false
		}
		dir = t.parentOf(dir)
	}
	return false
}
