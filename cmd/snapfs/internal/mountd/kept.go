package mountd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
)

// An overlay holds copies of the manifests that it was made from. Without them a
// manifest that is moved, deleted or written again would take with it every change that
// was not committed: they can be told from the base only with the base.

// openSources opens the manifests that are files, to be copied later: they may be gone by
// then, or hidden by the mount, which must not be asked for them.
func (s *Session) openSources() {
	s.texts = make([]io.ReadCloser, len(s.sources))
	for i, source := range s.sources {
		if isObject(source) {
			continue
		}
		if f, err := os.Open(source); err == nil { // without it, keepManifest says why there is no copy
			s.texts[i] = f
		}
	}
}

// keepManifests copies the manifests into the overlay. It does not delay the mount: the
// first change waits for it. When it fails the mount works on as long as the manifests
// stay where they are.
func (s *Session) keepManifests() {
	for i, hash := range s.hashes {
		if err := s.keepManifest(context.Background(), i, hash); err != nil {
			s.Log.Warn().Err(err).Str("manifest", s.sources[i]).
				Msg("the overlay has no copy of this manifest: do not change or delete it while there is something to commit")
		}
	}
}

// keepManifest copies one manifest, unless there is a good copy. On file systems that
// can, the copy shares its blocks with the original.
func (s *Session) keepManifest(ctx context.Context, i int, hash string) (err error) {
	source, text := s.sources[i], s.texts[i]
	if text != nil {
		defer text.Close()
	}
	path := fs.KeptPath(s.Config.Overlay, hash)
	if source == path || isManifest(path, hash) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	switch {
	case text != nil:
	case isObject(source):
		if text, err = s.IO.Open(ctx, source); err != nil {
			return err
		}
		defer text.Close()
	default:
		return fmt.Errorf("%s could not be opened again", source)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".copy-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // there is nothing to remove once it has its name
	_, err = io.Copy(file, text) // from file to file the kernel copies
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if !isManifest(file.Name(), hash) {
		return fmt.Errorf("%s has changed since it was mounted", source)
	}
	return os.Rename(file.Name(), path)
}

// keepDurably is keepManifests, and makes the copies survive a loss of power. The first
// change does not wait for that.
func (s *Session) keepDurably() {
	s.keep()
	for _, hash := range s.hashes {
		if err := syncFile(fs.KeptPath(s.Config.Overlay, hash)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.Log.Warn().Err(err).Msg("make the copy of a manifest durable")
		}
	}
}

// syncFile makes the content and the name of a file durable.
func syncFile(path string) error {
	for _, p := range []string{path, filepath.Dir(path)} {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// isManifest reports whether a file holds the text with the given hash.
func isManifest(path, hash string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	hasher := manifest.NewHasher()
	_, err = io.Copy(hasher, f)
	return err == nil && string(hasher.Hash()) == hash
}

// locate decides from where each manifest is read. Whoever names a manifest means what
// lies there now; the copy in an overlay is for when nothing does. An overlay that is
// opened by itself prefers its copies.
func (s *Session) locate() {
	s.sources = slices.Clone(s.Config.Manifests)
	dir, hashes := s.Config.Overlay, s.Config.hashes
	named := hashes == nil
	if named {
		if !slices.ContainsFunc(s.sources, isMissing) {
			return
		}
		dir, hashes = s.remembered()
	}
	for i, hash := range hashes {
		if kept := fs.KeptPath(dir, hash); (!named || isMissing(s.sources[i])) && isManifest(kept, hash) {
			if named {
				s.Log.Warn().Str("manifest", s.sources[i]).Str("copy", kept).Msg("the manifest is gone; its copy in the overlay takes its place")
			}
			s.sources[i] = kept
		}
	}
}

func isMissing(name string) bool {
	if name == "-" || isObject(name) {
		return false
	}
	_, err := os.Stat(name)
	return errors.Is(err, os.ErrNotExist)
}

// remembered returns the overlay that was made from the manifests of the same names, at
// the same mount point unless it is named, and their hashes.
func (s *Session) remembered() (dir string, hashes []string) {
	candidates := []string{s.Config.Overlay}
	if s.Config.Overlay == "" {
		all, err := dirs.Overlays()
		if err != nil {
			return "", nil
		}
		if candidates, err = filepath.Glob(filepath.Join(all, "*")); err != nil {
			return "", nil
		}
	}
	for _, dir := range candidates {
		info, err := fs.ReadOverlayInfo(dir)
		if err == nil && slices.Equal(info.Manifests, s.Config.Manifests) && len(info.Hashes) == len(info.Manifests) &&
			(s.Config.Overlay != "" || info.MountPoint == s.Config.MountPoint) {
			return dir, info.Hashes
		}
	}
	return "", nil
}
