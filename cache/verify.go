package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

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
// content open keeps it until it is closed. In a file that was joined of several contents
// each is verified, and the file is removed when one is damaged: it is made again.
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
	entries, err := os.ReadDir(s.dir.path)
	for _, e := range entries {
		if err != nil {
			break
		}
		name, joined := strings.CutSuffix(e.Name(), joinedSuffix)
		switch key := blobstore.Key(name); {
		case key.Check() != nil: // not a complete content
		case joined:
			err = s.verifyJoined(ctx, key, &v)
		default:
			err = s.verify(ctx, key, &v)
		}
	}
	return v, err
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
	sum, n, err := readSum(ctx, f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v.Blobs++
	v.Bytes += n
	if err != nil || string(sum) != key.Hash() { // what cannot be read is damaged, too
		v.Damaged = append(v.Damaged, key)
		s.removeBlob(key, n)
	}
	return nil
}

// readSum reads r to its end, and returns the hash and the number of the bytes.
func readSum(ctx context.Context, r io.Reader) (manifest.Hash, int64, error) {
	h := manifest.NewHasher()
	n, err := io.CopyBuffer(h, &contextReader{ctx: ctx, r: r}, make([]byte, 4*blockSize))
	return h.Hash(), n, err
}
