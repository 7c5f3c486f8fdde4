package fs

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// Lender is what a BlobReader may implement besides, so that the kernel can read
// contents without asking.
type Lender interface {
	// Lend opens, read-only, a local file that consists of the given blobs one after
	// the other, all of them verified. It reports false when there is none, and does
	// not wait for one. The caller closes the file.
	Lend(blobs []manifest.Blob) (*os.File, bool)
}

// coarseTick is longer than any tick of the clock that stamps files on a kernel
// without fine time stamps.
const coarseTick = 10 * time.Millisecond

// ampleRoom is how many bytes must be free where the overlay lies for writes to go
// past the tree: when it is nearly full, the tree makes room that others cannot.
const ampleRoom = 256 << 20

// blobs returns the blobs of which the whole content of f consists, or nil when
// there are other bytes in it.
func (f *File) blobs() []manifest.Blob {
	var s stored
	if n := f.current(); n == nil {
		s = f.t.base.stored(uint32(f.ino))
	} else {
		n.mu.Lock()
		below, ok := f.t.below(n.file)
		ok = ok && n.size == n.file.limit && n.size == below.size && n.file.written.Empty()
		n.mu.Unlock()
		if !ok {
			return nil
		}
		s = below
	}
	list := make([]manifest.Blob, len(s.hashes))
	for i := range list {
		list[i] = s.blob(i)
	}
	return list
}

// StoredID names the content of a file of which no byte was written here: files with
// the same name have the same content. It is "" for every other file.
func (f *File) StoredID() string {
	var id strings.Builder
	for _, b := range f.blobs() {
		id.WriteString(string(b.Hash))
	}
	return id.String()
}

// Stored opens a local file with the content of f, when no byte of it was written here
// and all of it was fetched and verified. The caller closes it, and must not let
// anybody write to it: it belongs to a store or its cache.
func (f *File) Stored() (*os.File, bool) {
	lender, ok := f.t.blobs.(Lender)
	if !ok {
		return nil, false
	}
	blobs := f.blobs()
	if len(blobs) == 0 {
		return nil, false
	}
	return lender.Lend(blobs)
}

// Prepare says that f may soon be opened again: if all of its content is local, but in
// several files, one is made of them.
func (f *File) Prepare() {
	if len(f.blobs()) < 2 {
		return
	}
	if stored, ok := f.Stored(); ok {
		stored.Close()
	}
}

// Borrow returns the file on the local disk that holds all of the content of f, or nil when
// there is none, or when it is better not to. Until f is closed the caller may read it and,
// if f was opened for writing, write to it directly: the tree finds out by itself. The
// caller must not close it.
//
// When others use the file already, f must join them: then only what makes it impossible
// counts, and is an error.
func (f *File) Borrow(join bool) (*os.File, error) {
	n := f.current()
	if n == nil || f.t.ov == nil || !join && f.writable && !f.t.ov.ample() {
		return nil, f.cannotJoin(join)
	}
	n.lockIO()
	defer n.io.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.isWhole(f.writable) || !join && !n.isCheap() {
		return nil, f.cannotJoin(join)
	}
	file, err := f.t.dataFile(n)
	if err != nil {
		return nil, err
	}
	if f.writable {
		if err := f.t.dirtyChunks(n, 0, len(n.file.hashes)-1); err != nil {
			return nil, err
		}
		if n.file.direct == 0 {
			if err := n.watch(file); err != nil {
				return nil, err
			}
		}
		n.file.direct++
	}
	f.borrowed = true
	return file, nil
}

func (f *File) cannotJoin(join bool) error {
	if join {
		return fmt.Errorf("inode %d is used directly, but has no data file: %w", f.ino, unix.EIO)
	}
	return nil
}

// isWhole reports whether all of the content is in the data file. One that does not exist
// yet can be made for who writes. It needs n.mu.
func (n *node) isWhole(write bool) bool {
	f := n.file
	// Otherwise what is stored shows through.
	return f != nil && (f.data || write) && (f.limit == 0 || f.written.Covers(extent.Range{End: f.limit}))
}

// isCheap reports whether nothing has to be done when the data file is written to. It
// needs n.mu.
func (n *node) isCheap() bool {
	// The first write takes a set-user-ID bit away. All hashes are forgotten when somebody
	// may write, and hashing one chunk again is cheap.
	return n.mode == withoutPrivileges(n.mode) && len(n.file.hashes) <= 1
}

// watch begins to look out for changes of the data file. It needs n.io and n.mu.
func (n *node) watch(file *os.File) error {
	if err := stamp(file, n); err != nil { // a new one is only about as old as its node
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	n.file.seen = st.Ctim.Nano()
	return nil
}

// ample reports whether there is ampleRoom.
func (o *overlay) ample() bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(o.dataFD.Fd()), &st) == nil && st.Bavail*uint64(st.Bsize) >= ampleRoom
}

// Changing reports whether the inode may be written to without the tree being asked,
// so that its attributes cannot be remembered.
func (t *Tree) Changing(ino Ino) bool {
	t.mu.RLock()
	n := t.nodes[ino]
	t.mu.RUnlock()
	if n == nil || n.file == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file.direct > 0
}

// giveBack ends what Borrow began.
func (f *File) giveBack(n *node) {
	if !f.writable {
		return
	}
	n.io.Lock()
	defer n.io.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	if n.file.direct--; n.file.direct == 0 {
		_ = stamp(n.file.f, n) // after a crash the times are those of the file
	}
}

// lockIO is io.Lock, after which the attributes are those of the content.
func (n *node) lockIO() {
	n.io.Lock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
}

// sizeNow returns the size of a file whose content is about to change. It needs n.io, so
// that it stays: the kernel lets nobody write directly meanwhile.
func (n *node) sizeNow() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	return n.size
}

// catchUp brings the attributes up to date when others write to the data file directly:
// whoever was told an old size would cut off what was written since. It needs n.mu.
func (n *node) catchUp() {
	f := n.file
	if f == nil || f.direct == 0 || f.f == nil {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.f.Fd()), &st) != nil || st.Ctim.Nano() == f.seen && st.Size == n.size {
		return
	}
	f.seen = st.Ctim.Nano()
	f.gen++
	n.size = st.Size
	// The clock that stamps files may be a tick behind ours: no time goes back for that.
	if mtime := st.Mtim.Nano(); mtime < n.mtime && n.mtime-mtime < int64(coarseTick) {
		n.mtime++
	} else {
		n.mtime = mtime
	}
	n.ctime = max(n.ctime+1, f.seen)
}

// steady makes changes that begin after it, and are made directly, show in the time
// stamps of the data file, even those of mapped memory.
func (t *Tree) steady(ctx context.Context, n *node) {
	n.mu.Lock()
	var file *os.File
	if n.file.direct > 0 {
		file = n.file.f
	}
	n.mu.Unlock()
	if file == nil {
		return
	}
	_ = unix.Fdatasync(int(file.Fd())) // dirty pages become read-only; failing is fsync's to report
	select {
	case <-time.After(coarseTick):
	case <-ctx.Done():
	}
}
