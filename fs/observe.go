package fs

import "github.com/snapfs/snapfs/manifest"

// Observe lets fn know of every read of a file that comes from the base: the inode, and
// the range that was read, inside of the file. It is called before the tree is served,
// and fn by any number of goroutines.
func (t *Tree) Observe(fn func(ino Ino, off, n int64)) { t.observer = fn }

// observe tells the observer of a read.
func (f *File) observe(off int64, n int) {
	if f.t.observer != nil && n > 0 && f.t.base.has(f.ino) {
		f.t.observer(f.ino, off, int64(n))
	}
}

// PathOf returns the path that an inode has in the base, "" when it has none there.
func (b *Base) PathOf(ino Ino) string {
	if !b.has(ino) {
		return ""
	}
	return b.path(uint32(ino))
}

// File returns the regular file at path, if there is one.
func (b *Base) File(path string) (f manifest.File, ok bool) {
	row := b.find(path)
	if row == 0 || b.rows[row].kind != rowFile {
		return f, false
	}
	return b.file(row, path), true
}
