package ops

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// DiffOptions adjusts Diff.
type DiffOptions struct {
	// ParentHash is noted in the diff as the hash of the encoded parent.
	ParentHash manifest.Hash
	// IgnoreHashes compares size, time and the rest only. Without it, a hashed
	// manifest cannot be compared with an unhashed one.
	IgnoreHashes bool
	// PreserveRunnable takes the execute bit of changed files from the parent and
	// does not compare it, for trees that were collected where there is none.
	PreserveRunnable bool
}

// Diff returns the changes from parent to current (spec/ops.md §5): entries of
// current that parent lacks or has otherwise, and deletions of what only parent
// has. Only listed directories are compared.
//
// The result has the chunk size of the parent. Live entries come first, sorted by
// path, then the deletions; deleted directories are sorted so that they can be
// removed one after the other. Where a file turns into a directory or the reverse,
// the diff holds the deletion and the new entry at one path (spec/gaps.md G-04).
func Diff[P manifest.PathStyle](parent, current *manifest.Manifest[P, manifest.Full], opts DiffOptions) (*manifest.Manifest[P, manifest.Diff], error) {
	if !opts.IgnoreHashes {
		if err := checkHashStates(parent.Files, current.Files); err != nil {
			return nil, err
		}
	}
	diff := &manifest.Manifest[P, manifest.Diff]{
		HashAlg:    parent.HashAlg,
		ChunkSize:  parent.ChunkSize,
		ParentHash: opts.ParentHash,
		Files:      diffFiles(sortedFiles(parent.Files), sortedFiles(current.Files), opts),
		Dirs:       diffDirs(sortedDirs(parent.Dirs), sortedDirs(current.Dirs)),
	}
	if parent.ChunkSize != current.ChunkSize {
		if err := checkUnchunked(diff.Files, parent.ChunkSize, current.ChunkSize); err != nil {
			return nil, err
		}
	}
	return diff, nil
}

// checkHashStates refuses to compare hashed with unhashed files.
func checkHashStates(parent, current []manifest.File) error {
	p, c := hashState(parent), hashState(current)
	if p == "" || c == "" || p == c {
		return nil
	}
	return fmt.Errorf("%w: cannot diff %s parent manifest against %s current manifest: hash one of them or ignore hashes",
		manifest.ErrInvalid, p, c)
}

// hashState returns "hashed", "unhashed", or "" when there are no regular files.
func hashState(files []manifest.File) string {
	state := ""
	for i := range files {
		if f := &files[i]; f.IsRegular() {
			if f.IsHashed() {
				return "hashed"
			}
			state = "unhashed"
		}
	}
	return state
}

// checkUnchunked refuses chunk hashes of another chunk size than that of the diff.
func checkUnchunked(files []manifest.File, parent, current int64) error {
	for i := range files {
		if len(files[i].Chunks) > 0 {
			return fmt.Errorf("%w: fileChunkSizeBytes of parent (%d) and current manifest (%d) differ, and %s has chunk hashes: hash it again with the chunk size of the parent",
				manifest.ErrInvalid, parent, current, files[i].Path)
		}
	}
	return nil
}

// diffFiles merges two sorted lists of files.
func diffFiles(parent, current []manifest.File, opts DiffOptions) []manifest.File {
	var live, deleted []manifest.File
	for len(parent) > 0 || len(current) > 0 {
		switch order := headOrder(parent, current, byPath); {
		case order < 0:
			deleted = append(deleted, manifest.File{Path: parent[0].Path, Deleted: true})
			parent = parent[1:]
		case order > 0:
			live = append(live, current[0])
			current = current[1:]
		default:
			if f := &current[0]; differ(&parent[0], f, opts) {
				live = append(live, *f)
				// A link has no execute bit worth keeping: G-39.
				if opts.PreserveRunnable && f.IsRegular() && parent[0].IsRegular() {
					live[len(live)-1].Runnable = parent[0].Runnable
				}
			}
			parent, current = parent[1:], current[1:]
		}
	}
	return append(live, deleted...)
}

// headOrder compares the first elements of two lists; an empty list comes last.
func headOrder[T any](a, b []T, compare func(a, b T) int) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return compare(a[0], b[0])
}

// differ reports whether two entries of one path differ.
func differ(parent, current *manifest.File, opts DiffOptions) bool {
	if parent.IsLink() || current.IsLink() {
		return parent.Target != current.Target
	}
	if parent.Size != current.Size || parent.ModTime != current.ModTime {
		return true
	}
	if !opts.PreserveRunnable && parent.Runnable != current.Runnable {
		return true
	}
	return !opts.IgnoreHashes && (parent.Hash != current.Hash || !slices.Equal(parent.Chunks, current.Chunks))
}

// diffDirs merges two sorted lists of directories. Deleted ones are sorted by
// descending length, so that children come before their parents.
func diffDirs(parent, current []manifest.Dir) []manifest.Dir {
	var live, deleted []manifest.Dir
	for len(parent) > 0 || len(current) > 0 {
		switch order := headOrder(parent, current, byDirPath); {
		case order < 0:
			deleted = append(deleted, manifest.Dir{Path: parent[0].Path, Deleted: true})
			parent = parent[1:]
		case order > 0:
			live = append(live, current[0])
			current = current[1:]
		default:
			parent, current = parent[1:], current[1:]
		}
	}
	slices.SortFunc(deleted, func(a, b manifest.Dir) int {
		return cmp.Or(cmp.Compare(len(b.Path), len(a.Path)), strings.Compare(a.Path, b.Path))
	})
	return append(live, deleted...)
}
