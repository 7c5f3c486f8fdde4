package mountd

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Mounts live long beside programs that need the memory and the descriptors.
const (
	// gcPercent is how much garbage there may be, in percent of what is in use, before it
	// is collected. Half of what is usual costs a few percent of processor time while much
	// is fetched.
	gcPercent = 50
	// idleCheck is how often it is looked whether a mount has become idle.
	idleCheck = 5 * time.Second
	// busyBytes is how much is allocated in that time when it has not.
	busyBytes = 4 << 20
)

// save gives back to the system what a mount needs only while it is busy: memory, and files
// that are kept open. It does so whenever the mount has become idle, and first after it
// has started, until done is closed.
func (s *Session) save(done <-chan struct{}) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	debug.FreeOSMemory()
	last, busy := allocated(), false
	for tick := time.Tick(idleCheck); ; {
		select {
		case <-done:
			return
		case <-tick:
		}
		now := allocated()
		switch {
		case now-last > busyBytes:
			busy = true
		case busy:
			busy = false
			s.Cache.CloseIdle()
			debug.FreeOSMemory()
		}
		last = now
	}
}

// allocated returns how many bytes were ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
