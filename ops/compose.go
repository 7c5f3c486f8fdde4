package ops

import (
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// Compose applies diffs to a snapshot, in order (spec/ops.md §6.1). Of each diff it
// applies
//
//  1. the deletions of files, which remove whatever is at the path and below it,
//  2. the deletions of directories, which remove directories that are empty by then,
//  3. the live files and links, which replace whatever is at the path,
//  4. the live directories.
//
// The result lists every directory, implied ones too, sorted by path like the files,
// and has no parent hash. A directory that lost its last file stays.
//
// Two rules keep the result a tree that can exist. A new file displaces what is
// below its path, and a file that an ancestor of it turned out to be; a new
// directory never displaces a file. And a directory that a diff lists although it
// only deletes things there is not created: an encoded diff lists the parents of
// deleted files without meaning them (spec/gaps.md G-05).
func Compose[P manifest.PathStyle](base *manifest.Manifest[P, manifest.Full], diffs ...*manifest.Manifest[P, manifest.Diff]) (*manifest.Manifest[P, manifest.Full], error) {
	for _, d := range diffs {
		if d.ChunkSize != base.ChunkSize {
			return nil, fmt.Errorf("%w: file_chunk_size_bytes mismatch: base has %d, diff has %d",
				manifest.ErrInvalid, base.ChunkSize, d.ChunkSize)
		}
	}
	changes := make([]*change, len(diffs))
	for i, d := range diffs {
		changes[i] = newChange(d.Files, d.Dirs)
	}
	t := newTree(sortedFiles(base.Files), sortedDirs(base.Dirs), changes)
	for _, c := range changes {
		t.apply(c)
	}
	files, dirs := t.entries()
	return &manifest.Manifest[P, manifest.Full]{
		HashAlg: base.HashAlg, ChunkSize: base.ChunkSize, Files: files, Dirs: dirs,
	}, nil
}

// change is a diff, taken apart and sorted by path.
type change struct {
	gone     []string         // deleted files
	goneDirs []string         // deleted directories
	files    []*manifest.File // live files and links
	dirs     []string         // live directories that are meant
}

func newChange(files []manifest.File, dirs []manifest.Dir) *change {
	c := &change{}
	for i := range files {
		if f := &files[i]; f.Deleted {
			c.gone = append(c.gone, f.Path)
		} else {
			c.files = append(c.files, f)
		}
	}
	for i := range dirs {
		if d := &dirs[i]; d.Deleted {
			c.goneDirs = append(c.goneDirs, d.Path)
		} else {
			c.dirs = append(c.dirs, d.Path)
		}
	}
	slices.Sort(c.gone)
	slices.Sort(c.goneDirs)
	slices.SortFunc(c.files, func(a, b *manifest.File) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(c.dirs)
	c.dropImplied()
	return c
}

// dropImplied removes the live directories below which the diff deletes something.
// Those that matter are ancestors of live entries, or exist anyway. Roots are never
// implied by the encoding.
func (c *change) dropImplied() {
	deletesBelow := func(gone []string, dir string) bool {
		from, to := belowBounds(len(gone), func(i int) string { return gone[i] }, dir)
		return from < to
	}
	c.dirs = slices.DeleteFunc(c.dirs, func(dir string) bool {
		return !isRoot(dir) && (deletesBelow(c.gone, dir) || deletesBelow(c.goneDirs, dir))
	})
}

// appendPaths appends the paths of all entries.
func (c *change) appendPaths(list []string) []string {
	list = append(list, c.gone...)
	list = append(list, c.goneDirs...)
	list = append(list, c.dirs...)
	for _, f := range c.files {
		list = append(list, f.Path)
	}
	return list
}

// tree is a state of a file tree, by rank. Every ancestor of an entry is in dirs.
type tree struct {
	paths   *paths
	content []*manifest.File // what is there, for the members of files
	files   rankSet
	dirs    rankSet
	parent  string // directory of the entry added last: it and its ancestors are in dirs

	// displaced, unless nil, is told of files that a new entry below them displaces.
	displaced func(r int)
}

// newTree returns the tree of a snapshot with sorted entries, with room for the
// entries of changes.
func newTree(files []manifest.File, dirs []manifest.Dir, changes []*change) *tree {
	filePaths := make([]string, len(files))
	for i := range files {
		filePaths[i] = files[i].Path
	}
	dirPaths := make([]string, len(dirs))
	for i := range dirs {
		dirPaths[i] = dirs[i].Path
	}
	var others []string
	for _, c := range changes {
		others = c.appendPaths(others)
	}
	base := mergeUnique(slices.Compact(filePaths), slices.Compact(dirPaths))
	t := emptyTree(newPaths(base, others))
	for i := range files {
		t.addFile(&files[i])
	}
	for i := range dirs {
		t.addDir(dirs[i].Path)
	}
	return t
}

func emptyTree(p *paths) *tree {
	n := len(p.list)
	return &tree{paths: p, content: make([]*manifest.File, n), files: newRankSet(n), dirs: newRankSet(n)}
}

func (t *tree) apply(c *change) {
	for _, path := range c.gone {
		t.removeAll(t.paths.rank(path))
	}
	for _, path := range slices.Backward(c.goneDirs) { // children come before their parents
		if r := t.paths.rank(path); t.dirs.has(r) && !t.holdsAny(r) {
			t.dirs.remove(r)
		}
	}
	t.parent = ""
	for _, f := range c.files {
		t.addFile(f)
	}
	for _, path := range c.dirs {
		t.addDir(path)
	}
}

// removeAll removes what is at rank r and below it.
func (t *tree) removeAll(r int) {
	t.files.remove(r)
	if t.dirs.has(r) {
		t.dirs.remove(r)
		from, to := t.paths.below(r)
		t.files.removeIn(from, to)
		t.dirs.removeIn(from, to)
	}
}

// holdsAny reports whether there is anything strictly below rank r.
func (t *tree) holdsAny(r int) bool {
	from, to := t.paths.below(r)
	return t.files.anyIn(from, to) || t.dirs.anyIn(from, to)
}

// addFile puts f in the place of whatever is at its path.
func (t *tree) addFile(f *manifest.File) {
	if dir := manifest.Parent(f.Path); dir != t.parent {
		t.makeDirs(dir)
		t.parent = dir
	}
	r := t.paths.rank(f.Path)
	if t.dirs.has(r) {
		t.removeAll(r)
		t.parent = ""
	}
	t.files.add(r)
	t.content[r] = f
}

// makeDirs makes dir and its ancestors directories, in the place of files if need
// be.
func (t *tree) makeDirs(dir string) {
	for dir != "." {
		r := t.paths.rank(dir)
		if t.dirs.has(r) {
			return
		}
		if t.files.has(r) {
			t.files.remove(r)
			if t.displaced != nil {
				t.displaced(r)
			}
		}
		t.dirs.add(r)
		if isRoot(dir) {
			return
		}
		dir = manifest.Parent(dir)
	}
}

// addDir makes a directory at path unless a file is there or above.
func (t *tree) addDir(path string) {
	if path == "." {
		t.dirs.add(t.paths.rank(path))
		return
	}
	for dir := path; ; dir = manifest.Parent(dir) {
		r := t.paths.rank(dir)
		if t.files.has(r) {
			return
		}
		if t.dirs.has(r) || isRoot(dir) || manifest.Parent(dir) == "." {
			break
		}
	}
	t.makeDirs(path)
}

// isRoot reports whether path is ".", "/" or "X:/".
func isRoot(path string) bool { return manifest.Parent(path) == path }

// entries returns what is in the tree, sorted by path.
func (t *tree) entries() (files []manifest.File, dirs []manifest.Dir) {
	files = make([]manifest.File, 0, t.files.count())
	dirs = make([]manifest.Dir, 0, t.dirs.count())
	for r := t.files.next(0); r >= 0; r = t.files.next(r + 1) {
		files = append(files, *t.content[r])
	}
	for r := t.dirs.next(0); r >= 0; r = t.dirs.next(r + 1) {
		dirs = append(dirs, manifest.Dir{Path: t.paths.list[r]})
	}
	return files, dirs
}
