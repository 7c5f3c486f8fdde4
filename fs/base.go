package fs

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"unsafe"

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

// BaseError reports an entry of a snapshot that cannot be mounted.
type BaseError struct {
	Path   string
	Reason string
}

func (e *BaseError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Reason) }

// NewBase indexes a snapshot. Directories that are only implied by the paths of
// other entries exist like explicit ones. It refuses entries that no mounted tree
// can hold: names that escape the root or that no file system allows, entries below
// a file or a link, duplicate names, files whose content hash is missing or malformed.
func NewBase(m *manifest.Snapshot) (*Base, error) {
	if len(m.Files)+len(m.Dirs) > math.MaxUint32/4 {
		return nil, &BaseError{Path: "/", Reason: "too many entries"}
	}
	b := builder{
		m:    m,
		dirs: map[string]int{"": 0},
		tree: []buildDir{{}},
	}
	for i := range m.Dirs {
		if p := m.Dirs[i].Path; p != "." {
			if _, err := b.dir(p); err != nil {
				return nil, err
			}
		}
	}
	for i := range m.Files {
		if err := b.file(i); err != nil {
			return nil, err
		}
	}
	return b.finish()
}

// builder collects the children of each directory before rows can be numbered.
type builder struct {
	m        *manifest.Snapshot
	dirs     map[string]int // path of a directory to its index in tree
	tree     []buildDir
	lastPath string // directory of the last file, to save most look-ups
	lastDir  int
	out      *Base
	names    []byte
}

type buildDir struct {
	children []buildChild
	row      uint32
}

type buildChild struct {
	name string
	file int // index in m.Files, or -1
	dir  int // index in tree, when file is -1
}

// dir returns the index in tree of the directory at path, adding it and its
// ancestors when they are not known yet.
func (b *builder) dir(path string) (int, error) {
	if i, ok := b.dirs[path]; ok {
		return i, nil
	}
	parentPath, name := splitPath(path)
	if err := checkName(path, name); err != nil {
		return 0, err
	}
	parent, err := b.dir(parentPath)
	if err != nil {
		return 0, err
	}
	i := len(b.tree)
	b.tree = append(b.tree, buildDir{})
	b.dirs[path] = i
	b.tree[parent].children = append(b.tree[parent].children, buildChild{name: name, file: -1, dir: i})
	return i, nil
}

func (b *builder) file(i int) error {
	f := &b.m.Files[i]
	parentPath, name := splitPath(f.Path)
	if err := checkName(f.Path, name); err != nil {
		return err
	}
	if err := b.checkContent(f); err != nil {
		return err
	}
	if parentPath != b.lastPath {
		d, err := b.dir(parentPath)
		if err != nil {
			return err
		}
		b.lastPath, b.lastDir = parentPath, d
	}
	d := &b.tree[b.lastDir]
	d.children = append(d.children, buildChild{name: name, file: i})
	return nil
}

func (b *builder) checkContent(f *manifest.File) error {
	if f.IsLink() {
		if len(f.Target) > 4095 || strings.ContainsRune(f.Target, 0) {
			return &BaseError{f.Path, "unusable link target"}
		}
		return nil
	}
	if f.Size < 0 {
		return &BaseError{f.Path, "negative size"}
	}
	blobs := f.Blobs(b.m.ChunkSize)
	if blobs == nil {
		return &BaseError{f.Path, "has no content hash; hash and upload the tree first (snapfs upload)"}
	}
	var total int64
	for _, blob := range blobs {
		if !blob.Hash.IsXXH128() {
			return &BaseError{f.Path, fmt.Sprintf("%q is not an xxh128 hash", blob.Hash)}
		}
		total += blob.Size
	}
	if total != f.Size || (len(blobs) > 1 && blobs[len(blobs)-1].Size <= 0) {
		return &BaseError{f.Path, fmt.Sprintf("%d chunks of %d bytes do not make a file of %d bytes", len(blobs), b.m.ChunkSize, f.Size)}
	}
	return nil
}

func splitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// checkName refuses a component that cannot be, or must not be, a directory entry.
func checkName(path, name string) error {
	switch {
	case strings.HasPrefix(path, "/"):
		return &BaseError{path, "absolute path in a relative manifest"}
	case name == "" || name == "." || name == "..":
		return &BaseError{path, fmt.Sprintf("unsafe path component %q", name)}
	case len(name) > 255:
		return &BaseError{path[:64] + "…", "path component longer than 255 bytes"}
	case strings.IndexByte(name, 0) >= 0:
		return &BaseError{fmt.Sprintf("%q", path), "NUL in path"}
	}
	return nil
}

// finish numbers the rows breadth first.
func (b *builder) finish() (*Base, error) {
	n := len(b.m.Files) + len(b.tree)
	b.out = &Base{
		rows:      make([]row, 2, n+1),
		hashes:    make([][16]byte, 0, len(b.m.Files)),
		chunkSize: b.m.ChunkSize,
	}
	b.out.rows[RootIno] = row{parent: uint32(RootIno), kind: rowDir}
	b.tree[0].row = uint32(RootIno)
	queue := []int{0}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		subdirs, err := b.emitChildren(d)
		if err != nil {
			return nil, err
		}
		queue = append(queue, subdirs...)
	}
	b.out.names = unsafe.String(unsafe.SliceData(b.names), len(b.names)) // never written again
	b.out.setDirTimes()
	return b.out, nil
}

// emitChildren appends the rows of the children of directory d, and returns those
// that are directories.
func (b *builder) emitChildren(d int) (subdirs []int, err error) {
	children := b.tree[d].children
	byName := func(x, y buildChild) int { return strings.Compare(x.name, y.name) }
	if !slices.IsSortedFunc(children, byName) {
		slices.SortFunc(children, byName)
	}
	parent := b.tree[d].row
	first := uint32(len(b.out.rows))
	for i, c := range children {
		if i > 0 && c.name == children[i-1].name {
			return nil, b.duplicate(c, children[i-1])
		}
		r := row{parent: parent, name: uint32(len(b.names)), nameLen: uint8(len(c.name))}
		if len(b.names)+len(c.name) > math.MaxUint32-8192 {
			return nil, &BaseError{c.name, "the names of this manifest take more than 4 GiB"}
		}
		b.names = append(b.names, c.name...)
		if c.file < 0 {
			b.tree[c.dir].row = uint32(len(b.out.rows))
			subdirs = append(subdirs, c.dir)
		} else {
			b.fillFile(&r, &b.m.Files[c.file])
		}
		b.out.rows = append(b.out.rows, r)
	}
	b.out.rows[parent].first = first
	b.out.rows[parent].size = int64(len(children)) | int64(len(subdirs))<<32
	b.tree[d].children = nil
	return subdirs, nil
}

func (b *builder) duplicate(c, other buildChild) error {
	f := c.file
	if f < 0 {
		f = other.file
	}
	path := b.m.Files[f].Path
	if c.file < 0 || other.file < 0 {
		return &BaseError{path, "is a file or link, and other entries lie below it"}
	}
	return &BaseError{path, "listed twice"}
}

func (b *builder) fillFile(r *row, f *manifest.File) {
	r.mtime = f.ModTime
	if f.IsLink() {
		r.kind = rowLink
		r.first = uint32(len(b.names))
		r.size = int64(len(f.Target))
		b.names = append(b.names, f.Target...)
		return
	}
	r.kind = rowFile
	r.runnable = f.Runnable
	r.size = f.Size
	r.chunked = f.Hash == ""
	r.first = uint32(len(b.out.hashes))
	if f.Hash != "" {
		b.out.hashes = append(b.out.hashes, rawHash(f.Hash))
	}
	for _, h := range f.Chunks {
		b.out.hashes = append(b.out.hashes, rawHash(h))
	}
	b.out.bytes += f.Size
	b.out.files++
}

func rawHash(h manifest.Hash) (raw [16]byte) {
	hex.Decode(raw[:], []byte(h)) // checkContent has seen to its form
	return raw
}

// setDirTimes gives directories and links, whose times manifests do not record, a
// time that is the same at every mount: the newest of the files in the directory,
// or else the newest of all files.
func (b *Base) setDirTimes() {
	var newest int64
	for i := range b.rows {
		if r := &b.rows[i]; r.kind == rowFile {
			newest = max(newest, r.mtime)
			d := &b.rows[r.parent]
			d.mtime = max(d.mtime, r.mtime)
		}
	}
	for i := range b.rows {
		if r := &b.rows[i]; r.kind == rowDir && r.mtime == 0 {
			r.mtime = newest
		}
	}
	for i := range b.rows {
		if r := &b.rows[i]; r.kind == rowLink {
			r.mtime = b.rows[r.parent].mtime
		}
	}
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

// lookup returns the row at path, or 0.
func (b *Base) lookup(path string) uint32 {
	r := uint32(RootIno)
	for name := range strings.SplitSeq(path, "/") {
		if path == "" {
			break
		}
		if r = b.child(r, name); r == 0 {
			return 0
		}
	}
	return r
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
	x := &b.rows[r]
	h := b.hashes[int(x.first)+i]
	blob := manifest.Blob{Hash: manifest.Hash(hex.EncodeToString(h[:])), Size: x.size}
	if x.chunked {
		blob.Size = min(b.chunkSize, x.size-int64(i)*b.chunkSize)
	}
	return blob
}

// hashList returns the hashes of the blobs of a file.
func (b *Base) hashList(r uint32) []manifest.Hash {
	hashes := make([]manifest.Hash, b.blobs(r))
	for i := range hashes {
		hashes[i] = b.blob(r, i).Hash
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
	if !x.chunked {
		f.Hash = b.blob(r, 0).Hash
		return f
	}
	f.Chunks = b.hashList(r)
	return f
}

// sameContent reports whether two file rows, of bases with the same chunk size,
// hold the same bytes.
func (b *Base) sameContent(r uint32, o *Base, s uint32) bool {
	x, y := &b.rows[r], &o.rows[s]
	if x.size != y.size || x.chunked != y.chunked {
		return false
	}
	n := b.blobs(r)
	return slices.Equal(b.hashes[x.first:][:n], o.hashes[y.first:][:n])
}
