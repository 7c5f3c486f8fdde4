package ops

import (
	"fmt"

	"github.com/snapfs/snapfs/manifest"
)

// Join puts everything in m below an absolute prefix (spec/ops.md §9): paths, and
// the targets of links. The hash of the parent is dropped. A path or target that
// would leave the prefix is refused (spec/gaps.md G-30).
func Join[K manifest.Kind](m *manifest.Manifest[manifest.Rel, K], prefix string) (*manifest.Manifest[manifest.Abs, K], error) {
	if prefix != "" && !manifest.IsAbsPath(prefix) {
		return nil, fmt.Errorf("%w: the prefix must be absolute, got: %s", manifest.ErrInvalid, prefix)
	}
	out := &manifest.Manifest[manifest.Abs, K]{HashAlg: m.HashAlg, ChunkSize: m.ChunkSize}
	var err error
	out.Files, out.Dirs, err = joinEntries(m.Files, m.Dirs, prefix)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// JoinRel is Join with a relative prefix, which gives a relative manifest.
func JoinRel[K manifest.Kind](m *manifest.Manifest[manifest.Rel, K], prefix string) (*manifest.Manifest[manifest.Rel, K], error) {
	if manifest.IsAbsPath(prefix) {
		return nil, fmt.Errorf("%w: the prefix must be relative, got: %s", manifest.ErrInvalid, prefix)
	}
	out := &manifest.Manifest[manifest.Rel, K]{HashAlg: m.HashAlg, ChunkSize: m.ChunkSize}
	var err error
	out.Files, out.Dirs, err = joinEntries(m.Files, m.Dirs, prefix)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func joinEntries(files []manifest.File, dirs []manifest.Dir, prefix string) ([]manifest.File, []manifest.Dir, error) {
	if prefix == "" {
		return nil, nil, fmt.Errorf("%w: prefix cannot be empty", manifest.ErrInvalid)
	}
	prefix = manifest.NormalizePath(prefix)
	outFiles := make([]manifest.File, len(files))
	for i := range files {
		f := &outFiles[i]
		*f = files[i]
		var err error
		if f.Path, err = joinBelow(prefix, f.Path); err != nil {
			return nil, nil, err
		}
		if f.Target != "" {
			if f.Target, err = joinBelow(prefix, f.Target); err != nil {
				return nil, nil, fmt.Errorf("link %s: %w", files[i].Path, err)
			}
		}
	}
	outDirs := make([]manifest.Dir, len(dirs))
	for i, d := range dirs {
		path, err := joinBelow(prefix, d.Path)
		if err != nil {
			return nil, nil, err
		}
		outDirs[i] = manifest.Dir{Path: path, Deleted: d.Deleted}
	}
	return outFiles, outDirs, nil
}

// joinBelow returns the path that path has when its root becomes prefix.
func joinBelow(prefix, path string) (string, error) {
	path = manifest.NormalizePath(path)
	switch {
	case path == ".":
		return prefix, nil
	case path == ".." || len(path) > 2 && path[:3] == "../":
		return "", fmt.Errorf("%w: %q leaves the root of the manifest", manifest.ErrInvalid, path)
	case prefix == ".":
		return path, nil
	case prefix[len(prefix)-1] == '/':
		return prefix + path, nil
	}
	return prefix + "/" + path, nil
}
