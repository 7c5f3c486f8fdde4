package trees

import (
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// Selection selects paths of a tree by globs, in the dialect of ops.GlobFilter. Unlike
// there, a directory that matches stands for all that lies below it.
type Selection struct {
	include, exclude *ops.GlobFilter
	all              bool
}

// NewSelection compiles the patterns. Without include, everything is included.
func NewSelection(include, exclude []string) (*Selection, error) {
	in, err := ops.NewGlobFilter(include, nil)
	if err != nil {
		return nil, err
	}
	ex, err := ops.NewGlobFilter(nil, exclude)
	if err != nil {
		return nil, err
	}
	return &Selection{include: in, exclude: ex, all: len(include)+len(exclude) == 0}, nil
}

// All reports whether the selection holds every path.
func (s *Selection) All() bool { return s.all }

// Match reports whether the selection holds path.
func (s *Selection) Match(path string) bool {
	if s.all {
		return true
	}
	included := false
	for {
		if !s.exclude.Match(path) {
			return false
		}
		included = included || s.include.Match(path)
		parent := manifest.Parent(path)
		if parent == path || parent == "." {
			return included
		}
		path = parent
	}
}

// Keep is Match for a filter of entries.
func (s *Selection) Keep(e ops.Entry) bool { return s.Match(e.Path) }
