package fs

import (
	"errors"
	"fmt"
	"os"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// maxFileSize is the largest size of a file, in bytes.
const maxFileSize = 1<<63 - 1 - 4096

// dataFile returns the open data file of n, making it when there is none. It needs
// n.mu, and n must be busy (see writableNode).
func (t *Tree) dataFile(n *node) (*os.File, error) {
	f := n.file
	if f.f != nil {
		return f.f, nil
	}
	var err error
	if f.data {
		f.f, err = openData(t.ov.dataPath(n.ino))
		return f.f, err
	}
	err = t.ov.makeRoom(func() error {
		f.f, err = t.newDataFile(n)
		return err
	})
	return f.f, err
}

func openData(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		// Not %w: to an application, no file is missing.
		return nil, fmt.Errorf("%w: written content is missing: %v", ErrDamaged, err)
	}
	return file, err
}

// newDataFile makes a sparse data file with the size and times of n. A file of that
// name can only be left over from a process that died before it was logged.
func (t *Tree) newDataFile(n *node) (_ *os.File, err error) {
	if t.ov.dropping.Load() > 0 {
		if err := t.ov.log.Sync(); err != nil { // see Shrink
			return nil, err
		}
	}
	path := t.ov.dataPath(n.ino)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(path)
		}
	}()
	if n.size > 0 {
		if err := file.Truncate(n.size); err != nil {
			return nil, err
		}
	}
	if n.file.row != 0 || n.file.src != nil { // a new file is about as old as its data file
		if err := stamp(file, n); err != nil {
			return nil, err
		}
	}
	t.ov.created.Add(1)
	if err := t.logNode(n, &opData{ino: n.ino}); err != nil {
		return nil, err
	}
	return file, nil
}

// stamp gives a data file the times of its node: after a crash they are read back.
func stamp(f *os.File, n *node) error {
	times := []unix.Timespec{timespec(n.atime), timespec(n.mtime)}
	return unix.UtimesNanoAt(int(f.Fd()), "", times, unix.AT_EMPTY_PATH)
}

// stampData is stamp for a node that may have no data file. It needs n.mu.
func (t *Tree) stampData(n *node) error {
	if n.file == nil || !n.file.data {
		return nil
	}
	f, err := t.dataFile(n)
	if err != nil {
		return err
	}
	return stamp(f, n)
}

// begin opens the data file for a change of the bytes of r, in a file that is or
// will be size bytes long: hashes of them are no longer known. It needs n.io.
func (t *Tree) begin(n *node, r extent.Range, size int64) (*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	file, err := t.dataFile(n)
	if err != nil {
		return nil, err
	}
	n.file.gen++
	return file, t.forget(n, r, size)
}

// end notes that a change is complete: the file is size bytes long. It needs n.mu.
func (t *Tree) end(n *node, size int64) {
	n.file.gen++ // whoever has read meanwhile may have seen half of it
	n.size = size
	n.mtime = t.now()
	n.ctime = n.mtime
	n.file.timed = false
}

// forget drops the known hashes of a range that is about to change. It needs n.mu.
func (t *Tree) forget(n *node, r extent.Range, size int64) error {
	f := n.file
	if f.hashes == nil || r.Len() <= 0 {
		return nil
	}
	chunk := t.base.chunkSize
	if chunk <= 0 || max(size, r.End) <= chunk || len(f.hashes) == 1 {
		return t.dirtyChunks(n, 0, len(f.hashes)-1)
	}
	return t.dirtyChunks(n, int(r.Off/chunk), int((r.End-1)/chunk))
}

func (t *Tree) dirtyChunks(n *node, first, last int) error {
	for i := first; i <= min(last, len(n.file.hashes)-1); i++ {
		if n.file.hashes[i] != "" {
			if err := t.logNode(n, &opDirty{ino: n.ino, chunk: i}); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes p at off. It needs n.io, and n must be busy. With late set the bytes were
// written some time ago, in mapped memory: if somebody has set the modification time
// since, that stays.
func (t *Tree) write(n *node, p []byte, off int64, late bool) (int, error) {
	if off < 0 || off > maxFileSize-int64(len(p)) {
		return 0, unix.EFBIG
	}
	size := n.sizeNow() // nobody else changes it while we hold n.io
	file, err := t.begin(n, extent.Range{Off: min(off, size), End: off + int64(len(p))}, size)
	if err != nil {
		return 0, err
	}
	var w int
	err = t.ov.awaitRoom(func() error {
		more, err := pwrite(file, p[w:], off+int64(w))
		w += more
		return err
	})
	if w == 0 && err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := t.overlay(n, extent.Range{Off: off, End: off + int64(w)}); err != nil {
		return 0, errors.Join(err, file.Truncate(size))
	}
	mtime := n.mtime
	late = late && n.file.timed
	t.end(n, max(size, off+int64(w)))
	if late {
		n.mtime, n.file.timed = mtime, true
		if err := stamp(file, n); err != nil {
			return 0, err
		}
	}
	return w, nil // a short count tells the writer to ask again, and then learn why
}

// pwrite writes all of p, or says how much of it. os.File.WriteAt does not, when it
// fails half-way.
func pwrite(f *os.File, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		more, err := unix.Pwrite(int(f.Fd()), p[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, &os.PathError{Op: "write", Path: f.Name(), Err: err}
		}
		n += more
	}
	return n, nil
}

// overlay records that the data file holds the bytes of r. Only the part where the
// base shows through needs a record. It needs n.mu.
func (t *Tree) overlay(n *node, r extent.Range) error {
	r.End = min(r.End, n.file.limit)
	if r.Len() <= 0 || n.file.written.Covers(r) {
		return nil
	}
	return t.logNode(n, &opExtent{ino: n.ino, r: r})
}

// truncate sets the size of a file. It needs n.io, and n must be busy.
func (t *Tree) truncate(n *node, size int64) error {
	switch {
	case n.dir != nil:
		return unix.EISDIR
	case n.file == nil || size < 0:
		return unix.EINVAL
	case size > maxFileSize:
		return unix.EFBIG
	}
	old := n.sizeNow()
	file, err := t.begin(n, extent.Range{Off: min(size, old), End: max(size, old)}, old)
	if err != nil {
		return err
	}
	if err := file.Truncate(size); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if size < n.file.limit {
		// After a crash before this record, recovery finds the short data file. For
		// the same reason the map follows the data file even if the log fails.
		cut := &opTruncate{ino: n.ino, limit: size}
		err = t.logNode(n, cut)
		cut.applyNode(n)
	}
	t.end(n, size)
	return err
}

// knownHash returns the hash of chunk i, of count, of the content of n, "" when only
// hashing can tell. It needs n.mu.
func (t *Tree) knownHash(n *node, i, count int) manifest.Hash {
	f := n.file
	switch {
	case f.hashes == nil:
		return t.storedHash(n, i, count)
	case i < len(f.hashes) && (len(f.hashes) > 1) == (count > 1):
		return f.hashes[i]
	}
	return ""
}

// storedHash returns the hash of chunk i when it is wholly that of the store.
func (t *Tree) storedHash(n *node, i, count int) manifest.Hash {
	f := n.file
	s, ok := t.below(f)
	if !ok {
		return ""
	}
	r := extent.Range{Off: 0, End: n.size}
	if count > 1 {
		r.Off = int64(i) * t.base.chunkSize
		r.End = min(n.size, r.Off+t.base.chunkSize)
	}
	// The chunk must be cut alike in the store, and all of it must still show.
	if s.chunked != (count > 1) || i >= len(s.hashes) || r.End > f.limit || f.written.Overlaps(r) {
		return ""
	}
	blob := s.blob(i)
	if blob.Size != r.Len() {
		return ""
	}
	return blob.Hash
}

// chunkCount returns into how many blobs a file of the given size is cut: files of
// at most one chunk are kept whole (spec/ops.md §2).
func chunkCount(size, chunk int64) int {
	if chunk <= 0 || size <= chunk {
		return 1
	}
	return int((size + chunk - 1) / chunk)
}
