package cache

import (
	"container/list"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// handle reads one blob. There is one implementation for each way to do it: small,
// large and placed.
type handle interface {
	// readAt fills p, which lies inside the blob, or fails.
	readAt(ctx context.Context, p []byte, off int64) (int, error)
	// prefetch starts to fetch a range that lies inside the blob.
	prefetch(off, n int64)
	// fetch returns when a range that lies inside the blob is local.
	fetch(ctx context.Context, off, n int64) error
	// ensure returns when the blob is local and verified.
	ensure(ctx context.Context) error
	// open opens the file of the blob if it is complete and verified.
	open() (*os.File, bool)
	// close is called once, when nothing uses the handle any more.
	close()
}

// entry is a blob in use, or used lately.
type entry struct {
	handle
	blob manifest.Blob
	refs int // guarded by Blobs.mu, like the list of idle entries
	idle *list.Element
}

// idleList holds the entries without references, the last used first.
type idleList struct{ list.List }

// acquire returns the entry of the blob with one more reference.
func (b *Blobs) acquire(blob manifest.Blob) (*entry, error) {
	if !blob.Hash.IsXXH128() {
		return nil, fmt.Errorf("%w: %q", blobstore.ErrBadKey, string(blob.Hash))
	}
	if blob.Size < 0 {
		return nil, fmt.Errorf("blob %s: negative size %d", blob.Hash, blob.Size)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	e := b.entries[blob]
	if e == nil {
		e = &entry{blob: blob}
		e.handle = b.newHandle(e)
		b.entries[blob] = e
	}
	b.holdLocked(e)
	return e, nil
}

// hold adds a reference to an entry that has one.
func (b *Blobs) hold(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holdLocked(e)
}

func (b *Blobs) holdLocked(e *entry) {
	if e.idle != nil {
		b.idle.Remove(e.idle)
		e.idle = nil
	}
	e.refs++
	b.work.Add(1)
}

// release takes back a reference. The entries used least recently are closed.
func (b *Blobs) release(e *entry) {
	b.mu.Lock()
	var old *entry
	e.refs--
	if e.refs == 0 {
		e.idle = b.idle.PushFront(e)
		if b.idle.Len() > maxIdle {
			old = b.forgetLocked(b.idle.Back())
		}
	}
	b.mu.Unlock()
	if old != nil {
		old.close()
	}
	b.work.Done()
}

// CloseIdle closes the files that are open only because somebody might read them again.
func (b *Blobs) CloseIdle() { b.dropIdle() }

// dropIdle closes all entries that nobody uses.
func (b *Blobs) dropIdle() {
	b.mu.Lock()
	var old []*entry
	for b.idle.Len() > 0 {
		old = append(old, b.forgetLocked(b.idle.Back()))
	}
	b.mu.Unlock()
	for _, e := range old {
		e.close()
	}
}

func (b *Blobs) forgetLocked(el *list.Element) *entry {
	e := b.idle.Remove(el).(*entry)
	e.idle = nil
	delete(b.entries, e.blob)
	return e
}

// badFor is how long a blob whose content is wrong in the store is not asked for again.
const badFor = 10 * time.Second

// suspects are the large blobs of which wrong bytes have been seen.
type suspects struct {
	mu sync.Mutex
	m  map[manifest.Hash]*suspect
}

type suspect struct {
	strikes int
	err     error // of the last one
	at      time.Time
	owed    bool // wrong bytes were served and no reader was told
}

// strike notes that the content was wrong, and reports whether it was so before.
func (s *suspects) strike(h manifest.Hash, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[manifest.Hash]*suspect{}
	}
	if s.m[h] == nil {
		s.m[h] = &suspect{}
	}
	s.m[h].strikes++
	s.m[h].err, s.m[h].at = err, time.Now()
	return s.m[h].strikes > 1
}

// owe notes that wrong bytes of the blob were served: the next reader is to get the error.
func (s *suspects) owe(h manifest.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.m[h]; x != nil {
		x.owed = true
	}
}

// collect returns the error that is owed to a reader, once.
func (s *suspects) collect(h manifest.Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.m[h]; x != nil && x.owed {
		x.owed = false
		return x.err
	}
	return nil
}

// has reports whether the blob may be served only after it was verified.
func (s *suspects) has(h manifest.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[h] != nil
}

// bad returns the error of a blob that was wrong each time it was fetched.
func (s *suspects) bad(h manifest.Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.m[h]; x != nil && x.strikes > 1 && time.Since(x.at) < badFor {
		return x.err
	}
	return nil
}

// clear notes that the content was found right.
func (s *suspects) clear(h manifest.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, h)
}

// residents keeps finished flights whose bytes found no room on the disk, the newest
// first, up to a number of bytes.
type residents struct {
	mu   sync.Mutex
	list list.List
	size int64
	max  int64
}

type resident struct {
	size     int64
	displace func()
}

// add keeps n bytes until newer ones need the room; then it calls displace.
func (r *residents) add(n int64, displace func()) {
	r.mu.Lock()
	r.list.PushFront(resident{n, displace})
	r.size += n
	var out []resident
	for r.size > r.max && r.list.Len() > 1 {
		old := r.list.Remove(r.list.Back()).(resident)
		r.size -= old.size
		out = append(out, old)
	}
	r.mu.Unlock()
	for _, old := range out {
		old.displace()
	}
}

// bytes returns how much is kept.
func (r *residents) bytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}
