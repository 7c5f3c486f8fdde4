package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// errDropped means that a blob turned out to be wrong before any byte of it had been
// served: whoever waits starts again.
var errDropped = errors.New("content was dropped")

// large reads a blob by ranges of blocks, which it keeps in a partial file until it has
// all of them.
type large struct {
	b      *Blobs
	e      *entry
	blob   manifest.Blob
	key    blobstore.Key
	blocks int

	mu      sync.Mutex
	ready   chan struct{} // closed when full and part say what is on the disk; nil at first
	full    *os.File      // the complete and verified file
	part    *partial      // nil when the directory cannot be used
	retired []*os.File    // closed with the handle: readers may be at them

	flights map[int]*blockFlight // by block: under way, or finished and not on the disk
	active  int                  // flights under way
	streams streams
	regions regions
	unread  map[int]bool // blocks that were fetched ahead and not read yet

	// claimed are the blocks that were on the disk at first or have arrived since. The
	// piece that makes the set complete is held back until the blob was verified.
	claimed  []bool
	nclaimed int
	held     map[int]bool
	blind    bool          // blocks are missing on the disk, so that it cannot be verified
	served   bool          // bytes of this round were handed out that are not verified
	round    int           // grows each time that the content on the disk is lost
	changed  chan struct{} // closed and replaced when any of these change
	judging  *verdict      // the verification under way, outside of flights
}

// blockFlight is a flight of the blocks [first, end).
type blockFlight struct {
	*flight
	first, end int
}

func newLarge(b *Blobs, e *entry, key blobstore.Key) *large {
	n := blocksOf(e.blob.Size)
	return &large{
		b: b, e: e, blob: e.blob, key: key, blocks: n,
		flights: map[int]*blockFlight{}, claimed: make([]bool, n), held: map[int]bool{}, unread: map[int]bool{}, changed: make(chan struct{}),
	}
}

func (l *large) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	for {
		n, err := l.tryReadAt(ctx, p, off)
		if errors.Is(err, blobstore.ErrMismatch) {
			_ = l.b.suspects.collect(l.blob.Hash) // this reader is told
		}
		if !errors.Is(err, errDropped) {
			return n, l.b.flightError(err)
		}
	}
}

// tryReadAt is readAt that fails with errDropped when the content was found wrong.
func (l *large) tryReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if err := l.b.suspects.collect(l.blob.Hash); err != nil {
		return 0, err
	}
	if l.b.opts.Strict || l.b.suspects.has(l.blob.Hash) {
		if err := l.ensure(ctx); err != nil {
			return 0, err
		}
	}
	if err := l.await(ctx); err != nil {
		return 0, err
	}
	fetch, round := l.plan(off, int64(len(p)))
	for n := 0; n < len(p); {
		m, err := l.readSome(ctx, p[n:], off+int64(n), fetch)
		if err != nil {
			return 0, err
		}
		n += m
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.round != round {
		return 0, errDropped // the bytes may be some that have been found wrong
	}
	l.served = l.served || l.full == nil
	l.wasRead(off, int64(len(p)))
	return len(p), nil
}

// wasRead notes that what was fetched ahead was useful. The caller holds mu.
func (l *large) wasRead(off, n int64) {
	for b := int(off / blockSize); b < blocksOf(off+n) && len(l.unread) > 0; b++ {
		if l.unread[b] {
			delete(l.unread, b)
			l.b.stats.aheadUseful.Add(int64(blockLen(l.blob.Size, b)))
		}
	}
}

// plan notes the read, starts the read-ahead for it and returns how many bytes to
// fetch when the read itself finds one missing, and the present round.
func (l *large) plan(off, n int64) (fetch int64, round int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != nil {
		return firstFetch, l.round
	}
	p := l.streams.observe(off, n)
	if p.random {
		l.consider(int(off / blockSize))
	}
	if l.blind { // only so much as memory can hold until it is read
		room := l.b.residents.max / 2
		p.demand, p.to = min(p.demand, room), min(p.to, off+n+room)
	}
	if p.from < min(p.to, l.blob.Size) {
		first := int(off / blockSize)
		if l.wanted(first) { // the reader's own blocks go out first
			l.launch(first, l.runEnd(first, p.demand), false)
		}
		l.ahead(p.from, p.to)
	}
	return p.demand, l.round
}

// readSome reads at least one byte at off, or returns 0 when the state changed and the
// caller should look again.
func (l *large) readSome(ctx context.Context, p []byte, off, fetch int64) (int, error) {
	if err := l.await(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	full, part := l.full, l.part
	l.mu.Unlock()
	if full != nil {
		if n, _ := full.ReadAt(p, off); n == len(p) {
			l.b.stats.diskHits.Add(1)
			return n, nil
		}
		l.lose(full)
		return 0, nil
	}
	if part != nil {
		if n := l.fromPart(part, p, off); n != 0 {
			l.b.stats.diskHits.Add(1)
			return max(n, 0), l.judge(ctx)
		}
	}
	return l.fromFlight(ctx, part, p, off, fetch)
}

// fromPart reads from the blocks in the partial file as many bytes as follow off. It
// returns -1 when the file is gone.
func (l *large) fromPart(part *partial, p []byte, off int64) int {
	end := off
	for b := int(off / blockSize); end < off+int64(len(p)) && l.onDisk(part, b); b++ {
		end = min(int64(b+1)*blockSize, off+int64(len(p)))
	}
	if end == off {
		return 0
	}
	n, err := part.f.ReadAt(p[:end-off], off)
	if err != nil {
		l.reset(part)
		return -1
	}
	return n
}

// onDisk reports whether block b can be read from the partial file.
func (l *large) onDisk(part *partial, b int) bool {
	if part.has(b) {
		return true
	}
	l.mu.Lock()
	held := l.held[b]
	l.mu.Unlock()
	if held {
		return false
	}
	buf := l.b.buffers.Get().(*[blockSize]byte)
	defer l.b.buffers.Put(buf)
	ok, err := part.load(b, buf[:blockLen(l.blob.Size, b)])
	if errors.Is(err, errGone) {
		l.reset(part)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ok = ok || part.has(b) // it may have landed just now
	if l.part == part && l.flights[b] == nil {
		l.setClaimed(b, ok)
	}
	return ok
}

// fromFlight reads from memory or from a flight, which it starts if need be.
func (l *large) fromFlight(ctx context.Context, part *partial, p []byte, off, fetch int64) (int, error) {
	b := int(off / blockSize)
	if data, ok := l.b.memory.Get(l.memoryKey(b)); ok && len(data) == blockLen(l.blob.Size, b) {
		l.b.stats.memoryHits.Add(1)
		return copy(p, data[off-int64(b)*blockSize:]), nil
	}
	l.mu.Lock()
	if l.part != part || (part != nil && part.has(b)) {
		l.mu.Unlock()
		return 0, nil // look again
	}
	fl := l.join(b, fetch)
	l.mu.Unlock()
	at := int(off - int64(fl.first)*blockSize)
	n := min(len(p), l.flightLen(fl)-at)
	if err := fl.wait(ctx, at+n); err != nil {
		return 0, err
	}
	return copy(p[:n], fl.bytes()[at:]), nil
}

// join returns a flight of block b that it has joined. The caller holds mu.
func (l *large) join(b int, fetch int64) *blockFlight {
	if fl := l.flights[b]; fl != nil && fl.join() {
		return fl
	}
	delete(l.flights, b)
	l.setClaimed(b, false)
	fl := l.launch(b, l.runEnd(b, fetch), false)
	fl.join()
	return fl
}

// runEnd returns the end of the run of wanted blocks that starts at b, at most n bytes
// later. The caller holds mu.
func (l *large) runEnd(b int, n int64) int {
	end := b + 1
	for limit := min(b+blocksOf(n), l.blocks); end < limit && l.wanted(end); end++ {
	}
	return end
}

// wanted reports whether block b is neither here nor on its way. The caller holds mu.
func (l *large) wanted(b int) bool { return !l.claimed[b] && l.flights[b] == nil }

// ahead starts flights for what is wanted of a range, as far as there is budget. The
// caller holds mu.
func (l *large) ahead(from, to int64) {
	last := blocksOf(min(to, l.blob.Size))
	for b := int(from / blockSize); b < last; b++ {
		if !l.wanted(b) {
			continue
		}
		end := min(l.runEnd(b, maxFetch), last)
		n := int64(end-b) * blockSize
		if !l.b.fetch.ahead.TryAcquire(n) {
			return
		}
		l.b.stats.readAhead.Add(n)
		l.launch(b, end, true)
		b = end - 1
	}
}

// launch starts a flight of the blocks [first, end). The caller holds mu.
func (l *large) launch(first, end int, ahead bool) *blockFlight {
	ctx, cancel := context.WithCancel(l.b.ctx)
	fl := &blockFlight{flight: newFlight(cancel, ahead, l.b.opts.IOTimeout), first: first, end: end}
	for b := first; b < end; b++ {
		l.flights[b] = fl
		if ahead {
			l.unread[b] = true
		}
	}
	l.active++
	l.b.hold(l.e)
	l.b.stats.flights.Add(1)
	go func() {
		defer l.b.release(l.e)
		defer cancel()
		l.fly(ctx, fl)
		if ahead {
			l.b.fetch.ahead.Release(int64(end-first) * blockSize)
		}
	}()
	return fl
}

func (l *large) flightLen(fl *blockFlight) int {
	return int(min(int64(fl.end)*blockSize, l.blob.Size) - int64(fl.first)*blockSize)
}

func (l *large) memoryKey(b int) string { return string(l.key) + "/" + strconv.Itoa(b) }

func (l *large) prefetch(off, n int64) {
	if l.await(l.b.ctx) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full == nil {
		l.streams.expect(off, n)
		l.ahead(off, off+n)
	}
}

func (l *large) open() (*os.File, bool) {
	if _, err := os.Lstat(l.b.dir.blobPath(l.key)); errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	if l.await(l.b.ctx) != nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full == nil {
		return nil, false
	}
	return reopen(l.full, true)
}

func (l *large) close() {
	for b := range l.unread {
		l.b.stats.aheadWasted.Add(int64(blockLen(l.blob.Size, b)))
	}
	if l.full != nil {
		l.full.Close()
	}
	if l.part != nil {
		l.part.f.Close()
	}
	for _, f := range l.retired {
		f.Close()
	}
}
