// Package manifest holds the nouns of snapfs: content hashes, entries, the four
// kinds of manifest, their validation and their two wire formats.
//
// A manifest is the table of contents of a directory tree. It lists files,
// symbolic links and directories with their sizes, times and content hashes; the
// contents themselves lie in a content-addressed store.
//
// Manifests differ in two ways, and the compiler keeps all four kinds apart: paths
// are absolute or relative to a root, and the manifest is a complete snapshot or a
// diff against a parent snapshot.
//
// Values are immutable by convention: functions return new manifests and never
// change their arguments. The package imports nothing else of snapfs, and
// everything else may import it.
package manifest

// WholeFile is the chunk size that means "never split a file into chunks".
const WholeFile int64 = -1

// DefaultChunkSize is the chunk size of new manifests, and of v2025 documents that
// name none: 256 MiB.
const DefaultChunkSize int64 = 256 << 20

// PathStyle is the phantom type parameter that tells relative manifests from
// absolute ones. It is sealed: Abs and Rel are the only implementations.
type PathStyle interface {
	Abs | Rel
	checkPath(path string) error
}

// Kind is the phantom type parameter that tells snapshots from diffs. It is
// sealed: Full and Diff are the only implementations.
type Kind interface {
	Full | Diff
	checkDeleted(deleted bool) error
}

type (
	// Abs marks manifests whose paths and link targets are absolute.
	Abs struct{}
	// Rel marks manifests whose paths and link targets are relative to a root.
	Rel struct{}
	// Full marks manifests that describe a complete tree.
	Full struct{}
	// Diff marks manifests that describe the changes from a parent to a child tree.
	Diff struct{}
)

// Manifest is a table of contents of a directory tree. The zero value of a field
// means that the field is absent.
type Manifest[P PathStyle, K Kind] struct {
	_ [0]func(P, K) // without it the compiler would convert one kind to another

	HashAlg    Algorithm
	ChunkSize  int64 // bytes, or WholeFile
	ParentHash Hash  // XXH128 of the parent's encoded bytes; diffs only, "" when unknown
	Files      []File
	Dirs       []Dir
}

type (
	// Snapshot is a complete tree with paths relative to its root.
	Snapshot = Manifest[Rel, Full]
	// SnapshotDiff is a change of a tree with paths relative to its root.
	SnapshotDiff = Manifest[Rel, Diff]
	// AbsSnapshot is a complete set of absolute paths.
	AbsSnapshot = Manifest[Abs, Full]
	// AbsSnapshotDiff is a change of a set of absolute paths.
	AbsSnapshotDiff = Manifest[Abs, Diff]
)

// Any is one of *Snapshot, *SnapshotDiff, *AbsSnapshot and *AbsSnapshotDiff. Use a
// type switch to tell them apart.
type Any interface {
	// IsDiff reports whether the manifest is one of the two diff kinds.
	IsDiff() bool
	// IsAbs reports whether the manifest is one of the two absolute kinds.
	IsAbs() bool
	// TotalSize returns the sum of the sizes of the live regular files, in bytes.
	TotalSize() int64
	// Validate reports the first rule of spec/types.md §4.1 that the manifest breaks.
	Validate() error
	// CheckSafe reports the first entry that could do harm when materialised.
	CheckSafe() error
	// CheckCase reports two live entries whose paths differ only in case.
	CheckCase() error
	sealed()
}

// File is a regular file, a symbolic link or, in a diff, the deletion of either.
type File struct {
	Path    string // normalised, "/"-separated
	Size    int64  // bytes
	ModTime int64  // microseconds since the Unix epoch
	Hash    Hash   // hash of the whole content; at most one of Hash and Chunks is set
	Chunks  []Hash // hashes of the consecutive pieces of ChunkSize bytes, the last one may be short

	// Target is the target of a symbolic link, and "" for anything else. Unlike in
	// POSIX it is relative to the root of the manifest (absolute in the Abs kinds),
	// never to the directory of the link.
	Target string

	Runnable bool // any execute bit is set
	Deleted  bool // diffs only: the path no longer exists
}

// IsLink reports whether f is a live symbolic link.
func (f *File) IsLink() bool { return !f.Deleted && f.Target != "" }

// IsRegular reports whether f is a live regular file.
func (f *File) IsRegular() bool { return !f.Deleted && f.Target == "" }

// IsHashed reports whether f carries the hash of its content, whole or in chunks.
func (f *File) IsHashed() bool { return f.Hash != "" || len(f.Chunks) > 0 }

// Dir is a directory or, in a diff, the deletion of one.
type Dir struct {
	Path    string
	Deleted bool
}

// Blob names a run of content in a store: a whole file or one chunk of it.
type Blob struct {
	Hash Hash
	Size int64 // bytes
}

// Blobs returns the blobs whose concatenation is the content of f in a manifest of
// the given chunk size, or nil when f is not a hashed regular file. An empty file
// has one blob of zero bytes.
func (f *File) Blobs(chunkSize int64) []Blob {
	switch {
	case !f.IsRegular():
		return nil
	case f.Hash != "":
		return []Blob{{Hash: f.Hash, Size: f.Size}}
	case len(f.Chunks) == 0:
		return nil
	}
	blobs := make([]Blob, len(f.Chunks))
	for i, h := range f.Chunks {
		blobs[i] = Blob{Hash: h, Size: min(chunkSize, f.Size-int64(i)*chunkSize)}
	}
	return blobs
}

// IsDiff reports whether m is one of the two diff kinds.
func (m *Manifest[P, K]) IsDiff() bool {
	var k K
	_, ok := any(k).(Diff)
	return ok
}

// IsAbs reports whether m is one of the two absolute kinds.
func (m *Manifest[P, K]) IsAbs() bool {
	var p P
	_, ok := any(p).(Abs)
	return ok
}

// TotalSize returns the sum of the sizes of the live regular files, in bytes.
func (m *Manifest[P, K]) TotalSize() int64 { return totalSize(m.Files) }

func totalSize(files []File) int64 {
	var n int64
	for i := range files {
		if files[i].IsRegular() {
			n += files[i].Size
		}
	}
	return n
}

func (m *Manifest[P, K]) sealed() {}
