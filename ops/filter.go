package ops

import (
	"fmt"

	"github.com/snapfs/snapfs/manifest"
)

// Entry is what Filter shows to its predicate: a file or link, or a directory.
type Entry struct {
	Path    string
	Deleted bool
	File    *manifest.File // nil for a directory; not to be changed
}

// Filter returns the entries of m that keep accepts, in their order (spec/ops.md
// §7). Parents and children of an entry are not considered: a file may stay while
// the directory that lists it goes. The hash of the parent stays.
//
// To compare two trees by a part of them, filter both before Diff: filtering one
// only would look like deletions.
func Filter[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K], keep func(Entry) bool) *manifest.Manifest[P, K] {
	out := *m
	out.Files, out.Dirs = nil, nil
	for i := range m.Files {
		f := &m.Files[i]
		if keep(Entry{Path: f.Path, Deleted: f.Deleted, File: f}) {
			out.Files = append(out.Files, *f)
		}
	}
	for _, d := range m.Dirs {
		if keep(Entry{Path: d.Path, Deleted: d.Deleted}) {
			out.Dirs = append(out.Dirs, d)
		}
	}
	return &out
}

// GlobFilter selects entries by the globs of their whole paths: those that match
// any include pattern, or all when there are none, less those that match any
// exclude pattern.
type GlobFilter struct{ include, exclude []*glob }

// NewGlobFilter compiles the patterns. The error names the pattern that is
// malformed, and wraps manifest.ErrInvalid.
func NewGlobFilter(include, exclude []string) (*GlobFilter, error) {
	in, err := compileGlobs(include)
	if err != nil {
		return nil, err
	}
	ex, err := compileGlobs(exclude)
	if err != nil {
		return nil, err
	}
	return &GlobFilter{include: in, exclude: ex}, nil
}

func compileGlobs(patterns []string) ([]*glob, error) {
	globs := make([]*glob, len(patterns))
	for i, p := range patterns {
		g, err := compileGlob(p)
		if err != nil {
			return nil, err
		}
		globs[i] = g
	}
	return globs, nil
}

// Keep reports whether the filter selects e. It is a predicate for Filter.
func (f *GlobFilter) Keep(e Entry) bool { return f.Match(e.Path) }

// Match reports whether the filter selects the path.
func (f *GlobFilter) Match(path string) bool {
	return (len(f.include) == 0 || anyMatches(f.include, path)) && !anyMatches(f.exclude, path)
}

func anyMatches(globs []*glob, path string) bool {
	for _, g := range globs {
		if g.match(path) {
			return true
		}
	}
	return false
}

// String lists the patterns.
func (f *GlobFilter) String() string {
	return fmt.Sprintf("include %q, exclude %q", texts(f.include), texts(f.exclude))
}

func texts(globs []*glob) []string {
	list := make([]string, len(globs))
	for i, g := range globs {
		list[i] = g.text
	}
	return list
}
