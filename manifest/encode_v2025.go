package manifest

import (
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/snapfs/snapfs/manifest/internal/canonjson"
)

// EncodeV2025 writes m as canonical v2025 text. It refuses a manifest that Validate
// or CheckSafe refuses, so that whatever is written can be read again
// (spec/gaps.md G-32), and writes the true total size (G-29). Modification times
// before 1970, which not every reader accepts, become 0 (G-33).
//
// Every ancestor of an entry and of a link target becomes a directory of the text:
// decoding it gives a manifest with more explicit directories than m.
func EncodeV2025(w io.Writer, m Any) error {
	switch m := m.(type) {
	case *Snapshot:
		return encodeV2025(w, m, specSnapshot)
	case *SnapshotDiff:
		return encodeV2025(w, m, specSnapshotDiff)
	case *AbsSnapshot:
		return encodeV2025(w, m, specAbsSnapshot)
	case *AbsSnapshotDiff:
		return encodeV2025(w, m, specAbsDiff)
	}
	return invalidf("unknown manifest type %T", m)
}

// check makes all checks that a manifest must pass before it is written.
// It returns the set of its paths.
func (m *Manifest[P, K]) check() (*pathSet, error) {
	if m.HashAlg != XXH128 && m.HashAlg != "" {
		return nil, invalidf("Unsupported hash algorithm: %s", m.HashAlg)
	}
	if !utf8.ValidString(string(m.ParentHash)) {
		return nil, invalidf("parentManifestHash is not valid UTF-8: %q", string(m.ParentHash))
	}
	set, err := m.validate(knowledge{})
	if err != nil {
		return nil, err
	}
	return set, m.checkSafe(set, knowledge{})
}

func encodeV2025[P PathStyle, K Kind](w io.Writer, m *Manifest[P, K], spec string) error {
	set, err := m.check()
	if err != nil {
		return err
	}
	e := encoder{out: canonjson.NewWriter(w), table: newDirTable(m.Files, m.Dirs, set)}
	if err := e.table.checkRoom(m.Files); err != nil {
		return err
	}
	e.out.Raw(`{"dirs":[`)
	for i, d := range e.table.dirs {
		e.comma(i)
		e.dir(d)
	}
	e.out.Raw(`],"fileChunkSizeBytes":`)
	e.out.Int(m.ChunkSize)
	e.out.Raw(`,"files":[`)
	for i, f := range inOrder(m.Files) {
		e.comma(i)
		e.file(f)
	}
	e.out.Raw(`],"hashAlg":"xxh128",`)
	if m.ParentHash != "" {
		e.out.Raw(`"parentManifestHash":`)
		e.out.String(string(m.ParentHash))
		e.out.Raw(`,`)
	}
	e.out.Raw(`"specificationVersion":"` + spec + `","totalSize":`)
	e.out.Int(m.TotalSize())
	e.out.Raw(`}`)
	if err := e.out.Flush(); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// encoder writes the entries of a v2025 text.
type encoder struct {
	out   *canonjson.Writer
	table *dirTable
}

func (e *encoder) comma(i int) {
	if i > 0 {
		e.out.Raw(",")
	}
}

func (e *encoder) name(path string) {
	e.out.Prefixed(e.table.compress(path))
}

func (e *encoder) dir(d Dir) {
	if d.Deleted {
		e.out.Raw(`{"delete":true,"name":`)
	} else {
		e.out.Raw(`{"name":`)
	}
	e.name(d.Path)
	e.out.Raw(`}`)
}

func (e *encoder) file(f *File) {
	switch {
	case f.Deleted:
		e.out.Raw(`{"delete":true,"name":`)
		e.name(f.Path)
	case f.Target != "":
		e.out.Raw(`{"name":`)
		e.name(f.Path)
		e.out.Raw(`,"symlink":{"name":`)
		e.name(f.Target)
		e.out.Raw(`}`)
	default:
		e.regular(f)
	}
	e.out.Raw(`}`)
}

func (e *encoder) regular(f *File) {
	switch {
	case f.Hash != "":
		e.out.Raw(`{"hash":`)
		e.out.String(string(f.Hash))
		e.out.Raw(`,"mtime":`)
	case len(f.Chunks) > 0:
		e.out.Raw(`{"chunkhashes":[`)
		for i, h := range f.Chunks {
			e.comma(i)
			e.out.String(string(h))
		}
		e.out.Raw(`],"mtime":`)
	default:
		e.out.Raw(`{"mtime":`)
	}
	e.out.Int(max(0, f.ModTime))
	e.out.Raw(`,"name":`)
	e.name(f.Path)
	if f.Runnable {
		e.out.Raw(`,"runnable":true`)
	}
	e.out.Raw(`,"size":`)
	e.out.Int(f.Size)
}

// inOrder yields the files in the order of both formats with their rank. Files that
// are in order already, as most are, are not copied.
func inOrder(files []File) func(yield func(int, *File) bool) {
	compare := func(a, b *File) int { return ComparePaths(a.Path, b.Path) }
	sorted := true
	for i := 1; i < len(files) && sorted; i++ {
		sorted = compare(&files[i-1], &files[i]) <= 0
	}
	if sorted {
		return func(yield func(int, *File) bool) {
			for i := range files {
				if !yield(i, &files[i]) {
					return
				}
			}
		}
	}
	order := make([]*File, len(files))
	for i := range files {
		order[i] = &files[i]
	}
	slices.SortStableFunc(order, compare)
	return slices.All(order)
}
