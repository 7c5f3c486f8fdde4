package mountd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/manifest"
)

// keepStdin puts a manifest that comes from stdin into a file named by its hash, and
// mounts that one. Without it nobody could commit the overlay after a crash. Forget
// deletes the file again.
func (s *Session) keepStdin(ctx context.Context) (forget func() error, err error) {
	i := slices.Index(s.Config.Manifests, "-")
	if i < 0 || s.Config.ReadOnly {
		return func() error { return nil }, nil
	}
	dir, err := dirs.Manifests()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path, err := keepManifest(ctx, s.IO.Stdin, dir)
	s.Config.Manifests = slices.Clone(s.Config.Manifests)
	s.Config.Manifests[i] = path
	return func() error { return os.Remove(path) }, err
}

func keepManifest(ctx context.Context, r io.Reader, dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, ".stdin-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // there is nothing to remove once it has its name
	hasher := manifest.NewHasher()
	copied := make(chan error, 1)
	go func() { // a terminal or a pipe may be silent for ever, and cannot be interrupted
		_, err := io.Copy(io.MultiWriter(f, hasher), r)
		copied <- errors.Join(err, f.Sync(), f.Close())
	}()
	select {
	case err = <-copied:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, string(hasher.Hash())+".json")
	return path, os.Rename(f.Name(), path)
}
