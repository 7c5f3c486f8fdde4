package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/snapfs/snapfs/fs"
)

// OpenDir opens a directory. The kernel may keep the listing: it drops it by itself
// when it changes the directory.
func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	dir, err := f.tree.OpenDir(fs.Ino(in.NodeId))
	if err != nil {
		return status(err)
	}
	x := &openDir{Dir: dir, huge: dir.Len() > hugeDir}
	out.Fh = f.dirs.add(x)
	if x.huge {
		return fuse.OK // or nobody would ask for attributes any more
	}
	out.OpenFlags = fuse.FOPEN_CACHE_DIR
	if dir.Untouched() {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

const (
	// hugeDir is the number of entries from which on a listing is most of all the work of
	// the kernel, which makes an inode of every entry that comes with attributes.
	hugeDir = 200_000
	// fullEntries is how many entries of a huge directory come with attributes in any case.
	fullEntries = 20_000
)

// openDir is an open directory of the kernel.
type openDir struct {
	*fs.Dir
	huge bool
}

// bare reports whether entry i goes without attributes: who lists a huge directory most
// likely wants the names. Who looks at the entries is noticed, and gets the attributes
// of all that follow, because to ask for each would take ten times as long.
func (d *openDir) bare(f *FS, i int) bool {
	return d.huge && i >= fullEntries && f.looked.Load() != uint64(d.Ino())
}

// ReleaseDir closes a directory.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) { f.dirs.remove(in.Fh) }

// FsyncDir makes the names of a directory durable.
func (f *FS) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return status(f.tree.SyncNames()) }

// ReadDir lists a directory: ".", "..", then the entries of the tree, whose numbers
// are the offsets.
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dir, ok := f.dirs.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	return f.list(dir, in.Offset, out.AddDirEntry, func(i int, off uint64) bool {
		x, more := dir.Entry(i)
		if !more {
			return false
		}
		if x.Ino == 0 {
			return true // removed meanwhile
		}
		return out.AddDirEntry(fuse.DirEntry{Name: x.Name, Ino: uint64(x.Ino), Mode: x.Type, Off: off})
	})
}

// ReadDirPlus is ReadDir with the attributes of each entry, which spares the kernel
// a LOOKUP of each.
func (f *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dir, ok := f.dirs.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	// The kernel knows the inodes of "." and ".." itself.
	dot := func(e fuse.DirEntry) bool { return out.AddDirLookupEntry(e) != nil }
	return f.list(dir, in.Offset, dot, func(i int, off uint64) bool { return f.addPlus(dir, i, off, out) })
}

// addPlus adds entry i. The reference that the reply makes is given back when the
// entry does not fit.
func (f *FS) addPlus(dir *openDir, i int, off uint64, out *fuse.DirEntryList) bool {
	if dir.bare(f, i) {
		x, more := dir.Entry(i)
		return more && (x.Ino == 0 ||
			out.AddDirLookupEntry(fuse.DirEntry{Name: x.Name, Ino: uint64(x.Ino), Mode: x.Type, Off: off}) != nil)
	}
	x, a, more := dir.EntryAttr(i)
	if !more {
		return false
	}
	if x.Ino == 0 {
		return true
	}
	e := out.AddDirLookupEntry(fuse.DirEntry{Name: x.Name, Ino: uint64(x.Ino), Mode: x.Type, Off: off})
	if e == nil {
		f.tree.Forget(a.Ino, 1)
		return false
	}
	f.fillEntry(&a, e)
	return true
}

// list adds entries from offset on until one is refused: "." and ".." with dot, the
// others, by their number and the offset behind them, with add.
func (f *FS) list(dir *openDir, offset uint64, dot func(fuse.DirEntry) bool, add func(i int, off uint64) bool) fuse.Status {
	if offset == 0 {
		dir.Rewind()
	}
	for off := offset; ; off++ {
		var more bool
		switch off {
		case 0:
			more = dot(fuse.DirEntry{Name: ".", Ino: uint64(dir.Ino()), Mode: fuse.S_IFDIR, Off: 1})
		case 1:
			more = dot(fuse.DirEntry{Name: "..", Ino: f.parent(dir), Mode: fuse.S_IFDIR, Off: 2})
		default:
			more = add(int(off-2), off+1)
		}
		if !more {
			return fuse.OK
		}
	}
}

// parent returns the inode number that ".." shows.
func (f *FS) parent(dir *openDir) uint64 {
	p, err := f.tree.LookupParent(dir.Ino())
	if err != nil {
		return uint64(dir.Ino()) // removed: no entry will be shown anyway
	}
	f.tree.Forget(p.Ino, 1)
	return uint64(p.Ino)
}
