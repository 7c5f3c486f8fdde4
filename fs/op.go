package fs

import (
	"os"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// op is one change of the overlay. A log record is a sequence of ops that take
// effect together. Ops hold absolute values, so that replaying one twice does no
// harm.
type op interface {
	append(b []byte) []byte
	// apply needs Tree.mu held for writing. It cannot fail: what an op refers to
	// was checked before it was logged, and damage is caught by checksums.
	apply(t *Tree)
}

// nodeOp is an op that changes one node and needs only the lock of that node.
type nodeOp interface {
	op
	applyNode(n *node)
}

const (
	tagCreate = iota + 1
	tagBase
	tagAttr
	tagEntry
	tagXattr
	tagExtent
	tagTruncate
	tagData
	tagContent
	tagHashes
	tagDirty
	tagCommit
	tagState
	tagStored
)

// opCreate makes a new inode.
type opCreate struct {
	opAttr
	rdev uint32
	text string
}

func (o *opCreate) append(b []byte) []byte {
	b = o.appendFields(append(b, tagCreate))
	return appendString(appendUint(b, uint64(o.rdev)), o.text)
}

func (o *opCreate) apply(t *Tree) {
	if t.nodes[o.ino] != nil {
		return // compacted while the tree was in use: what follows was applied already
	}
	n := newNode(o.ino, o.mode)
	n.rdev = o.rdev
	if n.typ == unix.S_IFLNK {
		n.text, n.size = o.text, int64(len(o.text))
	}
	o.applyNode(n)
	t.nodes[o.ino] = n
	t.nextIno = max(t.nextIno, o.ino+1)
}

// opBase starts the records of a base entry in a compacted log. It says whether the
// entry has its name in the base, and whether it is a directory that did not always.
type opBase struct {
	ino   Ino
	home  bool
	moved bool
}

func (o *opBase) append(b []byte) []byte {
	b = appendUint(append(b, tagBase), uint64(o.ino))
	return appendBool(appendBool(b, o.home), o.moved)
}

func (o *opBase) apply(t *Tree) {
	if t.nodes[o.ino] != nil || !t.base.has(o.ino) {
		return
	}
	if n := t.addRow(o.ino, o.home); n.dir != nil {
		n.dir.moved = o.moved
	}
}

// opAttr sets the attributes that chmod, chown and utimensat set.
type opAttr struct {
	ino                 Ino
	mode, uid, gid      uint32
	atime, mtime, ctime int64
}

func (o *opAttr) appendFields(b []byte) []byte {
	b = appendUint(b, uint64(o.ino), uint64(o.mode), uint64(o.uid), uint64(o.gid))
	return appendInt(b, o.atime, o.mtime, o.ctime)
}

func (o *opAttr) append(b []byte) []byte { return o.appendFields(append(b, tagAttr)) }

func (o *opAttr) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opAttr) applyNode(n *node) {
	n.mode, n.uid, n.gid = o.mode, o.uid, o.gid
	n.atime, n.mtime, n.ctime = o.atime, o.mtime, o.ctime
}

// opEntry makes a name of a directory refer to an inode, or to nothing (0).
type opEntry struct {
	parent Ino
	name   string
	ino    Ino
	when   int64 // 0 in a compacted log: times are recorded with the inodes
}

func (o *opEntry) append(b []byte) []byte {
	b = appendUint(append(b, tagEntry), uint64(o.parent))
	b = appendUint(appendString(b, o.name), uint64(o.ino))
	return appendInt(b, o.when)
}

func (o *opEntry) apply(t *Tree) {
	p := t.materialize(o.parent)
	if p == nil || p.dir == nil {
		return
	}
	if old := t.materialize(t.childOf(p, o.name)); old != nil {
		had := old.unlink(o.parent, o.name)
		old.touch(o.when, false)
		if had && old.dir != nil {
			p.dir.subdirs--
		}
	}
	p.touch(o.when, true)
	var below Ino
	if p.dir.row != 0 {
		below = Ino(t.base.child(p.dir.row, o.name))
	}
	if below == o.ino {
		delete(p.dir.names, o.name) // as in the base: nothing to remember
	} else {
		p.dir.set(o.name, o.ino)
	}
	n := t.materialize(o.ino)
	if n == nil {
		return
	}
	// A node that has just been materialised is linked under its base name already.
	n.unlink(o.parent, o.name)
	n.link(o.parent, o.name)
	n.touch(o.when, false)
	if n.dir != nil {
		p.dir.subdirs++
		n.dir.moved = n.dir.moved || (n.dir.row != 0 && below != o.ino)
	}
}

func (d *dirState) set(name string, ino Ino) {
	if d.names == nil {
		d.names = make(map[string]Ino)
	}
	d.names[name] = ino
}

// touch sets the change time, and the modification time when content changed.
func (n *node) touch(when int64, content bool) {
	if when == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ctime = when
	if content {
		n.mtime = when
	}
}

// opXattr sets an extended attribute, or removes it.
type opXattr struct {
	ino    Ino
	name   string
	remove bool
	value  []byte
	when   int64
}

func (o *opXattr) append(b []byte) []byte {
	b = appendString(appendUint(append(b, tagXattr), uint64(o.ino)), o.name)
	b = appendString(appendBool(b, o.remove), string(o.value))
	return appendInt(b, o.when)
}

func (o *opXattr) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opXattr) applyNode(n *node) {
	n.ctime = o.when
	if o.remove {
		delete(n.xattrs, o.name)
		return
	}
	if n.xattrs == nil {
		n.xattrs = make(map[string][]byte)
	}
	n.xattrs[o.name] = slices.Clone(o.value)
}

// opExtent records that a range of the base content is overlaid by the data file.
type opExtent struct {
	ino Ino
	r   extent.Range
}

func (o *opExtent) append(b []byte) []byte {
	return appendInt(appendUint(append(b, tagExtent), uint64(o.ino)), o.r.Off, o.r.End)
}

func (o *opExtent) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opExtent) applyNode(n *node) {
	if n.file != nil {
		n.file.written.Add(extent.Range{Off: o.r.Off, End: min(o.r.End, n.file.limit)})
	}
}

// opTruncate lowers how much of the base content shows through.
type opTruncate struct {
	ino   Ino
	limit int64
}

func (o *opTruncate) append(b []byte) []byte {
	return appendInt(appendUint(append(b, tagTruncate), uint64(o.ino)), o.limit)
}

func (o *opTruncate) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opTruncate) applyNode(n *node) {
	if n.file != nil && o.limit < n.file.limit {
		n.file.limit = o.limit
		n.file.written.Clip(o.limit)
	}
}

// opData records that the inode has a data file.
type opData struct{ ino Ino }

func (o *opData) append(b []byte) []byte { return appendUint(append(b, tagData), uint64(o.ino)) }
func (o *opData) apply(t *Tree)          { t.applyTo(o.ino, o) }

func (o *opData) applyNode(n *node) {
	if n.file != nil {
		n.file.data = true
	}
}

// opContent sets the whole content map of a file, but for an opStored: in the first
// records of a compacted log, and when an unlinked file gets a name.
type opContent struct {
	ino         Ino
	row         uint32
	data        bool
	size, limit int64
	written     []extent.Range
}

func (o *opContent) append(b []byte) []byte {
	b = appendUint(append(b, tagContent), uint64(o.ino), uint64(o.row))
	b = appendInt(appendBool(b, o.data), o.size, o.limit)
	b = appendUint(b, uint64(len(o.written)))
	for _, r := range o.written {
		b = appendInt(b, r.Off, r.End)
	}
	return b
}

func (o *opContent) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opContent) applyNode(n *node) {
	if n.file == nil {
		return
	}
	n.size = o.size
	src := n.file.src
	if o.row != 0 {
		src = nil
	}
	*n.file = fileState{row: o.row, src: src, limit: o.limit, data: o.data, f: n.file.f, gen: n.file.gen + 1}
	for _, r := range o.written {
		n.file.written.Add(r)
	}
}

// opHashes records the hashes of all chunks of a file, as committed.
type opHashes struct {
	ino    Ino
	hashes []manifest.Hash
}

func (o *opHashes) append(b []byte) []byte {
	b = appendUint(append(b, tagHashes), uint64(o.ino), uint64(len(o.hashes)))
	for _, h := range o.hashes {
		b = appendString(b, string(h))
	}
	return b
}

func (o *opHashes) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opHashes) applyNode(n *node) {
	if n.file != nil {
		n.file.hashes = o.hashes
	}
}

// opDirty records that a chunk has changed since its hash was recorded.
type opDirty struct {
	ino   Ino
	chunk int
}

func (o *opDirty) append(b []byte) []byte {
	return appendUint(append(b, tagDirty), uint64(o.ino), uint64(o.chunk))
}

func (o *opDirty) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opDirty) applyNode(n *node) {
	if n.file != nil && o.chunk < len(n.file.hashes) {
		n.file.hashes[o.chunk] = ""
	}
}

// opCommit records that a diff was published.
type opCommit struct{ seq int }

func (o *opCommit) append(b []byte) []byte { return appendUint(append(b, tagCommit), uint64(o.seq)) }
func (o *opCommit) apply(t *Tree)          { t.commits = max(t.commits, o.seq) }

// opState starts the records of a process, and starts and ends those of a compacted
// log. A log that ends with a clean one was closed in order: the sizes and times in
// it need no check against the data files. The boot ID tells whether the system has
// run on since.
type opState struct {
	next  Ino
	clean bool
	boot  string
}

func (o *opState) append(b []byte) []byte {
	return appendString(appendBool(appendUint(append(b, tagState), uint64(o.next)), o.clean), o.boot)
}

func (o *opState) apply(t *Tree) { t.nextIno = max(t.nextIno, o.next) }

// stateOp returns the record of the running system.
func (t *Tree) stateOp(clean bool) *opState {
	return &opState{next: t.nextIno, clean: clean, boot: bootID()}
}

// bootID names the run of the operating system, "" when it does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// applyTo applies a nodeOp that was read from the log. An op on an inode that does
// not exist belongs to a file that was unlinked while it was open.
func (t *Tree) applyTo(ino Ino, o nodeOp) {
	if n := t.materialize(ino); n != nil {
		o.applyNode(n)
	}
}
