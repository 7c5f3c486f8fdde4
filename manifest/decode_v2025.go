package manifest

import (
	"strconv"
	"strings"
)

// The values of specificationVersion.
const (
	specSnapshot     = "relative-manifest-snapshot-beta-2025-12"
	specSnapshotDiff = "relative-manifest-diff-beta-2025-12"
	specAbsSnapshot  = "absolute-manifest-snapshot-beta-2025-12"
	specAbsDiff      = "absolute-manifest-diff-beta-2025-12"
)

// presence notes which optional members of an entry had a usable value.
type presence struct{ size, mtime, hash, chunks, link bool }

// readV2025File reads an element of "files" (spec/formats.md §3.7). Names and link
// targets stay as written.
func (d *decoder) readV2025File(f *File) (flaw, broken error) {
	s := d.scan
	var (
		has         presence
		hasName     bool
		size, mtime uint64
		at          = s.Offset()
	)
	if !s.OpenObject() {
		s.Skip()
		return nil, invalidf("file entry missing 'name' (at byte %d)", at)
	}
	for key, more := s.NextKey(); more; key, more = s.NextKey() {
		switch string(key) {
		case "name":
			f.Path, hasName = d.readName()
		case "hash":
			var hash string
			hash, has.hash = d.readName()
			f.Hash = Hash(hash)
		case "size":
			size, has.size = s.Uint()
		case "mtime":
			mtime, has.mtime = s.Uint()
		case "runnable":
			f.Runnable = s.Bool()
		case "delete":
			f.Deleted = s.Bool()
		case "chunkhashes":
			f.Chunks, has.chunks = d.readChunks()
		case "symlink":
			f.Target, has.link = d.readLink()
		default:
			s.Skip()
		}
	}
	if !hasName {
		return nil, invalidf("file entry missing 'name' (at byte %d)", at)
	}
	f.Size, f.ModTime = int64(size), int64(mtime)
	if err := has.check(f); err != nil {
		return err, nil
	}
	return checkRange(f.Path, size, mtime), nil
}

func (d *decoder) readLink() (target string, ok bool) {
	s := d.scan
	if !s.OpenObject() {
		s.Skip()
		return "", false
	}
	for key, more := s.NextKey(); more; key, more = s.NextKey() {
		if string(key) == "name" {
			target, ok = d.readName()
		} else {
			s.Skip()
		}
	}
	return target, ok
}

// readChunks reads the strings of an array and drops everything else in it.
func (d *decoder) readChunks() (chunks []Hash, ok bool) {
	s := d.scan
	if !s.OpenArray() {
		s.Skip()
		return nil, false
	}
	for s.NextElement() {
		if hash, ok := d.readName(); ok {
			chunks = append(chunks, Hash(hash))
		}
	}
	return chunks, true
}

// check reports what is missing or too much in an entry. It covers what a File
// cannot show any more: the difference between absent and zero.
func (has presence) check(f *File) error {
	switch {
	case f.Deleted:
		if has != (presence{}) {
			return invalidf("deleted entry must have no data fields: %s", f.Path)
		}
	case has.link:
		if f.Target == "" {
			return invalidf("symlink_target must not be empty: %s", f.Path)
		}
		if has.hash || has.chunks {
			return invalidf("symlink must not have hash or chunk_hashes: %s", f.Path)
		}
	case has.hash && has.chunks:
		return invalidf("regular file must have at most one of hash/chunk_hashes: %s", f.Path)
	case !has.size || !has.mtime:
		return invalidf("regular file must have size and mtime: %s", f.Path)
	case has.hash && f.Hash == "":
		return invalidf("hash of %s is empty", f.Path)
	case has.chunks && len(f.Chunks) == 0:
		return invalidf("file '%s' has an empty list of chunkhashes", f.Path)
	}
	return nil
}

// buildV2025 makes the manifest of a v2025 text.
func (d *decoder) buildV2025(doc *Document) error {
	if !d.specVersion.ok {
		return invalidf("missing specificationVersion")
	}
	if err := d.checkHeader(); err != nil {
		return err
	}
	if err := d.expandAll(); err != nil {
		return err
	}
	doc.DeclaredTotal = d.total
	var err error
	switch d.specVersion.text {
	case specSnapshot:
		doc.Manifest, err = assemble[Rel, Full](d)
	case specSnapshotDiff:
		doc.Manifest, err = assemble[Rel, Diff](d)
	case specAbsSnapshot:
		doc.Manifest, err = assemble[Abs, Full](d)
	case specAbsDiff:
		doc.Manifest, err = assemble[Abs, Diff](d)
	default:
		err = invalidf("Unknown specificationVersion: %s", d.specVersion.text)
	}
	return err
}

func assemble[P PathStyle, K Kind](d *decoder) (Any, error) {
	m := &Manifest[P, K]{
		HashAlg:    XXH128,
		ChunkSize:  DefaultChunkSize,
		ParentHash: Hash(d.parent.text),
		Files:      d.files.files,
		Dirs:       d.dirs.dirs,
	}
	if d.chunkOK {
		m.ChunkSize = d.chunk
	}
	return finish(m, d.files.defect)
}

// expandAll replaces the names of all entries by their paths.
func (d *decoder) expandAll() error {
	e := expander{dirs: make([]string, 0, len(d.dirs.dirs)), room: 64<<20 + 16*d.scan.Offset()}
	dirs := d.dirs.dirs
	for i := range dirs {
		path, err := e.expand(dirs[i].Path)
		if err != nil {
			return err
		}
		e.dirs = append(e.dirs, path)
		dirs[i].Path = NormalizePath(path)
	}
	if d.dirs.broken != nil {
		return d.dirs.broken
	}
	files := d.files.files
	for i := range files {
		path, err := e.expand(files[i].Path)
		if err != nil {
			return err
		}
		files[i].Path = NormalizePath(path)
		if files[i].Target != "" {
			if files[i].Target, err = e.expandTarget(files[i].Target); err != nil {
				return err
			}
		}
	}
	return d.files.broken
}

// expandTarget expands the target of a link. It is brought into normal form only
// where that cannot change what it means: ".." behind another link is not lexical.
// CheckSafe refuses what is left.
func (e *expander) expandTarget(name string) (string, error) {
	target, err := e.expand(name)
	if err != nil || strings.Contains(target, "..") {
		return target, err
	}
	return NormalizePath(target), nil
}

// expander resolves the "$N/" references of names (spec/formats.md §3.6).
type expander struct {
	dirs  []string // paths of the directories so far, not normalised
	arena arena
	room  int64 // bytes of paths that may still be built
}

func (e *expander) expand(name string) (string, error) {
	ref, rest, slash := strings.Cut(name, "/")
	if !slash || ref == "" || len(ref) == 2 && hasDrive(ref) {
		return name, nil // no reference: G-01 for drives
	}
	if ref[0] != '$' {
		return "", invalidf("Invalid path format '%s': paths with '/' must use $N/ reference", name)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(ref[1:], "+"), 10, 64)
	if err != nil || strings.HasPrefix(ref, "$++") {
		return "", invalidf("Invalid directory reference '%s': expected $N/component format", name)
	}
	if n >= uint64(len(e.dirs)) {
		return "", invalidf("Invalid directory reference '%s': index %d not found", name, n)
	}
	dir := e.dirs[n]
	size := len(dir) + 1 + len(rest)
	if size > MaxPathLen {
		return "", invalidf("path of '%s' is longer than %d bytes", name, MaxPathLen)
	}
	if e.room -= int64(size); e.room < 0 {
		return "", invalidf("paths are too long for the size of the text")
	}
	return e.arena.join(dir, rest), nil
}
