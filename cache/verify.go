package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// Verified is what Verify has found.
type Verified struct {
	Blobs   int             // complete contents that were read
	Bytes   int64           // in them
	Damaged []blobstore.Key // contents that did not match their hash; they were removed
}

// Verify reads every complete content of the cache in dir, and removes those that do not
// match their hash, so that they are fetched again. Mounts go on; one that has a damaged
// content open keeps it until it is closed. Files that were joined of several contents are
// removed with the first damaged one: they are made again.
func Verify(ctx context.Context, dirName string) (Verified, error) {
	var v Verified
	s, err := openSpace(dirName)
	if errors.Is(err, os.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	defer s.close()
	names, err := filepath.Glob(filepath.Join(s.dir.path, "*."+string(manifest.XXH128)))
	if err != nil {
		return v, err
	}
	for _, path := range names {
		key := blobstore.Key(filepath.Base(path))
		if key.Check() != nil {
			continue
		}
		if err := s.verify(ctx, key, &v); err != nil {
			return v, err
		}
	}
	return v, s.dropJoined(len(v.Damaged) > 0)
}

// verify reads one content. One that has gone meanwhile was evicted.
func (s *space) verify(ctx context.Context, key blobstore.Key, v *Verified) error {
	f, err := os.Open(s.dir.blobPath(key))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := manifest.NewHasher()
	n, err := io.CopyBuffer(h, &contextReader{ctx: ctx, r: f}, make([]byte, 4*blockSize))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v.Blobs++
	v.Bytes += n
	if err != nil || string(h.Hash()) != key.Hash() { // what cannot be read is damaged, too
		v.Damaged = append(v.Damaged, key)
		s.removeBlob(key, n)
	}
	return nil
}

// dropJoined removes all joined files, if that is called for.
func (s *space) dropJoined(all bool) error {
	if !all {
		return nil
	}
	paths, err := filepath.Glob(filepath.Join(s.dir.path, "*"+joinedSuffix))
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
