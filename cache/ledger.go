package cache

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

// The control file begins with the books: their four numbers and a checksum.
const (
	booksLen  = 40
	aliveByte = 64 // its lock is held, shared, by every process that has the cache open
	// keyLocks is the offset in the control file from which on each byte is the lock
	// of the blobs whose digest maps to it.
	keyLocks = int64(1) << 32
)

// books are the counts that all processes share.
type books struct {
	used    int64 // bytes, those reserved included
	pending int64 // bytes reserved and not yet written
	added   int64 // all bytes that were ever reserved
	scans   int64 // scans of the directory that set used
}

// ledger keeps the books in the control file. Whatever they miss, because a process was
// killed, the next scan of the directory sets right.
type ledger struct {
	mu sync.Mutex
	f  *os.File
}

func openLedger(d *dir) (*ledger, error) {
	f, err := os.OpenFile(filepath.Join(d.path, controlName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l := &ledger{f: f}
	if err := l.join(); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// join notes that this process has the cache open. What is pending when no other has was
// left by a process that was killed.
func (l *ledger) join() error {
	alone, err := tryLock(l.f, unix.F_WRLCK, aliveByte, 1)
	if err != nil {
		return err
	}
	if alone {
		if _, err := l.update(func(b *books) { b.pending = 0 }); err != nil {
			return err
		}
	}
	return waitLock(context.Background(), l.f, unix.F_RDLCK, aliveByte, 1)
}

// update changes the books by fn, and returns them.
func (l *ledger) update(fn func(*books)) (books, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.lock(); err != nil {
		return books{}, err
	}
	defer unlock(l.f, 0, booksLen)
	buf := make([]byte, booksLen)
	var b books
	numbers := []*int64{&b.used, &b.pending, &b.added, &b.scans}
	sum := buf[8*len(numbers):]
	if _, err := l.f.ReadAt(buf, 0); err == nil && binary.LittleEndian.Uint64(sum) == xxh3.Hash(buf[:8*len(numbers)]) {
		for i, n := range numbers {
			*n = int64(binary.LittleEndian.Uint64(buf[8*i:]))
		}
	}
	before := b
	fn(&b)
	if b == before {
		return b, nil
	}
	for i, n := range numbers {
		*n = max(*n, 0)
		binary.LittleEndian.PutUint64(buf[8*i:], uint64(*n))
	}
	binary.LittleEndian.PutUint64(sum, xxh3.Hash(buf[:8*len(numbers)]))
	_, err := l.f.WriteAt(buf, 0)
	return b, err
}

// lock waits for the other processes, none of which holds the lock for longer than a
// few system calls.
func (l *ledger) lock() error {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(100 * time.Microsecond) {
		ok, err := tryLock(l.f, unix.F_WRLCK, 0, booksLen)
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errBusy
		}
	}
}

// free notes that n bytes less are in use. scans is that of the books from before they
// were freed: if the directory was scanned since, they may not be counted any more.
func (l *ledger) free(n, scans int64) {
	_, _ = l.update(func(b *books) {
		if b.scans == scans {
			b.used -= n
		}
	})
}

// now returns the books.
func (l *ledger) now() books {
	b, _ := l.update(func(*books) {})
	return b
}

// keyLock returns the offset of the byte whose lock is held while a process fetches
// the small blob with this digest. Two blobs that share it wait for each other, no more.
func keyLock(d digest) int64 {
	return keyLocks + int64(binary.LittleEndian.Uint64(d[:])>>2)
}
