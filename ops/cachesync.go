package ops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// SyncOptions are the choices of CacheSync. The zero value works.
type SyncOptions struct {
	// Workers is how many blobs are copied at once; 0 means 10.
	Workers int
	// MaxMemory bounds the memory for contents, in bytes; 0 means 64 MiB. Blobs that
	// do not fit a buffer pass through a file without a name in SpoolDir.
	MaxMemory int64
	// SpoolDir is a directory with room for the largest blobs, one for each worker;
	// "" means the one for temporary files. It is not used when the store copies
	// blobs itself, or when the source is a directory.
	SpoolDir string
	// Progress, when not nil, is kept up to date. It counts objects as files.
	Progress *Progress
}

// SyncStats says what CacheSync did. Objects are distinct blobs, counted with their
// real sizes (G-23).
type SyncStats struct {
	TotalObjects, TotalBytes     int64
	CopiedObjects, CopiedBytes   int64
	SkippedObjects, SkippedBytes int64 // present in the destination
	Elapsed                      time.Duration
	Rate                         float64 // bytes per second over the last 12 s
}

// Message returns a closing line for people, such as
// "Synced 12.3 MB (42 objects) in 0.53s (23.21 MB/s)".
func (s SyncStats) Message() string {
	return message("Synced", s.TotalBytes, s.TotalObjects, "objects", s.Elapsed, s.Rate)
}

// CacheSync makes sure that dst holds every blob that the live regular files of the
// manifests name, copying from src what it lacks (spec/ops.md §11). Files without
// hashes count for nothing. When it succeeds, the blobs are durable in dst.
//
// A store that can copy from src by itself does so; otherwise the bytes pass through
// here, and are verified. Blobs that cannot be copied are reported together, as
// *Failures with the keys as paths. Running again resumes.
func CacheSync(ctx context.Context, src, dst blobstore.Store, ms []manifest.Any, opts SyncOptions) (SyncStats, error) {
	workers := positive(opts.Workers, defaultUploads)
	bufs := newBuffers(workers, opts.MaxMemory)
	s := &cacheSync{
		src: src, up: newUploader(dst, bufs), fetch: newFetcher(src, bufs),
		spoolDir: opts.SpoolDir, tally: newTally(opts.Progress),
	}
	err := s.run(ctx, ms, workers)
	counts, elapsed, rate := s.tally.finish()
	return SyncStats{
		TotalObjects: counts.TotalFiles, TotalBytes: counts.TotalBytes,
		CopiedObjects: counts.DoneFiles, CopiedBytes: counts.DoneBytes,
		SkippedObjects: counts.SkippedFiles, SkippedBytes: counts.SkippedBytes,
		Elapsed: elapsed, Rate: rate,
	}, err
}

// cacheSync is the state of one CacheSync.
type cacheSync struct {
	src      blobstore.Store
	up       *Uploader
	fetch    *fetcher
	spoolDir string
	tally    *tally
	fails    failureList
}

func (s *cacheSync) run(parent context.Context, ms []manifest.Any, workers int) error {
	blobs, err := distinctBlobs(ms)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		s.tally.expect(1, b.Size)
	}
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	var group errgroup.Group
	group.SetLimit(workers)
	for _, b := range blobs {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := s.copy(ctx, b); err != nil {
				s.fails.add(ctx, string(b.Hash)+"."+string(manifest.XXH128), err)
				if isFatal(err) {
					stop(err)
				}
			}
			return nil
		})
	}
	_ = group.Wait() // failures are collected
	if err := s.fails.outcome(parent); err != nil {
		return err
	}
	return s.up.Sync(parent)
}

// distinctBlobs returns the blobs that the manifests name, each once, in order.
func distinctBlobs(ms []manifest.Any) ([]manifest.Blob, error) {
	seen := map[digest]bool{}
	var blobs []manifest.Blob
	for _, m := range ms {
		files, chunk := contentsOf(m)
		for i := range files {
			for _, b := range files[i].Blobs(chunk) {
				_, id, err := keyOf(b.Hash)
				if err != nil {
					return nil, fmt.Errorf("%w: %s: %w", manifest.ErrInvalid, printable(files[i].Path), err)
				}
				if !seen[id] {
					seen[id] = true
					blobs = append(blobs, b)
				}
			}
		}
	}
	return blobs, nil
}

// contentsOf returns the files and the chunk size of a manifest of any kind.
func contentsOf(m manifest.Any) ([]manifest.File, int64) {
	switch m := m.(type) {
	case *manifest.Snapshot:
		return m.Files, m.ChunkSize
	case *manifest.SnapshotDiff:
		return m.Files, m.ChunkSize
	case *manifest.AbsSnapshot:
		return m.Files, m.ChunkSize
	case *manifest.AbsSnapshotDiff:
		return m.Files, m.ChunkSize
	}
	return nil, 0
}

// copy brings one blob to the destination, and counts it.
func (s *cacheSync) copy(ctx context.Context, b manifest.Blob) error {
	key, _, err := keyOf(b.Hash)
	if err != nil {
		return err
	}
	there, err := isStored(ctx, s.up.dst, key, b.Size)
	if err != nil {
		return err
	}
	if there {
		s.tally.skip(1, b.Size)
		return nil
	}
	done, err := s.copyDirectly(ctx, key, b.Size)
	if err == nil && !done {
		err = s.copyThrough(ctx, key, b)
	}
	if err == nil {
		s.tally.done(1, b.Size)
	}
	return err
}

// copyDirectly lets the destination copy by itself. It reports false when that is
// not possible, for whatever reason that the other way may not share.
func (s *cacheSync) copyDirectly(ctx context.Context, key blobstore.Key, size int64) (bool, error) {
	c, ok := blobstore.As[blobstore.Copier](s.up.dst)
	if !ok {
		return false, nil
	}
	err := c.CopyFrom(ctx, s.src, key)
	switch {
	case err == nil:
		// Nobody has looked at the bytes, so that at least their number must be right.
		there, err := isStored(ctx, s.up.dst, key, size)
		if err == nil && !there {
			err = mismatch(key, fmt.Errorf("the source does not have it with %d bytes", size))
		}
		return true, err
	case ctx.Err() != nil, errors.Is(err, blobstore.ErrNotFound), errors.Is(err, blobstore.ErrMismatch),
		errors.Is(err, blobstore.ErrNoStore), errors.Is(err, blobstore.ErrNoSpace):
		return false, err
	}
	return false, nil
}

// copyThrough copies a blob by reading and storing it.
func (s *cacheSync) copyThrough(ctx context.Context, key blobstore.Key, b manifest.Blob) error {
	if in := s.fetch.open(key, b.Size); in != nil {
		defer in.Close()
		return s.up.dst.Put(ctx, key, io.NewSectionReader(in, 0, b.Size))
	}
	if b.Size <= int64(s.fetch.bufs.size/2) {
		return s.copyBuffered(ctx, key, b)
	}
	return s.copySpooled(ctx, key, b)
}

// copySpooled copies a blob through a file, into which its ranges come at the same time.
// The destination verifies what it takes; wrong content is fetched once more, as the
// transfer may have been at fault.
func (s *cacheSync) copySpooled(ctx context.Context, key blobstore.Key, b manifest.Blob) error {
	spool, err := createSpool(s.spoolDir)
	if err != nil {
		return fmt.Errorf("create a file to pass the blob through: %w", err)
	}
	defer spool.Close()
	for range 2 {
		if err = s.fetch.ranges(ctx, key, b.Size, spool); err != nil {
			return tooShort(key, b.Size, err)
		}
		err = s.up.dst.Put(ctx, key, io.NewSectionReader(spool, 0, b.Size))
		if !errors.Is(err, blobstore.ErrMismatch) {
			return err
		}
	}
	return mismatch(key, err)
}

// copyBuffered copies a blob that fits into half a buffer; the other half carries it
// there.
func (s *cacheSync) copyBuffered(ctx context.Context, key blobstore.Key, b manifest.Blob) error {
	buf, err := s.fetch.bufs.get(ctx)
	if err != nil {
		return err
	}
	defer s.fetch.bufs.put(buf)
	body, carrier := buf[:b.Size], buf[len(buf)/2:]
	err = s.fetch.part(ctx, transfer{key: key, n: b.Size, out: memory(body)}, carrier, nil)
	if err != nil {
		return tooShort(key, b.Size, err)
	}
	return s.up.dst.Put(ctx, key, io.NewSectionReader(bytes.NewReader(body), 0, b.Size))
}

// memory is a place to write to.
type memory []byte

// WriteAt implements io.WriterAt within the bounds of m.
func (m memory) WriteAt(p []byte, off int64) (int, error) {
	n := copy(m[off:], p)
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// createSpool creates a file without a name in dir.
func createSpool(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	if f, err := openFile(dir, unix.O_TMPFILE|unix.O_RDWR); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(dir, "snapfs-*.tmp")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
