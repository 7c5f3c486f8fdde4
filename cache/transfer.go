package cache

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
)

// pieceBlocks is how many blocks are stored at a time while a flight goes on.
const pieceBlocks = 4

// fly carries out a flight.
func (l *large) fly(ctx context.Context, fl *blockFlight) {
	n := int64(l.flightLen(fl))
	err := l.b.fetch.reserve(ctx, n)
	if err == nil {
		fl.begin(make([]byte, n))
		err = l.fill(ctx, fl)
		l.b.fetch.release(n)
	}
	l.mu.Lock()
	left := false
	for b := fl.first; b < fl.end; b++ {
		if l.flights[b] != fl {
			continue
		}
		if left = err == nil && l.full == nil; !left {
			delete(l.flights, b)
			l.setClaimed(b, false)
		}
	}
	l.active--
	l.signal()
	l.mu.Unlock()
	fl.finish(err)
	if left {
		l.b.residents.add(n, func() { l.displace(fl) })
	}
}

// displace gives up the blocks of a finished flight that are nowhere else.
func (l *large) displace(fl *blockFlight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	data := fl.bytes()
	for b := fl.first; b < fl.end; b++ {
		if l.flights[b] != fl {
			continue
		}
		delete(l.flights, b)
		l.setClaimed(b, false)
		l.blind = l.part == nil
		block := data[(b-fl.first)*blockSize:][:blockLen(l.blob.Size, b)]
		l.b.memory.Set(l.memoryKey(b), append([]byte(nil), block...), int64(len(block)))
	}
}

// fill lands all blocks of a flight: those that another process has stored in the
// meantime from the disk, the others from the store.
func (l *large) fill(ctx context.Context, fl *blockFlight) error {
	for at := fl.first; at < fl.end; {
		if err := l.await(ctx); err != nil {
			return err
		}
		full, part := l.local()
		if l.landStored(full, part, fl, at) {
			at++
			continue
		}
		end, release, err := l.lockRun(ctx, part, at, fl.end)
		if err != nil {
			return err
		}
		if end > at {
			err = l.fetchRun(ctx, fl, at, end)
		}
		release()
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

// landStored lands block b from the disk if it is there.
func (l *large) landStored(full *os.File, part *partial, fl *blockFlight, b int) bool {
	at := (b - fl.first) * blockSize
	block := fl.buf[at : at+blockLen(l.blob.Size, b)]
	switch {
	case full != nil:
		if n, _ := full.ReadAt(block, int64(b)*blockSize); n < len(block) {
			return false
		}
	case part != nil:
		if ok, err := part.load(b, block); !ok || err != nil {
			return false
		}
		l.onBoard(part, fl, b, b+1)
	default:
		return false
	}
	fl.land(at + len(block))
	return true
}

// onBoard notes that blocks of a flight are in the partial file.
func (l *large) onBoard(part *partial, fl *blockFlight, first, end int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part != part {
		return
	}
	for b := first; b < end; b++ {
		l.setClaimed(b, true)
		if l.flights[b] == fl {
			delete(l.flights, b)
		}
	}
	l.signal()
}

// lockRun keeps other processes from fetching the blocks from at on, and returns the end
// of the run that is to be fetched. It is empty when another process has stored the
// first block meanwhile. One that seems stuck is not waited for.
func (l *large) lockRun(ctx context.Context, part *partial, at, end int) (int, func(), error) {
	if part == nil {
		return end, func() {}, nil
	}
	poll := newPoll(l.b.patience)
	for {
		stored, err := part.stored(at, end-at)
		if err != nil {
			l.reset(part)
			return at, func() {}, nil // look again
		}
		stop := at + 1
		for stop < end && stored[stop-at] == 0 {
			stop++
		}
		from, n := int64(at)*blockSize, int64(stop-at)*blockSize
		ok, err := tryLock(part.f, unix.F_WRLCK, from, n)
		if err != nil {
			return stop, func() {}, nil
		}
		if ok {
			// What was stored before the lock was ours need not be fetched.
			if now, err := part.stored(at, stop-at); err == nil {
				for i, m := range now {
					if m != stored[i] {
						stop = at + i
						break
					}
				}
			}
			return stop, func() { unlock(part.f, from, n) }, nil
		}
		if err := poll.wait(ctx); errors.Is(err, errBusy) {
			return stop, func() {}, nil
		} else if err != nil {
			return at, func() {}, err
		}
		if now, err := part.stored(at, 1); err == nil && now[0] != stored[0] {
			return at, func() {}, nil
		}
	}
}

// fetchRun fetches the blocks [at, end) of a flight with one request, if all goes well.
func (l *large) fetchRun(ctx context.Context, fl *blockFlight, at, end int) error {
	lo := (at - fl.first) * blockSize
	buf := fl.buf[lo:min((end-fl.first)*blockSize, len(fl.buf))]
	last := false
	t := &transfer{
		f: l.b.fetch, key: l.key, off: int64(at) * blockSize, buf: buf, trouble: fl.fails,
		landed: func(n int) {
			fl.move()
			if !last {
				fl.land(lo + n)
			}
		},
	}
	defer t.close()
	for at < end {
		stop := min(at+pieceBlocks, end)
		last = l.claim(at, stop)
		if err := t.advance(ctx, min((stop-fl.first)*blockSize-lo, len(buf))); err != nil {
			if errors.Is(err, blobstore.ErrMismatch) {
				l.b.mismatch(l.blob.Hash, fmt.Errorf("blob %s: %w", l.key, err))
			}
			return err // the end of the flight takes the claim back
		}
		if err := l.arrived(ctx, fl, at, stop, last); err != nil {
			return err
		}
		at = stop
	}
	return nil
}

// arrived stores the blocks [at, stop) of a flight and lands them. The piece that completes
// the blob is verified with it first.
func (l *large) arrived(ctx context.Context, fl *blockFlight, at, stop int, last bool) error {
	part := l.store(ctx, fl, at, stop, last)
	if last {
		err := l.verdict(ctx)
		l.letGo(at, stop)
		if err != nil {
			return err
		}
	}
	fl.land(min((stop-fl.first)*blockSize, len(fl.buf)))
	if part != nil {
		l.onBoard(part, fl, at, stop)
	}
	return nil
}

// store puts blocks that have arrived into the partial file, and returns that. What finds
// no room there stays in memory with its flight, and nil is returned.
func (l *large) store(ctx context.Context, fl *blockFlight, first, end int, held bool) *partial {
	data := fl.buf[(first-fl.first)*blockSize : min((end-fl.first)*blockSize, len(fl.buf))]
	for range 2 {
		if l.await(ctx) != nil {
			return nil
		}
		_, part := l.local()
		if part == nil {
			break // none, or another process has completed the blob
		}
		err := l.b.space.write(roundUp(int64(len(data)), allocUnit), func() error { return part.store(ctx, first, data, held) })
		if err == nil {
			return part
		}
		l.b.diskError(err)
		if !errors.Is(err, errGone) {
			break
		}
		l.reset(part)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blind = l.full == nil
	l.signal()
	return nil
}
