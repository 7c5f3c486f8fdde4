package ops

import (
	"context"
	"io"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops/internal/confine"
)

// sharedDir is a directory handle that is closed when its last user is done.
type sharedDir struct {
	*confine.Dir
	users atomic.Int64
}

func (s *sharedDir) hold() { s.users.Add(1) }

func (s *sharedDir) release() {
	if s.users.Add(-1) == 0 {
		s.Close()
	}
}

// writeFiles writes the files of work, which is grouped by directory.
func (d *download) writeFiles(ctx context.Context, work []item) {
	for len(work) > 0 && ctx.Err() == nil {
		rel, n := path.Dir(d.files[work[0].i].Path), 1
		for n < len(work) && path.Dir(d.files[work[n].i].Path) == rel {
			n++
		}
		d.writeDir(ctx, rel, work[:n])
		work = work[n:]
	}
	_ = d.group.Wait() // failures are collected
}

// writeDir starts to write files of one directory.
func (d *download) writeDir(ctx context.Context, rel string, work []item) {
	handle, err := d.root.Dir(rel)
	if err != nil {
		for _, it := range work {
			d.fail(ctx, d.files[it.i].Path, err)
		}
		return
	}
	dir := &sharedDir{Dir: handle}
	dir.hold()
	defer dir.release()
	for _, it := range work {
		if ctx.Err() != nil {
			return
		}
		w := &writing{d: d, dir: dir, it: it, blobs: d.files[it.i].Blobs(d.chunk)}
		if it.probe || !w.isSplit() {
			dir.hold()
			d.group.Go(func() error {
				defer dir.release()
				w.alone(ctx)
				return nil
			})
			continue
		}
		w.spread(ctx)
	}
}

// writing is a file being written. Its blobs, and ranges of them, may be fetched by
// several goroutines; the one that finishes last gives the file its name.
type writing struct {
	d     *download
	dir   *sharedDir
	it    item
	blobs []manifest.Blob
	temp  *confine.Temp

	left atomic.Int64 // pieces not fetched yet
	got  atomic.Int64 // bytes counted as downloaded
	had  atomic.Int64 // bytes counted as there already
	mu   sync.Mutex
	err  error // first failure
}

func (w *writing) file() *manifest.File { return &w.d.files[w.it.i] }

// isSplit reports whether the file is fetched in several pieces at once.
func (w *writing) isSplit() bool {
	return len(w.blobs) > 1 || w.d.fetch.ranged(w.blobs[0].Size)
}

// alone does everything about a file, unless what exists is right already.
func (w *writing) alone(ctx context.Context) {
	if w.it.probe && w.isThere(ctx) {
		w.d.settle(ctx, w.dir.Dir, w.it)
		return
	}
	if !w.begin(ctx) {
		return
	}
	off := int64(0)
	for _, b := range w.blobs {
		w.blob(ctx, b, off)
		off += b.Size
	}
	w.finish(ctx)
}

// spread fetches the pieces of a large file in tasks of their own.
func (w *writing) spread(ctx context.Context) {
	if !w.begin(ctx) {
		return
	}
	w.dir.hold()
	var pieces []func()
	off := int64(0)
	for _, b := range w.blobs {
		if w.d.fetch.ranged(b.Size) {
			pieces = append(pieces, w.ranges(ctx, b, off)...)
		} else {
			at := off
			pieces = append(pieces, func() { w.blob(ctx, b, at) })
		}
		off += b.Size
	}
	w.left.Store(int64(len(pieces)))
	for _, piece := range pieces {
		w.d.group.Go(func() error {
			piece()
			if w.left.Add(-1) == 0 {
				w.finish(ctx)
				w.dir.release()
			}
			return nil
		})
	}
}

// ranges returns the tasks that fetch a blob in ranges.
func (w *writing) ranges(ctx context.Context, b manifest.Blob, off int64) []func() {
	r := &rangedBlob{w: w, blob: b, off: off, done: make([]bool, (b.Size+rangeSize-1)/rangeSize), sum: manifest.NewHasher()}
	tasks := make([]func(), len(r.done))
	for k := range tasks {
		tasks[k] = func() { r.fetch(ctx, k) }
	}
	return tasks
}

// begin creates the file, or takes up what a killed process has left of it. It returns false when that fails.
func (w *writing) begin(ctx context.Context) bool {
	perm := uint32(0o644)
	if w.file().Runnable {
		perm = 0o755
	}
	temp, err := w.create(perm)
	if err != nil {
		w.d.fail(ctx, w.file().Path, err)
		return false
	}
	w.temp = temp
	return true
}

// blob fetches one blob whole, unless the file is already lost.
func (w *writing) blob(ctx context.Context, b manifest.Blob, off int64) {
	if w.failure() != nil {
		return
	}
	have, err := w.d.fetch.blob(ctx, b, w.temp.File, off, w.written(off, b.Size))
	if err != nil {
		w.fail(err)
		return
	}
	w.adopt(have)
	w.count(b.Size - have)
}

// count counts n bytes as downloaded.
func (w *writing) count(n int64) {
	w.got.Add(n)
	w.d.tally.done(0, n)
}

func (w *writing) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *writing) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// finish gives the complete file its time and name, or abandons it.
func (w *writing) finish(ctx context.Context) {
	f := w.file()
	err := w.failure()
	if err == nil {
		err = ctx.Err()
	}
	var at string
	if err == nil {
		// As in the reference, a file system that cannot hold the time is not an
		// error: the result says which time it is.
		_ = w.temp.SetModTime(f.ModTime)
		var info confine.Info
		if info, err = confine.Fstat(w.temp.Fd()); err == nil {
			at, err = w.place(info)
		}
	}
	switch {
	case err != nil:
		w.uncount()
		w.abandon(ctx, err)
		w.d.fail(ctx, f.Path, err)
		return
	case at == "": // somebody else created it meanwhile, and the policy is to keep that
		w.uncount()
		w.d.tally.skip(1, f.Size)
	default:
		w.d.tally.done(1, 0)
	}
	w.temp.Discard() // but for its name
}

// place names the file, and records what it is called and dated.
func (w *writing) place(info confine.Info) (string, error) {
	f := w.file()
	at, err := placing{create: w.temp.Place, replace: w.temp.Replace}.do(path.Base(f.Path), w.d.opts.Conflict)
	if err != nil || at == "" {
		return at, err
	}
	f.Path, f.ModTime = path.Join(path.Dir(f.Path), at), info.MicroMod
	if w.d.opts.Cache != nil && isSettled(info.Mtim, time.Now()) {
		w.d.rows.append(w.d.opts.Cache, w.d.appendRows(nil, f, f.ModTime))
	}
	return at, nil
}

// isThere reports whether what exists has the right content, and held still while
// that was found out.
func (w *writing) isThere(ctx context.Context) bool {
	file, err := w.dir.Open(path.Base(w.file().Path))
	if err != nil {
		return false
	}
	defer file.Close()
	buf, err := w.d.fetch.bufs.get(ctx)
	if err != nil {
		return false
	}
	defer w.d.fetch.bufs.put(buf)
	off := int64(0)
	for _, b := range w.blobs {
		h, err := hashSection(ctx, io.NewSectionReader(file, off, b.Size), buf)
		if err != nil || h != b.Hash {
			return false
		}
		off += b.Size
	}
	now, err := confine.Fstat(file.Fd())
	return err == nil && now == w.it.info
}

// rangedBlob is a blob being fetched in ranges. Its hash is taken in order, as far
// as the ranges have come, from the file they were just written to.
type rangedBlob struct {
	w    *writing
	blob manifest.Blob
	off  int64 // of the blob in the file

	mu      sync.Mutex
	done    []bool // ranges in the file
	hashed  int    // ranges in the hash
	hashing bool   // somebody is at it
	had     int64  // bytes that an earlier process has left
	sum     *manifest.Hasher
}

// fetch fetches range k, and moves the hash on.
func (r *rangedBlob) fetch(ctx context.Context, k int) {
	if r.w.failure() != nil {
		return
	}
	have := r.w.written(r.off+int64(k)*rangeSize, r.size(k))
	if have < r.size(k) {
		if err := r.fetchRange(ctx, k, have); err != nil {
			r.w.fail(err)
			return
		}
	}
	r.adopt(have)
	r.w.count(r.size(k) - have)
	if err := r.advance(ctx, k); err != nil {
		r.w.fail(err)
	}
}

func (r *rangedBlob) size(k int) int64 { return min(rangeSize, r.blob.Size-int64(k)*rangeSize) }

// adopt counts n bytes as there already.
func (r *rangedBlob) adopt(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.had += n
	r.w.adopt(n)
}

// fetchRange fetches range k but for its first bytes, which are there.
func (r *rangedBlob) fetchRange(ctx context.Context, k int, have int64) error {
	key, _, err := keyOf(r.blob.Hash)
	if err != nil {
		return err
	}
	bufs := r.w.d.fetch.bufs
	buf, err := bufs.get(ctx)
	if err != nil {
		return err
	}
	defer bufs.put(buf)
	from := int64(k)*rangeSize + have
	err = r.w.d.fetch.part(ctx, transfer{key: key, from: from, n: r.size(k) - have, out: r.w.temp.File, off: r.off + from}, buf, nil)
	return tooShort(key, r.blob.Size, err)
}

// advance notes that range k has come, and hashes what can be hashed in order. The
// one who hashes the last range verifies the blob.
func (r *rangedBlob) advance(ctx context.Context, k int) error {
	r.mu.Lock()
	r.done[k] = true
	if r.hashing {
		r.mu.Unlock()
		return nil
	}
	r.hashing = true
	for r.hashed < len(r.done) && r.done[r.hashed] {
		next := r.hashed
		r.mu.Unlock()
		from := int64(next) * rangeSize
		_, err := io.Copy(r.sum, io.NewSectionReader(r.w.temp.File, r.off+from, r.size(next)))
		if err != nil {
			return err // the file is lost, nobody needs to hash on
		}
		r.mu.Lock()
		r.hashed++
	}
	r.hashing = false
	complete := r.hashed == len(r.done)
	r.mu.Unlock()
	if !complete || r.sum.Hash() == r.blob.Hash {
		return nil
	}
	// The transfer may have been at fault, or what was left here: once more, as a whole.
	r.w.count(r.had - r.blob.Size)
	r.w.adopt(-r.had)
	if _, err := r.w.d.fetch.blob(ctx, r.blob, r.w.temp.File, r.off, 0); err != nil {
		return err
	}
	r.w.count(r.blob.Size)
	return nil
}
