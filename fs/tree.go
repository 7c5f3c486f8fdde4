package fs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// BlobReader reads ranges of stored content. Implementations are safe for
// concurrent use, return exactly len(p) bytes or an error, and never return
// io/fs.ErrNotExist for a missing blob.
type BlobReader interface {
	ReadBlobAt(ctx context.Context, b manifest.Blob, p []byte, off int64) (int, error)
}

// Options configure a tree. The zero value is usable.
type Options struct {
	UID, GID uint32 // owner of base entries
	Umask    uint32 // permission bits that base entries lack, for example 0o022

	// MountPoint is where the tree will be seen. Commit needs it to tell absolute
	// link targets inside the tree from those outside.
	MountPoint string

	// Info describes the overlay to those who find it later. An overlay whose BaseID
	// is another one is refused.
	Info OverlayInfo

	// Parent is what commits are compared with: the base with every diff applied
	// that the overlay has committed. Nil means the base itself.
	Parent *Base

	// BeforeChange is called before a change is logged, for what must be in place by
	// then. It may be called by several goroutines at the same time, and often.
	BeforeChange func()
}

// Tree is a mounted tree. Its methods may be called by any number of goroutines;
// their errors hold a syscall.Errno (see Errno).
type Tree struct {
	base  *Base
	blobs BlobReader
	opts  Options
	ov    *overlay  // nil when the tree is read-only
	near  *siblings // nil when nothing can be fetched ahead

	observer func(ino Ino, off, n int64) // see Observe; nil for none

	// refs counts the references to base inodes; see references. It is nil in a
	// read-only tree, where nothing is ever unlinked.
	refs []atomic.Int64

	mu      sync.RWMutex
	parent  *Base
	nodes   map[Ino]*node
	nextIno Ino
	commits int // diffs published from this overlay
}

// New returns the tree that shows base through the overlay in the directory
// overlayDir, which is created when it does not exist and recovered when it does.
// With an empty overlayDir the tree is read-only.
func New(base *Base, blobs BlobReader, overlayDir string, opts Options) (*Tree, error) {
	t := &Tree{
		base: base, blobs: blobs, opts: opts, parent: opts.Parent, near: newSiblings(base, blobs),
		nodes: make(map[Ino]*node), nextIno: firstOverlayIno,
	}
	if t.parent == nil {
		t.parent = base
	}
	if t.parent.chunkSize != base.chunkSize {
		return nil, errors.New("the parent of the next commit has another chunk size than the base")
	}
	if overlayDir == "" {
		return t, nil
	}
	t.refs = make([]atomic.Int64, len(base.rows)) // memory that nobody touches costs nothing
	if err := t.openOverlay(overlayDir); err != nil {
		return nil, err
	}
	return t, nil
}

// ReadOnly reports whether the tree has no overlay.
func (t *Tree) ReadOnly() bool { return t.ov == nil }

// Base returns the base of the tree.
func (t *Tree) Base() *Base { return t.base }

// SetMountPoint tells the tree where it is seen; see Options.MountPoint.
func (t *Tree) SetMountPoint(dir string) {
	t.mu.Lock()
	t.opts.MountPoint = dir
	t.mu.Unlock()
}

// Stats says what the overlay of a tree costs.
type Stats struct {
	Nodes    int   // inodes that differ from the base, or were touched
	Unlinked int   // those without a name, which only open files keep
	LogBytes int64 // size of the log
}

// Stats returns what the overlay costs now.
func (t *Tree) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := Stats{Nodes: len(t.nodes)}
	for _, n := range t.nodes {
		if len(n.links) == 0 {
			s.Unlinked++
		}
	}
	if t.ov != nil {
		s.LogBytes = t.ov.log.Size()
	}
	return s
}

// Errno returns the error number that stands for err. What has no number of its
// own, a failure of the store above all, is an I/O error; it is never "no such
// file".
func Errno(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errStore), errors.Is(err, ErrDamaged):
		return unix.EIO
	case errors.Is(err, context.Canceled):
		return unix.EINTR
	case errors.As(err, &errno) && errno != 0:
		return errno
	}
	return unix.EIO
}

// errStore marks errors that came from the store, whatever they wrap.
var errStore = errors.New("cannot read from the store")

// log writes ops to the log as one record and applies them. It needs t.mu held for
// writing. When it fails nothing has changed.
func (t *Tree) log(ops ...op) error {
	if err := t.ov.append(ops...); err != nil {
		return err
	}
	for _, o := range ops {
		o.apply(t)
	}
	return nil
}

// logNode is log for an op that changes only n. It needs n.mu. Unlinked files are
// not logged: they end with the process that holds them open.
func (t *Tree) logNode(n *node, o nodeOp) error {
	if !n.unlinked {
		if err := t.ov.append(o); err != nil {
			return err
		}
	}
	o.applyNode(n)
	return nil
}

// child returns the inode that a name in a directory refers to, or 0. It needs t.mu.
func (t *Tree) child(dir Ino, name string) Ino {
	n := t.nodes[dir]
	if n == nil {
		if !t.base.has(dir) || t.base.rows[dir].kind != rowDir {
			return 0
		}
		return Ino(t.base.child(uint32(dir), name))
	}
	return t.childOf(n, name)
}

// childOf is child of a directory that has a node.
func (t *Tree) childOf(n *node, name string) Ino {
	if n.dir == nil {
		return 0
	}
	if ino, ok := n.dir.names[name]; ok {
		return ino
	}
	if n.dir.row == 0 {
		return 0
	}
	return Ino(t.base.child(n.dir.row, name))
}

// typeOf returns the type bits of the mode of an inode, 0 for one that does not
// exist. It needs t.mu.
func (t *Tree) typeOf(ino Ino) uint32 {
	if n := t.nodes[ino]; n != nil {
		return n.typ
	}
	if !t.base.has(ino) {
		return 0
	}
	switch t.base.rows[ino].kind {
	case rowDir:
		return unix.S_IFDIR
	case rowLink:
		return unix.S_IFLNK
	}
	return unix.S_IFREG
}

// checkDir returns ENOTDIR unless ino is a directory. It needs t.mu.
func (t *Tree) checkDir(ino Ino) error {
	switch t.typeOf(ino) {
	case 0:
		return unix.ESTALE
	case unix.S_IFDIR:
		return nil
	}
	return unix.ENOTDIR
}

// isGone reports whether a directory has been removed while somebody was in it. It
// needs t.mu.
func (t *Tree) isGone(dir Ino) bool {
	n := t.nodes[dir]
	return n != nil && len(n.links) == 0
}

// isEmpty reports whether a directory has no entries. It needs t.mu.
func (t *Tree) isEmpty(dir Ino) bool {
	n := t.nodes[dir]
	if n == nil {
		first, end := t.base.children(uint32(dir))
		return first == end
	}
	for _, ino := range n.dir.names {
		if ino != 0 {
			return false
		}
	}
	if n.dir.row == 0 {
		return true
	}
	first, end := t.base.children(n.dir.row)
	for r := first; r < end; r++ {
		if _, hidden := n.dir.names[t.base.name(r)]; !hidden {
			return false
		}
	}
	return true
}

// parentOf returns the directory that holds a directory. It needs t.mu.
func (t *Tree) parentOf(dir Ino) Ino {
	if n := t.nodes[dir]; n != nil {
		if len(n.links) == 0 {
			return 0
		}
		return n.links[0].parent
	}
	return Ino(t.base.rows[dir].parent)
}

// Path returns one path of an inode, relative to the root ("" for the root itself),
// for messages.
func (t *Tree) Path(ino Ino) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.path(ino)
}

func (t *Tree) path(ino Ino) string {
	var path string
	for ino != RootIno {
		var l link
		if n := t.nodes[ino]; n != nil {
			if len(n.links) == 0 {
				return fmt.Sprintf("(deleted)/%s", path)
			}
			l = n.links[0]
		} else if t.base.has(ino) {
			l = link{Ino(t.base.rows[ino].parent), t.base.name(uint32(ino))}
		} else {
			return fmt.Sprintf("(unknown inode %d)", ino)
		}
		if path == "" {
			path = l.name
		} else {
			path = l.name + "/" + path
		}
		ino = l.parent
	}
	return path
}
