package manifest

import (
	"cmp"
	"io"
)

// Visitor takes the entries of a manifest one by one. An error ends the visit.
type Visitor interface {
	// Expect tells, at most once, about how many files will come in all.
	Expect(files int)
	// File takes a file, link or deletion. The entry and its strings are valid only until
	// File returns.
	File(f *File) error
	// Dir takes a directory or its deletion.
	Dir(d *Dir) error
}

// Visit is DecodeDocument that hands the entries to v instead of keeping them, first the
// files and then the directories. Its memory does not depend on how many files there are.
// The manifest of the result has everything but the files.
//
// Each entry passes by itself the checks of Validate and CheckSafe. Whether all of them
// make a tree is for the visitor to see: a path may occur twice, or lie below a file.
//
// After an error, what was visited must be forgotten. An error that wraps ErrInvalid does
// not always say what is wrong, and may mean only that the members of the text come in an
// order in which names cannot be resolved as they are read; DecodeDocument tells.
func Visit(r io.Reader, opts DecodeOptions, v Visitor) (*Document, error) {
	d := newDecoder(r, opts)
	d.visit = &visit{Visitor: v}
	doc, err := d.decode()
	if err != nil {
		return nil, err
	}
	for i := range d.dirs.dirs {
		if err := v.Dir(&d.dirs.dirs[i]); err != nil {
			return nil, err
		}
	}
	doc.visited = d.vet.total
	return doc, nil
}

// visit is the state of a Visit.
type visit struct {
	Visitor
	member string // that was visited: "paths" or "files"
	files  int
	chunk  int64 // size of the chunks that the files were checked for
	twice  bool  // there was more to visit
}

// visitFiles is readFiles for a visit, which ends at the first mistake.
func (d *decoder) visitFiles(member string, read func(*decoder, *File) (flaw, broken error)) bool {
	s, v := d.scan, d.visit
	if !s.OpenArray() {
		s.Skip()
		return false
	}
	v.twice = v.member != ""
	v.member, v.files, v.chunk = member, 0, d.chunkSize()
	d.arena = arena{} // the block at hand has the names of directories
	for start := s.Offset(); s.NextElement(); {
		if v.files++; v.files == 1000 && d.textSize > 0 {
			v.Expect(d.expect(v.files, start))
		}
		var f File
		flaw, broken := read(d, &f)
		err := cmp.Or(broken, flaw)
		if err == nil {
			err = d.visitFile(&f)
		}
		if err != nil {
			s.Stop(err)
		}
		d.arena.rewind()
		d.names.paths.rewind()
	}
	return true
}

func (d *decoder) visitFile(f *File) error {
	v := d.visit
	if v.files > d.maxEntries {
		return invalidf("more than %d entries", d.maxEntries)
	}
	if !d.names.plain {
		if err := checkSafeFile(f); err != nil {
			return err
		}
	}
	if len(f.Chunks) > 0 {
		if err := checkChunkSize(v.chunk); err != nil {
			return err
		}
		if err := checkChunks(f, v.chunk); err != nil {
			return err
		}
	}
	return v.File(f)
}

// checkVisit makes the checks of files that need to know what manifest they belong to.
// Member is where it has its files, and fit tells whether they fit its kind.
func (d *decoder) checkVisit(member string, chunk int64, fit bool) error {
	v := d.visit
	switch {
	case v == nil:
	case v.twice, v.member != "" && v.member != member:
		return invalidf("more than one list of files")
	case !fit:
		return invalidf("entries that do not belong into a manifest of this kind")
	case d.vet.chunked && v.chunk != chunk:
		return invalidf("fileChunkSizeBytes stands behind the files")
	}
	return nil
}
