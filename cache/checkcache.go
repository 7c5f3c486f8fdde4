package cache

import (
	"database/sql"
	"errors"
	"strings"
	"sync"
	"time"
)

// checkSchema is spec/caches.md §5. The column last_seen_time has numeric affinity: what
// the other tools bind as text is stored as a real number.
const checkSchema = `CREATE TABLE IF NOT EXISTS s3checkV1 (
	s3_key text primary key,
	last_seen_time timestamp)`

// checkLife is how long an object that was seen is believed to be still there.
const checkLife = 30 * 24 * time.Hour

// CheckCache remembers which objects were seen in buckets, and when, in the database
// s3_check_cache.db, which it shares with the Deadline tools. Keys are
// "<bucket>/<object key>". Its methods may be called by any number of goroutines, and on a
// nil *CheckCache, which remembers nothing. A database that fails is not used any
// more; Err says why.
type CheckCache struct {
	file *database
	now  func() time.Time

	mu      sync.Mutex
	pending map[string]float64 // not written yet: seconds since the epoch by key
}

// OpenCheckCache opens the cache in dir, or in DefaultDir when dir is empty, and
// removes what is older than 30 days from it.
func OpenCheckCache(dir string) (*CheckCache, error) {
	file, err := openDatabase(dir, "s3_check_cache.db", checkSchema)
	if err != nil {
		return nil, err
	}
	c := &CheckCache{file: file, now: time.Now, pending: map[string]float64{}}
	file.try(func(db *sql.DB) error {
		_, err := db.Exec(`DELETE FROM s3checkV1 WHERE last_seen_time < ?`, c.oldest())
		return err
	})
	return c, nil
}

// oldest returns the time, in seconds since the epoch, since when an object must have
// been seen.
func (c *CheckCache) oldest() float64 { return seconds(c.now().Add(-checkLife)) }

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// Seen reports whether the object was seen in the last 30 days.
func (c *CheckCache) Seen(key string) bool { return c != nil && c.seenAt(key) > c.oldest() }

// seenAt returns when the object was seen last, in seconds since the epoch, or 0.
func (c *CheckCache) seenAt(key string) (at float64) {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	at, ok := c.pending[key]
	c.mu.Unlock()
	if ok {
		return at
	}
	c.file.try(func(db *sql.DB) error {
		err := db.QueryRow(`SELECT CAST(last_seen_time AS REAL) FROM s3checkV1 WHERE s3_key = ? AND last_seen_time IS NOT NULL`, key).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return at
}

// seenUnder calls fn for each object seen in the last 30 days whose key starts with
// prefix, with the time of that, and reports true, unless the cache has more than limit
// objects.
func (c *CheckCache) seenUnder(prefix string, limit int64, fn func(key string, at float64)) bool {
	if c == nil || c.Flush() != nil {
		return true
	}
	all := false
	ok := c.file.try(func(db *sql.DB) error {
		var count sql.NullInt64 // about: the highest row number is known at once
		if err := db.QueryRow(`SELECT max(rowid) FROM s3checkV1`).Scan(&count); err != nil || count.Int64 > limit {
			return err
		}
		all = true
		found, err := db.Query(`SELECT s3_key, CAST(last_seen_time AS REAL) FROM s3checkV1
			WHERE s3_key >= ? AND s3_key < ? AND CAST(last_seen_time AS REAL) > ?`, prefix, prefix+"\U0010FFFF", c.oldest())
		if err != nil {
			return err
		}
		defer func() { _ = found.Close() }()
		var key sql.RawBytes
		var at float64
		for found.Next() {
			if err := found.Scan(&key, &at); err != nil {
				return err
			}
			fn(string(key), at)
		}
		return found.Err()
	})
	return all || !ok
}

// Record remembers that the object was seen now. It is written later, with others:
// call Flush or Close at the end.
func (c *CheckCache) Record(key string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.pending[key] = seconds(c.now())
	full := len(c.pending) >= storeBuffer
	c.mu.Unlock()
	if full {
		_ = c.Flush()
	}
}

// Forget removes what is known about the objects, which turned out to be gone.
func (c *CheckCache) Forget(keys ...string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		delete(c.pending, key)
	}
	c.file.try(func(db *sql.DB) error {
		return inTransaction(db, func(tx *sql.Tx) error {
			for _, key := range keys {
				if _, err := tx.Exec(`DELETE FROM s3checkV1 WHERE s3_key = ?`, key); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// Flush writes what was recorded since the last time, and returns the error of the
// cache, if it has one.
func (c *CheckCache) Flush() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) > 0 {
		c.file.try(func(db *sql.DB) error {
			return inTransaction(db, func(tx *sql.Tx) error { return insertSeen(tx, c.pending) })
		})
		clear(c.pending)
	}
	return c.file.failure()
}

func insertSeen(tx *sql.Tx, seen map[string]float64) error {
	values := make([]any, 0, 2*storeBatch)
	insert := func() error {
		if len(values) == 0 {
			return nil
		}
		_, err := tx.Exec("INSERT OR REPLACE INTO s3checkV1 VALUES "+strings.Repeat(",(?,?)", len(values)/2)[1:], values...)
		values = values[:0]
		return err
	}
	for key, at := range seen {
		if values = append(values, key, at); len(values) == cap(values) {
			if err := insert(); err != nil {
				return err
			}
		}
	}
	return insert()
}

// Err returns the error that made the cache useless, if any. It is worth a warning.
func (c *CheckCache) Err() error {
	if c == nil {
		return nil
	}
	return c.file.failure()
}

// Close writes what is left and closes the database. It returns the error of the
// cache, if it had one.
func (c *CheckCache) Close() error {
	if c == nil {
		return nil
	}
	err := c.Flush()
	if cerr := c.file.db.Close(); err == nil {
		err = cerr
	}
	return err
}
