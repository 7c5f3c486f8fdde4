package fs

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// BaseError reports an entry of a snapshot that cannot be mounted.
type BaseError struct {
	Path   string
	Reason string
}

func (e *BaseError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Reason) }

// refuse makes a BaseError that outlives the entry.
func refuse(path, format string, args ...any) error {
	return &BaseError{strings.Clone(path), fmt.Sprintf(format, args...)}
}

// NewBase indexes a snapshot. Directories that are only implied by the paths of
// other entries exist like explicit ones. It refuses entries that no mounted tree
// can hold: names that escape the root or that no file system allows, entries below
// a file or a link, duplicate names, files whose content hash is missing or malformed.
func NewBase(m *manifest.Snapshot) (*Base, error) {
	b := NewBaseBuilder()
	b.Expect(len(m.Files))
	for i := range m.Dirs {
		if err := b.Dir(&m.Dirs[i]); err != nil {
			return nil, err
		}
	}
	for i := range m.Files {
		if err := b.File(&m.Files[i]); err != nil {
			return nil, err
		}
	}
	return b.Base(m.ChunkSize)
}

// BaseBuilder indexes a snapshot whose entries come one by one, in any order, so that it
// need not be in memory: it is a manifest.Visitor. It refuses what NewBase refuses, and
// can be used once.
type BaseBuilder struct {
	// rows are the entries as they came, with such rows as parents. Row 0 is unused, and
	// row RootIno is the root.
	rows   []row
	names  []byte
	hashes [][16]byte
	dirs   map[string]uint32 // path of a directory to its row

	lastPath string // directory of the last file, to save most look-ups
	lastDir  uint32
}

var _ manifest.Visitor = (*BaseBuilder)(nil)

// NewBaseBuilder returns a builder that has seen no entries.
func NewBaseBuilder() *BaseBuilder {
	rows := make([]row, RootIno+1)
	rows[RootIno] = row{parent: uint32(RootIno), kind: rowDir}
	return &BaseBuilder{
		rows: rows, dirs: map[string]uint32{"": uint32(RootIno)}, lastDir: uint32(RootIno),
	}
}

// Expect implements manifest.Visitor: it makes room for so many files.
func (b *BaseBuilder) Expect(files int) {
	more := max(0, files-len(b.rows)) + files/64
	b.names = slices.Grow(b.names, more*(len(b.names)/len(b.rows)+1))
	b.rows = slices.Grow(b.rows, more)
	b.hashes = slices.Grow(b.hashes, more)
}

// Dir implements manifest.Visitor.
func (b *BaseBuilder) Dir(d *manifest.Dir) error {
	if d.Path == "." {
		return nil
	}
	_, err := b.dir(d.Path)
	return err
}

// dir returns the row of the directory at path, adding it and its ancestors when they are
// not known yet.
func (b *BaseBuilder) dir(path string) (uint32, error) {
	if r, ok := b.dirs[path]; ok {
		return r, nil
	}
	parentPath, name := splitPath(path)
	if err := checkName(path, name); err != nil {
		return 0, err
	}
	parent, err := b.dir(parentPath)
	if err != nil {
		return 0, err
	}
	r, err := b.add(row{parent: parent, kind: rowDir}, path, name)
	if err == nil {
		b.rows[parent].size += 1 << 32
		b.dirs[strings.Clone(path)] = r
	}
	return r, err
}

// add adds a row. The size of a directory counts its children.
func (b *BaseBuilder) add(r row, path, name string) (uint32, error) {
	if len(b.rows) > math.MaxUint32/4 {
		return 0, refuse(path, "is one entry too many: no more than %d can be mounted", math.MaxUint32/4)
	}
	if len(b.names)+len(name) > math.MaxUint32-8192 {
		return 0, refuse(path, "the names of this manifest take more than 4 GiB")
	}
	r.name, r.nameLen = uint32(len(b.names)), uint8(len(name))
	b.names = append(b.names, name...)
	b.rows = append(b.rows, r)
	b.rows[r.parent].size++
	return uint32(len(b.rows) - 1), nil
}

// File implements manifest.Visitor.
func (b *BaseBuilder) File(f *manifest.File) error {
	parentPath, name := splitPath(f.Path)
	if err := checkName(f.Path, name); err != nil {
		return err
	}
	if err := checkContent(f); err != nil {
		return err
	}
	if parentPath != b.lastPath {
		parentPath = strings.Clone(parentPath)
		r, err := b.dir(parentPath)
		if err != nil {
			return err
		}
		b.lastPath, b.lastDir = parentPath, r
	}
	r := row{
		parent: b.lastDir, kind: rowFile, mtime: f.ModTime, runnable: f.Runnable, size: f.Size,
		chunked: f.Hash == "", first: uint32(len(b.hashes)),
	}
	if f.IsLink() {
		r = row{parent: b.lastDir, kind: rowLink, mtime: f.ModTime, size: int64(len(f.Target)), first: uint32(len(b.names))}
		b.names = append(b.names, f.Target...)
	} else if f.Hash != "" {
		b.hashes = append(b.hashes, rawHash(f.Hash))
	}
	for _, h := range f.Chunks {
		b.hashes = append(b.hashes, rawHash(h))
	}
	_, err := b.add(r, f.Path, name)
	return err
}

func checkContent(f *manifest.File) error {
	switch {
	case f.Deleted:
		return refuse(f.Path, "is a deletion")
	case f.IsLink():
		if len(f.Target) > 4095 || strings.IndexByte(f.Target, 0) >= 0 {
			return refuse(f.Path, "unusable link target")
		}
		return nil
	case f.Size < 0:
		return refuse(f.Path, "negative size")
	case !f.IsHashed():
		return refuse(f.Path, "has no content hash; hash and upload the tree first (snapfs upload)")
	case f.Hash != "" && !f.Hash.IsXXH128():
		return refuse(f.Path, "%q is not an xxh128 hash", f.Hash)
	}
	for _, h := range f.Chunks {
		if !h.IsXXH128() {
			return refuse(f.Path, "%q is not an xxh128 hash", h)
		}
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
		return refuse(path, "absolute path in a relative manifest")
	case name == "" || name == "." || name == "..":
		return refuse(path, "unsafe path component %q", name)
	case len(name) > 255:
		return refuse(path[:64]+"…", "path component longer than 255 bytes")
	case strings.IndexByte(name, 0) >= 0:
		return refuse(fmt.Sprintf("%q", path), "NUL in path")
	}
	return nil
}

func rawHash(h manifest.Hash) (raw [16]byte) {
	var text [32]byte
	copy(text[:], h)
	_, _ = hex.Decode(raw[:], text[:]) // checkContent has seen to its form
	return raw
}
