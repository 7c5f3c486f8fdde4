package content

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"golang.org/x/sync/errgroup"
)

// Reasons why a content is a problem.
const (
	Missing   = "missing"    // the store has no such blob
	WrongSize = "wrong-size" // the blob has another size than the manifest says
	Damaged   = "damaged"    // the blob does not have its hash
	Unhashed  = "unhashed"   // the file has no hash
	BadHash   = "bad-hash"   // the hash is not 32 hexadecimal digits
)

// Problem is a content that a mount or a download would fail on.
type Problem struct {
	Reason string `json:"reason"`
	Key    string `json:"key,omitempty"`  // of the blob
	Path   string `json:"path,omitempty"` // of the first file that needs it, when that is known
	Detail string `json:"detail,omitempty"`
}

// VerifyOptions are the choices of Verify.
type VerifyOptions struct {
	Deep    bool // read every blob and check its hash
	Workers int  // requests at once; 0 means 32
}

// Report is the outcome of Verify.
type Report struct {
	Blobs    int   // distinct contents that were looked for
	Bytes    int64 // their sizes
	Read     int64 // bytes read and hashed
	Problems []Problem
}

// Verifier looks for the contents of manifests in a store. It may be watched while
// it runs.
type Verifier struct {
	store blobstore.Store
	opts  VerifyOptions

	total, totalBytes, done, doneBytes, read atomic.Int64

	mu       sync.Mutex // guards problems
	problems []Problem
}

// NewVerifier returns a Verifier for store.
func NewVerifier(store blobstore.Store, opts VerifyOptions) *Verifier {
	if opts.Workers <= 0 {
		opts.Workers = 32
	}
	return &Verifier{store: store, opts: opts}
}

// Counts returns how far Verify is, counting blobs as files.
func (v *Verifier) Counts() ops.Counts {
	return ops.Counts{
		TotalFiles: v.total.Load(), TotalBytes: v.totalBytes.Load(),
		DoneFiles: v.done.Load(), DoneBytes: v.doneBytes.Load(),
	}
}

// Verify looks for every content that the manifests name, each once. The report lists
// the problems by path. An error means that the store could not answer.
func (v *Verifier) Verify(ctx context.Context, ms ...manifest.Any) (Report, error) {
	blobs := v.gather(ms)
	report := Report{Blobs: len(blobs)}
	for _, b := range blobs {
		report.Bytes += b.blob.Size
	}
	v.total.Store(int64(len(blobs)))
	v.totalBytes.Store(report.Bytes)
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(v.opts.Workers)
	for _, b := range blobs {
		if running.Err() != nil {
			break
		}
		g.Go(func() error { return v.check(running, b) })
	}
	return v.finish(ctx, report, g.Wait())
}

// finish completes a report. Err is why the work ended early, if it did.
func (v *Verifier) finish(ctx context.Context, report Report, err error) (Report, error) {
	if ctx.Err() != nil {
		err = fmt.Errorf("verifying stopped: %w: %w", ctx.Err(), context.Cause(ctx))
	}
	slices.SortFunc(v.problems, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Key, b.Key)) })
	report.Problems, report.Read = v.problems, v.read.Load()
	return report, err
}

// needed is a content with a file that needs it.
type needed struct {
	blob manifest.Blob
	path string
}

// gather lists the distinct contents, and notes the files that have none.
func (v *Verifier) gather(ms []manifest.Any) []needed {
	var list []needed
	seen := map[manifest.Blob]bool{}
	for _, m := range ms {
		c := inspect.Of(m)
		for i := range c.Files {
			f := &c.Files[i]
			if f.IsRegular() && !f.IsHashed() {
				v.problem(Problem{Reason: Unhashed, Path: f.Path})
			}
			for _, b := range f.Blobs(c.ChunkSize) {
				if !seen[b] {
					seen[b] = true
					list = append(list, needed{b, f.Path})
				}
			}
		}
	}
	return list
}

func (v *Verifier) problem(p Problem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problems = append(v.problems, p)
}

// check looks for one content. Only an answer that says nothing about the content is
// an error.
func (v *Verifier) check(ctx context.Context, n needed) error {
	key, err := blobstore.KeyOf(string(n.blob.Hash), string(manifest.XXH128))
	if err != nil {
		v.problem(Problem{Reason: BadHash, Path: n.path, Detail: fmt.Sprintf("%q", n.blob.Hash)})
		return nil
	}
	info, err := v.store.Stat(ctx, key)
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		v.problem(Problem{Reason: Missing, Key: string(key), Path: n.path})
	case err != nil:
		return naming(n.blob.Hash, n.path, err)
	case info.Size != n.blob.Size:
		v.problem(Problem{
			Reason: WrongSize, Key: string(key), Path: n.path,
			Detail: fmt.Sprintf("%d bytes in the store, %d in the manifest", info.Size, n.blob.Size),
		})
	case v.opts.Deep:
		if err := v.rehash(ctx, key, n); err != nil {
			return err
		}
	}
	v.done.Add(1)
	v.doneBytes.Add(n.blob.Size)
	return nil
}

// rehash reads one blob and compares its hash.
func (v *Verifier) rehash(ctx context.Context, key blobstore.Key, n needed) error {
	body, err := v.store.Open(ctx, key, 0, -1)
	if errors.Is(err, blobstore.ErrNotFound) {
		v.problem(Problem{Reason: Missing, Key: string(key), Path: n.path})
		return nil
	}
	if err != nil {
		return naming(n.blob.Hash, n.path, err)
	}
	defer body.Close()
	hash, size, err := manifest.SumReader(body)
	v.read.Add(size)
	if err != nil {
		return naming(n.blob.Hash, n.path, err)
	}
	if hash != n.blob.Hash || size != n.blob.Size {
		v.problem(Problem{
			Reason: Damaged, Key: string(key), Path: n.path, Detail: fmt.Sprintf("its %d bytes have the hash %s", size, hash),
		})
	}
	return nil
}
