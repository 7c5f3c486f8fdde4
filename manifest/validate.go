package manifest

import (
	"errors"
	"fmt"
	"math"
)

// ErrInvalid is wrapped by every error that means "this manifest, or this argument
// of an operation on manifests, is not acceptable".
var ErrInvalid = errors.New("Manifest validation error")

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

func (Abs) checkPath(path string) error {
	switch {
	case path == "":
		return invalidf("path must not be empty")
	case !IsAbsPath(path):
		return invalidf("expected absolute path, got: %s", path)
	}
	return nil
}

func (Rel) checkPath(path string) error {
	switch {
	case path == "":
		return invalidf("path must not be empty")
	case IsAbsPath(path):
		return invalidf("expected relative path, got: %s", path)
	}
	return nil
}

func (Full) checkDeleted(deleted bool) error {
	if deleted {
		return invalidf("a snapshot must not contain deleted entries")
	}
	return nil
}

func (Diff) checkDeleted(bool) error { return nil }

// Validate reports the first rule of spec/types.md §4.1 that m breaks. It checks in
// the order given there: the chunk size, every file, every directory, the chunks of
// every file, and that no path occurs twice. Sizes that are negative, or whose sum
// does not fit an int64, are refused besides.
//
// A diff may delete a file and have a directory at the same path, or the other way
// round: that is how a file turns into a directory (spec/gaps.md G-04).
func (m *Manifest[P, K]) Validate() error {
	_, err := m.validate(knowledge{})
	return err
}

// defect is a mistake of an entry that a File cannot show any more, because it has
// no way to say "absent". The decoder notes the first one.
type defect struct {
	at  int // index of the file
	err error
}

// knowledge is what the decoder knows about the files of a manifest.
type knowledge struct {
	defect
	vetted  bool // nothing is wrong with them, but perhaps the number of their chunks, and they are sorted
	chunked bool // valid when vetted: some have chunks
}

// validate is Validate; the defect, if there is one, is reported in its place of
// the order. The set of all paths is returned for further checks.
func (m *Manifest[P, K]) validate(known knowledge) (*pathSet, error) {
	if err := checkChunkSize(m.ChunkSize); err != nil {
		return nil, err
	}
	if !known.vetted {
		if err := m.checkFiles(known.defect); err != nil {
			return nil, err
		}
	}
	for i := range m.Dirs {
		if err := m.checkEntry(m.Dirs[i].Path, m.Dirs[i].Deleted); err != nil {
			return nil, err
		}
	}
	if !known.vetted || known.chunked {
		for i := range m.Files {
			if f := &m.Files[i]; len(f.Chunks) > 0 {
				if err := checkChunks(f, m.ChunkSize); err != nil {
					return nil, err
				}
			}
		}
	}
	if !known.vetted {
		if err := m.checkTotal(); err != nil {
			return nil, err
		}
	}
	return m.checkUnique(known.vetted)
}

// checkFiles checks all files by themselves, but for the number of their chunks.
func (m *Manifest[P, K]) checkFiles(d defect) error {
	for i := range m.Files {
		if err := m.checkEntry(m.Files[i].Path, m.Files[i].Deleted); err != nil {
			return err
		}
		if d.err != nil && d.at == i {
			return d.err
		}
		if err := m.checkFile(&m.Files[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manifest[P, K]) checkEntry(path string, deleted bool) error {
	var (
		style P
		kind  K
	)
	if err := style.checkPath(path); err != nil {
		return err
	}
	if err := kind.checkDeleted(deleted); err != nil {
		return fmt.Errorf("%w: %s", err, path)
	}
	return nil
}

func (m *Manifest[P, K]) checkFile(f *File) error {
	switch {
	case f.Deleted:
		if f.Size != 0 || f.ModTime != 0 || f.IsHashed() || f.Target != "" {
			return invalidf("deleted entry must have no data fields: %s", f.Path)
		}
	case f.Target != "":
		var style P
		if style.checkPath(f.Target) != nil {
			return invalidf("symlink_target path style mismatch for %s: %s", f.Path, f.Target)
		}
		if f.IsHashed() {
			return invalidf("symlink must not have hash or chunk_hashes: %s", f.Path)
		}
	case f.Hash != "" && len(f.Chunks) > 0:
		return invalidf("regular file must have at most one of hash/chunk_hashes: %s", f.Path)
	case f.Size < 0:
		return invalidf("file %q has a negative size: %d", f.Path, f.Size)
	}
	return nil
}

func checkChunkSize(size int64) error {
	if size != WholeFile && size <= 0 {
		return invalidf("invalid fileChunkSizeBytes: got %d, must be -1 (WHOLE_FILE_CHUNK_SIZE) or a positive integer", size)
	}
	return nil
}

// checkChunks reports whether the number of chunks of f fits its size.
func checkChunks(f *File, chunkSize int64) error {
	if chunkSize == WholeFile {
		return invalidf("file '%s' has chunkhashes but manifest has no chunking (fileChunkSizeBytes=-1)", f.Path)
	}
	if f.Size <= chunkSize {
		return invalidf("file '%s' with chunkhashes must have size > %d (chunk size), got %d", f.Path, chunkSize, f.Size)
	}
	if want := (f.Size-1)/chunkSize + 1; int64(len(f.Chunks)) != want {
		return invalidf("file '%s' with size %d should have %d chunks (chunk_size=%d), got %d", f.Path, f.Size, want, chunkSize, len(f.Chunks))
	}
	return nil
}

func (m *Manifest[P, K]) checkTotal() error {
	var total int64
	for i := range m.Files {
		if f := &m.Files[i]; f.IsRegular() {
			if f.Size > math.MaxInt64-total {
				return invalidf("sum of file sizes overflows at %s", f.Path)
			}
			total += f.Size
		}
	}
	return nil
}

// checkUnique reports a path that occurs twice. The set it returns holds the file
// where a diff has a file and a directory at one path. Sorted tells that the files are
// known to be sorted.
func (m *Manifest[P, K]) checkUnique(sorted bool) (*pathSet, error) {
	var err error
	set := newPathSet(m.Files, m.Dirs, sorted, func(first, other int) {
		if err == nil && !m.mayClash(first, other) {
			err = invalidf("duplicate path: %s", pathAt(m.Files, m.Dirs, other))
		}
	})
	return set, err
}

// mayClash reports whether a diff replaces a file by a directory or the reverse.
func (m *Manifest[P, K]) mayClash(first, other int) bool {
	d := other - len(m.Files)
	return m.IsDiff() && d >= 0 && first < len(m.Files) && m.Files[first].Deleted != m.Dirs[d].Deleted
}
