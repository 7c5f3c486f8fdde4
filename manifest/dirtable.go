package manifest

import (
	"slices"
	"strconv"
	"strings"
)

// dirTable is the list of directories that a v2025 text starts with: the explicit
// ones and all ancestors of every path and link target, sorted by bytes, each once
// (spec/formats.md §3.5). Names refer to it by index.
//
// A link target may lead through another link, and a diff may delete what was below
// a path that is a file now. Then an ancestor is a file or link of the manifest, and
// listing it as a directory would make the text invalid, which is what the reference
// does. Such ancestors are left out, and names refer to the nearest other one.
type dirTable struct {
	dirs []Dir
	set  *pathSet
	last string // the directory added last: it and its ancestors are in the table

	// The last lookup: neighbours usually share their directory.
	lastDir string
	lastRef []byte // "$N/", empty when neither lastDir nor an ancestor is in the table
	lastLen int    // length of the path that lastRef stands for
}

func newDirTable(files []File, dirs []Dir, set *pathSet) *dirTable {
	t := &dirTable{dirs: slices.Clone(dirs), set: set}
	for i := range dirs {
		t.addAncestors(dirs[i].Path, dirs[i].Deleted)
	}
	for i := range files {
		t.addAncestors(files[i].Path, files[i].Deleted)
		if files[i].Target != "" {
			t.addAncestors(files[i].Target, true)
		}
	}
	// The sort is stable, so an explicit entry comes before its implied doubles.
	slices.SortStableFunc(t.dirs, func(a, b Dir) int { return strings.Compare(a.Path, b.Path) })
	t.dirs = slices.CompactFunc(t.dirs, func(a, b Dir) bool { return a.Path == b.Path })
	return t
}

// checkRoom refuses a manifest whose text would be refused by readers, because its paths
// are too long for the size of the text. Link targets do that, whose directories exist
// nowhere else.
func (t *dirTable) checkRoom(files []File) error {
	var text, paths int64 // the text at least, the paths at most
	count := func(path string) {
		text += int64(len(path) - strings.LastIndexByte(path, '/') + len(`{"name":},`))
		paths += int64(len(path)) + 1
	}
	for i := range t.dirs {
		count(t.dirs[i].Path)
	}
	dirs := paths
	for i := range files {
		count(files[i].Path)
		if files[i].Target != "" {
			count(files[i].Target)
		}
	}
	if paths <= pathRoom(text) {
		return nil
	}
	return invalidf("nobody could read this manifest: its paths take %d MB, %d MB of them for directories, most of which only link targets name; leave out links that lead deep into directories that do not exist",
		paths/1e6, dirs/1e6)
}

// addAncestors adds the ancestors of path. Where mayClash is set, one of them may be
// a file or link; then only those above it are added.
func (t *dirTable) addAncestors(path string, mayClash bool) {
	start, parent := len(t.dirs), strip(path)
	for dir := parent; dir != "" && !isPrefixDir(dir, t.last); dir = strip(dir) {
		t.dirs = append(t.dirs, Dir{Path: dir})
		if !mayClash || !t.set.isFile(dir) {
			continue
		}
		t.dirs, parent = t.dirs[:start], strip(dir)
		if listed := t.set.twins[dir]; !listed && parent == "" && !IsAbsPath(dir) {
			t.dirs = append(t.dirs, Dir{Path: "."})
		}
	}
	if parent != "" {
		t.last = parent
	}
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
	if dir := path[:slash]; dir != t.lastDir {
		t.lookUp(dir)
	}
	return t.lastRef, path[t.lastLen:]
}

// lookUp makes dir the directory of the last lookup.
func (t *dirTable) lookUp(dir string) {
	t.lastDir = dir
	for {
		if n, ok := t.index(dir); ok {
			t.lastRef = append(strconv.AppendInt(append(t.lastRef[:0], '$'), int64(n), 10), '/')
			t.lastLen = len(dir) + 1
			return
		}
		if dir = strip(dir); dir == "" {
			break
		}
	}
	t.lastRef, t.lastLen = t.lastRef[:0], 0
	if n, ok := t.index("."); ok && !IsAbsPath(t.lastDir) {
		t.lastRef = append(strconv.AppendInt(append(t.lastRef, '$'), int64(n), 10), '/')
	}
}

func (t *dirTable) index(dir string) (int, bool) {
	return slices.BinarySearchFunc(t.dirs, dir, func(d Dir, path string) int {
		return strings.Compare(d.Path, path)
	})
}
