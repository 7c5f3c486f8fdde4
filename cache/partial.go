package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// blockSize is the unit in which large blobs are stored and checked. Fetches are
// multiples of it.
const blockSize = 256 << 10

// A partial file is the blob's bytes at their offsets, padded to pageSize, then a
// trailer: a header and one 8-byte little-endian mark per block. A mark of 0 means
// that the block is absent, anything else is the block's checksum.
const (
	pageSize    = 4096
	headerSize  = 32 // magic, block size, blob size, checksum of those
	markSize    = 8
	partMagic   = "snapfsp1"
	guardOffset = int64(1) << 62 // the byte whose lock guards the life of the file
)

var (
	// errGone means that the partial file was completed or evicted by another process.
	errGone = errors.New("partial file is gone")
	// errIncomplete means that blocks are missing.
	errIncomplete = errors.New("partial file is not complete")
)

// partial is an open partial file.
type partial struct {
	f    *os.File
	path string
	size int64 // of the blob
	born bool  // the file was created by this process

	// marks of the blocks that this process has stored or has found right.
	marks []atomic.Uint64

	mu      sync.Mutex // held while the file changes: its lock does not exclude goroutines
	hasher  *manifest.Hasher
	hashed  int // blocks at the front that hasher has seen
	scratch []byte
}

// openPartial opens the partial file at path of a blob that will lie at final, and
// creates it if need be. It returns errGone when another process completed or evicted
// the file at this moment; the caller looks for the complete blob again.
func openPartial(ctx context.Context, path, final string, size int64) (*partial, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	p := &partial{f: f, path: path, size: size, marks: make([]atomic.Uint64, blocksOf(size)), hasher: manifest.NewHasher()}
	if markInUse(f) {
		err = p.begin(ctx, final)
	} else {
		err = errGone
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// begin writes the header of a new file and checks that of an old one. A file that
// cannot be used is removed, and errGone returned.
func (p *partial) begin(ctx context.Context, final string) error {
	if err := waitLock(ctx, p.f, unix.F_WRLCK, guardOffset, 1); err != nil {
		return err
	}
	defer unlock(p.f, guardOffset, 1)
	st, err := p.f.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(p.path); err != nil || !os.SameFile(st, now) {
		return errGone
	}
	if _, err := os.Lstat(final); err == nil {
		p.drop()
		return errGone
	}
	header := p.header()
	if st.Size() == 0 {
		p.born = true
		if _, err := p.f.WriteAt(header, p.trailer()); err != nil {
			return err
		}
		return p.f.Truncate(p.length())
	}
	found := make([]byte, headerSize)
	if _, err := p.f.ReadAt(found, p.trailer()); err == nil && string(found) == string(header) && st.Size() == p.length() {
		return nil
	}
	p.drop() // damaged, or its process was killed on the way to publish
	return errGone
}

func (p *partial) header() []byte {
	h := make([]byte, headerSize)
	copy(h, partMagic)
	binary.LittleEndian.PutUint64(h[8:], blockSize)
	binary.LittleEndian.PutUint64(h[16:], uint64(p.size))
	binary.LittleEndian.PutUint64(h[24:], xxh3.Hash(h[:24]))
	return h
}

// trailer returns where the trailer begins.
func (p *partial) trailer() int64 { return roundUp(p.size, pageSize) }

// length returns the length of the file.
func (p *partial) length() int64 { return p.markAt(len(p.marks)) }

// markAt returns where the mark of block b is.
func (p *partial) markAt(b int) int64 { return p.trailer() + headerSize + int64(b)*markSize }

// alive returns errGone unless the file is still a partial one. The caller holds the
// guard.
func (p *partial) alive() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(p.f.Fd()), &st); err != nil {
		return os.NewSyscallError("stat "+p.path, err)
	}
	if st.Nlink == 0 || st.Size <= p.trailer() {
		return errGone
	}
	return nil
}

// stored returns the marks of blocks [first, first+n) as they are in the file.
func (p *partial) stored(first, n int) ([]uint64, error) {
	raw := make([]byte, n*markSize)
	if _, err := p.f.ReadAt(raw, p.markAt(first)); errors.Is(err, io.EOF) {
		return nil, errGone
	} else if err != nil {
		return nil, err
	}
	marks := make([]uint64, n)
	for i := range marks {
		marks[i] = binary.LittleEndian.Uint64(raw[i*markSize:])
	}
	return marks, nil
}

// has reports whether block b may be read from the file.
func (p *partial) has(b int) bool { return p.marks[b].Load() != 0 }

// forget makes block b count as absent until it is stored again.
func (p *partial) forget(b int) { p.marks[b].Store(0) }

// load reads block b into buf, which has room for it, and checks it against its mark. It
// reports false when the block is absent or damaged, and returns errGone when the file
// is not a partial one any more. When it reports true, so does has from then on.
func (p *partial) load(b int, buf []byte) (bool, error) {
	marks, err := p.stored(b, 1)
	if err != nil || marks[0] == 0 {
		return false, err
	}
	if n, err := p.f.ReadAt(buf, int64(b)*blockSize); n < len(buf) {
		if errors.Is(err, io.EOF) {
			err = errGone
		}
		return false, err
	}
	if mark(buf) != marks[0] {
		return false, nil
	}
	p.marks[b].Store(marks[0])
	return true, nil
}

// store writes whole blocks, the first of which is first, and marks them. Of blocks that are
// held back, has goes on to report false.
func (p *partial) store(ctx context.Context, first int, data []byte, held bool) error {
	n := blocksOf(int64(len(data)))
	raw := make([]byte, n*markSize)
	for i := range n {
		block := data[i*blockSize : min((i+1)*blockSize, len(data))]
		binary.LittleEndian.PutUint64(raw[i*markSize:], mark(block))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := waitLock(ctx, p.f, unix.F_RDLCK, guardOffset, 1); err != nil {
		return err
	}
	defer unlock(p.f, guardOffset, 1)
	if err := p.alive(); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(data, int64(first)*blockSize); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(raw, p.markAt(first)); err != nil {
		return err
	}
	if held {
		return nil
	}
	for i := range n {
		p.marks[first+i].Store(binary.LittleEndian.Uint64(raw[i*markSize:]))
	}
	p.hashAhead(first, data)
	return nil
}

// hashAhead feeds the hasher with the blocks that follow those it has seen, so that
// little is left to do when the file is complete. data holds the blocks from first on.
func (p *partial) hashAhead(first int, data []byte) {
	for p.hashed < len(p.marks) && p.has(p.hashed) {
		at, n := (p.hashed-first)*blockSize, blockLen(p.size, p.hashed)
		if at < 0 || at >= len(data) {
			if p.scratch == nil {
				p.scratch = make([]byte, blockSize)
			}
			if _, err := p.f.ReadAt(p.scratch[:n], int64(p.hashed)*blockSize); err != nil {
				return
			}
			p.hasher.Write(p.scratch[:n])
		} else {
			p.hasher.Write(data[at : at+n])
		}
		p.hashed++
	}
}

// finish turns a file that has all of its blocks into a complete blob at path final,
// and closes nothing. A file whose hash is not want is removed, and the error wraps
// blobstore.ErrMismatch.
func (p *partial) finish(ctx context.Context, want manifest.Hash, final string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := waitLock(ctx, p.f, unix.F_WRLCK, guardOffset, 1); err != nil {
		return err
	}
	defer unlock(p.f, guardOffset, 1)
	if err := p.alive(); err != nil {
		return err
	}
	got, err := p.sum()
	if err != nil {
		return err
	}
	if got != want {
		p.drop()
		return fmt.Errorf("%w: content has hash %s", blobstore.ErrMismatch, got)
	}
	if err := p.publish(final); err != nil {
		p.drop()
		return err
	}
	return nil
}

// sum returns the hash of the content, or errIncomplete. Blocks that do not fit their
// marks are marked absent.
func (p *partial) sum() (manifest.Hash, error) {
	stored, err := p.stored(0, len(p.marks))
	if err != nil {
		return "", err
	}
	for b, m := range stored {
		if m == 0 {
			return "", errIncomplete
		}
		if b < p.hashed && m != p.marks[b].Load() { // another process has stored it anew
			p.hashed = 0
			p.hasher.Reset()
		}
	}
	first := p.hashed
	p.hashed = 0
	defer p.hasher.Reset()
	whole := true
	buf := make([]byte, blockSize)
	for b := first; b < len(p.marks); b++ {
		block := buf[:blockLen(p.size, b)]
		if n, _ := p.f.ReadAt(block, int64(b)*blockSize); n == len(block) && mark(block) == stored[b] {
			p.hasher.Write(block)
			continue
		}
		whole = false
		p.forget(b)
		if _, err := p.f.WriteAt(make([]byte, markSize), p.markAt(b)); err != nil {
			return "", err
		}
	}
	if !whole {
		return "", errIncomplete
	}
	return p.hasher.Hash(), nil
}

// publish makes the file the complete blob at path final.
func (p *partial) publish(final string) error {
	if err := p.f.Truncate(p.size); err != nil {
		return err
	}
	if err := setVerified(p.f); err != nil {
		return err
	}
	return os.Rename(p.path, final)
}

// drop removes the file, and then empties it, so that processes which have it open
// read short and notice. In this order no emptied file is ever found at the path and
// used again. The caller holds the guard.
func (p *partial) drop() {
	if os.Remove(p.path) == nil {
		_ = p.f.Truncate(0)
	}
}

// mark returns the checksum of a block; it is never 0.
func mark(block []byte) uint64 {
	if h := xxh3.Hash(block); h != 0 {
		return h
	}
	return 1
}

// blocksOf returns how many blocks hold n bytes.
func blocksOf(n int64) int { return int((n + blockSize - 1) / blockSize) }

// blockLen returns the length of block b of a blob of the given size.
func blockLen(size int64, b int) int {
	return int(min(blockSize, size-int64(b)*blockSize))
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
