package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sync/errgroup"
)

// lookupBatch is how many files a hash cache is asked about at once.
const lookupBatch = 4096

// sink is what Hash and HashUpload do differently with the content of files.
type sink interface {
	// present reports whether remembered hashes are all that is needed: whatever
	// has to be done with their content is done.
	present(ctx context.Context, blobs []manifest.Blob) (bool, error)
	// take handles one run of content by means of buf, and returns its hash.
	// handled is false when nothing had to be done with it but to hash it.
	take(ctx context.Context, r io.ReaderAt, off, n int64, buf []byte) (h manifest.Hash, handled bool, err error)
}

// contentOptions are the choices that Hash and HashUpload share.
type contentOptions struct {
	cache   HashCache
	force   bool
	workers int
	tally   *tally
	bufs    *buffers
}

// contentPass gives hashes to the files of one manifest, reading their content
// through a sink. Each worker writes to files of its own only.
type contentPass struct {
	contentOptions
	files []manifest.File
	chunk int64 // effective chunk size, WholeFile when files are not split
	sink  sink

	group  errgroup.Group
	stop   context.CancelCauseFunc
	fails  failureList
	memory rowBuffer

	hashedFiles, hashedBytes atomic.Int64
	changedFiles             atomic.Int64

	mu    sync.Mutex
	again []int // files whose remembered content turned out to be missing
}

// effectiveChunk returns the chunk size to use: the override unless it is 0, and
// WholeFile for anything that is not positive.
func effectiveChunk(override, own int64) int64 {
	c := own
	if override != 0 {
		c = override
	}
	if c <= 0 {
		return manifest.WholeFile
	}
	return c
}

// pieces returns into how many blobs a file is split: more than one only when it is
// larger than the chunk size.
func pieces(size, chunk int64) int {
	if chunk <= 0 || size <= chunk {
		return 1
	}
	return int((size + chunk - 1) / chunk)
}

// toHash returns the indices of the live regular files, or an error when one of them
// cannot be hashed.
func toHash(files []manifest.File) ([]int, error) {
	var todo []int
	for i := range files {
		f := &files[i]
		switch {
		case !f.IsRegular():
			continue
		case f.IsHashed():
			return nil, fmt.Errorf("%w: %s already has hashes set", manifest.ErrInvalid, printable(f.Path))
		case !strings.HasPrefix(f.Path, "/"):
			return nil, fmt.Errorf("%w: %s is not an absolute path of this system", manifest.ErrInvalid, printable(f.Path))
		}
		todo = append(todo, i)
	}
	return todo, nil
}

// run hashes the files with the given indices. What fails is reported together, but
// a failure that all others would share ends the run.
func (p *contentPass) run(parent context.Context, todo []int) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	p.stop = stop
	p.group.SetLimit(p.workers)
	for _, i := range todo {
		p.tally.expect(1, p.files[i].Size)
	}
	var fresh []int
	run := p.taskSize(len(todo))
	for batch := range slices.Chunk(todo, lookupBatch) {
		hits := p.lookup(batch)
		var known, unknown []int // positions in the batch; files
		for k, i := range batch {
			switch {
			case hits != nil && hits[k] != nil:
				known = append(known, k)
			case p.cache != nil && tickRemains(p.files[i].ModTime) > 0:
				fresh = append(fresh, i)
			default:
				unknown = append(unknown, i)
			}
		}
		for some := range slices.Chunk(known, run) {
			p.group.Go(func() error {
				for _, k := range some {
					p.reuse(ctx, batch[k], hits[k])
				}
				return nil
			})
		}
		for some := range slices.Chunk(unknown, run) {
			p.read(ctx, some)
		}
	}
	_ = p.group.Wait() // failures are collected, workers return none
	p.readFresh(ctx, fresh)
	for _, i := range p.again {
		p.read(ctx, []int{i})
	}
	_ = p.group.Wait()
	p.memory.flush(p.cache)
	return p.fails.outcome(parent)
}

// readFresh reads files that were modified within the last tick of the clock, after
// that tick (see HashCache).
func (p *contentPass) readFresh(ctx context.Context, fresh []int) {
	for _, i := range fresh {
		if wait := tickRemains(p.files[i].ModTime); wait > 0 {
			sleep(ctx, wait)
		}
		p.read(ctx, []int{i})
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lookup returns the remembered hashes of some files, in their order: nil for a file
// of which not everything is known.
func (p *contentPass) lookup(batch []int) [][]manifest.Hash {
	if p.cache == nil || p.force {
		return nil
	}
	var rows []HashRow
	for _, i := range batch {
		rows = appendRows(rows, &p.files[i], p.chunk)
	}
	p.cache.Lookup(rows)
	hits := make([][]manifest.Hash, len(batch))
	for k, i := range batch {
		n := pieces(p.files[i].Size, p.chunk)
		hits[k] = knownHashes(rows[:n])
		rows = rows[n:]
	}
	return hits
}

// appendRows appends the rows of a hash cache that cover f, without hashes.
func appendRows(rows []HashRow, f *manifest.File, chunk int64) []HashRow {
	n := pieces(f.Size, chunk)
	if n == 1 {
		return append(rows, HashRow{Path: f.Path, End: -1, ModTime: f.ModTime})
	}
	for k := range int64(n) {
		rows = append(rows, HashRow{Path: f.Path, Start: k * chunk, End: min((k+1)*chunk, f.Size), ModTime: f.ModTime})
	}
	return rows
}

// knownHashes returns the hashes of rows, or nil unless all of them are known.
func knownHashes(rows []HashRow) []manifest.Hash {
	for i := range rows {
		if !rows[i].Hash.IsXXH128() {
			return nil
		}
	}
	hashes := make([]manifest.Hash, len(rows))
	for i := range rows {
		hashes[i] = rows[i].Hash
	}
	return hashes
}

// reuse takes remembered hashes, provided that their content needs no more work.
func (p *contentPass) reuse(ctx context.Context, i int, hashes []manifest.Hash) {
	if ctx.Err() != nil {
		return
	}
	f := p.files[i]
	setHashes(&f, hashes)
	ok, err := p.sink.present(ctx, f.Blobs(p.chunk))
	switch {
	case err != nil:
		p.fail(ctx, f.Path, err)
	case ok:
		p.files[i] = f
		p.tally.skip(1, f.Size)
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.again = append(p.again, i)
	}
}

func setHashes(f *manifest.File, hashes []manifest.Hash) {
	if len(hashes) == 1 {
		f.Hash, f.Chunks = hashes[0], nil
	} else {
		f.Hash, f.Chunks = "", hashes
	}
}

// taskSize returns how many small files one task handles, of n: a task of its own for
// each would cost as much as the work. All workers are busy with a few tasks each.
func (p *contentPass) taskSize(n int) int {
	return min(max(1, n/(8*p.workers)), 32)
}

// read starts reading some files: the small ones in one task, those with several pieces
// in one for each piece.
func (p *contentPass) read(ctx context.Context, list []int) {
	var whole []int
	for _, i := range list {
		if pieces(p.files[i].Size, p.chunk) == 1 {
			whole = append(whole, i)
		} else {
			p.readPieces(ctx, i)
		}
	}
	if len(whole) == 0 {
		return
	}
	p.group.Go(func() error {
		for _, i := range whole {
			if ctx.Err() != nil {
				break
			}
			if r := p.open(ctx, i); r != nil {
				r.pieces(ctx)
				r.finish(ctx)
			}
		}
		return nil
	})
}

func (p *contentPass) readPieces(ctx context.Context, i int) {
	if ctx.Err() != nil {
		return
	}
	r := p.open(ctx, i)
	if r == nil {
		return
	}
	r.left.Store(int64(len(r.hashes)))
	for k := range r.hashes {
		p.group.Go(func() error {
			r.piece(ctx, k)
			if r.left.Add(-1) == 0 {
				r.finish(ctx)
			}
			return nil
		})
	}
}

// fail records that a file could not be handled, and ends the run when the others
// would fail for the same reason.
func (p *contentPass) fail(ctx context.Context, path string, err error) {
	p.fails.add(ctx, path, err)
	if isFatal(err) {
		p.stop(err)
	}
}

// isFatal reports whether err is about the store as a whole, so that to go on would
// only repeat it.
func isFatal(err error) bool {
	return errors.Is(err, blobstore.ErrNoStore) || errors.Is(err, blobstore.ErrPermission) ||
		errors.Is(err, blobstore.ErrNoSpace) || errors.Is(err, blobstore.ErrUnavailable)
}
