package manifest

import (
	"hash/maphash"
	"sort"
	"strings"
)

// pathSet finds the entries of a manifest by path, without copying anything.
// Positions count the files first, then the directories.
//
// Where files and directories are both sorted by bytes, as they are in nearly every
// text, the lists themselves are searched. Otherwise there is a hash table of
// positions with open addressing, four bytes a slot.
type pathSet struct {
	files []File
	dirs  []Dir

	twins map[string]bool // paths of a file and of a directory at once

	sorted bool
	hint   int // where the last directory was found

	seed  maphash.Seed
	slots []uint32 // position+1 of an entry, or 0 for a free slot
}

// newPathSet returns the set of all entries. Where several entries share a path,
// the set holds the first of them, and clash is called with each of the others. Sorted
// tells that the files are known to be sorted, and each to have a path of its own.
func newPathSet(files []File, dirs []Dir, sorted bool, clash func(first, other int)) *pathSet {
	s := &pathSet{files: files, dirs: dirs, twins: map[string]bool{}}
	found := func(first, other int) {
		if first < len(files) && other >= len(files) {
			s.twins[files[first].Path] = true
		}
		clash(first, other)
	}
	if s.sorted = (sorted || ascendingFiles(files)) && ascendingDirs(dirs); s.sorted {
		s.mergeClashes(found)
		return s
	}
	size := 16
	for size < 2*(len(files)+len(dirs)) {
		size *= 2
	}
	s.seed, s.slots = maphash.MakeSeed(), make([]uint32, size)
	for at := range len(files) + len(dirs) {
		slot, first := s.probe(pathAt(s.files, s.dirs, at))
		if first >= 0 {
			found(first, at)
			continue
		}
		s.slots[slot] = uint32(at) + 1
	}
	return s
}

func ascendingFiles(files []File) bool {
	for i := 1; i < len(files); i++ {
		if files[i-1].Path >= files[i].Path {
			return false
		}
	}
	return true
}

func ascendingDirs(dirs []Dir) bool {
	for i := 1; i < len(dirs); i++ {
		if dirs[i-1].Path >= dirs[i].Path {
			return false
		}
	}
	return true
}

// mergeClashes finds the files and directories that share a path in sorted lists.
func (s *pathSet) mergeClashes(clash func(first, other int)) {
	f := 0
	for d := range s.dirs {
		path := s.dirs[d].Path
		f += gallop(len(s.files)-f, func(i int) bool { return s.files[f+i].Path >= path })
		if f < len(s.files) && s.files[f].Path == path {
			clash(f, len(s.files)+d)
		}
	}
}

// gallop is sort.Search for answers that are expected near the front.
func gallop(n int, found func(i int) bool) int {
	low, step := 0, 1
	for low+step < n && !found(low+step) {
		low, step = low+step, step*2
	}
	high := min(n, low+step)
	return low + sort.Search(high-low, func(i int) bool { return found(low + i) })
}

// pathAt returns the path of the entry at a position.
func pathAt(files []File, dirs []Dir, at int) string {
	if at < len(files) {
		return files[at].Path
	}
	return dirs[at-len(files)].Path
}

// isFile reports whether there is a live file or link at path.
func (s *pathSet) isFile(path string) bool {
	if !s.sorted {
		_, at := s.probe(path)
		return 0 <= at && at < len(s.files) && !s.files[at].Deleted
	}
	if next := s.hint + 1; next < len(s.dirs) && s.dirs[next].Path == path && !s.dirs[next].Deleted {
		s.hint = next
		return false
	}
	if d, ok := sort.Find(len(s.dirs), func(i int) int { return strings.Compare(path, s.dirs[i].Path) }); ok {
		s.hint = d
		if !s.dirs[d].Deleted {
			return false
		}
	}
	f, ok := sort.Find(len(s.files), func(i int) int { return strings.Compare(path, s.files[i].Path) })
	return ok && !s.files[f].Deleted
}

// probe returns the slot where path is or belongs, and the position of the entry
// there, or -1.
func (s *pathSet) probe(path string) (slot, at int) {
	mask := len(s.slots) - 1
	for slot = int(maphash.String(s.seed, path)) & mask; ; slot = (slot + 1) & mask {
		at = int(s.slots[slot]) - 1
		if at < 0 || pathAt(s.files, s.dirs, at) == path {
			return slot, at
		}
	}
}
