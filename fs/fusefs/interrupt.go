package fusefs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// interruptGrace is how long a read that waits for the store goes on after a signal
// that does not kill its process. Programs do not expect reads of local files to
// fail with EINTR, and Go programs receive signals all the time.
const interruptGrace = time.Second

// request is the context of one FUSE request. It costs nothing unless somebody has
// to wait: only then is the interruption by the kernel watched for.
type request struct {
	context.Context
	interrupted <-chan struct{} // closed by the kernel's INTERRUPT
	tid         uint32          // thread that made the request

	once     sync.Once
	done     chan struct{}
	finished chan struct{}
}

func newRequest(interrupted <-chan struct{}, tid uint32) *request {
	return &request{Context: context.Background(), interrupted: interrupted, tid: tid}
}

// Done starts the watch and returns the channel that ends the request.
func (r *request) Done() <-chan struct{} {
	r.once.Do(func() {
		r.done = make(chan struct{})
		r.finished = make(chan struct{})
		go r.watch()
	})
	return r.done
}

// Err is context.Canceled once the request has ended.
func (r *request) Err() error {
	select {
	case <-r.Done():
		return context.Canceled
	default:
		return nil
	}
}

// finish ends the watch. The request must not be used any more.
func (r *request) finish() {
	r.once.Do(func() {})
	if r.finished != nil {
		close(r.finished)
	}
}

func (r *request) watch() {
	select {
	case <-r.finished:
		return
	case <-r.interrupted:
	}
	grace := time.After(interruptGrace)
	for !dying(r.tid) {
		select {
		case <-r.finished:
			return
		case <-grace:
			close(r.done)
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	close(r.done)
}

// dying reports whether a thread has a SIGKILL pending, which is how the kernel
// carries out any deadly signal. A thread that cannot be seen, as that of another
// container, is thought to live.
func dying(tid uint32) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return false
	}
	defer f.Close()
	const kill = 1 << (9 - 1)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		mask, ok := strings.CutPrefix(sc.Text(), "SigPnd:")
		if !ok {
			continue
		}
		pending, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		return err == nil && pending&kill != 0
	}
	return false
}
