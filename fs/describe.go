package fs

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// describer turns what a walk has found into changes, while the tree is in use
// again.
type describer struct {
	t          *Tree
	parent     *Base
	mountPoint string
	cut        *Cut
}

// describe adds the change that an entry makes, if it makes one.
func (d *describer) describe(f *found) {
	c := Change{Kind: f.kind, Path: f.path, Inherited: f.inherited}
	if f.prow != 0 {
		if c.Dir = d.parent.isDir(f.prow); !c.Dir {
			c.Old = d.parent.file(f.prow, f.path)
		}
	}
	if f.kind != Deleted {
		d.now(&c, f)
	}
	if f.kind == Modified {
		if (d.parent.rows[f.prow].kind == rowLink) != d.isLink(f) {
			c.Kind = TypeChanged
		}
		same := c.Problem == "" && c.Content == nil
		if same && !differ(&c.Old, &c.New) {
			return
		}
		c.TimeOnly = same && SameContent(&c.Old, &c.New)
	}
	d.cut.Changes = append(d.cut.Changes, c)
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

// now fills in what an entry is now.
func (d *describer) now(c *Change, f *found) {
	if d.t.base.has(f.ino) && !f.inPlace {
		c.From = d.t.base.path(uint32(f.ino))
	}
	if why := unstorable(f.path); why != "" {
		c.Problem = "the name " + why
	}
	if f.n == nil {
		d.row(c, uint32(f.ino))
		return
	}
	c.node = f.n
	switch f.n.typ {
	case unix.S_IFDIR:
		c.Dir = true
	case unix.S_IFLNK:
		d.link(c, f.n.text)
	case unix.S_IFREG:
		d.file(c, f.n)
	case unix.S_IFIFO:
		c.Problem = "a named pipe cannot be stored in a manifest"
	case unix.S_IFSOCK:
		c.Problem = "a socket cannot be stored in a manifest"
	default:
		c.Problem = "a device cannot be stored in a manifest"
	}
}

func (d *describer) isLink(f *found) bool {
	if f.n != nil {
		return f.n.typ == unix.S_IFLNK
	}
	return d.t.base.rows[f.ino].kind == rowLink
}

// row fills in an untouched base entry.
func (d *describer) row(c *Change, r uint32) {
	switch d.t.base.rows[r].kind {
	case rowDir:
		c.Dir = true
	case rowLink:
		d.link(c, d.t.base.linkText(r))
	case rowFile:
		c.New = d.t.base.file(r, c.Path)
	}
}

func (d *describer) link(c *Change, text string) {
	dir, _ := splitPath(c.Path)
	target, ok := rootTarget(dir, text, d.mountPoint)
	c.New = manifest.File{Path: c.Path, Target: target}
	switch {
	case !ok:
		c.New.Target = text
		c.Problem = "the link leads out of the tree (" + text + "), which a relative manifest cannot express"
	default:
		if why := unstorable(target); why != "" {
			c.Problem = "the link target " + why
		} else if d.t.missing(target) > maxMissing {
			c.Problem = fmt.Sprintf("the link target lies below more than %d directories that do not exist, all of which a manifest would have to list", maxMissing)
		}
	}
}

// maxMissing is how many directories that do not exist may lie above a link target. A
// manifest lists them all, each with its whole path, so that a text with many links deep
// into nowhere would be taken for an attack by whoever reads it.
const maxMissing = 16

// missing returns how many of the directories above a path do not exist.
func (t *Tree) missing(path string) int {
	left := strings.Count(path, "/")
	if left <= maxMissing {
		return 0 // few enough, whether they exist or not
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	dir := RootIno
	for name := range strings.SplitSeq(path, "/") {
		if left == 0 {
			return 0
		}
		if dir = t.child(dir, name); dir == 0 {
			return left
		}
		left--
	}
	return 0
}

// unstorable says why no relative manifest can hold a path of the tree, or a target in
// it, "" when one can. One such name must not keep everything else from being
// committed.
func unstorable(path string) string {
	switch {
	case !utf8.ValidString(path):
		return "is not valid UTF-8"
	case len(path) > manifest.MaxPathLen:
		return fmt.Sprintf("makes a path of more than %d bytes", manifest.MaxPathLen)
	case manifest.IsAbsPath(path):
		return "begins like an absolute path of Windows, which a manifest would take it for"
	}
	for part := range strings.SplitSeq(path, "/") {
		if len(part) > manifest.MaxNameLen {
			return fmt.Sprintf("has a component of more than %d bytes", manifest.MaxNameLen)
		}
	}
	return ""
}

// file fills in a file. The walk has kept its node busy: the cut takes that over when
// the content has to be hashed.
func (d *describer) file(c *Change, n *node) {
	n.mu.Lock()
	n.catchUp()
	content := d.t.content(n)
	c.New = n.manifestFile(c.Path)
	n.mu.Unlock()
	if content.fill(&c.New) {
		d.t.release(n)
		return
	}
	d.cut.held = append(d.cut.held, n)
	c.Content = content
}
