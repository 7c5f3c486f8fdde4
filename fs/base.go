package fs

import (
	"slices"
	"sort"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// Ino is an inode number. The inode number of a base entry is its row in the Base;
// that of an entry created in the overlay is at least firstOverlayIno. Numbers are
// never used twice.
type Ino uint64

// RootIno is the inode number of the root directory: row 1 of every base, and the
// number that FUSE gives to the root.
const RootIno Ino = 1

// firstOverlayIno leaves room for four billion base rows.
const firstOverlayIno Ino = 1 << 40

// rowKind is the type of a base entry.
type rowKind uint8

const (
	rowDir rowKind = iota
	rowFile
	rowLink
)

// row describes one base entry in 32 bytes.
type row struct {
	parent   uint32 // row of the parent directory
	name     uint32 // offset of the name in Base.names
	nameLen  uint8
	kind     rowKind
	runnable bool
	chunked  bool   // file: content is in chunks of Base.chunkSize
	first    uint32 // dir: row of the first child; file: index of the first hash; link: offset of the target in Base.names
	size     int64  // file: bytes; dir: number of children | number of child directories << 32; link: length of the target
	mtime    int64  // microseconds
}

// Base is the index of a snapshot. It is immutable: any number of goroutines may
// use it. Its rows are numbered breadth first, so that the children of a directory
// are neighbours, sorted by name.
type Base struct {
	rows      []row  // row 0 is unused
	names     string // names and link targets, one after the other
	hashes    [][16]byte
	chunkSize int64
	bytes     int64 // sum of the sizes of all files
	files     int
}

// Entries returns the number of files, links and directories, the root included.
func (b *Base) Entries() int { return len(b.rows) - 1 }

// Bytes returns the sum of the sizes of all files.
func (b *Base) Bytes() int64 { return b.bytes }

// ChunkSize returns the size at which the content of files is cut into blobs, or
// manifest.WholeFile.
func (b *Base) ChunkSize() int64 { return b.chunkSize }

func (b *Base) has(ino Ino) bool { return ino >= RootIno && ino < Ino(len(b.rows)) }

func (b *Base) name(r uint32) string {
	x := &b.rows[r]
	return b.names[x.name:][:x.nameLen]
}

// children returns the rows of the children of a directory as a half-open interval.
func (b *Base) children(dir uint32) (first, end uint32) {
	d := &b.rows[dir]
	return d.first, d.first + uint32(d.size)
}

// isDir reports whether a row is a directory; row 0 is none.
func (b *Base) isDir(r uint32) bool { return r != 0 && b.rows[r].kind == rowDir }

// subdirs returns how many children of a directory are directories.
func (b *Base) subdirs(dir uint32) uint32 { return uint32(b.rows[dir].size >> 32) }

// child returns the row of the named child of a directory, or 0.
func (b *Base) child(dir uint32, name string) uint32 {
	first, end := b.children(dir)
	n := int(end - first)
	i := sort.Search(n, func(i int) bool {
		return b.name(first+uint32(i)) >= name
	})
	if i == n || b.name(first+uint32(i)) != name {
		return 0
	}
	return first + uint32(i)
}

// path returns the path of a row, "" for the root.
func (b *Base) path(r uint32) string {
	var parts []string
	for ; r != uint32(RootIno); r = b.rows[r].parent {
		parts = append(parts, b.name(r))
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// target returns the target of a link, relative to the root of the tree.
func (b *Base) target(r uint32) string {
	x := &b.rows[r]
	return b.names[x.first:][:x.size]
}

// linkText returns what readlink answers for a base link: the target relative to
// the directory of the link, so that the tree works wherever it is mounted.
func (b *Base) linkText(r uint32) string {
	return relativeTarget(b.path(b.rows[r].parent), b.target(r))
}

// blobs returns the number of blobs of a file, and blob i of them.
func (b *Base) blobs(r uint32) int {
	x := &b.rows[r]
	if !x.chunked {
		return 1
	}
	return int((x.size + b.chunkSize - 1) / b.chunkSize)
}

func (b *Base) blob(r uint32, i int) manifest.Blob {
	s := b.stored(r)
	return s.blob(i)
}

// hashList returns the hashes of the blobs of a file.
func (b *Base) hashList(r uint32) []manifest.Hash {
	s := b.stored(r)
	hashes := make([]manifest.Hash, len(s.hashes))
	for i := range hashes {
		hashes[i] = s.blob(i).Hash
	}
	return hashes
}

// file returns the manifest entry of a file or link row under another path.
func (b *Base) file(r uint32, path string) manifest.File {
	x := &b.rows[r]
	if x.kind == rowLink {
		return manifest.File{Path: path, Target: b.target(r)}
	}
	f := manifest.File{Path: path, Size: x.size, ModTime: x.mtime, Runnable: x.runnable}
	s := b.stored(r)
	s.entry(&f)
	return f
}
