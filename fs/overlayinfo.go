package fs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const overlayVersion = 1

// OverlayInfo describes an overlay that is not necessarily open.
type OverlayInfo struct {
	Version    int       `json:"version"`
	BaseID     string    `json:"baseId"`               // names the base: an overlay made on another one is refused
	Manifests  []string  `json:"manifests,omitempty"`  // what was mounted: the base, then the diffs
	Hashes     []string  `json:"hashes,omitempty"`     // of the texts of the manifests
	Store      string    `json:"store,omitempty"`      // where the contents lie
	MountPoint string    `json:"mountPoint,omitempty"` // where it was mounted last
	Created    time.Time `json:"created"`

	// Settings is whatever else the program that opened the overlay needs to open it
	// again. Package fs does not look into it.
	Settings json.RawMessage `json:"settings,omitempty"`
}

// ReadOverlayInfo describes the overlay in dir. A directory that holds none yet
// yields an error that matches os.ErrNotExist.
func ReadOverlayInfo(dir string) (OverlayInfo, error) {
	var info OverlayInfo
	b, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return info, fmt.Errorf("%w: %s: %v", ErrDamaged, filepath.Join(dir, metaFile), err)
	}
	if info.Version != overlayVersion {
		return info, fmt.Errorf("%w: %s has version %d, this snapfs knows version %d", ErrDamaged, dir, info.Version, overlayVersion)
	}
	return info, nil
}

// WriteOverlayInfo makes dir an overlay, or changes the description of one.
func WriteOverlayInfo(dir string, info OverlayInfo) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info.Version = overlayVersion
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, metaFile), append(b, '\n'), 0o600)
}

// OverlayInUse reports whether a process has the overlay in dir open.
func OverlayInUse(dir string) bool {
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetFlag(os.O_RDONLY))
	ok, err := lock.TryRLock()
	if ok {
		lock.Unlock()
	}
	return err == nil && !ok
}

// RemoveOverlay deletes the overlay in dir, and dir itself when nothing else is in
// it. It refuses one that is in use. Everything that was not committed is lost.
func RemoveOverlay(dir string) error {
	ov, err := lockOverlay(dir)
	if err != nil {
		return err
	}
	defer ov.lock.Unlock()
	// At once there is no overlay any more. The rest may take time, and be cut short.
	err = os.Rename(filepath.Join(dir, metaFile), filepath.Join(dir, goneFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := removeParts(dir, dataDir, commitsDir, keptDir, logFile, metaFile, goneFile, lockFile); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// finishRemoval deletes what a RemoveOverlay that was killed has left in dir.
func finishRemoval(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, goneFile)); err != nil {
		return nil
	}
	return removeParts(dir, dataDir, commitsDir, keptDir, logFile, goneFile)
}

// removeParts deletes parts of an overlay, in order.
func removeParts(dir string, names ...string) error {
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// OverlayCommits returns the paths of the diff manifests that were published from
// the overlay in dir, in order. Base and commits together are the parent of the
// next one.
func OverlayCommits(dir string) ([]string, error) {
	// Not by Glob: dir is the choice of the user, and may hold brackets.
	entries, err := os.ReadDir(filepath.Join(dir, commitsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var paths []string
	for _, e := range entries { // sorted, and names have a fixed width
		if filepath.Ext(e.Name()) == ".json" && !strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, filepath.Join(dir, commitsDir, e.Name()))
		}
	}
	return paths, nil
}

// CommitPath returns where diff number seq of the overlay in dir is kept.
func CommitPath(dir string, seq int) string {
	return filepath.Join(dir, commitsDir, fmt.Sprintf("%06d.json", seq))
}

// KeptPath returns where the overlay in dir keeps a copy of the manifest with the given
// hash, so that it depends on no other file.
func KeptPath(dir, hash string) string { return filepath.Join(dir, keptDir, hash+".json") }
