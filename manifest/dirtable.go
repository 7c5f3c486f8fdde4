package manifest

import (
	"slices"
	"strconv"
	"strings"
)

// dirTable is the list of directories that a v2025 text starts with: the explicit
// ones and all ancestors of every path and link target, sorted by bytes, each once
// (spec/formats.md §3.5). Names refer to it by index.
type dirTable struct {
	dirs []Dir

	// The last lookup: neighbours usually share their directory.
	lastDir string
	lastRef []byte // "$N/", empty when lastDir is not in the table
}

func newDirTable(files []File, dirs []Dir) *dirTable {
	t := &dirTable{dirs: slices.Clone(dirs)}
	var last string // its ancestors and itself are in the table
	add := func(path string) {
		for path = strip(path); path != "" && !isPrefixDir(path, last); path = strip(path) {
			t.dirs = append(t.dirs, Dir{Path: path})
		}
	}
	track := func(path string) {
		if parent := strip(path); parent != last && parent != "" {
			add(path)
			last = parent
		}
	}
	for i := range dirs {
		track(dirs[i].Path)
	}
	for i := range files {
		track(files[i].Path)
		if files[i].Target != "" {
			track(files[i].Target)
		}
	}
	// The sort is stable, so an explicit entry comes before its implied doubles.
	slices.SortStableFunc(t.dirs, func(a, b Dir) int { return strings.Compare(a.Path, b.Path) })
	t.dirs = slices.CompactFunc(t.dirs, func(a, b Dir) bool { return a.Path == b.Path })
	return t
}

// strip returns path up to its last slash, or "" when that would be a root or
// nothing: roots are never implied.
func strip(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 || i == 2 && hasDrive(path) {
		return ""
	}
	return path[:i]
}

func isPrefixDir(dir, path string) bool {
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// compress splits path into a reference to its directory, "$N/", and the rest. The
// reference is empty when the path is written out. It is valid until the next call.
func (t *dirTable) compress(path string) (ref []byte, rest string) {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 {
		return nil, path
	}
	if dir := path[:slash]; dir != t.lastDir || t.lastRef == nil {
		t.lastDir, t.lastRef = dir, append(t.lastRef[:0], '$')
		n, ok := slices.BinarySearchFunc(t.dirs, dir, func(d Dir, path string) int {
			return strings.Compare(d.Path, path)
		})
		if ok {
			t.lastRef = append(strconv.AppendInt(t.lastRef, int64(n), 10), '/')
		} else {
			t.lastRef = t.lastRef[:0]
		}
	}
	if len(t.lastRef) == 0 {
		return nil, path
	}
	return t.lastRef, path[slash+1:]
}
