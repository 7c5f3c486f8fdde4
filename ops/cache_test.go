package ops

import (
	"sync"

	"github.com/snapfs/snapfs/manifest"
)

// mapCache is a HashCache in memory that counts.
type mapCache struct {
	mu      sync.Mutex
	rows    map[HashRow]manifest.Hash // keyed by the row without its hash and time
	times   map[HashRow]int64
	lookups int // calls
	stored  int // rows
}

func newMapCache() *mapCache {
	return &mapCache{rows: map[HashRow]manifest.Hash{}, times: map[HashRow]int64{}}
}

func rowKey(r HashRow) HashRow { return HashRow{Path: r.Path, Start: r.Start, End: r.End} }

func (c *mapCache) Lookup(rows []HashRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookups++
	for i, r := range rows {
		if h, ok := c.rows[rowKey(r)]; ok && c.times[rowKey(r)] == r.ModTime {
			rows[i].Hash = h
		}
	}
}

func (c *mapCache) Store(rows []HashRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rows {
		c.stored++
		c.rows[rowKey(r)], c.times[rowKey(r)] = r.Hash, r.ModTime
	}
}
