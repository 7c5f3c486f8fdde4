package manifest

import "hash/maphash"

// pathSet finds the entries of a manifest by path. It is a hash table of positions
// with open addressing: four bytes a slot, no copies of the paths.
type pathSet struct {
	files []File
	dirs  []Dir
	seed  maphash.Seed
	slots []uint32 // position+1 of an entry, 0 for a free slot; files first, then dirs
}

func newPathSet(files []File, dirs []Dir) *pathSet {
	size := 16
	for size < 2*(len(files)+len(dirs)) {
		size *= 2
	}
	return &pathSet{files: files, dirs: dirs, seed: maphash.MakeSeed(), slots: make([]uint32, size)}
}

func (s *pathSet) path(at int) string {
	if at < len(s.files) {
		return s.files[at].Path
	}
	return s.dirs[at-len(s.files)].Path
}

// add inserts the entry at the given position. When an entry with the same path is
// there already, add returns its position and changes nothing.
func (s *pathSet) add(at int) (other int, dup bool) {
	slot, other := s.probe(s.path(at))
	if other >= 0 {
		return other, true
	}
	s.slots[slot] = uint32(at) + 1
	return 0, false
}

// find returns the position of the entry with the given path, or -1.
func (s *pathSet) find(path string) int {
	_, at := s.probe(path)
	return at
}

// file returns the file or link with the given path, deleted or not, or nil.
func (s *pathSet) file(path string) *File {
	if at := s.find(path); at >= 0 && at < len(s.files) {
		return &s.files[at]
	}
	return nil
}

// probe returns the slot where path is or belongs, and the position of the entry
// there, or -1.
func (s *pathSet) probe(path string) (slot, at int) {
	mask := len(s.slots) - 1
	for slot = int(maphash.String(s.seed, path)) & mask; ; slot = (slot + 1) & mask {
		at = int(s.slots[slot]) - 1
		if at < 0 || s.path(at) == path {
			return slot, at
		}
	}
}
