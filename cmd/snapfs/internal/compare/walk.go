package compare

import (
	"slices"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/manifest"
)

// node is an entry, or a directory that others imply. The zero value is none.
type node struct {
	path string
	file *manifest.File // nil for a directory
}

func (n *node) exists() bool { return n.path != "" }

// compareNodes orders nodes by path; none comes last.
func compareNodes(a, b *node) int {
	switch {
	case !a.exists():
		return 1
	case !b.exists():
		return -1
	}
	return manifest.ComparePaths(a.path, b.path)
}

// walk goes through a tree in the order of the paths. It merges two sorted lists as it
// goes, so that trees of millions of entries take no memory besides their own.
type walk struct {
	files []manifest.File
	dirs  []string // listed and implied ones
}

func newWalk(c inspect.Contents) *walk {
	w := &walk{files: c.Files}
	inOrder := func(a, b manifest.File) int { return manifest.ComparePaths(a.Path, b.Path) }
	if !slices.IsSortedFunc(w.files, inOrder) {
		w.files = slices.Clone(w.files)
		slices.SortFunc(w.files, inOrder)
	}
	seen := make(map[string]bool, len(c.Dirs))
	addDir := func(path string) {
		for path != "." && path != manifest.Parent(path) && !seen[path] {
			seen[path] = true
			w.dirs = append(w.dirs, path)
			path = manifest.Parent(path)
		}
	}
	for _, d := range c.Dirs {
		addDir(d.Path)
	}
	last := ""
	for i := range w.files {
		if dir := manifest.Parent(w.files[i].Path); dir != last {
			addDir(dir)
			last = dir
		}
	}
	slices.SortFunc(w.dirs, manifest.ComparePaths)
	return w
}

// next returns the next node, or none at the end.
func (w *walk) next() (n node) {
	switch {
	case len(w.dirs) > 0 && (len(w.files) == 0 || manifest.ComparePaths(w.dirs[0], w.files[0].Path) < 0):
		n.path, w.dirs = w.dirs[0], w.dirs[1:]
	case len(w.files) > 0:
		n.path, n.file = w.files[0].Path, &w.files[0]
		w.files = w.files[1:]
	}
	return n
}
