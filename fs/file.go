package fs

import (
	"context"
	"io"
	"os"
	"sync/atomic"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"golang.org/x/sys/unix"
)

// File is an open file. Its methods may be called by any number of goroutines.
type File struct {
	t        *Tree
	ino      Ino
	node     atomic.Pointer[node] // nil while the file is an untouched base entry
	writable bool
	referred bool // the file holds a reference to its inode, having had no node
	borrowed bool // see Borrow
	reader   follower
}

// Open opens a regular file. The flags are those of open(2); of them O_TRUNC and the
// access mode matter. Opening for writing copies nothing.
func (t *Tree) Open(ino Ino, flags uint32) (*File, error) {
	f := &File{t: t, ino: ino, writable: flags&unix.O_ACCMODE != unix.O_RDONLY}
	if !f.writable && flags&unix.O_TRUNC == 0 {
		if err := t.openRead(f); err != nil {
			return nil, err
		}
		if f.node.Load() == nil {
			t.near.opened(uint32(ino))
		}
		return f, nil
	}
	n, err := t.writableNode(ino)
	if err != nil {
		return nil, err
	}
	f.node.Store(n)
	if n.file == nil {
		t.release(n)
		return nil, notRegular(n.typ)
	}
	if flags&unix.O_TRUNC != 0 {
		n.lockIO()
		err = t.truncate(n, 0)
		n.io.Unlock()
		if err != nil {
			t.release(n)
			return nil, err
		}
	}
	f.countWriter(n, 1)
	return f, nil
}

// countWriter counts a file that is open for writing, or no longer.
func (f *File) countWriter(n *node, more int32) {
	if f.writable {
		n.mu.Lock()
		n.writers += more
		n.mu.Unlock()
	}
}

func (t *Tree) openRead(f *File) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[f.ino]
	switch {
	case n != nil && n.file == nil:
		return notRegular(n.typ)
	case n != nil:
		n.hold()
		f.node.Store(n)
	case !t.base.has(f.ino):
		return unix.ESTALE
	case t.base.rows[f.ino].kind == rowDir:
		return unix.EISDIR
	case t.base.rows[f.ino].kind == rowLink:
		return unix.ELOOP
	case t.refs != nil:
		t.refs[f.ino].Add(1)
		f.referred = true
	}
	return nil
}

func notRegular(typ uint32) error {
	switch typ {
	case unix.S_IFDIR:
		return unix.EISDIR
	case unix.S_IFLNK:
		return unix.ELOOP
	}
	return unix.ENXIO
}

// Create makes a regular file and opens it for reading and writing.
func (t *Tree) Create(dir Ino, name string, perm uint32, owner Owner) (*File, Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.create(dir, name, unix.S_IFREG|perm&0o7777, owner, nil)
	if err != nil {
		return nil, Attr{}, err
	}
	return t.opened(t.nodes[a.Ino]), a, nil
}

// Tmpfile makes a regular file without a name in the file system of dir, and opens
// it. Link can give it a name.
func (t *Tree) Tmpfile(dir Ino, perm uint32, owner Owner) (*File, Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ov == nil {
		return nil, Attr{}, unix.EROFS
	}
	if err := t.checkDir(dir); err != nil {
		return nil, Attr{}, err
	}
	rec, err := t.newInode(dir, unix.S_IFREG|perm&0o7777, owner)
	if err != nil {
		return nil, Attr{}, err
	}
	rec.apply(t) // not logged: it has no name, and ends with this process
	a, err := t.refer(rec.ino)
	return t.opened(t.nodes[rec.ino]), a, err
}

func (t *Tree) opened(n *node) *File {
	f := &File{t: t, ino: n.ino, writable: true}
	n.hold()
	f.countWriter(n, 1)
	f.node.Store(n)
	return f
}

// Ino returns the inode number of the file.
func (f *File) Ino() Ino { return f.ino }

// Size returns the present size of the file, in bytes.
func (f *File) Size() int64 {
	n := f.current()
	if n == nil {
		return f.t.base.rows[f.ino].size
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	return n.size
}

// Writable reports whether the file was opened for writing.
func (f *File) Writable() bool { return f.writable }

// current returns the node of the file, taking it over when another open has made
// one since; nil when the file is still an untouched base entry.
func (f *File) current() *node {
	if n := f.node.Load(); n != nil {
		return n
	}
	f.t.mu.RLock()
	defer f.t.mu.RUnlock()
	n := f.t.nodes[f.ino]
	if n == nil {
		return nil
	}
	n.hold()
	if !f.node.CompareAndSwap(nil, n) {
		f.t.unhold(n)
		return f.node.Load()
	}
	return n
}

// unhold undoes hold for a node that another user keeps busy.
func (t *Tree) unhold(n *node) {
	n.mu.Lock()
	n.busy--
	n.mu.Unlock()
}

// ReadAt reads like pread(2): a short count means the end of the file, and is not
// an error. It waits for the store until ctx ends.
func (f *File) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if n := f.current(); n != nil {
		got, err := f.t.readNode(ctx, n, p, off)
		f.observe(off, got)
		return got, err
	}
	s := f.t.base.stored(uint32(f.ino))
	f.follow(&s, off, int64(len(p)))
	n, err := f.t.readRow(ctx, uint32(f.ino), p, off)
	if f.current() != nil { // it was changed meanwhile: what was read may be stale
		return f.ReadAt(ctx, p, off)
	}
	f.observe(off, n)
	return n, err
}

// WriteAt writes like pwrite(2).
func (f *File) WriteAt(p []byte, off int64) (int, error) { return f.writeAt(p, off, false) }

// WriteBackAt is WriteAt for what was written to mapped memory some time ago.
func (f *File) WriteBackAt(p []byte, off int64) (int, error) { return f.writeAt(p, off, true) }

func (f *File) writeAt(p []byte, off int64, late bool) (int, error) {
	if !f.writable {
		return 0, unix.EBADF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := f.node.Load()
	n.lockIO()
	defer n.io.Unlock()
	return f.t.write(n, p, off, late)
}

// DropPrivileges takes the set-user-ID and set-group-ID bits from the file, as when
// somebody unprivileged writes to it, and reports whether it had them.
func (f *File) DropPrivileges() (bool, error) {
	n := f.node.Load()
	n.mu.Lock()
	had := n.mode != withoutPrivileges(n.mode)
	n.mu.Unlock()
	if !had {
		return false, nil
	}
	return true, f.t.setAttr(n, SetAttr{DropPrivileges: true})
}

// Sync makes the content of the file durable, and every change of metadata before.
func (f *File) Sync() error {
	if f.t.ov == nil {
		return nil
	}
	n := f.current()
	if n == nil {
		return f.t.ov.sync()
	}
	n.mu.Lock()
	var file *os.File
	var err error
	if n.file.data {
		file, err = f.t.dataFile(n)
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if file == nil {
		return f.t.ov.sync()
	}
	flush := func() error { return unix.Fdatasync(int(file.Fd())) }
	if f.t.ov.isSynced() { // as after a write to a range that was written before
		return flush()
	}
	return both(f.t.ov.sync, flush)
}

// Close ends the use of the file.
func (f *File) Close() {
	if n := f.node.Load(); n != nil {
		if f.borrowed {
			f.giveBack(n)
		}
		f.countWriter(n, -1)
		f.t.release(n)
	}
	if f.referred {
		f.t.Forget(f.ino, 1)
	}
}

// Allocate is fallocate(2): mode 0 or KEEP_SIZE reserves disk space, PUNCH_HOLE and
// ZERO_RANGE make zeros.
func (f *File) Allocate(mode uint32, off, length int64) error {
	switch {
	case !f.writable:
		return unix.EBADF
	case off < 0 || length <= 0:
		return unix.EINVAL
	case off > maxFileSize-length:
		return unix.EFBIG
	}
	n := f.node.Load()
	n.lockIO()
	defer n.io.Unlock()
	r := extent.Range{Off: off, End: off + length}
	keep := mode&unix.FALLOC_FL_KEEP_SIZE != 0
	switch mode &^ unix.FALLOC_FL_KEEP_SIZE {
	case 0:
		return f.t.reserve(n, r, keep)
	case unix.FALLOC_FL_PUNCH_HOLE:
		if keep {
			return f.t.zero(n, r, true)
		}
	case unix.FALLOC_FL_ZERO_RANGE:
		return f.t.zero(n, r, keep)
	}
	return unix.EOPNOTSUPP
}

// reserve allocates space without changing content. Ranges of the base need none
// until they are written. It needs n.io.
func (t *Tree) reserve(n *node, r extent.Range, keep bool) error {
	old := n.sizeNow()
	size := old
	if !keep {
		size = max(size, r.End)
	}
	file, err := t.begin(n, extent.Range{Off: old, End: size}, old)
	if err != nil {
		return err
	}
	if from := max(r.Off, n.file.limit); from < r.End {
		err := t.ov.makeRoom(func() error { return fallocate(file, unix.FALLOC_FL_KEEP_SIZE, from, r.End-from) })
		if err != nil {
			return err
		}
	}
	return t.resize(n, file, old, size)
}

// zero makes a range read as zeros. It needs n.io.
func (t *Tree) zero(n *node, r extent.Range, keep bool) error {
	old := n.sizeNow()
	size := old
	if !keep {
		size = max(size, r.End)
	}
	file, err := t.begin(n, extent.Range{Off: min(r.Off, old), End: min(r.End, size)}, old)
	if err != nil {
		return err
	}
	// Not FALLOC_FL_ZERO_RANGE, which not every file system has.
	if err := fallocate(file, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.Off, r.Len()); err != nil {
		return err
	}
	n.mu.Lock()
	err = t.overlay(n, r)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	return t.resize(n, file, old, size)
}

// resize ends a change that may have made the file longer. It needs n.io.
func (t *Tree) resize(n *node, file *os.File, old, size int64) error {
	if size != old {
		if err := file.Truncate(size); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	t.end(n, size)
	return stamp(file, n) // nothing may have been done to the data file
}

func fallocate(f *os.File, mode uint32, off, n int64) error {
	for {
		if err := unix.Fallocate(int(f.Fd()), mode, off, n); err != unix.EINTR {
			return err
		}
	}
}

// Reader reads the file sequentially, for callers outside the kernel.
func (f *File) Reader(ctx context.Context) io.ReaderAt { return fileReader{f, ctx} }

type fileReader struct {
	f   *File
	ctx context.Context // the life of the reader is one call
}

func (r fileReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.f.ReadAt(r.ctx, p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}
