package fs

import (
	"errors"
	"os"
	"slices"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
)

// Adopter is what a BlobReader may implement besides, so that nothing is fetched that
// was written here.
type Adopter interface {
	// Adopt offers the content of a blob, which lies in a local file from offset off
	// on. It is for the Adopter to check that, and whether to take a copy; it may move
	// the offset of the file.
	Adopt(b manifest.Blob, f *os.File, off int64)
}

// settled reports whether the store has all of the content, so that the data file is not
// needed. It needs n.mu.
func (t *Tree) settled(n *node) bool {
	f := n.file
	return f != nil && f.data && !n.unlinked && len(f.hashes) == chunkCount(n.size, t.base.chunkSize) &&
		!slices.Contains(f.hashes, "")
}

// committed returns the content that the last commit has found in a file. It needs n.mu,
// and the file settled.
func (t *Tree) committed(n *node) *stored {
	s := &stored{size: n.size, chunk: t.base.chunkSize, chunked: len(n.file.hashes) > 1}
	for _, h := range n.file.hashes {
		s.hashes = append(s.hashes, rawHash(h))
	}
	return s
}

// Shrink deletes the written content of files that were committed and have not changed
// since: it is read from the store from then on. Files that somebody has open come
// later, by themselves.
func (t *Tree) Shrink() error {
	ov := t.ov
	ov.shrinking.Lock()
	defer ov.shrinking.Unlock()
	ov.mu.Lock()
	list := ov.settled
	ov.settled = nil
	ov.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	// While the log is not durable, nobody may put another data file into the place of
	// one that a log shortened by a loss of power still refers to: see newDataFile.
	ov.dropping.Add(1)
	dropped := make([]*node, 0, len(list))
	var failed error
	for _, n := range list {
		t.offer(n)
		ok, err := t.drop(n)
		if err != nil {
			failed = err
			break
		}
		if ok {
			dropped = append(dropped, n)
		}
	}
	if err := ov.log.Sync(); err != nil {
		return errors.Join(failed, err)
	}
	ov.dropping.Add(-1)
	for _, n := range dropped {
		n.mu.Lock()
		if !n.file.data { // it was not written to again
			os.Remove(ov.dataPath(n.ino)) // what cannot be removed is found again at the next recovery
		}
		n.mu.Unlock()
	}
	return failed
}

// shrinkLater has the node of a file looked at by the next Shrink.
func (t *Tree) shrinkLater(n *node) {
	t.ov.mu.Lock()
	t.ov.settled = append(t.ov.settled, n)
	t.ov.mu.Unlock()
	t.ov.wakeJanitor()
}

// offer offers written content to whoever reads blobs.
func (t *Tree) offer(n *node) {
	adopter, ok := t.blobs.(Adopter)
	if !ok {
		return
	}
	n.mu.Lock()
	if n.busy > 0 || !t.settled(n) {
		n.mu.Unlock()
		return
	}
	s := t.committed(n)
	f := *n.file
	f.written = f.written.Clone()
	n.mu.Unlock()
	file, err := os.Open(t.ov.dataPath(n.ino))
	if err != nil {
		return // it is only faster with it
	}
	defer file.Close()
	for i := range s.hashes {
		b := s.blob(i)
		r := extent.Range{Off: int64(i) * s.chunk}
		r.End = r.Off + b.Size
		if r.Len() > 0 && (r.Off >= f.limit || f.written.Covers(extent.Range{Off: r.Off, End: min(r.End, f.limit)})) {
			adopter.Adopt(b, file, r.Off)
		}
	}
}

// drop makes a file that is settled and not in use show what the store has, and reports
// whether its data file is to be removed.
func (t *Tree) drop(n *node) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy > 0 || !t.settled(n) {
		return false, nil
	}
	return true, t.logNode(n, t.committed(n).op(n.ino, n.mtime))
}
