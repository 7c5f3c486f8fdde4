package fs

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/snapfs/snapfs/manifest"
)

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
	_, _ = hex.Decode(raw[:], []byte(h)) // checkContent has seen to its form
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
