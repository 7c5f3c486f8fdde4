package dirstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// flushEvery is how much is put before the disk is made to begin writing it. So it works
// while more is put, and Sync finds little left to wait for.
const flushEvery = 64 << 20

// wrote notes that n bytes were put, and from time to time starts to flush them.
func (s *Store) wrote(n int64) {
	if s.unflushed.Add(n) < flushEvery || !s.flushing.CompareAndSwap(false, true) {
		return
	}
	s.unflushed.Store(0)
	go func() {
		defer s.flushing.Store(false)
		// Through a descriptor of its own: each hears of an error once, and it is Sync
		// that must hear of it.
		if dir, err := os.Open(s.root); err == nil {
			_ = unix.Syncfs(int(dir.Fd()))
			dir.Close()
		}
	}()
}
