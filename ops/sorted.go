package ops

import (
	"slices"
	"sort"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// The transformations merge lists that are sorted by the bytes of their paths.
// Lists that are sorted already, as decoded ones nearly always are, are used as they
// are; others are copied.

func byPath(a, b manifest.File) int   { return strings.Compare(a.Path, b.Path) }
func byDirPath(a, b manifest.Dir) int { return strings.Compare(a.Path, b.Path) }

func sortedFiles(files []manifest.File) []manifest.File {
	if slices.IsSortedFunc(files, byPath) {
		return files
	}
	files = slices.Clone(files)
	slices.SortStableFunc(files, byPath)
	return files
}

func sortedDirs(dirs []manifest.Dir) []manifest.Dir {
	if slices.IsSortedFunc(dirs, byDirPath) {
		return dirs
	}
	dirs = slices.Clone(dirs)
	slices.SortStableFunc(dirs, byDirPath)
	return dirs
}

// belowBounds returns the bounds of the paths strictly below dir in a list of n
// sorted paths. The directory must not be ".".
func belowBounds(n int, path func(i int) string, dir string) (from, to int) {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	from = sort.Search(n, func(i int) bool { return path(i) >= prefix })
	after := prefix[:len(prefix)-1] + "0" // "0" is the successor of "/"
	to = from + sort.Search(n-from, func(i int) bool { return path(from+i) >= after })
	return from, to
}
