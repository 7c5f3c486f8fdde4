package cache

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/snapfs/snapfs/blobstore"
)

// Stats says what the cache has done since it was opened. All but CachedBytes,
// CacheLimit, MemoryBytes, MemoryLimit and InFlight only grow.
type Stats struct {
	// FetchedBytes is what was read from the store. In a store that is used in place,
	// each block that was touched counts once.
	FetchedBytes int64
	Requests     int64 // range requests sent to the store
	FetchErrors  int64 // requests that failed, cancelled ones not counted
	// Latency is how long requests took to answer, up to their first byte.
	Latency Histogram
	// Retries and Hedges count the requests that were sent again, by reason: because
	// they had failed, and because they took longer than others.
	Retries, Hedges map[string]int64

	ReadAhead int64 // bytes asked for before any reader needed them
	// Of those, what was read later, and what was given up without having been read.
	ReadAheadUseful, ReadAheadWasted int64

	Reads       int64 // calls of ReadBlobAt
	ServedBytes int64
	// The reads, or parts of reads, by what answered them: memory, a file of the cache, a
	// file of the store in place, a transfer from the store.
	MemoryHits, DiskHits, StoreFileHits, Fetches int64

	Mismatches   int64 // contents that did not have their hash
	DiskErrors   int64 // times that the cache directory could not be written
	CachedBytes  int64 // bytes in use in the directory, by all processes
	CacheLimit   int64 // Options.MaxBytes; 0: none
	Evictions    int64 // files evicted by this process
	EvictedBytes int64
	InFlight     int64 // transfers under way
	MemoryBytes  int64 // held for transfers and for blocks without a place on the disk
	MemoryLimit  int64 // what MemoryBytes may grow to
}

// Histogram counts durations.
type Histogram struct {
	Bounds []time.Duration // upper bounds, ascending
	Counts []int64         // up to Bounds[i] and above the bound before; the last is above all
	Sum    time.Duration
}

// latencyBounds are the buckets of Stats.Latency.
var latencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
	5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// latencies is a Histogram while it is being counted.
type latencies struct {
	counts [len(latencyBounds) + 1]atomic.Int64
	sum    atomic.Int64
}

func (l *latencies) observe(d time.Duration) {
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	l.counts[i].Add(1)
	l.sum.Add(int64(d))
}

func (l *latencies) histogram() Histogram {
	h := Histogram{Bounds: slices.Clone(latencyBounds[:]), Counts: make([]int64, len(l.counts)), Sum: time.Duration(l.sum.Load())}
	for i := range l.counts {
		h.Counts[i] = l.counts[i].Load()
	}
	return h
}

// counters is Stats while it is being counted.
type counters struct {
	fetched, requests, fetchErrors                  atomic.Int64
	readAhead, aheadUseful, aheadWasted             atomic.Int64
	reads, served                                   atomic.Int64
	memoryHits, diskHits, storeFileHits, flights    atomic.Int64
	mismatches, diskErrors, evictions, evictedBytes atomic.Int64
	inFlight, flightBytes                           atomic.Int64
	latency                                         latencies
	retries, hedges                                 blobstore.Tally
}

// Stats returns the present figures.
func (b *Blobs) Stats() Stats {
	c := &b.stats
	return Stats{
		FetchedBytes:    c.fetched.Load(),
		Requests:        c.requests.Load(),
		FetchErrors:     c.fetchErrors.Load(),
		Latency:         c.latency.histogram(),
		Retries:         b.retries(),
		Hedges:          c.hedges.Counts(),
		ReadAhead:       c.readAhead.Load(),
		ReadAheadUseful: c.aheadUseful.Load(),
		ReadAheadWasted: c.aheadWasted.Load(),
		Reads:           c.reads.Load(),
		ServedBytes:     c.served.Load(),
		MemoryHits:      c.memoryHits.Load(),
		DiskHits:        c.diskHits.Load(),
		StoreFileHits:   c.storeFileHits.Load(),
		Fetches:         c.flights.Load(),
		Mismatches:      c.mismatches.Load(),
		DiskErrors:      c.diskErrors.Load(),
		CachedBytes:     b.space.ledger.now().used,
		CacheLimit:      b.opts.MaxBytes,
		Evictions:       c.evictions.Load(),
		EvictedBytes:    c.evictedBytes.Load(),
		InFlight:        c.inFlight.Load(),
		MemoryBytes:     c.flightBytes.Load() + b.residents.bytes() + b.memoryCost(),
		MemoryLimit:     max(b.opts.MaxMemory, b.opts.flightBytes()+b.opts.MaxMemory/2),
	}
}

// retries returns the retries of the store and those after it has given up.
func (b *Blobs) retries() map[string]int64 {
	all := b.stats.retries.Counts()
	if r, ok := blobstore.As[blobstore.Retrier](b.store); ok {
		for reason, n := range r.Retries() {
			all[reason] += n
		}
	}
	return all
}

// memoryCost returns how many bytes the memory cache holds.
func (b *Blobs) memoryCost() int64 { return b.memory.MaxCost() - b.memory.RemainingCost() }
