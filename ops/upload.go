package ops

import (
	"context"
	"io"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// defaultUploads is how many blobs are on their way to a store at once, unless the
// caller says otherwise (spec/types.md §1).
const defaultUploads = 10

// UploadOptions are the choices of HashUpload. The zero value works.
type UploadOptions struct {
	// Cache remembers hashes between runs; nil means none.
	Cache HashCache
	// ForceRehash reads every file, whatever the cache knows, and updates the cache.
	ForceRehash bool
	// ChunkSize, in bytes, is used instead of the one of the manifest unless it is
	// 0; manifest.WholeFile disables chunking.
	ChunkSize int64
	// Workers is how many files or chunks are handled at once; 0 means 10.
	Workers int
	// MaxMemory bounds the memory for contents, in bytes; 0 means 64 MiB.
	MaxMemory int64
	// Progress, when not nil, is kept up to date.
	Progress *Progress
}

// UploadStats says what HashUpload did. Only regular files count. Every file and
// every byte of the total is either uploaded or skipped, never both (G-15); hashing
// is counted apart.
type UploadStats struct {
	TotalFiles, TotalBytes       int64
	HashedFiles, HashedBytes     int64 // read; bytes read again count again
	UploadedFiles, UploadedBytes int64 // files with content that had to be stored, and that content
	SkippedFiles, SkippedBytes   int64 // files and content that the store held already
	ChangedFiles                 int64 // found with another size or time than listed
	Elapsed                      time.Duration
	Rate                         float64 // bytes per second over the last 12 s
	unit                         string
}

// Message returns a closing line for people, such as
// "Hashed/uploaded 12.3 MB (42 files) in 0.53s (23.21 MB/s)".
func (s UploadStats) Message() string {
	return message("Hashed/uploaded", s.TotalBytes, s.TotalFiles, s.unit, s.Elapsed, s.Rate)
}

// HashUpload is Hash that also makes sure that dst holds the contents (spec/ops.md
// §3). When it succeeds, everything that the result names is in dst, verified and
// durable, so that the result may be published.
//
// A file whose hashes the cache knows is not read when dst holds its blobs. Each
// distinct content is stored once, by whichever file comes first. A small file is
// read once; a large one twice, in streams: memory does not depend on the sizes of
// files. Content that changes between being hashed and being stored is noticed by
// the store (G-11), and read again.
//
// A store that cannot tell whether it holds a blob fails the file (G-27); one that is
// missing, full, not reachable or not permitted ends the run at once. Running again
// resumes: what was stored is found there.
func HashUpload[K manifest.Kind](ctx context.Context, m *manifest.Manifest[manifest.Abs, K], dst blobstore.Store, opts UploadOptions) (*manifest.Manifest[manifest.Abs, K], UploadStats, error) {
	workers := positive(opts.Workers, defaultUploads)
	bufs := newBuffers(workers, opts.MaxMemory)
	up := newUploader(dst, bufs)
	p := &contentPass{
		contentOptions: contentOptions{
			cache: opts.Cache, force: opts.ForceRehash, workers: workers,
			tally: newTally(opts.Progress), bufs: bufs,
		},
		sink:  uploadSink{up},
		chunk: effectiveChunk(opts.ChunkSize, m.ChunkSize),
	}
	out, err := hashWith(ctx, m, p)
	if err == nil {
		if err = up.Sync(ctx); err != nil {
			out = nil
		}
	}
	counts, elapsed, rate := p.tally.finish()
	return out, UploadStats{
		TotalFiles: counts.TotalFiles, TotalBytes: counts.TotalBytes,
		HashedFiles: p.hashedFiles.Load(), HashedBytes: p.hashedBytes.Load(),
		UploadedFiles: counts.DoneFiles, UploadedBytes: counts.DoneBytes,
		SkippedFiles: counts.SkippedFiles, SkippedBytes: counts.SkippedBytes,
		ChangedFiles: p.changedFiles.Load(), Elapsed: elapsed, Rate: rate, unit: p.unit(),
	}, err
}

// uploadSink stores what it hashes.
type uploadSink struct{ up *Uploader }

func (s uploadSink) present(ctx context.Context, blobs []manifest.Blob) (bool, error) {
	return s.up.present(ctx, blobs)
}

func (s uploadSink) take(ctx context.Context, r io.ReaderAt, off, n int64, buf []byte) (manifest.Hash, bool, error) {
	return s.up.take(ctx, r, off, n, buf)
}
