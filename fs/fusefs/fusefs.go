package fusefs

import (
	"errors"

	"math"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"
	"github.com/snapfs/snapfs/fs"
	"golang.org/x/sys/unix"
)

// forever is a validity that outlives any mount, in seconds.
const forever = 1 << 31

// FS answers the requests of the kernel from a tree. It implements
// fuse.RawFileSystem.
type FS struct {
	fuse.RawFileSystem // answers ENOSYS to what FS does not implement

	tree  *fs.Tree
	log   zerolog.Logger
	conn  *fuse.Server // set by Init
	files *handles[*openFile]
	dirs  *handles[*openDir]
	quiet *limiter

	inodes  inodes
	aliases aliases
	direct  passthrough
	looked  atomic.Uint64 // directory in which a name was looked up last
}

var _ fuse.RawFileSystem = (*FS)(nil)

// New returns the file system that serves tree. Failed reads and writes are logged.
func New(tree *fs.Tree, log zerolog.Logger) *FS {
	return &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		tree:          tree,
		log:           log,
		files:         newHandles[*openFile](),
		dirs:          newHandles[*openDir](),
		quiet:         newLimiter(),
		inodes:        inodes{open: make(map[uint64]*inode)},
	}
}

// String names the file system type in the mount table.
func (f *FS) String() string { return "snapfs" }

// Init is called before the first request.
func (f *FS) Init(conn *fuse.Server) {
	f.conn = conn
	f.direct.start(conn)
}

// OnUnmount closes what the kernel has not closed: when the connection was aborted,
// RELEASE does not come.
func (f *FS) OnUnmount() {
	for _, file := range f.files.drain() {
		f.close(file)
	}
	f.dirs.drain()
}

func status(err error) fuse.Status { return fuse.Status(fs.Errno(err)) }

func fillAttr(a *fs.Attr, out *fuse.Attr) {
	out.Ino = uint64(a.Ino)
	out.Mode = a.Mode
	out.Nlink = a.Nlink
	out.Uid, out.Gid = a.UID, a.GID
	out.Rdev = a.Rdev
	out.Size = uint64(a.Size)
	out.Blocks = uint64(a.Blocks())
	out.Blksize = 64 << 10
	out.Atime, out.Atimensec = split(a.Atime)
	out.Mtime, out.Mtimensec = split(a.Mtime)
	out.Ctime, out.Ctimensec = split(a.Ctime)
}

// split turns nanoseconds into the seconds and nanoseconds of the protocol. The
// kernel reads the seconds as signed.
func split(ns int64) (sec uint64, nsec uint32) {
	ts := unix.NsecToTimespec(ns)
	return uint64(ts.Sec), uint32(ts.Nsec)
}

func (f *FS) fillEntry(a *fs.Attr, out *fuse.EntryOut) {
	out.NodeId = f.aliases.enter(a.Ino)
	out.Generation = 1
	out.EntryValid = forever
	out.AttrValid, out.AttrValidNsec = f.validity(a)
	fillAttr(a, &out.Attr)
}

// shortly is a validity in nanoseconds. Of most changes that are made without us the kernel
// knows that they make attributes invalid; not of those in mapped memory.
const shortly = 100_000_000

// validity returns for how long the kernel may remember attributes, in seconds and
// nanoseconds: for ever, unless they change without us, or are those of two inodes of
// the kernel.
func (f *FS) validity(a *fs.Attr) (sec uint64, nsec uint32) {
	switch {
	case a.Type() != unix.S_IFREG:
	case f.aliases.has(a.Ino):
		return 0, 0
	case f.tree.Changing(a.Ino):
		return 0, shortly
	}
	return forever, 0
}

func owner(h *fuse.InHeader) fs.Owner { return fs.Owner{UID: h.Uid, GID: h.Gid} }

// Lookup answers with a negative entry, which the kernel remembers, when there is
// no such name.
func (f *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	a, err := f.tree.Lookup(fs.Ino(h.NodeId), name)
	f.looked.Store(h.NodeId)
	if errors.Is(err, unix.ENOENT) {
		out.EntryValid = forever
		return fuse.OK
	}
	return f.entry(a, err, out)
}

// Forget drops references that entries in replies have made.
func (f *FS) Forget(nodeid, nlookup uint64) {
	f.tree.Forget(f.aliases.forget(nodeid, nlookup), nlookup)
}

// GetAttr answers stat.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	a, err := f.tree.GetAttr(f.aliases.ino(in.NodeId))
	return f.attrs(a, err, out)
}

// attrs answers a request for attributes.
func (f *FS) attrs(a fs.Attr, err error, out *fuse.AttrOut) fuse.Status {
	if err != nil {
		return status(err)
	}
	out.AttrValid, out.AttrValidNsec = f.validity(&a)
	fillAttr(&a, &out.Attr)
	return fuse.OK
}

// SetAttr answers chmod, chown, truncate and utimensat.
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	var s fs.SetAttr
	if mode, ok := in.GetMode(); ok {
		s.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		s.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		s.GID = &gid
	}
	if size, ok := in.GetSize(); ok {
		n := int64(size)
		s.Size = &n
	}
	if t, ok := in.GetATime(); ok {
		s.Atime = nanoseconds(t)
	}
	if t, ok := in.GetMTime(); ok {
		s.Mtime = nanoseconds(t)
	}
	s.DropPrivileges = in.Valid&fuse.FATTR_KILL_SUIDGID != 0
	if s.Size != nil {
		x := f.inodes.enter(in.NodeId)
		defer f.inodes.leave(x)
		if f.aliases.isOld(in.NodeId) {
			return fuse.Status(unix.ESTALE)
		}
		if x.readsStored() {
			return f.split(in.NodeId)
		}
	}
	a, err := f.tree.SetAttr(f.aliases.ino(in.NodeId), s)
	return f.attrs(a, err, out)
}

// nanoseconds returns a time as the tree counts it. Times that it cannot count, three
// centuries from now, become the last one that it can, as on disk file systems.
func nanoseconds(t time.Time) *int64 {
	ns := t.UnixNano()
	if first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64); t.Before(first) {
		ns = math.MinInt64
	} else if t.After(last) {
		ns = math.MaxInt64
	}
	return &ns
}

// entry answers a request that finds or makes an entry.
func (f *FS) entry(a fs.Attr, err error, out *fuse.EntryOut) fuse.Status {
	if err != nil {
		return status(err)
	}
	f.fillEntry(&a, out)
	return fuse.OK
}

// Mkdir makes a directory.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	a, err := f.tree.Mkdir(fs.Ino(in.NodeId), name, in.Mode, owner(&in.InHeader))
	return f.entry(a, err, out)
}

// Mknod makes a file, a fifo or a socket.
func (f *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	a, err := f.tree.Mknod(fs.Ino(in.NodeId), name, in.Mode, in.Rdev, owner(&in.InHeader))
	return f.entry(a, err, out)
}

// Symlink makes a symbolic link.
func (f *FS) Symlink(_ <-chan struct{}, h *fuse.InHeader, text, name string, out *fuse.EntryOut) fuse.Status {
	a, err := f.tree.Symlink(fs.Ino(h.NodeId), name, text, owner(h))
	return f.entry(a, err, out)
}

// Link makes a hard link.
func (f *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	a, err := f.tree.Link(f.aliases.ino(in.Oldnodeid), fs.Ino(in.NodeId), name)
	return f.entry(a, err, out)
}

// Readlink answers with the text of a symbolic link.
func (f *FS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	text, err := f.tree.Readlink(fs.Ino(h.NodeId))
	return []byte(text), status(err)
}

// Unlink removes a name.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(f.tree.Unlink(fs.Ino(h.NodeId), name))
}

// Rmdir removes an empty directory.
func (f *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(f.tree.Rmdir(fs.Ino(h.NodeId), name))
}

// Rename moves a name.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	return status(f.tree.Rename(fs.Ino(in.NodeId), oldName, fs.Ino(in.Newdir), newName, in.Flags))
}

// StatFs answers df.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	st, err := f.tree.Statfs()
	if err != nil {
		return status(err)
	}
	out.Bsize, out.Frsize = uint32(st.BlockSize), uint32(st.BlockSize)
	out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Free, st.Avail
	out.Files, out.Ffree = st.Files, st.FreeFiles
	out.NameLen = 255
	return fuse.OK
}

// Access is left to the kernel (default_permissions).
func (f *FS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }
