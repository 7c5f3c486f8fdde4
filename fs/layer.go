package fs

import (
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// Conflict is an entry of a layer that was not applied, because it was changed here.
type Conflict struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Name is a name in a directory.
type Name struct {
	Dir  Ino
	Name string
}

// Layered says what a layer has changed.
type Layered struct {
	Applied   int // entries that are now as in the layer, and were not before
	Conflicts []Conflict
	Names     []Name // what whoever remembers names of the tree must look up again
}

// layering is one run of AddLayer.
type layering struct {
	t            *Tree
	parent, next *Base
	out          *Layered
	replaced     []*node // nodes that have lost a name
}

// AddLayer brings the entries that a diff names to what they are in next, which is the
// parent of the next commit with the diff applied. Entries that were changed here, or
// are open for writing, stay as they are and are reported. Who has a file open goes on
// reading its old content: what is at the path is another file then.
//
// Each entry changes at once, but all of them do not. Rebase completes the work; when it
// does not come to that, the changes count as made here, and applying the same diff again
// completes it.
func (t *Tree) AddLayer(diff *manifest.SnapshotDiff, next *Base) (*Layered, error) {
	if t.ov == nil {
		return nil, unix.EROFS
	}
	l := &layering{t: t, parent: t.Parent(), next: next, out: &Layered{}}
	defer func() {
		for _, n := range l.replaced {
			t.reapUnlinked(n)
		}
	}()
	var paths []string
	for i := range diff.Files {
		paths = append(paths, diff.Files[i].Path)
	}
	for i := range diff.Dirs {
		paths = append(paths, diff.Dirs[i].Path)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for i := len(paths) - 1; i >= 0; i-- { // what is in a directory before the directory
		if l.next.find(paths[i]) == 0 {
			if err := l.remove(paths[i]); err != nil {
				return l.out, err
			}
		}
	}
	for _, path := range paths { // and here behind it
		if row := l.next.find(path); row != 0 {
			if err := l.put(path, row); err != nil {
				return l.out, err
			}
		}
	}
	return l.out, nil
}

// find returns the row of the entry at a path, 0 when there is none.
func (b *Base) find(path string) uint32 {
	r := uint32(RootIno)
	for name := range strings.SplitSeq(path, "/") {
		if r == 0 || b.rows[r].kind != rowDir {
			return 0
		}
		r = b.child(r, name)
	}
	return r
}

func (l *layering) conflict(path, reason string) {
	l.out.Conflicts = append(l.out.Conflicts, Conflict{path, reason})
}

// dir returns the directory that holds a path. It answers 0 when there is none here, with
// a conflict if the layer wants one; what the layer brings itself is made.
func (l *layering) dir(path string, want bool) (Ino, error) {
	dir := RootIno
	parts := strings.Split(path, "/")
	for i, name := range parts[:len(parts)-1] {
		above := strings.Join(parts[:i+1], "/")
		ino := l.t.child(dir, name)
		switch {
		case ino != 0 && l.t.typeOf(ino) == unix.S_IFDIR:
			dir = ino
			continue
		case !want:
			return 0, nil
		}
		prow := l.parent.find(above)
		switch {
		case ino != 0 && (prow == 0 || l.changed(above, ino, prow) != ""):
			l.conflict(path, above+" is no directory here")
			return 0, nil
		case ino == 0 && prow != 0:
			l.conflict(path, above+" was deleted or moved here")
			return 0, nil
		}
		var err error
		if dir, err = l.make(dir, name, l.next.find(above), ino); err != nil {
			return 0, err
		}
	}
	return dir, nil
}

// remove deletes what the layer deletes, with everything below it that it had.
func (l *layering) remove(path string) error {
	prow := l.parent.find(path)
	if prow == 0 {
		return nil // it deletes what has not been there
	}
	if l.parent.isDir(prow) {
		first, end := l.parent.children(prow)
		for r := first; r < end; r++ {
			if child := join(path, l.parent.name(r)); l.next.find(child) == 0 {
				if err := l.remove(child); err != nil {
					return err
				}
			}
		}
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	dir, err := l.dir(path, false)
	if dir == 0 || err != nil {
		return err
	}
	_, name := splitPath(path)
	ino := l.t.child(dir, name)
	switch {
	case ino == 0:
		return nil // deleted here, too
	case l.parent.isDir(prow):
		if l.t.typeOf(ino) != unix.S_IFDIR {
			l.conflict(path, "it is no directory any more")
			return nil
		}
		if !l.t.isEmpty(ino) {
			l.conflict(path, "something in it was made or changed here")
			return nil
		}
	default:
		if why := l.changed(path, ino, prow); why != "" {
			l.conflict(path, why)
			return nil
		}
	}
	return l.log(dir, name, &opEntry{parent: dir, name: name, when: l.t.now()})
}

// put makes the entry at a path what it is in next.
func (l *layering) put(path string, row uint32) error {
	prow := l.parent.find(path)
	if l.parent.isDir(prow) && !l.next.isDir(row) {
		if err := l.empty(path, prow); err != nil {
			return err
		}
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	dir, err := l.dir(path, true)
	if dir == 0 || err != nil {
		return err
	}
	_, name := splitPath(path)
	ino := l.t.child(dir, name)
	switch {
	case ino != 0 && l.same(path, ino, l.next, row):
		return nil
	case ino == 0 && prow != 0:
		l.conflict(path, "it was deleted or moved here")
		return nil
	case ino != 0 && prow == 0:
		l.conflict(path, "it was made here, too")
		return nil
	case ino != 0:
		if why := l.changed(path, ino, prow); why != "" {
			l.conflict(path, why)
			return nil
		}
	}
	_, err = l.make(dir, name, row, ino)
	return err
}

// empty removes what was in a directory that becomes a file.
func (l *layering) empty(path string, prow uint32) error {
	first, end := l.parent.children(prow)
	for r := first; r < end; r++ {
		if err := l.remove(join(path, l.parent.name(r))); err != nil {
			return err
		}
	}
	return nil
}

// changed says why an entry is not that of the parent any more, "" when it is. It needs
// Tree.mu.
func (l *layering) changed(path string, ino Ino, prow uint32) string {
	if l.parent.isDir(prow) {
		switch {
		case l.t.typeOf(ino) != unix.S_IFDIR:
			return "it is no directory any more"
		case !l.t.isEmpty(ino):
			return "something in it was made or changed here"
		}
		return ""
	}
	if n := l.t.nodes[ino]; n != nil {
		n.mu.Lock()
		writers := n.writers
		n.mu.Unlock()
		if writers > 0 {
			return "it is open for writing"
		}
	}
	if !l.same(path, ino, l.parent, prow) {
		return "it was changed here"
	}
	return ""
}

// same reports whether an entry has the type and content of a row of b, and is as
// runnable. It needs Tree.mu.
func (l *layering) same(path string, ino Ino, b *Base, row uint32) bool {
	t, x := l.t, &b.rows[row]
	switch t.typeOf(ino) {
	case unix.S_IFDIR:
		return x.kind == rowDir
	case unix.S_IFLNK:
		dir, _ := splitPath(path)
		target, ok := rootTarget(dir, t.linkText(ino), t.opts.MountPoint)
		return x.kind == rowLink && ok && target == b.target(row)
	case unix.S_IFREG:
	default:
		return false
	}
	if x.kind != rowFile {
		return false
	}
	want := b.file(row, "")
	n := t.nodes[ino]
	if n == nil {
		got := t.base.file(uint32(ino), "")
		return SameContent(&got, &want)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	got := n.manifestFile("")
	return t.content(n).fill(&got) && SameContent(&got, &want)
}

// make puts a new inode with what a row of next holds under a name, in place of the inode
// old, of which it takes over owner, permissions and attributes. It needs Tree.mu.
func (l *layering) make(dir Ino, name string, row uint32, old Ino) (Ino, error) {
	t, x := l.t, &l.next.rows[row]
	now := t.now()
	rec := &opCreate{opAttr: opAttr{
		ino: t.nextIno, uid: t.opts.UID, gid: t.opts.GID, atime: now, mtime: x.mtime * 1000, ctime: now,
	}}
	ops := []op{rec}
	switch x.kind {
	case rowDir:
		rec.mode, rec.mtime = unix.S_IFDIR|0o777&^t.opts.Umask, now
	case rowLink:
		rec.mode, rec.text = unix.S_IFLNK|0o777, l.next.linkText(row)
	case rowFile:
		rec.mode = unix.S_IFREG | 0o666&^t.opts.Umask
		if x.runnable {
			rec.mode |= 0o111 &^ t.opts.Umask
		}
		s := l.next.stored(row)
		ops = append(ops, s.op(rec.ino, rec.mtime))
	}
	if n := t.nodes[old]; n != nil && n.typ == rec.mode&unix.S_IFMT {
		ops = append(ops, inherit(rec, n, x.runnable)...)
	}
	ops = append(ops, &opEntry{parent: dir, name: name, ino: rec.ino, when: now})
	return rec.ino, l.log(dir, name, ops...)
}

// inherit lets a new inode have what no manifest holds of the one that it replaces, and
// returns the ops that its extended attributes take.
func inherit(rec *opCreate, n *node, runnable bool) []op {
	n.mu.Lock()
	defer n.mu.Unlock()
	rec.uid, rec.gid = n.uid, n.gid
	if runnable == (n.mode&0o111 != 0) {
		rec.mode = n.mode
	}
	var ops []op
	for name, value := range n.xattrs {
		ops = append(ops, &opXattr{ino: rec.ino, name: name, value: value, when: rec.ctime})
	}
	return ops
}

// log logs and applies the ops that change one name. It needs Tree.mu.
func (l *layering) log(dir Ino, name string, ops ...op) error {
	old := l.t.child(dir, name)
	if err := l.t.log(ops...); err != nil {
		return err
	}
	l.out.Applied++
	l.out.Names = append(l.out.Names, Name{dir, name})
	if n := l.t.nodes[old]; n != nil {
		l.replaced = append(l.replaced, n)
	}
	return nil
}
