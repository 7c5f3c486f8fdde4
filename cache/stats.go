package cache

import "sync/atomic"

// Stats says what the cache has done since it was opened. All but CachedBytes and
// InFlight only grow.
type Stats struct {
	// FetchedBytes is what was read from the store. In a store that is used in place,
	// each block that was touched counts once.
	FetchedBytes int64
	Requests     int64 // range requests sent to the store
	FetchErrors  int64 // requests that failed, cancelled ones not counted
	ReadAhead    int64 // bytes asked for before any reader needed them

	Reads       int64 // calls of ReadBlobAt
	ServedBytes int64
	// The reads, or parts of reads, by what answered them.
	MemoryHits, DiskHits, StoreFileHits, Fetches int64

	Mismatches   int64 // contents that did not have their hash
	DiskErrors   int64 // times that the cache directory could not be written
	CachedBytes  int64 // bytes in use in the directory, by all processes
	Evictions    int64 // files evicted by this process
	EvictedBytes int64
	InFlight     int64 // transfers under way
}

// counters is Stats while it is being counted.
type counters struct {
	fetched, requests, fetchErrors, readAhead       atomic.Int64
	reads, served                                   atomic.Int64
	memoryHits, diskHits, storeFileHits, flights    atomic.Int64
	mismatches, diskErrors, evictions, evictedBytes atomic.Int64
	inFlight                                        atomic.Int64
}

// Stats returns the present figures.
func (b *Blobs) Stats() Stats {
	c := &b.stats
	return Stats{
		FetchedBytes:  c.fetched.Load(),
		Requests:      c.requests.Load(),
		FetchErrors:   c.fetchErrors.Load(),
		ReadAhead:     c.readAhead.Load(),
		Reads:         c.reads.Load(),
		ServedBytes:   c.served.Load(),
		MemoryHits:    c.memoryHits.Load(),
		DiskHits:      c.diskHits.Load(),
		StoreFileHits: c.storeFileHits.Load(),
		Fetches:       c.flights.Load(),
		Mismatches:    c.mismatches.Load(),
		DiskErrors:    c.diskErrors.Load(),
		CachedBytes:   b.space.ledger.now().used,
		Evictions:     c.evictions.Load(),
		EvictedBytes:  c.evictedBytes.Load(),
		InFlight:      c.inFlight.Load(),
	}
}
