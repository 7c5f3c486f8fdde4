package ops

import (
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// Subtree returns what lies below root, with paths relative to it (spec/ops.md §8).
// For a relative manifest, "" and "." mean all of it. The root itself, the hash of
// the parent, and what lies elsewhere are dropped; the order stays.
//
// Links whose target lies below root are rebased; one to root itself gets the target
// "." (spec/gaps.md G-17). Escaping links, or all of them under CollapseAll, are
// replaced by copies of what they lead to in m, directories included (G-36); links
// that lead to nothing in m are dropped. Links inside a copied directory are rebased
// when they stay below root or inside the copy, and replaced otherwise (G-14).
// Preserve and TransitiveIncludeTargets are refused.
func Subtree[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K], root string, links SymlinkPolicy) (*manifest.Manifest[manifest.Rel, K], error) {
	if err := checkSubtreePolicy(links, "subtree"); err != nil {
		return nil, err
	}
	root = normalRoot(root)
	if len(m.Files)+len(m.Dirs) > 0 && manifest.IsAbsPath(root) != m.IsAbs() {
		return nil, fmt.Errorf("%w: subtree path is %s (%q) but manifest uses %s paths",
			manifest.ErrInvalid, styleName(manifest.IsAbsPath(root)), root, styleName(m.IsAbs()))
	}
	s := subtree{root: root, policy: links, all: lazyLinks(m.Files, m.Dirs)}
	files, dirs, err := s.extract(m.Files, m.Dirs)
	if err != nil {
		return nil, err
	}
	return &manifest.Manifest[manifest.Rel, K]{HashAlg: m.HashAlg, ChunkSize: m.ChunkSize, Files: files, Dirs: dirs}, nil
}

func checkSubtreePolicy(policy SymlinkPolicy, operation string) error {
	switch policy {
	case CollapseEscaping, CollapseAll, ExcludeEscaping, ExcludeAll:
		return nil
	}
	return fmt.Errorf("%w: symlink_policy %s is not supported for %s",
		manifest.ErrInvalid, strings.ReplaceAll(policy.String(), "-", "_"), operation)
}

func normalRoot(root string) string {
	if root == "" {
		return "."
	}
	return manifest.NormalizePath(root)
}

func styleName(abs bool) string {
	if abs {
		return "absolute"
	}
	return "relative"
}

// lazyLinks returns a function that builds the index of links at its first call:
// most subtrees have no link to replace.
func lazyLinks(files []manifest.File, dirs []manifest.Dir) func() *manifest.Links {
	var links *manifest.Links
	return func() *manifest.Links {
		if links == nil {
			links = manifest.NewLinks(files, dirs)
		}
		return links
	}
}

// subtree extracts the entries below root.
type subtree struct {
	root   string
	policy SymlinkPolicy
	all    func() *manifest.Links
	copier *manifest.Copier // nil until a link has to be replaced
}

// extract returns the rebased entries of those in files and dirs that lie below the
// root.
func (s *subtree) extract(files []manifest.File, dirs []manifest.Dir) ([]manifest.File, []manifest.Dir, error) {
	var outFiles []manifest.File
	for i := range files {
		f := files[i]
		rest, ok := manifest.Within(f.Path, s.root)
		if !ok {
			continue
		}
		f.Path = rest
		if !f.IsLink() {
			outFiles = append(outFiles, f)
			continue
		}
		var err error
		if outFiles, err = s.addLink(outFiles, f); err != nil {
			return nil, nil, err
		}
	}
	var outDirs []manifest.Dir
	for _, d := range dirs {
		if rest, ok := manifest.Within(d.Path, s.root); ok {
			outDirs = append(outDirs, manifest.Dir{Path: rest, Deleted: d.Deleted})
		}
	}
	if s.copier != nil {
		outDirs = append(outDirs, s.copier.Dirs...)
		outFiles, outDirs = dropOverwritten(outFiles, outDirs)
	}
	return outFiles, outDirs, nil
}

// addLink appends what becomes of a link whose path is rebased already.
func (s *subtree) addLink(out []manifest.File, link manifest.File) ([]manifest.File, error) {
	if s.policy == ExcludeAll {
		return out, nil
	}
	target, inside := s.rebase(manifest.NormalizePath(link.Target))
	switch {
	case inside && s.policy != CollapseAll:
		link.Target = target
		return append(out, link), nil
	case s.policy == ExcludeEscaping:
		return out, nil
	}
	if s.copier == nil {
		keep := s.rebase
		if s.policy == CollapseAll {
			keep = nil
		}
		s.copier = manifest.NewCopier(s.all(), keep)
	}
	s.copier.Files = out
	_, err := s.copier.Replace(link.Path, link.Target)
	return s.copier.Files, err
}

// rebase returns a path of the whole manifest as one of the subtree.
func (s *subtree) rebase(path string) (string, bool) {
	if path == s.root {
		return ".", true
	}
	return manifest.Within(path, s.root)
}

// dropOverwritten removes the deletions of a diff, at paths where a copy put
// something of the same sort or another deletion.
func dropOverwritten(files []manifest.File, dirs []manifest.Dir) ([]manifest.File, []manifest.Dir) {
	anyGone := slices.ContainsFunc(files, func(f manifest.File) bool { return f.Deleted }) ||
		slices.ContainsFunc(dirs, func(d manifest.Dir) bool { return d.Deleted })
	if !anyGone {
		return files, dirs
	}
	liveFiles, liveDirs, gone := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range files {
		if !files[i].Deleted {
			liveFiles[files[i].Path] = true
		}
	}
	for _, d := range dirs {
		if !d.Deleted {
			liveDirs[d.Path] = true
		}
	}
	superfluous := func(path string, deleted bool, live map[string]bool) bool {
		if !deleted {
			return false
		}
		again := live[path] || gone[path]
		gone[path] = true
		return again
	}
	files = slices.DeleteFunc(files, func(f manifest.File) bool { return superfluous(f.Path, f.Deleted, liveFiles) })
	dirs = slices.DeleteFunc(dirs, func(d manifest.Dir) bool { return superfluous(d.Path, d.Deleted, liveDirs) })
	return files, dirs
}
