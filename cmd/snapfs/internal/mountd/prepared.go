package mountd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

const (
	// indexDir holds, in the directory of the cache, the indexes of large bases, named
	// after the manifests that they were made of, so that mounting those again need not
	// read and compose them.
	indexDir    = "indexes"
	indexSuffix = ".index"
	// minIndexed is the number of entries from which on that is faster.
	minIndexed = 20_000
	// maxIndexes is how many are kept: the ones used last.
	maxIndexes = 8
	// indexTempAge is the age of a temporary file whose process must have died.
	indexTempAge = 10 * time.Minute
)

// identify returns the hashes of the texts of the manifests, or nil when that would take
// as long as reading them.
func (s *Session) identify(ctx context.Context) []string {
	ids := make([]string, len(s.sources))
	for i, name := range s.sources {
		if name == "-" || strings.Contains(name, "://") {
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return nil
		}
		h := manifest.NewHasher()
		_, err = io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20))
		f.Close()
		if err != nil || ctx.Err() != nil {
			return nil
		}
		ids[i] = string(h.Hash())
	}
	return ids
}

// identity returns the id of a base that was composed of manifests with these hashes.
func identity(ids []string) string {
	if len(ids) == 1 {
		return ids[0]
	}
	return string(manifest.Sum([]byte(strings.Join(ids, "\n"))))
}

// indexPath returns where the prepared index of the base with this id lies.
func (s *Session) indexPath(id string) (string, error) {
	dir := s.Config.CacheDir
	if dir == "" {
		var err error
		if dir, err = dirs.Cache(); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, indexDir, id+indexSuffix), nil
}

// openPrepared returns the base if a mount of the same manifests has left its index, or
// nil. Whatever is wrong with it, the manifests are as good.
func (s *Session) openPrepared(ctx context.Context) *fs.Base {
	dir, err := s.indexPath("")
	if err != nil {
		return nil
	}
	if dir = filepath.Dir(dir); !isPrivate(dir) {
		return nil
	}
	ids := s.identify(ctx)
	if ids == nil {
		return nil
	}
	path := filepath.Join(dir, identity(ids)+indexSuffix)
	// Not to wait for whoever writes to a pipe of that name.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if !isPrivateFile(f) {
		return nil
	}
	base, err := fs.OpenIndex(f)
	if err != nil {
		_ = os.Remove(path)
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // it is used: see pruneIndexes
	s.BaseID, s.hashes, s.prepared = identity(ids), ids, true
	if len(ids) == 1 {
		s.parentHash = manifest.Hash(ids[0])
	}
	return base
}

// isPrivate reports whether nobody else can write to a directory of this user. An index
// that somebody else has made must not be mapped.
func isPrivate(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR &&
		int(st.Uid) == os.Geteuid() && st.Mode&0o022 == 0
}

// isPrivateFile reports whether f is a regular file that nobody but this user can write to.
func isPrivateFile(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG &&
		int(st.Uid) == os.Geteuid() && st.Mode&0o022 == 0
}

// prepare leaves the index of a large base for the next mount of the same manifests.
// Failing costs that mount its time, nothing else.
func (s *Session) prepare() {
	base := s.Tree.Base()
	if s.prepared || s.warned || base.Entries() < minIndexed {
		return
	}
	if err := s.writeIndex(base); err != nil {
		s.Log.Warn().Err(err).Msg("cannot keep the index for the next mount")
	}
}

func (s *Session) writeIndex(base *fs.Base) error {
	path, err := s.indexPath(s.BaseID)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if !isPrivate(dir) {
		return fmt.Errorf("%s belongs to another user or can be written to by others", dir)
	}
	pruneIndexes(dir, maxIndexes-1)
	// No barrier: what a power loss leaves of it does not match its checksum.
	f, err := os.CreateTemp(dir, ".index-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = errors.Join(base.WriteIndex(w), w.Flush(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// pruneIndexes removes all but the given number of indexes, and what killed processes
// have left.
func pruneIndexes(dir string, keep int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	type index struct {
		path string
		used time.Time
	}
	var list []index
	for _, e := range entries {
		info, err := e.Info()
		path := filepath.Join(dir, e.Name())
		switch {
		case err != nil:
		case strings.HasSuffix(e.Name(), indexSuffix):
			list = append(list, index{path, info.ModTime()})
		case strings.HasPrefix(e.Name(), ".index-") && time.Since(info.ModTime()) > indexTempAge:
			_ = os.Remove(path)
		}
	}
	slices.SortFunc(list, func(a, b index) int { return b.used.Compare(a.used) })
	for i := keep; i < len(list); i++ {
		_ = os.Remove(list[i].path)
	}
}

// ClearIndexes removes the indexes that mounts have left in the directory of a cache.
// Mounts that use them go on.
func ClearIndexes(cacheDir string) error { return os.RemoveAll(filepath.Join(cacheDir, indexDir)) }
