package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
)

// Usage is what a cache directory holds.
type Usage struct {
	Blobs        int   // complete contents
	BlobBytes    int64 // bytes that they occupy
	Partial      int   // contents of which some blocks are there, or that are being written
	PartialBytes int64
}

// Inspect returns what the cache in dir holds, whoever uses it. A directory that does
// not exist holds nothing.
func Inspect(dirName string) (Usage, error) {
	var u Usage
	s, err := openSpace(dirName)
	if errors.Is(err, os.ErrNotExist) {
		return u, nil
	}
	if err != nil {
		return u, err
	}
	defer s.close()
	d, err := os.Open(s.dir.path)
	if err != nil {
		return u, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(4096)
		for _, name := range names {
			c, ok := s.inspect(int(d.Fd()), name)
			switch {
			case !ok:
			case strings.HasSuffix(c.name, partSuffix), strings.HasSuffix(c.name, tempSuffix):
				u.Partial++
				u.PartialBytes += c.size
			default:
				u.Blobs++
				u.BlobBytes += c.size
			}
		}
		if errors.Is(err, io.EOF) {
			return u, nil
		}
		if err != nil {
			return u, err
		}
	}
}

// Pruned is what Prune has done.
type Pruned struct {
	Files int   // removed
	Bytes int64 // that they occupied
	Kept  int64 // bytes still in use
}

// Prune removes from the cache in dir what was not used for longest, until at most keep
// bytes are in use. Contents that a process has open stay, so that mounts go on
// undisturbed: more than keep bytes may be left.
func Prune(ctx context.Context, dirName string, keep int64) (Pruned, error) {
	s, err := openSpace(dirName)
	if errors.Is(err, os.ErrNotExist) {
		return Pruned{}, nil
	}
	if err != nil {
		return Pruned{}, err
	}
	defer s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for ctx.Err() == nil {
		if err = s.scan(); err != nil {
			break
		}
		over := s.ledger.now().used - keep
		if over <= 0 || s.evictKnown(over) == 0 {
			break
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return Pruned{
		Files: int(s.stats.evictions.Load()), Bytes: s.stats.evictedBytes.Load(), Kept: s.ledger.now().used,
	}, err
}

// openSpace opens an existing cache directory without a store.
func openSpace(dirName string) (*space, error) {
	if _, err := os.Stat(dirName); err != nil {
		return nil, err
	}
	d, err := openDir(dirName)
	if err != nil {
		return nil, err
	}
	books, err := openLedger(d)
	if err != nil {
		return nil, err
	}
	return &space{dir: d, ledger: books, stats: new(counters), release: func() {}}, nil
}

func (s *space) close() { s.ledger.f.Close() }
