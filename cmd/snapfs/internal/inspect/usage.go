package inspect

import (
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// Usage is the space that a directory takes with all that lies below it, in the form
// of `snapfs manifest du --json`.
type Usage struct {
	Type  string `json:"type"` // always "usage"
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"` // sizes of the files
	Files int    `json:"files"` // regular ones
}

// DiskUsage returns the usage of dir and of the directories below it that are at
// most depth levels deeper, sorted by path. A negative depth means all levels.
func (c Contents) DiskUsage(dir string, depth int) []Usage {
	if dir = manifest.NormalizePath(dir); dir == "" {
		dir = "."
	}
	below := Below(dir)
	sums := map[string]*Usage{}
	sum := func(path string) *Usage {
		u := sums[path]
		if u == nil {
			u = &Usage{Type: "usage", Path: path}
			sums[path] = u
		}
		return u
	}
	sum(dir)
	for i := range c.Files {
		f := &c.Files[i]
		if !f.IsRegular() || !below(f.Path) {
			continue
		}
		for _, d := range ancestors(f.Path, dir, depth) {
			u := sum(d)
			u.Bytes += f.Size
			u.Files++
		}
	}
	for _, d := range c.Dirs {
		if d.Deleted || !below(d.Path) || d.Path == dir {
			continue
		}
		if rest, ok := manifest.Within(d.Path, dir); ok && (depth < 0 || strings.Count(rest, "/") < depth) {
			sum(d.Path)
		}
	}
	list := make([]Usage, 0, len(sums))
	for _, u := range sums {
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b Usage) int { return manifest.ComparePaths(a.Path, b.Path) })
	return list
}

// ancestors returns dir and the directories between it and path, at most depth of
// them.
func ancestors(path, dir string, depth int) []string {
	list := []string{dir}
	rest, ok := manifest.Within(path, dir)
	if !ok {
		return list // a file that is asked for by its own path
	}
	stem := path[:len(path)-len(rest)]
	for i := 0; i < len(rest); i++ {
		if rest[i] == '/' && (depth < 0 || len(list) <= depth) {
			list = append(list, stem+rest[:i])
		}
	}
	return list
}
