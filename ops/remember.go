package ops

import (
	"sync"
	"time"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// Clocks that stamp files. Linux stamps with its coarse clock, which ticks at least
// every 10 ms; a file system that stores whole seconds (or two) is recognised by the
// stamp itself.
const (
	fineTick   = 20 * time.Millisecond
	coarseTick = 2 * time.Second
)

// isSettled reports whether a file that was modified at mtime and read from began on
// was read after the tick of its last modification, so that whatever is written to
// it later gets another time.
func isSettled(mtime unix.Timespec, began time.Time) bool {
	tick := fineTick
	if mtime.Nsec == 0 {
		tick = coarseTick
	}
	return began.Sub(time.Unix(mtime.Sec, mtime.Nsec)) > tick
}

// tickRemains returns how long to wait until a file of the given modification time,
// in microseconds, is settled. It is 0 for settled files and for those that are not
// worth waiting for, because their clock is coarse or ahead of ours.
func tickRemains(modTime int64) time.Duration {
	if modTime%1_000_000 == 0 {
		return 0
	}
	age := time.Since(time.UnixMicro(modTime))
	if age < 0 || age > fineTick {
		return 0
	}
	return fineTick - age + time.Millisecond
}

// flushRows is how many rows are gathered before they go to the cache.
const flushRows = 4096

// rowBuffer gathers the rows for a hash cache. The zero value is empty and ready.
type rowBuffer struct {
	mu   sync.Mutex
	rows []HashRow
}

// add remembers the hashes of f.
func (b *rowBuffer) add(cache HashCache, f *manifest.File, chunk int64, hashes []manifest.Hash) {
	rows := appendRows(nil, f, chunk)
	for i := range rows {
		rows[i].Hash = hashes[i]
	}
	b.append(cache, rows)
}

func (b *rowBuffer) append(cache HashCache, rows []HashRow) {
	b.mu.Lock()
	b.rows = append(b.rows, rows...)
	full := len(b.rows) >= flushRows
	b.mu.Unlock()
	if full {
		b.flush(cache)
	}
}

// flush hands what was gathered to the cache.
func (b *rowBuffer) flush(cache HashCache) {
	b.mu.Lock()
	rows := b.rows
	b.rows = nil
	b.mu.Unlock()
	if len(rows) > 0 {
		cache.Store(rows)
	}
}
