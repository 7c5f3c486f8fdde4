package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long, by default, a lock held by another process is waited for
// before its holder counts as stuck.
const lockPatience = 10 * time.Second

// errBusy means that another process held a lock for longer than lockPatience.
var errBusy = errors.New("locked by another process")

// tryLock takes or releases (unix.F_UNLCK) a lock on n bytes of f and reports
// whether it got it. The lock belongs to the open file: it excludes every other
// open of the file, in this process too, but not another goroutine that uses f.
// It ends with the process that holds it.
func tryLock(f *os.File, kind int16, start, n int64) (bool, error) {
	for {
		l := unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: start, Len: n}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return false, nil
		default:
			return false, os.NewSyscallError("lock "+f.Name(), err)
		}
	}
}

// waitLock takes a lock, and gives up with errBusy after lockPatience.
func waitLock(ctx context.Context, f *os.File, kind int16, start, n int64) error {
	poll := newPoll(lockPatience)
	for {
		ok, err := tryLock(f, kind, start, n)
		if ok || err != nil {
			return err
		}
		if err := poll.wait(ctx); err != nil {
			return err
		}
	}
}

func unlock(f *os.File, start, n int64) {
	_, _ = tryLock(f, unix.F_UNLCK, start, n) // fails only for a bad descriptor
}

// poll paces the wait for another process.
type poll struct {
	pause    time.Duration
	deadline time.Time
}

func newPoll(patience time.Duration) *poll {
	return &poll{pause: time.Millisecond, deadline: time.Now().Add(patience)}
}

// wait sleeps a little longer each time, up to 20 ms. It returns errBusy when the
// deadline has passed.
func (p *poll) wait(ctx context.Context) error {
	if time.Now().After(p.deadline) {
		return errBusy
	}
	t := time.NewTimer(p.pause)
	defer t.Stop()
	p.pause = min(2*p.pause, 20*time.Millisecond)
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// markInUse keeps other processes from evicting the open file f, until it is closed.
// It reports whether f is still wanted: false means that an eviction is under way.
func markInUse(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
}

// claimUnused reports whether nobody else has f marked in use, and keeps it so until f is
// closed.
func claimUnused(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
