package fs

import (
	"context"
	"sync"
	"time"

	"github.com/snapfs/snapfs/manifest"
)

// Prefetcher is what a BlobReader may implement besides, so that contents are there when
// they are needed.
type Prefetcher interface {
	// Prefetch says that n bytes of a blob from off on are likely to be read soon. It
	// returns at once, and may do nothing.
	Prefetch(ctx context.Context, b manifest.Blob, off, n int64)
}

// How far ahead of a reader that opens one file after the other its neighbours are
// fetched.
const (
	maxWalks  = 16       // readers recognised at a time
	walkSlack = 8        // rows that a reader may skip, or come back by, and still go on
	minNear   = 8        // files fetched ahead when a pattern is first seen; then it doubles
	maxNear   = 128      // files fetched ahead at most
	nearBytes = 32 << 20 // bytes fetched ahead at most
	nearFile  = 1 << 20  // of one file

	// askPause is for how long the content of a file is not asked for again: finding out
	// that it is there costs more than all the rest of opening it.
	askPause = 5 * time.Minute
)

// siblings recognises readers that open the files of a directory in the order of their
// names, as readdir lists them, and fetches those that come next. Rows are numbered
// breadth first, so that a walk through a tree goes on into the next directory by
// itself. Files opened in any other order cause nothing.
type siblings struct {
	base *Base
	to   Prefetcher

	mu    sync.Mutex
	walks []walk   // most recently used first
	asked []uint64 // a bit for each row that was asked for since begun
	begun time.Time
}

// walk is one reader.
type walk struct {
	last  uint32 // row opened last, in the order of rows
	ahead uint32 // the files of rows before it have been asked for
	near  int    // files to keep ahead; 0 after the first one
}

// newSiblings returns nil, which recognises nothing, when contents cannot be fetched
// ahead.
func newSiblings(base *Base, blobs BlobReader) *siblings {
	to, ok := blobs.(Prefetcher)
	if !ok {
		return nil
	}
	return &siblings{base: base, to: to}
}

// opened notes that the base file of a row is about to be read.
func (s *siblings) opened(row uint32) {
	if s == nil {
		return
	}
	s.mu.Lock()
	from, end := s.observe(row)
	var rows []uint32
	for r := from; r < end; r++ {
		if s.base.rows[r].kind == rowFile && s.base.rows[r].size > 0 && s.isNew(r) {
			rows = append(rows, r)
		}
	}
	s.mu.Unlock()
	for _, r := range rows {
		blob := s.base.blob(r, 0)
		s.to.Prefetch(context.Background(), blob, 0, min(blob.Size, nearFile))
	}
}

// isNew reports whether a row was not asked for lately. It needs s.mu.
func (s *siblings) isNew(r uint32) bool {
	if time.Since(s.begun) > askPause {
		s.asked, s.begun = make([]uint64, len(s.base.rows)/64+1), time.Now()
	}
	bit := uint64(1) << (r % 64)
	old := s.asked[r/64]
	s.asked[r/64] |= bit
	return old&bit == 0
}

// observe returns the rows to fetch now. It needs s.mu.
func (s *siblings) observe(row uint32) (from, end uint32) {
	for i := range s.walks {
		w := s.walks[i]
		if row == w.last {
			return 0, 0 // opened again
		}
		if row+walkSlack < w.last || row > w.last+walkSlack {
			continue
		}
		if row > w.last {
			w.near = min(max(minNear, 2*w.near), maxNear)
			w.last = row
		}
		from = max(w.ahead, w.last+1)
		end = max(from, s.reach(w))
		w.ahead = end
		copy(s.walks[1:i+1], s.walks[:i])
		s.walks[0] = w
		return from, end
	}
	if len(s.walks) < maxWalks {
		s.walks = append(s.walks, walk{})
	}
	copy(s.walks[1:], s.walks)
	s.walks[0] = walk{last: row}
	return 0, 0
}

// reach returns the row before which a walk is to have its files ahead.
func (s *siblings) reach(w walk) uint32 {
	files, bytes := 0, int64(0)
	r := w.last + 1
	for ; int(r) < len(s.base.rows) && files < w.near && bytes < nearBytes; r++ {
		if x := &s.base.rows[r]; x.kind == rowFile {
			files++
			bytes += min(x.size, nearFile)
		}
	}
	return r
}
