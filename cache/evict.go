package cache

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
)

const (
	// allocUnit is what a file of one byte is taken to occupy.
	allocUnit = 4096
	// tempAge is the age from which on a temporary file is a leftover of a process
	// that was killed.
	tempAge = 10 * time.Minute
	// evictPause is the least time for which nothing is tried after an eviction that
	// freed too little; it is evictEffort times what the scan took, if that is more.
	evictPause  = 10 * time.Millisecond
	evictEffort = 10
)

// errNoRoom means that the cache is at its limit and all of it is in use.
var errNoRoom = errors.New("no room in the cache")

// candidate is a file that may be evicted.
type candidate struct {
	name string
	used int64 // time of the last use, ns since the epoch
	size int64 // bytes occupied
}

// space keeps the directory within its limits.
type space struct {
	dir     *dir
	ledger  *ledger
	max     int64 // bytes; 0: none
	minFree int64
	stats   *counters
	release func() // closes files that are open only for speed

	mu         sync.Mutex
	candidates []candidate // least recently used last
	paused     time.Time
	reported   time.Time // when trouble was reported last
}

// charge returns what a file of n bytes occupies.
func charge(n int64) int64 { return max(roundUp(n, allocUnit), allocUnit) }

// reserve makes room for n more bytes and counts them as used, and as pending until
// written. It evicts what was not used for longest, and fails with errNoRoom when the
// limits do not allow it.
func (s *space) reserve(n int64) error {
	b, err := s.ledger.update(func(b *books) {
		b.used += n
		b.pending += n
		b.added += n
	})
	if err != nil {
		return err
	}
	over := int64(0)
	if s.max > 0 {
		over = b.used - s.max
	}
	if s.minFree > 0 {
		var fs unix.Statfs_t
		if err := unix.Statfs(s.dir.path, &fs); err == nil {
			over = max(over, s.minFree+n-int64(fs.Bavail)*fs.Bsize)
		}
	}
	if over > 0 && !s.evict(over) {
		s.cancel(n)
		return fmt.Errorf("%w: %s", errNoRoom, s.dir.path)
	}
	return nil
}

// written notes that n bytes that were reserved are on the disk.
func (s *space) written(n int64) { _, _ = s.ledger.update(func(b *books) { b.pending -= n }) }

// cancel takes back a reservation of n bytes.
func (s *space) cancel(n int64) {
	_, _ = s.ledger.update(func(b *books) { b.used -= n; b.pending -= n })
}

// write reserves n bytes and calls fn, which writes as many. When the disk is full it
// evicts and calls fn once more.
func (s *space) write(n int64, fn func() error) error {
	if err := s.reserve(n); err != nil {
		return err
	}
	err := fn()
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		if s.evict(n) {
			err = fn()
		}
	}
	if err != nil {
		s.cancel(n)
		return err
	}
	s.written(n)
	return nil
}

// removeBlob removes a complete blob of the given size that cannot be used.
func (s *space) removeBlob(key blobstore.Key, size int64) {
	scans := s.ledger.now().scans
	if s.dir.remove(key) == nil {
		s.ledger.free(charge(size), scans)
	}
}

// start does in the background what need not be done before the first read.
func (s *space) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.scan() // the next eviction scans again
}

// firstTrouble reports whether no trouble was reported in the last minute.
func (s *space) firstTrouble() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reported.IsZero() && time.Since(s.reported) < time.Minute {
		return false
	}
	s.reported = time.Now()
	return true
}

// evict frees at least n bytes, and reports whether it could.
func (s *space) evict(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.paused) {
		return false
	}
	s.release()
	want := max(n, s.max/64) // so that not every blob needs an eviction
	freed := s.evictKnown(want)
	if freed >= n {
		return true
	}
	begin := time.Now()
	if err := s.scan(); err == nil {
		freed += s.evictKnown(want - freed)
	}
	if freed < n {
		s.paused = time.Now().Add(max(evictPause, evictEffort*time.Since(begin)))
	}
	return freed >= n
}

// evictKnown frees up to n bytes from the candidates of the last scan.
func (s *space) evictKnown(n int64) (freed int64) {
	for freed < n && len(s.candidates) > 0 {
		last := len(s.candidates) - 1
		c := s.candidates[last]
		s.candidates = s.candidates[:last]
		scans := s.ledger.now().scans
		if s.removeUnused(c) {
			freed += c.size
			s.ledger.free(c.size, scans)
			s.stats.evictions.Add(1)
			s.stats.evictedBytes.Add(c.size)
		}
	}
	return freed
}

// removeUnused deletes a file that nobody has open and that was not used since it was
// scanned.
func (s *space) removeUnused(c candidate) bool {
	path := filepath.Join(s.dir.path, c.name)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var st unix.Stat_t
	if !claimUnused(f) || unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	if st.Nlink == 0 || st.Atim.Nano() != c.used { // another file has its name, or it was used
		return false
	}
	return os.Remove(path) == nil
}

// scan reads the directory: it corrects the ledger, finds what may be evicted, and
// removes leftovers. It opens no file.
func (s *space) scan() error {
	before := s.ledger.now()
	d, err := os.Open(s.dir.path)
	if err != nil {
		return err
	}
	defer d.Close()
	var found []candidate
	var total int64
	for {
		names, err := d.Readdirnames(4096)
		for _, name := range names {
			if c, ok := s.inspect(int(d.Fd()), name); ok {
				total += c.size
				found = append(found, c)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(b.used, a.used) })
	if keep := max(1024, len(found)/8); len(found) > keep {
		found = slices.Clone(found[len(found)-keep:]) // the rest need not be remembered
	}
	s.candidates = found
	// What was pending or was added during the scan may have been seen or not: count it,
	// so that the limit holds.
	_, err = s.ledger.update(func(b *books) {
		b.used = total + before.pending + b.added - before.added
		b.scans++
	})
	return err
}

// inspect describes the file name in the open directory when it is part of the cache.
func (s *space) inspect(dirFD int, name string) (candidate, bool) {
	key, rest := name, ""
	if i := strings.IndexByte(name, '.'); i >= 0 {
		if j := strings.IndexByte(name[i+1:], '.'); j >= 0 {
			key, rest = name[:i+1+j], name[i+1+j:]
		}
	}
	if blobstore.Key(key).Check() != nil {
		return candidate{}, false
	}
	var st unix.Stat_t
	err := unix.Fstatat(dirFD, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) && strings.HasSuffix(rest, partSuffix) {
		name, rest = key, "" // completed since the directory was read
		err = unix.Fstatat(dirFD, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return candidate{}, false
	}
	c := candidate{name: name, used: st.Atim.Nano(), size: charge(st.Size)}
	switch {
	case rest == "", rest == joinedSuffix:
	case strings.HasSuffix(rest, partSuffix):
		c.size = st.Blocks * 512
	case strings.HasSuffix(rest, tempSuffix):
		if time.Since(time.Unix(st.Mtim.Unix())) > tempAge {
			_ = os.Remove(filepath.Join(s.dir.path, name))
			return candidate{}, false
		}
		c.used = time.Now().UnixNano()
	default:
		return candidate{}, false
	}
	return c, true
}
