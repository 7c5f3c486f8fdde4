package cache

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

const (
	ledgerLen = 16 // bytes in use, checksum of that
	// keyLocks is the offset in the control file from which on each byte is the lock
	// of the blobs whose digest maps to it.
	keyLocks = int64(1) << 32
)

// ledger is the count of bytes in use in the directory, shared by all processes in
// the control file. Whatever it misses, because a process was killed, the next scan of
// the directory sets right.
type ledger struct {
	mu sync.Mutex
	f  *os.File
}

func openLedger(d *dir) (*ledger, error) {
	f, err := os.OpenFile(filepath.Join(d.path, controlName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &ledger{f: f}, nil
}

// update replaces the count by what fn makes of it, and returns that.
func (l *ledger) update(fn func(used int64) int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.lock(); err != nil {
		return 0, err
	}
	defer unlock(l.f, 0, ledgerLen)
	buf := make([]byte, ledgerLen)
	var used int64
	if _, err := l.f.ReadAt(buf, 0); err == nil && binary.LittleEndian.Uint64(buf[8:]) == xxh3.Hash(buf[:8]) {
		used = int64(binary.LittleEndian.Uint64(buf))
	}
	now := max(fn(used), 0)
	if now == used {
		return now, nil
	}
	binary.LittleEndian.PutUint64(buf, uint64(now))
	binary.LittleEndian.PutUint64(buf[8:], xxh3.Hash(buf[:8]))
	_, err := l.f.WriteAt(buf, 0)
	return now, err
}

// lock waits for the other processes, none of which holds the lock for longer than a
// few system calls.
func (l *ledger) lock() error {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(100 * time.Microsecond) {
		ok, err := tryLock(l.f, unix.F_WRLCK, 0, ledgerLen)
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errBusy
		}
	}
}

// add changes the count by n bytes and returns the new count.
func (l *ledger) add(n int64) (int64, error) {
	return l.update(func(used int64) int64 { return used + n })
}

// used returns the count.
func (l *ledger) used() int64 {
	n, _ := l.update(func(used int64) int64 { return used })
	return n
}

// keyLock returns the offset of the byte whose lock is held while a process fetches
// the small blob with this digest. Two blobs that share it wait for each other, no more.
func keyLock(d digest) int64 {
	return keyLocks + int64(binary.LittleEndian.Uint64(d[:])>>2)
}
