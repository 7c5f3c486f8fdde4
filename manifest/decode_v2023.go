package manifest

import "math"

const v2023Version = "2023-03-03"

// readV2023File reads an element of "paths" (spec/formats.md §2.4).
func (d *decoder) readV2023File(f *File) (flaw, broken error) {
	s := d.scan
	var hasPath, hasHash, hasSize, hasTime bool
	var size uint64
	at := s.Offset()
	if !s.OpenObject() {
		s.Skip()
		return nil, invalidf("path entry missing 'path' (at byte %d)", at)
	}
	for key, more := s.NextKey(); more; key, more = s.NextKey() {
		switch string(key) {
		case "path":
			f.Path, hasPath = d.readName()
		case "hash":
			var hash string
			hash, hasHash = d.readName()
			f.Hash = Hash(hash)
		case "size":
			size, hasSize = s.Uint()
		case "mtime":
			f.ModTime, hasTime = s.Int() // before 1970, too: G-33
		default:
			s.Skip()
		}
	}
	f.Size = int64(size)
	if d.visit != nil {
		f.Path = NormalizePath(f.Path)
		d.vet.file(f, true)
	}
	for _, field := range [...]struct {
		name string
		ok   bool
	}{{"path", hasPath}, {"hash", hasHash}, {"size", hasSize}, {"mtime", hasTime}} {
		if !field.ok {
			return nil, invalidf("path entry missing '%s' (at byte %d)", field.name, at)
		}
	}
	if f.Hash == "" {
		return invalidf("hash of %s is empty", f.Path), nil
	}
	return checkRange(f.Path, size, 0), nil
}

// checkRange refuses numbers that the format allows and a File cannot hold.
func checkRange(path string, size, mtime uint64) error {
	if size > math.MaxInt64 {
		return invalidf("size of %s is too large: %d", path, size)
	}
	if mtime > math.MaxInt64 {
		return invalidf("mtime of %s is too large: %d", path, mtime)
	}
	return nil
}

// buildV2023 makes the snapshot of a v2023 text.
func (d *decoder) buildV2023(doc *Document) error {
	switch v := d.manifestVersion; {
	case !v.ok:
		return invalidf("missing manifestVersion")
	case v.text != v2023Version:
		return invalidf("expected manifestVersion '%s', got '%s'", v2023Version, v.text)
	}
	if err := d.checkHeader(); err != nil {
		return err
	}
	switch {
	case !d.pathsOK:
		return invalidf("missing or invalid paths")
	case d.paths.broken != nil:
		return d.paths.broken
	}
	m := &Snapshot{HashAlg: XXH128, ChunkSize: WholeFile, Files: d.paths.files}
	if err := d.checkVisit("paths", m.ChunkSize, fits(&d.vet, m)); err != nil {
		return err
	}
	for i := range m.Files {
		m.Files[i].Path = NormalizePath(m.Files[i].Path)
	}
	var err error
	doc.DeclaredTotal = d.total
	doc.Manifest, err = finish(m, knowledge{defect: d.paths.defect})
	return err
}
