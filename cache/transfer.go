package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
)

// pieceBlocks is how many blocks are stored at a time while a flight goes on.
const pieceBlocks = 4

// await returns when it is known what is on the disk.
func (l *large) await(ctx context.Context) error {
	l.mu.Lock()
	if l.ready == nil {
		l.prepareLocked()
	}
	ready := l.ready
	l.mu.Unlock()
	select {
	case <-ready:
		return nil
	default:
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepareLocked begins to find out what is on the disk. The caller holds mu.
func (l *large) prepareLocked() {
	ready := make(chan struct{})
	l.ready = ready
	l.b.hold(l.e)
	go func() {
		defer l.b.release(l.e)
		full, part, stored := l.openLocal()
		l.mu.Lock()
		l.full, l.part, l.blind = full, part, part == nil && full == nil
		for b, mark := range stored {
			l.setClaimed(b, mark != 0 || l.claimed[b])
		}
		all := l.nclaimed == l.blocks && full == nil && l.active == 0
		l.mu.Unlock()
		if all { // the process before was killed on its last step
			_ = l.complete(l.b.ctx)
		}
		close(ready)
	}()
}

// openLocal opens the complete blob, or the partial file with its marks, or neither
// when the directory cannot be used.
func (l *large) openLocal() (*os.File, *partial, []uint64) {
	for range 10 {
		if f := l.openFull(); f != nil {
			return f, nil, nil
		}
		part, err := openPartial(l.b.ctx, l.b.dir.partPath(l.key, l.blob.Size), l.b.dir.blobPath(l.key), l.blob.Size)
		if errors.Is(err, errGone) {
			continue // completed or evicted at this moment
		}
		if err == nil && part.born {
			err = l.b.space.reserve(l.trailerCharge())
		}
		if err == nil {
			var stored []uint64
			if stored, err = part.stored(0, l.blocks); err == nil {
				touch(part.f)
				return nil, part, stored
			}
		}
		if part != nil {
			part.f.Close()
		}
		l.b.diskError(err)
		break
	}
	return nil, nil, nil
}

// trailerCharge returns what the trailer of the partial file occupies.
func (l *large) trailerCharge() int64 { return charge(headerSize + int64(l.blocks)*markSize) }

// openFull opens the complete blob, verifying it first if it was not since the machine was
// started. One that is damaged is removed.
func (l *large) openFull() *os.File {
	f, err := l.b.dir.openBlob(l.key)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.b.diskError(err)
		}
		return nil
	}
	if st, err := f.Stat(); err == nil && st.Size() == l.blob.Size && isVerified(f) {
		return f
	}
	if err := checkFile(f, l.blob); err != nil {
		f.Close()
		l.b.mismatch(fmt.Errorf("cached blob was damaged and is fetched again: %w", err))
		if l.b.dir.remove(l.key) == nil {
			l.b.space.refund(charge(l.blob.Size))
		}
		return nil
	}
	_ = setVerified(f) // it is verified again when this fails
	return f
}

// reset forgets a partial file that is gone, and finds out what is there instead.
func (l *large) reset(part *partial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part != part || part == nil {
		return
	}
	l.retired = append(l.retired, part.f)
	l.part = nil
	l.startAgain()
}

// lose forgets a complete file that cannot be read any more.
func (l *large) lose(full *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != full {
		return
	}
	l.retired = append(l.retired, full)
	l.full = nil
	_ = l.b.dir.remove(l.key)
	l.startAgain()
}

// startAgain forgets all blocks that are not on their way. The caller holds mu.
func (l *large) startAgain() {
	l.served = false
	l.round++
	for b := range l.claimed {
		if fl := l.flights[b]; fl != nil && fl.isOver() {
			delete(l.flights, b)
		}
		l.setClaimed(b, l.flights[b] != nil && l.claimed[b])
	}
	l.prepareLocked()
}

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

// local returns the files as they are known.
func (l *large) local() (*os.File, *partial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.full, l.part
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
			release := func() { unlock(part.f, from, n) }
			if now, err := part.stored(at, 1); err == nil && now[0] != stored[0] {
				return at, release, nil
			}
			return stop, release, nil
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

// fetchRun fetches the blocks [at, end) of a flight with one request.
func (l *large) fetchRun(ctx context.Context, fl *blockFlight, at, end int) error {
	from := int64(at) * blockSize
	r, err := l.b.fetch.open(ctx, l.key, from, min(int64(end)*blockSize, l.blob.Size)-from)
	if err != nil {
		if errors.Is(err, blobstore.ErrMismatch) {
			l.b.mismatch(fmt.Errorf("blob %s: %w", l.key, err))
		}
		return err
	}
	defer r.Close()
	for at < end {
		stop := min(at+pieceBlocks, end)
		if err := l.fetchPiece(ctx, fl, r, at, stop); err != nil {
			return err
		}
		at = stop
	}
	return nil
}

// fetchPiece lands the blocks [at, stop) of a flight and stores them. The piece that
// completes the blob is stored and verified first.
func (l *large) fetchPiece(ctx context.Context, fl *blockFlight, r io.Reader, at, stop int) error {
	lo := (at - fl.first) * blockSize
	hi := min((stop-fl.first)*blockSize, len(fl.buf))
	last := l.claim(at, stop)
	err := l.b.fetch.fill(ctx, r, fl.buf[lo:hi], func(n int) {
		if !last {
			fl.land(lo + n)
		}
	})
	if err != nil {
		return err // the end of the flight takes the claim back
	}
	part := l.store(ctx, fl, at, stop, last)
	if last {
		err = l.verdict(ctx)
		l.letGo(at, stop)
	}
	if err != nil {
		return err
	}
	fl.land(hi)
	if part != nil {
		l.onBoard(part, fl, at, stop)
	}
	return nil
}

// claim notes that blocks are arriving. If with them all are here it holds them back and
// reports true: they are to be had from the flight only, until letGo.
func (l *large) claim(first, end int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.nclaimed
	for b := first; b < end; b++ {
		l.setClaimed(b, true)
	}
	last := before < l.blocks && l.nclaimed == l.blocks
	for b := first; last && b < end; b++ {
		l.held[b] = true
	}
	return last
}

// letGo ends the holding back of blocks.
func (l *large) letGo(first, end int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := first; b < end; b++ {
		delete(l.held, b)
	}
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

// verdict waits until the blob was verified, or until it is clear that it cannot be.
func (l *large) verdict(ctx context.Context) error {
	for {
		l.mu.Lock()
		changed, alone := l.changed, l.active <= 1
		hopeless := l.blind || l.nclaimed < l.blocks
		l.mu.Unlock()
		if hopeless {
			return nil
		}
		err := l.complete(ctx)
		if !errors.Is(err, errIncomplete) {
			return err
		}
		if alone {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judge waits until the blob was verified if all of it turns out to be on the disk, as it
// may when another process fetches it too.
func (l *large) judge(ctx context.Context) error {
	l.mu.Lock()
	if l.part == nil || l.nclaimed < l.blocks || l.active > 0 || l.blind {
		l.mu.Unlock()
		return nil
	}
	v := l.judging
	if v == nil {
		v = &verdict{done: make(chan struct{})}
		l.judging = v
		l.b.hold(l.e)
		go func() {
			defer l.b.release(l.e)
			v.err = l.complete(l.b.ctx)
			l.mu.Lock()
			l.judging = nil
			l.mu.Unlock()
			close(v.done)
		}()
	}
	l.mu.Unlock()
	if err := v.wait(ctx); !errors.Is(err, errIncomplete) {
		return err
	}
	return nil
}

// complete verifies the blob when all of it is in the partial file, and makes it a
// complete one. It returns errIncomplete when blocks are missing. When the content is
// wrong it is dropped: the error is errDropped if no one has seen it and it is to be
// fetched once more, and wraps blobstore.ErrMismatch otherwise.
func (l *large) complete(ctx context.Context) error {
	l.mu.Lock()
	full, part := l.full, l.part
	l.mu.Unlock()
	if full != nil {
		return nil
	}
	if part == nil {
		return errIncomplete
	}
	err := part.finish(ctx, l.blob.Hash, l.b.dir.blobPath(l.key))
	switch {
	case err == nil:
		l.b.suspects.clear(l.blob.Hash)
		l.b.space.refund(l.trailerCharge())
		l.adopt(part)
	case errors.Is(err, blobstore.ErrMismatch):
		err = l.dropped(part, err)
	case errors.Is(err, errGone):
		l.reset(part)
		if _, serr := os.Lstat(l.b.dir.blobPath(l.key)); serr != nil {
			err = errIncomplete
		} else {
			err = nil // another process has verified it
		}
	case errors.Is(err, errIncomplete):
		l.recount(part)
	case ctx.Err() == nil:
		l.b.diskError(err)
		l.reset(part)
		err = errIncomplete
	}
	return err
}

// recount takes back the claims of blocks that turned out not to be on the disk.
func (l *large) recount(part *partial) {
	stored, err := part.stored(0, l.blocks)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for b, m := range stored {
		if l.part == part && m == 0 && l.flights[b] == nil && !part.has(b) {
			l.setClaimed(b, false)
		}
	}
}

// adopt makes a partial file that was completed the full one.
func (l *large) adopt(part *partial) {
	f, err := l.b.dir.openBlob(l.key)
	if err != nil {
		l.reset(part)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part != part {
		f.Close()
		return
	}
	l.retired = append(l.retired, part.f)
	l.full, l.part = f, nil
	l.signal()
}

// dropped notes that a partial file was removed because its content is wrong.
func (l *large) dropped(part *partial, err error) error {
	again := l.b.suspects.strike(l.blob.Hash, err)
	l.b.mismatch(fmt.Errorf("blob %s: %w", l.key, err))
	l.b.space.refund(charge(l.blob.Size) + l.trailerCharge())
	l.mu.Lock()
	served := l.served
	l.mu.Unlock()
	if served {
		l.b.suspects.owe(l.blob.Hash)
	}
	for b := range l.blocks {
		l.b.memory.Del(l.memoryKey(b))
	}
	l.reset(part)
	if served || again {
		return err
	}
	return errDropped
}
