// Package trees lists directories as manifests.
package trees

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// Options say what of a directory is listed, and how.
type Options struct {
	Symlinks  ops.SymlinkPolicy
	ChunkSize int64      // bytes; 0 for the default
	Select    *Selection // of paths relative to the directory; nil for all
	Readable  bool       // files that cannot be read are failures already
	Progress  *ops.Progress
}

// Tree is a listed directory.
type Tree struct {
	Root     string // absolute and normalised
	Manifest *manifest.AbsSnapshot
	Skipped  []Skipped // what no manifest can hold
	Copied   []Copied  // what was found behind links that lead out of the directory
}

// Copied is a link that leads out of the directory, in the place of which the manifest
// has what it leads to.
type Copied struct {
	Path   string `json:"path"`
	Target string `json:"target"`
	Files  int    `json:"files"` // regular files that came with it
	Bytes  int64  `json:"bytes"` // their sizes
}

// Skipped is an entry that was left out although nobody asked for it.
type Skipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func (s Skipped) String() string {
	if strings.Contains(s.Reason, s.Path) {
		return s.Reason
	}
	return s.Path + ": " + s.Reason
}

// Collect lists the directory at the absolute path root. Directories that are not
// selected are entered only when something below them can be, and listed only when
// they hold something that is.
func Collect(ctx context.Context, root string, opts Options) (*Tree, error) {
	t := &Tree{Root: manifest.NormalizePath(root), Skipped: []Skipped{}, Copied: []Copied{}}
	collect := ops.CollectOptions{
		Symlinks: opts.Symlinks, ChunkSize: opts.ChunkSize, Readable: opts.Readable, Progress: opts.Progress,
		Skipped: func(path string, reason error) {
			t.Skipped = append(t.Skipped, Skipped{path, reason.Error()})
		},
		Collapsed: func(link, target string) {
			t.Copied = append(t.Copied, Copied{Path: link, Target: target})
		},
	}
	if opts.Select != nil && !opts.Select.all {
		collect.Exclude = func(path string, _ bool) bool {
			rest, below := manifest.Within(path, t.Root)
			return below && !opts.Select.exclude.Match(rest)
		}
	}
	m, err := ops.Collect(ctx, []string{root}, collect)
	if err != nil {
		return nil, err
	}
	t.Manifest = m
	if opts.Select != nil && !opts.Select.all {
		t.reduce(opts.Select)
	}
	t.measureCopied()
	return t, t.checkNames()
}

// measureCopied counts what came with each link that leads out of the directory, and
// drops those that are not selected.
func (t *Tree) measureCopied() {
	files := t.Manifest.Files // sorted
	from := func(path string) int {
		i, _ := slices.BinarySearchFunc(files, path, func(f manifest.File, path string) int { return strings.Compare(f.Path, path) })
		return i
	}
	for i := range t.Copied {
		c := &t.Copied[i]
		count := func(f *manifest.File) {
			if f.IsRegular() {
				c.Files, c.Bytes = c.Files+1, c.Bytes+f.Size
			}
		}
		if at := from(c.Path); at < len(files) && files[at].Path == c.Path {
			count(&files[at])
		}
		for at := from(c.Path + "/"); at < len(files) && strings.HasPrefix(files[at].Path, c.Path+"/"); at++ {
			count(&files[at])
		}
	}
	t.Copied = slices.DeleteFunc(t.Copied, func(c Copied) bool { return c.Files == 0 })
}

// checkNames lists the names and links that no relative manifest can hold, before
// anything is uploaded.
func (t *Tree) checkNames() error {
	var bad []ops.Failure
	check := func(path string, target string) {
		rest, _ := manifest.Within(path, t.Root)
		aim, _ := manifest.Within(target, t.Root)
		switch {
		case manifest.IsAbsPath(rest):
			bad = append(bad, ops.Failure{Path: path, Err: fmt.Errorf("%w: the name begins like an absolute path of Windows", manifest.ErrInvalid)})
		case manifest.IsAbsPath(aim):
			bad = append(bad, ops.Failure{Path: path, Err: fmt.Errorf("%w: the link target begins like an absolute path of Windows", manifest.ErrInvalid)})
		case hasLongPart(aim):
			bad = append(bad, ops.Failure{Path: path, Err: fmt.Errorf("%w: the link target has a component of more than %d bytes", manifest.ErrInvalid, manifest.MaxNameLen)})
		}
	}
	for i := range t.Manifest.Files {
		check(t.Manifest.Files[i].Path, t.Manifest.Files[i].Target)
	}
	for i := range t.Manifest.Dirs {
		check(t.Manifest.Dirs[i].Path, "")
	}
	if len(bad) == 0 {
		return nil
	}
	return &ops.Failures{List: bad}
}

func hasLongPart(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if len(part) > manifest.MaxNameLen {
			return true
		}
	}
	return false
}

// reduce drops what is not selected, but for the directories that hold what is.
func (t *Tree) reduce(s *Selection) {
	selected := func(path string) bool {
		rest, below := manifest.Within(path, t.Root)
		return below && s.Match(rest)
	}
	holding := map[string]bool{}
	t.Manifest = ops.Filter(t.Manifest, func(e ops.Entry) bool { // sees files before directories
		if e.File == nil {
			return holding[e.Path] || selected(e.Path)
		}
		if !selected(e.Path) {
			return false
		}
		for dir := manifest.Parent(e.Path); !holding[dir] && dir != manifest.Parent(dir); dir = manifest.Parent(dir) {
			holding[dir] = true
		}
		return true
	})
}

// Relative returns m, which was made from the manifest of t, with paths relative to
// the root.
func (t *Tree) Relative(m *manifest.AbsSnapshot) (*manifest.Snapshot, error) {
	return ops.Subtree(m, t.Root, ops.CollapseEscaping)
}
