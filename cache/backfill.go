package cache

import "context"

// A reader that jumps about in a large blob gets single blocks, each at the price of a
// request. Once it has touched a part of a region, chances are that it goes on, and the
// rest is worth fetching in large requests: what that costs is then bounded by a
// multiple of what the reader has fetched anyway.
const (
	regionBlocks = 1024          // blocks that are looked at, and fetched, together
	denseShare   = 32            // one in so many blocks of a region is enough to fetch it whole
	denseLeast   = 24            // and never fewer blocks
	fillFetch    = 8 * blockSize // bytes of a request: short, since readers may wait for the end of it
	fillFlights  = 4             // requests under way at a time
)

// regions counts the blocks touched at random. Its methods need the lock of the blob.
type regions struct {
	spots   map[int]int // by region: blocks fetched for readers that jump about
	filling map[int]bool
}

// spot notes that a reader which jumps about needs block b, of n, and reports whether it is
// time to fetch the whole region.
func (r *regions) spot(b, n int) bool {
	if r.spots == nil {
		r.spots, r.filling = map[int]int{}, map[int]bool{}
	}
	region := b / regionBlocks
	r.spots[region]++
	size := min((region+1)*regionBlocks, n) - region*regionBlocks
	if r.filling[region] || r.spots[region] < max(size/denseShare, denseLeast) {
		return false
	}
	r.filling[region] = true
	return true
}

// consider counts a random read of block b. The caller holds mu.
func (l *large) consider(b int) {
	if l.part == nil || l.blind || !l.wanted(b) || !l.regions.spot(b, l.blocks) {
		return
	}
	if most := l.b.opts.MaxBytes / 2; most > 0 && l.blob.Size > most {
		return // it would push out everything else
	}
	first := b / regionBlocks * regionBlocks
	l.b.hold(l.e)
	go func() {
		defer l.b.release(l.e)
		l.backfill(l.b.ctx, first, min(first+regionBlocks, l.blocks))
	}()
}

// backfill fetches what is missing of the blocks [b, end). It gives up when a request
// fails: readers go on as before.
func (l *large) backfill(ctx context.Context, b, end int) {
	var under []*blockFlight
	for b < end {
		next, fl := l.fillSome(ctx, b, end)
		b = next
		if fl != nil {
			under = append(under, fl)
		}
		if len(under) == fillFlights || b >= end {
			if len(under) > 0 && under[0].wait(ctx, l.flightLen(under[0])) != nil {
				break
			}
			under = under[min(1, len(under)):]
		}
	}
	for _, fl := range under {
		fl.leave()
	}
}

// fillSome starts the next flight of a backfill from block b on, and joins it. It returns
// where to go on.
func (l *large) fillSome(ctx context.Context, b, end int) (next int, fl *blockFlight) {
	if l.b.fetch.ahead.Acquire(ctx, fillFetch) != nil {
		return end, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for b < end && !l.wanted(b) {
		b++
	}
	if b == end || l.full != nil || l.part == nil || l.blind {
		l.b.fetch.ahead.Release(fillFetch)
		return end, nil
	}
	next = min(l.runEnd(b, fillFetch), end)
	n := int64(next-b) * blockSize
	l.b.fetch.ahead.Release(fillFetch - n)
	l.b.stats.readAhead.Add(n)
	fl = l.launch(b, next, true)
	fl.join()
	return next, fl
}
