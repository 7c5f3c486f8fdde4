package fs

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// walker compares the tree with the parent, directory by directory. It needs
// Tree.mu.
type walker struct {
	t   *Tree
	cut *Cut
}

// cursor is an entry of the tree during the walk.
type cursor struct {
	path      string
	ino       Ino
	inPlace   bool // a base entry at its place in the base, below directories that are too
	inherited bool // moved, but only because a directory above it was
}

// dir compares the directory ino with the parent directory prow, 0 when the parent
// has none at this path. A base directory that is in place and untouched is the
// same in the parent: whatever a commit has changed was touched before.
func (w *walker) dir(path string, ino Ino, prow uint32, inPlace bool) {
	n := w.t.nodes[ino]
	if n == nil && inPlace && prow != 0 {
		return
	}
	var now []dirName
	var row uint32
	if n != nil {
		now, row = w.t.names(n), n.dir.row
	} else {
		row = uint32(ino)
		first, end := w.t.base.children(row)
		for r := first; r < end; r++ {
			now = append(now, dirName{w.t.base.name(r), Ino(r)})
		}
	}
	var old, oldEnd uint32
	if prow != 0 {
		old, oldEnd = w.t.parent.children(prow)
	}
	for _, e := range now {
		for old < oldEnd && w.t.parent.name(old) < e.name {
			w.deleted(join(path, w.t.parent.name(old)), old)
			old++
		}
		home := w.t.base.has(e.ino) && w.t.base.rows[e.ino].parent == row && w.t.base.name(uint32(e.ino)) == e.name
		c := cursor{path: join(path, e.name), ino: e.ino, inPlace: inPlace && home, inherited: !inPlace && home && row != 0}
		if old < oldEnd && w.t.parent.name(old) == e.name {
			w.both(c, old)
			old++
		} else {
			w.added(c, Added)
		}
	}
	for ; old < oldEnd; old++ {
		w.deleted(join(path, w.t.parent.name(old)), old)
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (w *walker) add(c Change) { w.cut.Changes = append(w.cut.Changes, c) }

// deleted adds a parent entry that is gone, with everything below it.
func (w *walker) deleted(path string, prow uint32) {
	p := w.t.parent
	if p.rows[prow].kind != rowDir {
		w.add(Change{Kind: Deleted, Path: path, Old: p.file(prow, path)})
		return
	}
	w.add(Change{Kind: Deleted, Path: path, Dir: true})
	first, end := p.children(prow)
	for r := first; r < end; r++ {
		w.deleted(join(path, p.name(r)), r)
	}
}

// added adds an entry that the parent does not have, with everything below it.
func (w *walker) added(c cursor, kind ChangeKind) {
	change := w.describe(c, kind)
	w.add(change)
	if change.Dir && change.Problem == "" {
		w.dir(c.path, c.ino, 0, false)
	}
}

// both compares an entry with the one of the parent at the same path.
func (w *walker) both(c cursor, prow uint32) {
	typ := uint32(unix.S_IFDIR)
	if a, err := w.t.attr(c.ino); err == nil {
		typ = a.Type()
	}
	p := w.t.parent
	switch {
	case p.rows[prow].kind == rowDir && typ == unix.S_IFDIR:
		w.dir(c.path, c.ino, prow, c.inPlace)
		return
	case c.inPlace && w.t.nodes[c.ino] == nil:
		return
	case p.rows[prow].kind == rowDir || typ == unix.S_IFDIR:
		w.deleted(c.path, prow)
		w.added(c, TypeChanged)
		return
	}
	change := w.describe(c, Modified)
	change.Old = p.file(prow, c.path)
	wasLink, isLink := p.rows[prow].kind == rowLink, typ == unix.S_IFLNK
	if wasLink != isLink {
		change.Kind = TypeChanged
	}
	if change.Problem != "" || change.Content != nil || differ(&change.Old, &change.New) {
		change.TimeOnly = change.Problem == "" && change.Content == nil && SameContent(&change.Old, &change.New)
		w.add(change)
	}
}

// differ compares two entries whose hashes are known. The time alone is kept as a
// difference here; whoever publishes decides whether it counts.
func differ(a, b *manifest.File) bool {
	return a.Size != b.Size || a.ModTime != b.ModTime || a.Target != b.Target || a.Runnable != b.Runnable ||
		a.Hash != b.Hash || !slices.Equal(a.Chunks, b.Chunks)
}

// SameContent reports whether two entries differ in nothing but the time.
func SameContent(a, b *manifest.File) bool {
	x := *a
	x.ModTime = b.ModTime
	return !differ(&x, b)
}

// describe fills in what an entry is now.
func (w *walker) describe(c cursor, kind ChangeKind) Change {
	change := Change{Kind: kind, Path: c.path, Inherited: c.inherited}
	if w.t.base.has(c.ino) && !c.inPlace {
		change.From = w.t.base.path(uint32(c.ino))
	}
	name := c.path[strings.LastIndexByte(c.path, '/')+1:]
	if !utf8.ValidString(name) {
		change.Problem = "the name is not valid UTF-8"
	}
	n := w.t.nodes[c.ino]
	if n == nil {
		r := uint32(c.ino)
		switch w.t.base.rows[r].kind {
		case rowDir:
			change.Dir = true
		case rowLink:
			w.link(&change, w.t.base.linkText(r))
		case rowFile:
			change.New = w.t.base.file(r, c.path)
		}
		return change
	}
	change.node = n
	switch n.typ {
	case unix.S_IFDIR:
		change.Dir = true
	case unix.S_IFLNK:
		w.link(&change, n.text)
	case unix.S_IFREG:
		w.file(&change, n)
	case unix.S_IFIFO:
		change.Problem = "a named pipe cannot be stored in a manifest"
	default:
		change.Problem = "a socket cannot be stored in a manifest"
	}
	return change
}

func (w *walker) link(c *Change, text string) {
	dir, _ := splitPath(c.Path)
	target, ok := rootTarget(dir, text, w.t.opts.MountPoint)
	c.New = manifest.File{Path: c.Path, Target: target}
	switch {
	case !ok:
		c.New.Target = text
		c.Problem = "the link leads out of the tree (" + text + "), which a relative manifest cannot express"
	case !utf8.ValidString(target):
		c.Problem = "the link target is not valid UTF-8"
	}
}

func (w *walker) file(c *Change, n *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	content := w.t.content(n)
	c.New = n.manifestFile(c.Path)
	if content.fill(&c.New) {
		return
	}
	n.busy++
	w.cut.held = append(w.cut.held, n)
	c.Content = content
}
