package fs

import (
	"context"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// ChangeKind says how an entry differs from the parent of the next commit.
type ChangeKind byte

// The kinds of change, as status prints them.
const (
	Added       ChangeKind = 'A'
	Modified    ChangeKind = 'M'
	Deleted     ChangeKind = 'D'
	Renamed     ChangeKind = 'R'
	TypeChanged ChangeKind = 'T' // between file, link and directory
)

// Change is one entry that differs, or may differ, from the parent.
type Change struct {
	Kind ChangeKind
	Path string
	Dir  bool // the entry is (or was, when deleted) a directory

	// From is the path in the base from where the entry was moved.
	From string
	// Inherited marks an entry that moved only because a directory above it did.
	Inherited bool

	// Old is the entry of the parent, when there is one and it is no directory.
	Old manifest.File
	// New is the entry now, unless it is deleted or a directory. Hashes that only
	// hashing can tell are missing from it; Content then says how to get them.
	New manifest.File
	// Content is nil when New is complete.
	Content *Content

	// TimeOnly marks a file that has another time than in the parent, and is the same
	// otherwise.
	TimeOnly bool

	// Problem says why no manifest can hold the entry, "" when one can.
	Problem string

	node *node
}

// Cut is the difference between the tree at one moment and the parent of the next
// commit. Writers go on while a cut is used; Content notices when what it reads
// changes.
type Cut struct {
	// Changes are sorted by path, a directory before what is in it.
	Changes []Change

	t    *Tree
	held []*node
}

// Content reads the content of a file that has to be hashed.
type Content struct {
	Size   int64
	Chunks []Chunk

	t   *Tree
	n   *node
	gen uint64
}

// Chunk is a run of content that becomes one blob.
type Chunk struct {
	Off, Len int64
	Hash     manifest.Hash // "" when the chunk has to be hashed
}

// Changes returns what differs from the parent of the next commit, without keeping
// it readable.
func (t *Tree) Changes() []Change {
	c := t.Checkpoint()
	defer c.Close()
	return c.Changes
}

// Checkpoint takes a cut. Its cost grows with the number of touched entries, not
// with the size of the tree. Nobody waits while it looks at contents. Close must be
// called when the cut is no longer used.
func (t *Tree) Checkpoint() *Cut {
	t.mu.RLock()
	w := walker{t: t, parent: t.parent, found: make([]found, 0, len(t.nodes))}
	d := describer{t: t, parent: t.parent, mountPoint: t.opts.MountPoint, cut: &Cut{t: t}}
	w.dir("", RootIno, uint32(RootIno), place{inPlace: true, steady: true})
	t.mu.RUnlock()
	d.cut.Changes = make([]Change, 0, len(w.found))
	for i := range w.found {
		d.describe(&w.found[i])
	}
	if changes := d.cut.Changes; !slices.IsSortedFunc(changes, byPath) { // they nearly are
		slices.SortFunc(changes, byPath)
	}
	return d.cut
}

// byPath orders changes by path. Of two with the same path, one is a deletion and
// comes first.
func byPath(a, b Change) int {
	if c := strings.Compare(a.Path, b.Path); c != 0 {
		return c
	}
	if a.Kind == Deleted {
		return -1
	}
	return 1
}

// Close ends the use of the cut.
func (c *Cut) Close() {
	for _, n := range c.held {
		c.t.release(n)
	}
	c.held = nil
}

// manifestFile returns the entry of a file without its hashes. It needs n.mu.
func (n *node) manifestFile(path string) manifest.File {
	return manifest.File{Path: path, Size: n.size, ModTime: floorMicros(n.mtime), Runnable: n.mode&0o111 != 0}
}

// floorMicros turns nanoseconds into microseconds. Manifests know no time before
// 1970 (spec/gaps.md G-33).
func floorMicros(ns int64) int64 { return max(ns/1000, 0) }

// content needs n.mu.
func (t *Tree) content(n *node) *Content {
	count := chunkCount(n.size, t.base.chunkSize)
	c := &Content{Size: n.size, Chunks: make([]Chunk, count), t: t, n: n, gen: n.file.gen}
	for i := range c.Chunks {
		off := int64(i) * max(t.base.chunkSize, 0)
		length := n.size - off
		if count > 1 {
			length = min(length, t.base.chunkSize)
		}
		c.Chunks[i] = Chunk{Off: off, Len: length, Hash: t.knownHash(n, i, count)}
	}
	return c
}

// fill puts the hashes into a manifest entry, and reports whether all are known.
func (c *Content) fill(f *manifest.File) bool {
	for i := range c.Chunks {
		if c.Chunks[i].Hash == "" {
			return false
		}
	}
	if len(c.Chunks) == 1 {
		f.Hash = c.Chunks[0].Hash
		return true
	}
	f.Chunks = make([]manifest.Hash, len(c.Chunks))
	for i := range c.Chunks {
		f.Chunks[i] = c.Chunks[i].Hash
	}
	return true
}

// ReaderAt reads the content as it is now.
func (c *Content) ReaderAt(ctx context.Context) *ContentReader {
	c.t.steady(ctx, c.n)
	return &ContentReader{c, ctx}
}

// ContentReader is an io.ReaderAt whose reads end with a context.
type ContentReader struct {
	c   *Content
	ctx context.Context // the life of the reader is one upload
}

// ReadAt reads from the file. Behind the end of the file, which another process may
// have moved, it reads zeros: the caller finds out from Changed.
func (r *ContentReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.c.t.readNode(r.ctx, r.c.n, p, off)
	if err != nil {
		return n, err
	}
	clear(p[n:])
	return len(p), nil
}

// Changed reports whether the file was changed since the content was described.
func (c *Content) Changed() bool {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.catchUp()
	return c.n.file.gen != c.gen
}

// Again describes the content, and the entry of the file, as they are now.
func (c *Content) Again(path string) (*Content, manifest.File) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.catchUp()
	return c.t.content(c.n), c.n.manifestFile(path)
}

// Resolve records the hashes of all chunks and returns the complete entry.
func (c *Content) Resolve(f manifest.File, hashes []manifest.Hash) manifest.File {
	for i, h := range hashes {
		c.Chunks[i].Hash = h
	}
	c.fill(&f)
	return f
}

// Parent returns the index of what the next commit is compared with.
func (t *Tree) Parent() *Base {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.parent
}

// Commits returns how many diffs were published from the overlay.
func (t *Tree) Commits() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.commits
}

// Committed tells the tree that the changes of a cut were published: next is the
// index of the parent with the diff applied, and seq the number of the diff. The
// hashes of files that have not changed since are remembered. It is durable when it
// returns. When it fails, the same changes are published once more, harmlessly.
func (t *Tree) Committed(c *Cut, next *Base, seq int) error {
	if err := t.Settled(c); err != nil {
		return err
	}
	return t.Rebase(next, seq)
}

// Rebase makes next what the next commit is compared with: the parent with diff number
// seq applied. It is durable when it returns.
func (t *Tree) Rebase(next *Base, seq int) error {
	t.mu.Lock()
	err := t.log(&opCommit{seq: seq})
	if err == nil {
		t.parent = next
	}
	t.mu.Unlock()
	if err != nil {
		return err
	}
	return t.ov.sync()
}

// Settled records the hashes that the contents of a cut have turned out to have, so
// that nobody has to hash them again: a file that was written and is the same as
// before is no change any more.
func (t *Tree) Settled(c *Cut) error {
	for i := range c.Changes {
		if err := t.remember(&c.Changes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) remember(c *Change) error {
	if c.Content == nil || c.node == nil {
		return nil
	}
	n := c.node
	n.lockIO() // a write that has begun may not have changed anything yet
	defer n.io.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file.gen != c.Content.gen || n.file.direct > 0 {
		return nil
	}
	hashes := make([]manifest.Hash, len(c.Content.Chunks))
	for i := range hashes {
		if hashes[i] = c.Content.Chunks[i].Hash; hashes[i] == "" {
			return nil
		}
	}
	return t.logNode(n, &opHashes{ino: n.ino, hashes: hashes})
}
