package ops

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// reading is a file being hashed. Its pieces may be read by several goroutines; the
// one that finishes last settles whether the content held still meanwhile.
type reading struct {
	p    *contentPass
	i    int // index of the file
	file *input
	at   fileState // of the file when the reading began
	from time.Time // when that was

	hashes []manifest.Hash
	left   atomic.Int64 // pieces not read yet

	done, skipped atomic.Int64 // bytes counted as such
	handled       atomic.Bool  // something was done with the content but to hash it
	changed       atomic.Bool  // content was seen to change

	mu  sync.Mutex
	err error // first failure that reading again cannot cure
}

// fileState is what tells a file that was written to from one that was not.
type fileState struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// open opens a file and prepares to read it. It returns nil after having recorded
// why that is not possible.
func (p *contentPass) open(ctx context.Context, i int) *reading {
	path := p.files[i].Path
	file, err := openInput(path)
	if err != nil {
		p.fail(ctx, path, err)
		return nil
	}
	r := &reading{p: p, i: i, file: file}
	state, err := r.state()
	if err != nil {
		file.close()
		p.fail(ctx, path, err)
		return nil
	}
	r.begin(state)
	return r
}

// state returns the present state of the open file, which must be a regular one.
func (r *reading) state() (fileState, error) {
	r.from = time.Now()
	var st unix.Stat_t
	if err := r.file.stat(&st); err != nil {
		return fileState{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fileState{}, fmt.Errorf("%w: it is %s now, no longer a regular file", ErrChanged, typeName(st.Mode))
	}
	return fileState{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}, nil
}

// begin prepares to read the file, all over again if need be, in the given state.
func (r *reading) begin(state fileState) {
	r.at = state
	r.hashes = make([]manifest.Hash, pieces(state.size, r.p.chunk))
	r.handled.Store(false)
	r.changed.Store(false)
	r.p.tally.done(0, -r.done.Swap(0))
	r.p.tally.skip(0, -r.skipped.Swap(0))
}

// pieces reads all pieces, one after the other.
func (r *reading) pieces(ctx context.Context) {
	for k := range r.hashes {
		r.piece(ctx, k)
	}
}

// piece reads one piece, unless the reading is already in vain.
func (r *reading) piece(ctx context.Context, k int) {
	if r.changed.Load() || r.failure() != nil {
		return
	}
	n := r.at.size
	off := int64(0)
	if len(r.hashes) > 1 {
		off = int64(k) * r.p.chunk
		n = min(r.p.chunk, r.at.size-off)
	}
	err := r.take(ctx, k, off, n)
	switch {
	case errors.Is(err, ErrChanged):
		r.changed.Store(true)
	case err != nil:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.err == nil {
			r.err = err
		}
	}
}

func (r *reading) take(ctx context.Context, k int, off, n int64) error {
	buf, err := r.p.bufs.get(ctx)
	if err != nil {
		return err
	}
	defer r.p.bufs.put(buf)
	h, handled, err := r.p.sink.take(ctx, r.file, off, n, buf)
	if err != nil {
		return err
	}
	r.hashes[k] = h
	r.p.hashedBytes.Add(n)
	if handled {
		r.handled.Store(true)
		r.done.Add(n)
		r.p.tally.done(0, n)
	} else {
		r.skipped.Add(n)
		r.p.tally.skip(0, n)
	}
	return nil
}

func (r *reading) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// finish makes sure that the file did not change while it was read, reading it again
// if it did, and records the result.
func (r *reading) finish(ctx context.Context) {
	defer r.file.close()
	path := r.p.files[r.i].Path
	for attempt := 1; ; attempt++ {
		if err := r.failure(); err != nil {
			r.p.fail(ctx, path, err)
			return
		}
		began := r.from
		now, err := r.state()
		switch {
		case err != nil:
			r.p.fail(ctx, path, err)
			return
		case !r.changed.Load() && now == r.at:
			r.record(began)
			return
		case attempt == maxAttempts:
			r.p.fail(ctx, path, ErrChanged)
			return
		}
		r.begin(now)
		r.pieces(ctx)
	}
}

// record writes down the result. The entry describes what was hashed: a file that
// has changed since the manifest was made gets its present size and time.
func (r *reading) record(began time.Time) {
	f := &r.p.files[r.i]
	setHashes(f, r.hashes)
	mtime := max(0, r.at.mtime.Sec*1_000_000+r.at.mtime.Nsec/1000)
	if f.Size != r.at.size || f.ModTime != mtime {
		r.p.changedFiles.Add(1)
		r.p.tally.expect(0, r.at.size-f.Size)
		f.Size, f.ModTime = r.at.size, mtime
	}
	r.p.hashedFiles.Add(1)
	if r.handled.Load() {
		r.p.tally.done(1, 0)
	} else {
		r.p.tally.skip(1, 0)
	}
	if r.p.cache != nil && isSettled(r.at.mtime, began) {
		r.p.memory.add(r.p.cache, f, r.p.chunk, r.hashes)
	}
}
