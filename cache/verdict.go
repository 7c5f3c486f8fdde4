package cache

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/snapfs/snapfs/blobstore"
)

// signal wakes those who wait for a change. The caller holds mu.
func (l *large) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// setClaimed notes whether block b is here. The caller holds mu.
func (l *large) setClaimed(b int, here bool) {
	if l.claimed[b] == here {
		return
	}
	l.claimed[b] = here
	if here {
		l.nclaimed++
	} else {
		l.nclaimed--
	}
	l.signal()
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
	scans := l.b.space.ledger.now().scans
	err := part.finish(ctx, l.blob.Hash, l.b.dir.blobPath(l.key))
	switch {
	case err == nil:
		l.b.suspects.clear(l.blob.Hash)
		l.b.space.ledger.free(l.trailerCharge(), scans)
		l.adopt(part)
		l.b.nowLocal(l.blob)
	case errors.Is(err, blobstore.ErrMismatch):
		l.b.space.ledger.free(charge(l.blob.Size)+l.trailerCharge(), scans)
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
	l.b.mismatch(l.blob.Hash, fmt.Errorf("blob %s: %w", l.key, err))
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

// ensure fetches what is missing, without serving any of it, and returns when the blob
// was verified.
func (l *large) ensure(ctx context.Context) error {
	err := errDropped
	for range 4 { // each time something else has to go wrong
		if bad := l.b.suspects.bad(l.blob.Hash); bad != nil {
			return bad
		}
		if err = l.await(ctx); err != nil {
			return err
		}
		if l.verified() {
			return nil
		}
		if err = l.fetchBlocks(ctx, 0, l.blocks); err == nil {
			err = l.complete(ctx)
		}
		if err != nil && !errors.Is(err, errDropped) && !errors.Is(err, errIncomplete) {
			return l.b.flightError(err)
		}
	}
	if l.verified() {
		return nil
	}
	return fmt.Errorf("%w: blob could not be completed in %s (%v)", blobstore.ErrUnavailable, l.b.dir.path, err)
}

func (l *large) verified() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.full != nil
}

// fetch implements handle. When all of the blob gets here it is verified.
func (l *large) fetch(ctx context.Context, off, n int64) error {
	if l.b.opts.Strict || l.b.suspects.has(l.blob.Hash) {
		return l.ensure(ctx)
	}
	if err := l.await(ctx); err != nil {
		return err
	}
	err := l.fetchBlocks(ctx, int(off/blockSize), blocksOf(off+n))
	if err == nil {
		err = l.judge(ctx)
	}
	if errors.Is(err, errDropped) {
		return l.ensure(ctx)
	}
	return l.b.flightError(err)
}

// fetchBlocks waits until the blocks [b, end) are in the partial file.
func (l *large) fetchBlocks(ctx context.Context, b, end int) error {
	for b < end {
		l.mu.Lock()
		full, part, blind := l.full, l.part, l.blind
		l.mu.Unlock()
		switch {
		case full != nil:
			return nil
		case part == nil || blind:
			return fmt.Errorf("%w: a large blob can only be verified there: %s", errNoRoom, l.b.dir.path)
		case l.onDisk(part, b):
			b++
			continue
		}
		l.mu.Lock()
		fl := l.join(b, min(maxFetch, int64(end-b)*blockSize))
		next := int64(fl.end) * blockSize
		l.ahead(next, min(next+3*maxFetch, int64(end)*blockSize))
		l.mu.Unlock()
		if err := fl.wait(ctx, l.flightLen(fl)+1); err != nil { // more than lands: until it is over
			return err
		}
		l.mu.Lock()
		blind = l.blind
		l.mu.Unlock()
		if blind {
			continue // to the error above
		}
		l.displace(fl) // what is not on the disk by now has to be fetched again
		b = fl.end
	}
	return nil
}
