package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

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
			err = l.b.space.write(l.trailerCharge(), func() error { return nil }) // it is written
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
		l.b.mismatch(l.blob.Hash, fmt.Errorf("cached blob was damaged and is fetched again: %w", err))
		l.b.space.removeBlob(l.key, l.blob.Size)
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
	l.b.space.removeBlob(l.key, l.blob.Size)
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

// local returns the files as they are known.
func (l *large) local() (*os.File, *partial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.full, l.part
}
