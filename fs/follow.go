package fs

import (
	"context"
	"sync"
)

// A reader that goes through a large file comes from one chunk to the next. Whoever
// fetches contents sees two blobs that have nothing to do with each other, so the first
// bytes of the next chunk are asked for here.
const (
	followSlack = 8 << 20  // by how much reads of one reader may be out of order
	followRun   = 16 << 20 // what must have been read in order before
	followFrom  = 32 << 20 // this far before the end of a chunk the next one is asked for
	followBytes = 16 << 20 // of the next chunk
)

// follower recognises that one open file is read in order.
type follower struct {
	mu   sync.Mutex
	next int64 // where the reader is expected
	run  int64 // bytes read in order
	last int   // chunk that was asked for last; the first one never is
}

// observe notes a read and returns the chunk to ask for now, 0 for none. Content is cut
// at multiples of chunk.
func (w *follower) observe(off, n, chunk int64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if off < w.next-followSlack || off > w.next+followSlack {
		w.next, w.run = off+n, n
		return 0
	}
	w.run += n
	w.next = max(w.next, off+n)
	i := int(w.next/chunk) + 1
	if w.run < min(followRun, chunk/2) || int64(i)*chunk-w.next > followFrom || i == w.last {
		return 0
	}
	w.last = i
	return i
}

// follow asks for the chunk of a stored content that the reader of f will come to next.
func (f *File) follow(s *stored, off, n int64) {
	to, ok := f.t.blobs.(Prefetcher)
	if !ok || !s.chunked || n <= 0 {
		return
	}
	if i := f.reader.observe(off, n, s.chunk); i > 0 && i < len(s.hashes) {
		blob := s.blob(i)
		to.Prefetch(context.Background(), blob, 0, min(blob.Size, followBytes))
	}
}
