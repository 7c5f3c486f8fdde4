package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sync/errgroup"
)

// Count returns how many blobs a store holds, and their sizes.
func Count(ctx context.Context, store blobstore.Store) (blobs int, bytes int64, err error) {
	lister, ok := blobstore.As[blobstore.Lister](store)
	if !ok {
		return 0, 0, errors.ErrUnsupported
	}
	err = lister.List(ctx, func(_ blobstore.Key, info blobstore.Info) error {
		blobs++
		bytes += info.Size
		return nil
	})
	return blobs, bytes, err
}

// Scan reads every blob of a store and reports those that do not have their hash. It
// is watched through Counts, whose totals grow as blobs are found.
func (v *Verifier) Scan(ctx context.Context) (Report, error) {
	lister, ok := blobstore.As[blobstore.Lister](v.store)
	if !ok {
		return Report{}, errors.ErrUnsupported
	}
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(v.opts.Workers)
	var report Report
	err := lister.List(running, func(key blobstore.Key, info blobstore.Info) error {
		report.Blobs++
		report.Bytes += info.Size
		v.total.Add(1)
		v.totalBytes.Add(info.Size)
		g.Go(func() error {
			n := needed{blob: manifest.Blob{Hash: manifest.Hash(key.Hash()), Size: info.Size}}
			if err := v.rehash(running, key, n); err != nil {
				return err
			}
			v.done.Add(1)
			v.doneBytes.Add(info.Size)
			return nil
		})
		return running.Err()
	})
	if werr := g.Wait(); werr != nil {
		err = werr
	}
	return v.finish(ctx, report, err)
}

// Probe checks that a store can be read from, and with write that it can be written
// to. It writes nothing but the blob of no bytes.
func Probe(ctx context.Context, store blobstore.Store, write bool) error {
	empty := manifest.Sum(nil)
	key, err := blobstore.KeyOf(string(empty), string(manifest.XXH128))
	if err != nil {
		return err
	}
	if checker, ok := blobstore.As[interface{ Check(context.Context) error }](store); ok {
		if err := checker.Check(ctx); err != nil {
			return err
		}
	}
	if _, err := store.Stat(ctx, key); err != nil && !errors.Is(err, blobstore.ErrNotFound) {
		return fmt.Errorf("read from the store: %w", err)
	}
	if !write {
		return nil
	}
	if err := store.Put(ctx, key, io.NewSectionReader(strings.NewReader(""), 0, 0)); err != nil {
		return fmt.Errorf("write to the store: %w", err)
	}
	return nil
}
