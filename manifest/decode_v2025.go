package manifest

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
			f.Path, hasName = d.readPath()
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
			f.Target, has.link = d.readLink(hasName)
		default:
			s.Skip()
		}
	}
	if !hasName {
		return nil, invalidf("file entry missing 'name' (at byte %d)", at)
	}
	f.Size, f.ModTime = int64(size), int64(mtime)
	if flaw = has.check(f); flaw == nil {
		flaw = checkRange(f.Path, size, mtime)
	}
	d.vet.file(f, flaw == nil && (d.names.plain || d.visit != nil))
	if d.visit != nil && !d.names.on {
		return nil, invalidf("names cannot be resolved as they are read")
	}
	return flaw, nil
}

// readLink reads the value of "symlink". Half tells that the path of the link is known.
func (d *decoder) readLink(half bool) (target string, ok bool) {
	s := d.scan
	if !s.OpenObject() {
		s.Skip()
		return "", false
	}
	for key, more := s.NextKey(); more; key, more = s.NextKey() {
		if string(key) == "name" {
			target, ok = d.readTarget(half)
		} else {
			s.Skip()
		}
	}
	return target, ok
}

// readPath consumes a value and keeps it when it is a string: as the path that it names,
// or as written when that cannot be known yet.
func (d *decoder) readPath() (path string, ok bool) {
	text, ok := d.scan.Text()
	if !ok || !d.names.on {
		if d.names.files == d.at() {
			d.names.half = false
		}
		return d.arena.bytes(text), ok
	}
	path, err := d.names.resolve(text)
	if err != nil {
		d.names.stop(d.at(), false)
		return d.arena.bytes(text), true
	}
	if !d.names.plain {
		path = NormalizePath(path)
	}
	return path, true
}

// readTarget is readPath for the target of a link.
func (d *decoder) readTarget(half bool) (target string, ok bool) {
	text, ok := d.scan.Text()
	if !ok || !d.names.on {
		return d.arena.bytes(text), ok
	}
	plain := d.names.plain
	target, err := d.names.resolve(text)
	if err != nil {
		d.names.stop(d.at(), half)
		return d.arena.bytes(text), true
	}
	d.names.plain = plain
	return normalTarget(target), true
}

// at returns the index of the file that is being read.
func (d *decoder) at() int { return len(d.files.files) - 1 }

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
	if err := d.resolveAll(); err != nil {
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
		ChunkSize:  d.chunkSize(),
		ParentHash: Hash(d.parent.text),
		Files:      d.files.files,
		Dirs:       d.dirs.dirs,
	}
	if err := d.checkVisit("files", m.ChunkSize, fits(&d.vet, m)); err != nil {
		return nil, err
	}
	return finish(m, knowledge{defect: d.files.defect, vetted: covers(&d.vet, m), chunked: d.vet.chunked})
}

// chunkSize returns the chunk size of a v2025 text, as far as it is read.
func (d *decoder) chunkSize() int64 {
	if d.chunkOK {
		return d.chunk
	}
	return DefaultChunkSize
}
