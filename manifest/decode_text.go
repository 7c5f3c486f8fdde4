package manifest

import (
	"github.com/snapfs/snapfs/manifest/internal/jsonscan"
)

// decoder reads the text of a manifest once, from front to back. Members may come in
// any order and any member may be repeated (the last one counts), so the format is
// known only at the end, and until then mistakes other than those of the JSON are
// remembered. Names of files are resolved as they are read when the directories stand
// before them, as they do in canonical text; otherwise at the end.
type decoder struct {
	scan       *jsonscan.Scanner
	hasher     *Hasher // of the text
	maxBytes   int64
	maxEntries int
	textSize   int64 // bytes, 0 when unknown
	arena      arena

	manifestVersion, specVersion, hashAlg, parent member

	total   uint64
	totalOK bool
	chunk   int64
	chunkOK bool
	paths   fileList // of v2023
	pathsOK bool
	files   fileList // of v2025
	dirs    dirList
	names   resolver
	vet     vetting
	visit   *visit // nil unless entries are handed on
}

// member is a member of the top-level object that should be a string.
type member struct {
	seen bool // there is such a member
	ok   bool // it is a string
	text string
}

// fileList is an array of file entries as read so far.
type fileList struct {
	files  []File
	broken error  // why the entry after the last one is unusable
	defect defect // the first entry that lacks what it needs
}

type dirList struct {
	dirs   []Dir
	broken error
}

// readText scans the whole text. Its error is about the JSON or the reading, never
// about the manifest.
func (d *decoder) readText() error {
	s := d.scan
	if !s.OpenObject() {
		s.Skip()
		return s.Finish()
	}
	for key, ok := s.NextKey(); ok; key, ok = s.NextKey() {
		d.readMember(key)
	}
	return s.Finish()
}

func (d *decoder) readMember(key []byte) {
	s := d.scan
	switch string(key) {
	case "manifestVersion":
		d.manifestVersion = d.readString()
	case "specificationVersion":
		d.specVersion = d.readString()
	case "hashAlg":
		d.hashAlg = d.readString()
	case "parentManifestHash":
		d.parent = d.readString()
	case "totalSize":
		d.total, d.totalOK = s.Uint()
	case "fileChunkSizeBytes":
		d.chunk, d.chunkOK = s.Int()
	case "paths":
		d.paths = fileList{}
		d.pathsOK = d.readFiles("paths", &d.paths, (*decoder).readV2023File)
	case "files":
		d.files = fileList{}
		d.names.begin(d.dirs, max(d.textSize, s.Offset()))
		d.vet = vetting{}
		d.readFiles("files", &d.files, (*decoder).readV2025File)
		d.names.end(len(d.files.files))
	case "dirs":
		d.dirs = dirList{}
		d.readDirs()
		d.names.dirsChanged()
	default:
		s.Skip()
	}
}

func (d *decoder) readString() member {
	text, ok := d.scan.Text()
	return member{seen: true, ok: ok, text: string(text)}
}

// readFiles reads an array of file entries, the value of the given member. It reports
// false when the value is not an array.
func (d *decoder) readFiles(member string, list *fileList, read func(*decoder, *File) (flaw, broken error)) bool {
	if d.visit != nil {
		return d.visitFiles(member, read)
	}
	s := d.scan
	if !s.OpenArray() {
		s.Skip()
		return false
	}
	start := s.Offset()
	for s.NextElement() {
		if list.broken != nil {
			s.Skip()
			continue
		}
		n := len(list.files)
		if n == d.maxEntries {
			list.broken = invalidf("more than %d entries", d.maxEntries)
			s.Skip()
			continue
		}
		if n == cap(list.files) {
			list.files = grow(list.files, d.expect(n, start))
		}
		list.files = list.files[:n+1]
		flaw, broken := read(d, &list.files[n])
		if broken != nil {
			list.files, list.broken = list.files[:n], broken
		} else if flaw != nil && list.defect.err == nil {
			list.defect = defect{at: n, err: flaw}
		}
	}
	return true
}

// expect guesses how many entries an array will have in the end, from the n entries
// read since the position start. The guess only saves copying: it grows with what
// was really read, never with what the text declares.
func (d *decoder) expect(n int, start int64) int {
	guess := n + n/4 + 64
	read := d.scan.Offset() - start
	if rest := d.textSize - d.scan.Offset(); n >= 1000 && rest > 0 && read > 0 {
		guess = n + int(float64(n)/float64(read)*float64(rest)*1.02) + 64
	}
	return min(guess, d.maxEntries)
}

func grow[T any](list []T, capacity int) []T {
	return append(make([]T, 0, max(capacity, len(list)+1)), list...)
}

func (d *decoder) readDirs() {
	s := d.scan
	if !s.OpenArray() {
		s.Skip()
		return
	}
	for s.NextElement() {
		dir, ok := d.readDir()
		switch {
		case d.dirs.broken != nil:
		case !ok:
			d.dirs.broken = invalidf("dir entry missing 'name' (entry %d)", len(d.dirs.dirs))
		case len(d.dirs.dirs) == d.maxEntries:
			d.dirs.broken = invalidf("more than %d directories", d.maxEntries)
		default:
			d.dirs.dirs = append(d.dirs.dirs, dir)
		}
	}
}

func (d *decoder) readDir() (dir Dir, ok bool) {
	s := d.scan
	if !s.OpenObject() {
		s.Skip()
		return Dir{}, false
	}
	for key, more := s.NextKey(); more; key, more = s.NextKey() {
		switch string(key) {
		case "name":
			dir.Path, ok = d.readName()
		case "delete":
			dir.Deleted = s.Bool()
		default:
			s.Skip()
		}
	}
	return dir, ok
}

// readName consumes a value and keeps it when it is a string.
func (d *decoder) readName() (name string, ok bool) {
	text, ok := d.scan.Text()
	return d.arena.bytes(text), ok
}
