package ops

import (
	"fmt"

	"github.com/snapfs/snapfs/manifest"
)

// ComposeDiffs merges diffs into one that has the same effect as applying them one
// after the other (spec/ops.md §6.2, with the semantics of Compose: spec/gaps.md
// G-10, G-40). The hash of the parent is that of the first.
//
// What was deleted stays marked for what it was: a file as a file, a directory as a
// directory. Entries are sorted by path, live ones first; the ancestors of live
// entries are listed.
//
// One thing a single diff cannot say: that a directory exists although all it does
// there is to delete. So a directory that one diff creates and a later one empties,
// but leaves, is missing when Compose applies the merged diff to a tree without it.
// Use Compose with all diffs where that matters.
func ComposeDiffs[P manifest.PathStyle](first *manifest.Manifest[P, manifest.Diff], rest ...*manifest.Manifest[P, manifest.Diff]) (*manifest.Manifest[P, manifest.Diff], error) {
	if first == nil {
		return nil, fmt.Errorf("%w: cannot compose empty list of diffs", manifest.ErrInvalid)
	}
	changes := []*change{newChange(first.Files, first.Dirs)}
	for _, d := range rest {
		if d.ChunkSize != first.ChunkSize {
			return nil, fmt.Errorf("%w: file_chunk_size_bytes mismatch: first diff has %d, another has %d",
				manifest.ErrInvalid, first.ChunkSize, d.ChunkSize)
		}
		changes = append(changes, newChange(d.Files, d.Dirs))
	}
	m := newMerged(changes)
	for _, c := range changes {
		m.merge(c)
	}
	files, dirs := m.entries()
	return &manifest.Manifest[P, manifest.Diff]{
		HashAlg: first.HashAlg, ChunkSize: first.ChunkSize, ParentHash: first.ParentHash, Files: files, Dirs: dirs,
	}, nil
}

// merged is the sum of some diffs: the live entries, and what was deleted of the
// tree that the first diff is for.
type merged struct {
	tree
	gone     rankSet // deleted files
	goneDirs rankSet // deleted directories
}

func newMerged(changes []*change) *merged {
	var all []string
	for _, c := range changes {
		all = c.appendPaths(all)
	}
	p := newPaths(nil, all)
	m := &merged{tree: *emptyTree(p), gone: newRankSet(len(p.list)), goneDirs: newRankSet(len(p.list))}
	m.displaced = func(r int) { // the file had wiped out what was there
		m.gone.add(r)
		m.goneDirs.remove(r)
	}
	return m
}

// merge appends the effect of c. The steps are those of Compose.
func (m *merged) merge(c *change) {
	for _, path := range c.gone {
		m.deleteFile(m.paths.rank(path))
	}
	for i := len(c.goneDirs) - 1; i >= 0; i-- { // children come before their parents
		m.deleteDir(m.paths.rank(c.goneDirs[i]))
	}
	m.parent = ""
	for _, f := range c.files {
		m.addFile(f)
		// Writing a file replaces whatever was there, so the deletion of a file is
		// implied; that of a directory is kept, for those who must remove it first.
		if r := m.paths.rank(f.Path); m.gone.has(r) {
			m.dropBelow(r)
			m.gone.remove(r)
		}
	}
	for _, path := range c.dirs {
		m.addDir(path)
	}
}

// deleteFile records the deletion of a file. When the file had taken the place of a
// directory, it is the deletion of that directory that counts. Otherwise whatever
// was at the path is gone, and deletions below it go without saying.
func (m *merged) deleteFile(r int) {
	from, to := m.paths.below(r)
	replacedDir := m.files.has(r) && (m.goneDirs.has(r) || m.gone.anyIn(from, to))
	m.files.remove(r)
	m.dirs.remove(r)
	m.files.removeIn(from, to)
	m.dirs.removeIn(from, to)
	if replacedDir {
		m.goneDirs.add(r)
		return
	}
	m.goneDirs.remove(r)
	m.gone.add(r)
}

// dropBelow forgets deletions below a deleted file: there was nothing.
func (m *merged) dropBelow(r int) {
	from, to := m.paths.below(r)
	m.gone.removeIn(from, to)
	m.goneDirs.removeIn(from, to)
}

// deleteDir records the deletion of a directory that is empty as far as is known.
// When the directory had taken the place of a file, the deletion of that file
// remains.
func (m *merged) deleteDir(r int) {
	if m.files.has(r) || m.holdsAny(r) {
		return
	}
	m.dirs.remove(r)
	if !m.gone.has(r) {
		m.goneDirs.add(r)
	}
}

// entries returns the merged diff. A directory that exists in the end is not
// deleted.
func (m *merged) entries() (files []manifest.File, dirs []manifest.Dir) {
	for r := m.gone.next(0); r >= 0; r = m.gone.next(r + 1) {
		m.dropBelow(r)
	}
	files, dirs = m.tree.entries()
	for r := m.gone.next(0); r >= 0; r = m.gone.next(r + 1) {
		files = append(files, manifest.File{Path: m.paths.list[r], Deleted: true})
	}
	for r := m.goneDirs.next(0); r >= 0; r = m.goneDirs.next(r + 1) {
		if !m.dirs.has(r) {
			dirs = append(dirs, manifest.Dir{Path: m.paths.list[r], Deleted: true})
		}
	}
	return files, dirs
}
