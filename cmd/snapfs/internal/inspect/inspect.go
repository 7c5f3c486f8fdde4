// Package inspect looks into manifests whose kind is known only at run time: what
// they hold in all, which entries lie where, and how much space directories take.
package inspect

import (
	"cmp"
	"iter"
	"slices"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
)

// Contents are the entries of a manifest of any kind. They share the lists of the
// manifest and are not to be changed.
type Contents struct {
	Files      []manifest.File
	Dirs       []manifest.Dir
	ChunkSize  int64
	HashAlg    manifest.Algorithm
	ParentHash manifest.Hash
}

// Of returns the contents of m.
func Of(m manifest.Any) Contents {
	switch m := m.(type) {
	case *manifest.Snapshot:
		return contents(m)
	case *manifest.SnapshotDiff:
		return contents(m)
	case *manifest.AbsSnapshot:
		return contents(m)
	case *manifest.AbsSnapshotDiff:
		return contents(m)
	}
	return Contents{}
}

func contents[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K]) Contents {
	return Contents{Files: m.Files, Dirs: m.Dirs, ChunkSize: m.ChunkSize, HashAlg: m.HashAlg, ParentHash: m.ParentHash}
}

// Types of entries.
const (
	TypeFile = "file"
	TypeLink = "link"
	TypeDir  = "dir"
)

// Entry is one entry of a manifest, in the form of `snapfs manifest ls --json`.
type Entry struct {
	Type     string          `json:"type"` // TypeFile, TypeLink or TypeDir; a deletion of either of the first two is TypeFile
	Path     string          `json:"path"`
	Size     int64           `json:"size"`               // bytes; 0 for links and directories
	ModTime  int64           `json:"mtime_us"`           // microseconds since the epoch; 0 for directories
	Runnable bool            `json:"runnable,omitempty"` // any execute bit is set
	Deleted  bool            `json:"deleted,omitempty"`  // diffs only
	Target   string          `json:"target,omitempty"`   // of a link, relative to the root of the manifest
	Hash     manifest.Hash   `json:"hash,omitempty"`
	Chunks   []manifest.Hash `json:"chunk_hashes,omitempty"`
}

// Entries yields the entries that keep accepts, sorted by path. A deletion comes before
// the live entry at the same path.
func (c Contents) Entries(keep func(path string) bool) iter.Seq[Entry] {
	// Millions of references are sorted, not millions of entries.
	type ref struct {
		path string
		file *manifest.File // nil for a directory
		gone bool
	}
	list := make([]ref, 0, len(c.Files)+len(c.Dirs))
	for i := range c.Files {
		if f := &c.Files[i]; keep(f.Path) {
			list = append(list, ref{f.Path, f, f.Deleted})
		}
	}
	for _, d := range c.Dirs {
		if keep(d.Path) {
			list = append(list, ref{d.Path, nil, d.Deleted})
		}
	}
	slices.SortFunc(list, func(a, b ref) int {
		return cmp.Or(manifest.ComparePaths(a.path, b.path), deletedFirst(a.gone, b.gone))
	})
	return func(yield func(Entry) bool) {
		for _, r := range list {
			e := Entry{Type: TypeDir, Path: r.path, Deleted: r.gone}
			if r.file != nil {
				e = fileEntry(r.file)
			}
			if !yield(e) {
				return
			}
		}
	}
}

func fileEntry(f *manifest.File) Entry {
	e := Entry{
		Type: TypeFile, Path: f.Path, Size: f.Size, ModTime: f.ModTime, Runnable: f.Runnable,
		Deleted: f.Deleted, Target: f.Target, Hash: f.Hash, Chunks: f.Chunks,
	}
	if f.IsLink() {
		e.Type, e.Size = TypeLink, 0
	}
	return e
}

func deletedFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Below returns a predicate that accepts dir and what lies below it. "" and "." mean
// everything.
func Below(dir string) func(path string) bool {
	dir = manifest.NormalizePath(dir)
	return func(path string) bool {
		if dir == "" || dir == "." || path == dir {
			return true
		}
		_, ok := manifest.Within(path, dir)
		return ok
	}
}

// Holds reports whether there is a live entry at path, or below it.
func (c Contents) Holds(path string) bool {
	below := Below(path)
	return slices.ContainsFunc(c.Files, func(f manifest.File) bool { return below(f.Path) }) ||
		slices.ContainsFunc(c.Dirs, func(d manifest.Dir) bool { return below(d.Path) })
}

// File returns the regular file at path, or the one that a link at path leads to.
func (c Contents) File(path string) (*manifest.File, error) {
	path = manifest.NormalizePath(path)
	file, dir, ok := manifest.NewLinks(c.Files, c.Dirs).Follow(path)
	switch {
	case !ok || (file != nil && file.Deleted):
		return nil, &failure.Error{Code: failure.NotFound, Path: path, Message: "there is no file " + path}
	case file == nil:
		return nil, &failure.Error{Code: failure.Usage, Path: path, Message: dir + " is a directory"}
	}
	return file, nil
}
