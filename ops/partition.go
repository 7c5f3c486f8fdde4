package ops

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// PartitionOptions adjusts Partition.
type PartitionOptions struct {
	// Roots are the roots of the first parts, in this order. None may be given
	// twice or lie below another.
	Roots []string
	// ReferencedPaths are directories that the parts must cover although they may
	// hold nothing yet, such as those for outputs.
	ReferencedPaths []string
	// Symlinks is the policy of Subtree.
	Symlinks SymlinkPolicy
}

// Part is a piece of a partitioned snapshot.
type Part struct {
	Root     string // as a path of the whole snapshot
	Manifest *manifest.Snapshot
}

// Partition cuts a snapshot into subtrees (spec/ops.md §10). There is one part for
// each of the given roots, even when it is empty. What they do not cover gets roots
// of its own: the deepest common directory, or, when there are roots and that would
// be the very top, one for each first component, unless something lies at the very
// top itself. These are sorted by path.
//
// A root of the second sort may lie above a given one. Its part then holds the
// entries of the other, too, as in the reference; everything else is in exactly one
// part. Every drive gets its own roots, and relative paths without anything in
// common have the root "." (spec/gaps.md G-19).
func Partition[P manifest.PathStyle](m *manifest.Manifest[P, manifest.Full], opts PartitionOptions) ([]Part, error) {
	if err := checkSubtreePolicy(opts.Symlinks, "partition"); err != nil {
		return nil, err
	}
	if len(m.Files)+len(m.Dirs) > 0 {
		if err := checkStyle("root", opts.Roots, m.IsAbs()); err != nil {
			return nil, err
		}
		if err := checkStyle("referenced path", opts.ReferencedPaths, m.IsAbs()); err != nil {
			return nil, err
		}
	}
	roots, err := normalRoots(opts.Roots)
	if err != nil {
		return nil, err
	}
	homes := homeDirs(m.Files, m.Dirs, opts.ReferencedPaths)
	for _, root := range autoRoots(homes, roots) {
		if !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return cut(m, roots, opts.Symlinks)
}

func checkStyle(what string, list []string, abs bool) error {
	for _, path := range list {
		if manifest.IsAbsPath(path) != abs {
			return fmt.Errorf("%w: %s %s with %s manifest paths: %s",
				manifest.ErrInvalid, styleName(!abs), what, styleName(abs), path)
		}
	}
	return nil
}

// normalRoots normalises the given roots and refuses any that covers another.
func normalRoots(given []string) ([]string, error) {
	roots := make([]string, len(given))
	set := map[string]bool{}
	for i, root := range given {
		roots[i] = normalRoot(root)
		if set[roots[i]] {
			return nil, fmt.Errorf("%w: root '%s' is given twice", manifest.ErrInvalid, roots[i])
		}
		set[roots[i]] = true
	}
	for _, root := range roots {
		if isRoot(root) {
			continue // the others find it above them
		}
		if above := coveredBy(set, manifest.Parent(root)); above != "" {
			return nil, fmt.Errorf("%w: root '%s' is a subpath of root '%s'", manifest.ErrInvalid, root, above)
		}
	}
	return roots, nil
}

// coveredBy returns the member of roots that is path or the nearest one above it,
// or "" when there is none.
func coveredBy(roots map[string]bool, path string) string {
	for !roots[path] {
		if isRoot(path) {
			return ""
		}
		path = manifest.Parent(path)
	}
	return path
}

// homeDirs returns, sorted, the directories that parts must cover: those that hold
// a file or link, the listed ones, and the referenced ones.
func homeDirs(files []manifest.File, dirs []manifest.Dir, referenced []string) []string {
	set := map[string]bool{}
	last := ""
	for i := range files {
		if dir := manifest.Parent(files[i].Path); dir != last {
			set[dir] = true
			last = dir
		}
	}
	for _, d := range dirs {
		set[d.Path] = true
	}
	for _, path := range referenced {
		set[normalRoot(path)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// autoRoots returns the roots, sorted, that cover the directories which the given
// roots do not cover.
func autoRoots(homes, given []string) []string {
	covering := map[string]bool{}
	for _, root := range given {
		covering[root] = true
	}
	volumes := map[string][]string{}
	for _, dir := range homes {
		if coveredBy(covering, dir) == "" {
			v := volumeOf(dir)
			volumes[v] = append(volumes[v], dir)
		}
	}
	var roots []string
	for _, dirs := range volumes {
		common := commonOf(dirs)
		if len(given) == 0 || len(dirs) == 1 || !isRoot(common) {
			roots = append(roots, common)
			continue
		}
		if slices.Contains(dirs, common) {
			roots = append(roots, common) // something lies at the very top
			continue
		}
		groups := map[string][]string{}
		for _, dir := range dirs {
			top := firstComponent(dir)
			groups[top] = append(groups[top], dir)
		}
		for _, group := range groups {
			roots = append(roots, commonOf(group))
		}
	}
	slices.Sort(roots)
	return slices.Compact(roots)
}

// volumeOf returns the root that path hangs on: ".", "/" or "X:/".
func volumeOf(path string) string {
	for !isRoot(path) {
		path = manifest.Parent(path)
	}
	return path
}

// firstComponent returns the ancestor of path, or path itself, directly below the
// root.
func firstComponent(path string) string {
	volume := volumeOf(path)
	rest, below := manifest.Within(path, volume)
	if !below {
		return path
	}
	top, _, _ := strings.Cut(rest, "/")
	return path[:len(path)-len(rest)+len(top)]
}

// commonOf returns the deepest directory that covers all dirs, which are of one
// volume.
func commonOf(dirs []string) string {
	common := dirs[0]
	for _, dir := range dirs[1:] {
		common, _ = manifest.CommonDir(common, dir)
	}
	return common
}

// cut extracts the subtrees of all roots. The entries are sorted once, so that each
// root looks at its own only.
func cut[P manifest.PathStyle](m *manifest.Manifest[P, manifest.Full], roots []string, policy SymlinkPolicy) ([]Part, error) {
	files, dirs := sortedFiles(m.Files), sortedDirs(m.Dirs)
	links := lazyLinks(files, dirs)
	parts := make([]Part, 0, len(roots))
	for _, root := range roots {
		rootFiles, rootDirs := files, dirs
		if root != "." {
			from, to := belowBounds(len(files), func(i int) string { return files[i].Path }, root)
			rootFiles = files[from:to]
			from, to = belowBounds(len(dirs), func(i int) string { return dirs[i].Path }, root)
			rootDirs = dirs[from:to]
		}
		s := subtree{root: root, policy: policy, all: links}
		partFiles, partDirs, err := s.extract(rootFiles, rootDirs)
		if err != nil {
			return nil, err
		}
		parts = append(parts, Part{Root: root, Manifest: &manifest.Snapshot{
			HashAlg: m.HashAlg, ChunkSize: m.ChunkSize, Files: partFiles, Dirs: partDirs,
		}})
	}
	return parts, nil
}
