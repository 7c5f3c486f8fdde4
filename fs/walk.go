package fs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// walker compares the tree with the parent, directory by directory. It needs
// Tree.mu, and is quick: what entries hold is looked at later, by describer.
type walker struct {
	t      *Tree
	parent *Base
	found  []found
}

// found is an entry that may differ from the parent.
type found struct {
	kind ChangeKind
	path string
	prow uint32 // entry of the parent at the path, 0 for none
	ino  Ino    // entry of the tree, 0 for none
	n    *node  // its node, kept busy when it is that of a file; nil when there is none
	place
}

// place says how an entry of the tree relates to the base.
type place struct {
	inPlace   bool // a base entry at its place in the base, below directories that are too
	steady    bool // in place, and so were the directories above it at every commit
	inherited bool // moved, but only because a directory above it was
}

// dir compares the directory ino with the parent directory prow, 0 when the parent
// has none at this path. A base directory that is steady and untouched is the same
// in the parent: whatever a commit has changed was touched before, or moved.
func (w *walker) dir(path string, ino Ino, prow uint32, at place) {
	n := w.t.nodes[ino]
	if n == nil && at.steady && prow != 0 {
		return
	}
	at.steady = at.steady && (n == nil || !n.dir.moved)
	row := uint32(ino) // base directory below this one, or 0
	if n != nil {
		row = n.dir.row
	}
	var old, oldEnd uint32
	if prow != 0 {
		old, oldEnd = w.parent.children(prow)
	}
	for _, e := range w.names(ino, n) {
		for old < oldEnd && w.parent.name(old) < e.name {
			w.deleted(join(path, w.parent.name(old)), old)
			old++
		}
		home := w.t.base.has(e.ino) && w.t.base.rows[e.ino].parent == row && w.t.base.name(uint32(e.ino)) == e.name
		f := found{kind: Added, path: join(path, e.name), ino: e.ino}
		f.place = place{
			inPlace: at.inPlace && home, steady: at.steady && home, inherited: !at.inPlace && home && row != 0,
		}
		if old < oldEnd && w.parent.name(old) == e.name {
			f.prow = old
			w.both(f)
			old++
		} else {
			w.added(f)
		}
	}
	for ; old < oldEnd; old++ {
		w.deleted(join(path, w.parent.name(old)), old)
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// names lists a directory, which need not have a node, sorted by name.
func (w *walker) names(ino Ino, n *node) []dirName {
	if n != nil {
		list := w.t.names(n)
		slices.SortFunc(list, byName)
		return list
	}
	first, end := w.t.base.children(uint32(ino))
	list := make([]dirName, 0, end-first)
	for r := first; r < end; r++ {
		list = append(list, dirName{w.t.base.name(r), Ino(r)})
	}
	return list
}

// add takes an entry down, and keeps the content of a file from being removed.
func (w *walker) add(f found) {
	if f.n = w.t.nodes[f.ino]; f.n != nil && f.n.file != nil {
		f.n.hold()
	}
	w.found = append(w.found, f)
}

// deleted adds a parent entry that is gone, with everything below it.
func (w *walker) deleted(path string, prow uint32) {
	w.add(found{kind: Deleted, path: path, prow: prow})
	if !w.parent.isDir(prow) {
		return
	}
	first, end := w.parent.children(prow)
	for r := first; r < end; r++ {
		w.deleted(join(path, w.parent.name(r)), r)
	}
}

// added adds an entry that the parent does not have, with everything below it.
func (w *walker) added(f found) {
	w.add(f)
	if w.t.typeOf(f.ino) == unix.S_IFDIR && unstorable(f.path) == "" {
		w.dir(f.path, f.ino, 0, place{})
	}
}

// both compares an entry with the one of the parent at the same path.
func (w *walker) both(f found) {
	wasDir, isDir := w.parent.isDir(f.prow), w.t.typeOf(f.ino) == unix.S_IFDIR
	switch {
	case wasDir && isDir:
		w.dir(f.path, f.ino, f.prow, f.place)
	case f.steady && w.t.nodes[f.ino] == nil:
	case wasDir || isDir:
		w.deleted(f.path, f.prow)
		f.kind, f.prow = TypeChanged, 0
		w.added(f)
	default:
		f.kind = Modified
		w.add(f)
	}
}
