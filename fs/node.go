package fs

import (
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// node is an inode that differs from the base, or is not in it.
type node struct {
	ino     Ino
	typ     uint32       // type bits of the mode; they never change
	lookups atomic.Int64 // see Tree.refs; base inodes are counted there

	// Guarded by Tree.mu.
	links []link  // every name of the inode; empty when it is unlinked
	link1 [1]link // room for the only name that most inodes have
	dir   *dirState

	// io is held while the content changes, so that mu need not be: whoever wants
	// the attributes of a file does not wait for the disk.
	io sync.Mutex

	mu                  sync.Mutex // guards all below
	mode                uint32     // type and permissions
	uid, gid, rdev      uint32
	size                int64
	atime, mtime, ctime int64
	text                string // of a symbolic link
	xattrs              map[string][]byte
	file                *fileState
	unlinked            bool  // copy of len(links) == 0, for those who hold mu only
	busy                int32 // open files and running operations
	writers             int32 // files open for writing
}

// link is one name of an inode.
type link struct {
	parent Ino
	name   string
}

// dirState is what a directory node adds to the base directory below it.
type dirState struct {
	row     uint32         // base directory whose children show through, 0 for none
	names   map[string]Ino // names that differ from the base; 0 is a whiteout
	subdirs uint32         // number of child directories, base ones included
	moved   bool           // a base directory that is, or once was, somewhere else
}

// fileState is the content of a regular file.
type fileState struct {
	row     uint32     // base file that shows through, 0 for none
	direct  int32      // how many write to the data file directly; see File.Borrow
	data    bool       // the data file exists
	timed   bool       // somebody has set the modification time since the last write
	src     *stored    // other content that does so, when row is 0
	limit   int64      // bytes of it that are still visible
	written extent.Set // ranges below limit that the data file overlays
	f       *os.File   // the data file, open while the node is busy
	gen     uint64     // grows when a change of content begins, and when it ends

	seen int64 // change time of the data file when somebody wrote to it directly

	// What the last commit knows of the content: one hash for each chunk, "" where
	// the chunk has changed since. It is nil before the first commit.
	hashes []manifest.Hash
}

// newNode returns a node without a name.
func newNode(ino Ino, mode uint32) *node {
	var n *node
	switch mode & unix.S_IFMT {
	case unix.S_IFREG: // one piece of memory for both
		x := &struct {
			node
			fileState
		}{}
		n = &x.node
		n.file = &x.fileState
	case unix.S_IFDIR:
		n = &node{dir: &dirState{}, size: dirSize}
	default:
		n = &node{}
	}
	n.ino, n.typ, n.mode, n.unlinked = ino, mode&unix.S_IFMT, mode, true
	n.links = n.link1[:0]
	return n
}

// attr needs Tree.mu (for the links), and takes n.mu.
func (n *node) attr() Attr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	return Attr{
		Ino: n.ino, Mode: n.mode, Nlink: n.nlink(), UID: n.uid, GID: n.gid, Rdev: n.rdev, Size: n.size,
		Atime: n.atime, Mtime: n.mtime, Ctime: n.ctime,
	}
}

// nlink needs Tree.mu.
func (n *node) nlink() uint32 {
	switch {
	case len(n.links) == 0:
		return 0
	case n.dir != nil:
		return 2 + n.dir.subdirs
	}
	return uint32(len(n.links))
}

// attrOp returns a record that sets the attributes to what they are, but for the
// change time.
func (n *node) attrOp(ctime int64) *opAttr {
	return &opAttr{
		ino: n.ino, mode: n.mode, uid: n.uid, gid: n.gid,
		atime: n.atime, mtime: n.mtime, ctime: ctime,
	}
}

// unlink forgets one name, and reports whether it was there. It needs Tree.mu.
func (n *node) unlink(parent Ino, name string) bool {
	i := slices.Index(n.links, link{parent, name})
	if i < 0 {
		return false
	}
	n.links = slices.Delete(n.links, i, i+1)
	n.setUnlinked()
	return true
}

// link adds a name. It needs Tree.mu.
func (n *node) link(parent Ino, name string) {
	n.links = append(n.links, link{parent, name})
	n.setUnlinked()
}

func (n *node) setUnlinked() {
	n.mu.Lock()
	n.unlinked = len(n.links) == 0
	n.mu.Unlock()
}

// materialize returns the node of an inode, making that of an untouched base entry
// and of the directories above it: a directory without a node has nothing changed
// below it. It answers nil for an inode that does not exist. It needs t.mu held for
// writing.
func (t *Tree) materialize(ino Ino) *node {
	if ino == 0 {
		return nil
	}
	if n := t.nodes[ino]; n != nil || !t.base.has(ino) {
		return n
	}
	n := t.addRow(ino, true)
	t.materialize(Ino(t.base.rows[ino].parent))
	return n
}

// addRow makes the node of a base entry, with or without its name in the base. It
// needs t.mu held for writing.
func (t *Tree) addRow(ino Ino, home bool) *node {
	r := uint32(ino)
	x := &t.base.rows[r]
	a := t.rowAttr(ino)
	n := newNode(ino, a.Mode)
	n.uid, n.gid, n.size = a.UID, a.GID, a.Size
	n.atime, n.mtime, n.ctime = a.Atime, a.Mtime, a.Ctime
	if home {
		n.link(Ino(x.parent), t.base.name(r))
	}
	switch x.kind {
	case rowDir:
		n.dir.row, n.dir.subdirs = r, t.base.subdirs(r)
	case rowFile:
		n.file.row, n.file.limit = r, x.size
	case rowLink:
		n.text = t.base.linkText(r)
	}
	t.nodes[ino] = n
	return n
}

// isHome reports whether a base node has its name in the base. It needs Tree.mu.
func (t *Tree) isHome(n *node) bool {
	return slices.Contains(n.links, link{Ino(t.base.rows[n.ino].parent), t.base.name(uint32(n.ino))})
}

// writableNode returns the node of an inode that is about to be changed, and keeps
// it and its data file until release.
func (t *Tree) writableNode(ino Ino) (*node, error) {
	if t.ov == nil {
		return nil, unix.EROFS
	}
	t.mu.RLock()
	n := t.nodes[ino]
	t.mu.RUnlock()
	if n == nil {
		t.mu.Lock()
		n = t.materialize(ino)
		t.mu.Unlock()
	}
	if n == nil {
		return nil, unix.ESTALE
	}
	n.hold()
	return n, nil
}

func (n *node) hold() {
	n.mu.Lock()
	n.busy++
	n.mu.Unlock()
}

// release ends what writableNode or an open began: the data file is closed after
// the last user, and an unlinked node that nobody knows any more is dropped.
func (t *Tree) release(n *node) {
	n.mu.Lock()
	n.busy--
	idle := n.busy == 0
	if idle && n.file != nil && n.file.f != nil {
		n.file.f.Close()
		n.file.f = nil
	}
	settled := idle && t.settled(n)
	n.mu.Unlock()
	if settled {
		t.shrinkLater(n)
	}
	if idle {
		t.reapUnlinked(n)
	}
}

// reap drops an unlinked node when neither the kernel nor an open file refers to it.
func (t *Tree) reap(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.links) > 0 || n.busy > 0 || t.nodes[n.ino] != n || t.references(n.ino, n).Load() > 0 {
		return
	}
	delete(t.nodes, n.ino)
	if n.file != nil && n.file.data {
		t.ov.discard(n.ino)
	}
}

// references returns the counter of the references to an inode: one for each time
// that an entry was handed out, until Forget. It is nil when nobody needs it. The
// node is that of the inode, and may be nil for a base inode.
func (t *Tree) references(ino Ino, n *node) *atomic.Int64 {
	switch {
	case ino < Ino(len(t.refs)):
		return &t.refs[ino]
	case n != nil:
		return &n.lookups
	}
	return nil
}

// refer returns the attributes of an inode and counts one reference to it. It needs
// t.mu.
func (t *Tree) refer(ino Ino) (Attr, error) {
	if refs := t.references(ino, t.nodes[ino]); refs != nil {
		refs.Add(1)
	}
	return t.attr(ino)
}

// Forget tells the tree that n references to an inode were dropped.
func (t *Tree) Forget(ino Ino, n uint64) {
	t.mu.RLock()
	x := t.nodes[ino]
	refs := t.references(ino, x)
	t.mu.RUnlock()
	if refs != nil && refs.Add(-int64(n)) <= 0 && x != nil {
		t.reapUnlinked(x)
	}
}

// reapUnlinked is reap, but cheap for a node that has a name.
func (t *Tree) reapUnlinked(n *node) {
	n.mu.Lock()
	unlinked := n.unlinked
	n.mu.Unlock()
	if unlinked {
		t.reap(n)
	}
}
