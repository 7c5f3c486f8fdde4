package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// maxCounted is how many small blobs of a store used in place are remembered as read.
const maxCounted = 1 << 18

// places is what is known about the files of a store that is used in place.
type places struct {
	mu      sync.Mutex
	counted map[digest]struct{} // small blobs whose bytes were counted
	large   map[manifest.Blob]*place
}

// place is what is known about one large file.
type place struct {
	size int64

	mu      sync.Mutex
	id      fileID
	touched []bool // by block
	left    int    // blocks not touched
	verdict *verdict
}

// verdict is the verification of a whole file, under way or done.
type verdict struct {
	done chan struct{}
	err  error // valid when done
}

// fileID tells whether a file is still the one that was looked at.
type fileID struct {
	dev, ino uint64
	size     int64
	mtime    int64
}

func idOf(f *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, os.NewSyscallError("stat "+f.Name(), err)
	}
	return fileID{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano()}, nil
}

// firstUse reports whether the bytes of a small blob have not been counted yet.
func (p *places) firstUse(d digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.counted[d]; ok {
		return false
	}
	if p.counted == nil || len(p.counted) >= maxCounted {
		p.counted = map[digest]struct{}{}
	}
	p.counted[d] = struct{}{}
	return true
}

// of returns what is known about the file with this id, which holds blob.
func (p *places) of(blob manifest.Blob, id fileID) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.large == nil {
		p.large = map[manifest.Blob]*place{}
	}
	pl := p.large[blob]
	if pl == nil || pl.id != id {
		n := blocksOf(blob.Size)
		pl = &place{size: blob.Size, id: id, touched: make([]bool, n), left: n}
		p.large[blob] = pl
	}
	return pl
}

// placed reads a large blob from the file of the store.
type placed struct {
	b    *Blobs
	e    *entry
	blob manifest.Blob
	f    *os.File
	// wrong is why the file cannot be what it should be.
	wrong error
	*place
}

func newPlaced(b *Blobs, e *entry, f *os.File) *placed {
	id, err := idOf(f)
	if err == nil && id.size != e.blob.Size {
		err = fmt.Errorf("%w: %s has %d bytes instead of %d", blobstore.ErrMismatch, f.Name(), id.size, e.blob.Size)
		b.mismatch(e.blob.Hash, err)
	}
	return &placed{b: b, e: e, blob: e.blob, f: f, wrong: err, place: b.places.of(e.blob, id)}
}

func (p *placed) readAt(ctx context.Context, buf []byte, off int64) (int, error) {
	if p.wrong != nil {
		return 0, p.wrong
	}
	v := p.touch(off, int64(len(buf)))
	if v == nil && p.b.opts.Strict {
		v = p.verify()
	}
	if v != nil {
		if err := v.wait(ctx); err != nil {
			return 0, p.b.flightError(err)
		}
	}
	n, err := p.f.ReadAt(buf, off)
	if n < len(buf) {
		return 0, fmt.Errorf("%w: %s cannot be read at %d: %v", blobstore.ErrUnavailable, p.f.Name(), off, err)
	}
	p.b.stats.storeFileHits.Add(1)
	return n, nil
}

// touch counts the blocks of a range as read, and returns the verdict about the file
// when there is one or it is due.
func (p *placed) touch(off, n int64) *verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	for b := int(off / blockSize); b < blocksOf(off+n) && p.left > 0; b++ {
		if !p.touched[b] {
			p.touched[b] = true
			p.left--
			p.b.stats.fetched.Add(int64(blockLen(p.size, b)))
		}
	}
	if p.left == 0 && p.verdict == nil {
		p.judge()
	}
	return p.verdict
}

// verify reads the whole file and returns the verdict, which may be under way.
func (p *placed) verify() *verdict { return p.touch(0, p.size) }

// judge begins to verify the file. The caller holds the lock of the place.
func (p *placed) judge() {
	v := &verdict{done: make(chan struct{})}
	p.verdict = v
	p.b.hold(p.e)
	go func() {
		defer p.b.release(p.e)
		v.err = p.check()
		if errors.Is(v.err, blobstore.ErrMismatch) {
			p.b.mismatch(p.blob.Hash, v.err)
			v.err = p.check() // once more, as of any store
		}
		if v.err != nil && !errors.Is(v.err, blobstore.ErrMismatch) {
			p.mu.Lock()
			p.verdict = nil // nothing is known: the next reader tries again
			p.mu.Unlock()
		}
		close(v.done)
		if v.err == nil {
			p.b.nowLocal(p.blob)
		}
	}()
}

// check compares the content of the file with its hash.
func (p *placed) check() error {
	h := manifest.NewHasher()
	r := &contextReader{ctx: p.b.ctx, r: io.NewSectionReader(p.f, 0, p.size)}
	n, err := io.CopyBuffer(h, r, make([]byte, 4*blockSize))
	switch {
	case err != nil:
		return err
	case n != p.size:
		return fmt.Errorf("%w: %s ends after %d of %d bytes", blobstore.ErrMismatch, p.f.Name(), n, p.size)
	case h.Hash() != p.blob.Hash:
		return fmt.Errorf("%w: %s has hash %s", blobstore.ErrMismatch, p.f.Name(), h.Hash())
	}
	return nil
}

func (v *verdict) wait(ctx context.Context) error {
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// prefetch has nothing to do: the kernel reads local files ahead.
func (p *placed) prefetch(_, _ int64) {}

// fetch has nothing to do either.
func (p *placed) fetch(context.Context, int64, int64) error { return p.wrong }

func (p *placed) ensure(ctx context.Context) error {
	if p.wrong != nil {
		return p.wrong
	}
	if err := p.verify().wait(ctx); err != nil {
		return p.b.flightError(err)
	}
	return nil
}

func (p *placed) open() (*os.File, bool) {
	p.mu.Lock()
	v := p.verdict
	p.mu.Unlock()
	if v == nil || p.wrong != nil {
		return nil, false
	}
	select {
	case <-v.done:
		if v.err == nil {
			return reopen(p.f, false)
		}
	default:
	}
	return nil, false
}

func (p *placed) close() { p.f.Close() }
