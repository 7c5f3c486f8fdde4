package fusefs

import (
	"sync"
	"time"
)

// limiter lets one log line a minute pass for each file.
type limiter struct {
	mu   sync.Mutex
	last map[uint64]time.Time
}

const (
	limitPeriod = time.Minute
	limitFiles  = 1000 // beyond that many files at once, start afresh
)

func newLimiter() *limiter { return &limiter{last: make(map[uint64]time.Time)} }

func (l *limiter) allow(file uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.last[file]) < limitPeriod {
		return false
	}
	if len(l.last) >= limitFiles {
		clear(l.last)
	}
	l.last[file] = now
	return true
}
