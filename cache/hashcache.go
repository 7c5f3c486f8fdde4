package cache

import (
	"database/sql"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/snapfs/snapfs/manifest"
)

// hashSchema is spec/caches.md §4. The column last_modified_time has numeric affinity:
// what the reference binds as text is stored as an integer too. The Deadline tools of
// Python write a local time there instead, which stays text.
const hashSchema = `CREATE TABLE IF NOT EXISTS hashesV4 (
	file_path blob,
	hash_algorithm text,
	range_start integer,
	range_end integer,
	file_hash text,
	last_modified_time timestamp,
	PRIMARY KEY (file_path, hash_algorithm, range_start, range_end))`

const (
	lookupBatch = 500  // paths asked for with one statement
	storeBatch  = 100  // rows written with one statement
	storeBuffer = 2048 // rows kept back until they are written in one transaction
)

// HashRow is the remembered hash of a part of a file. It is the same type as
// ops.HashRow.
type HashRow = struct {
	Path       string        // absolute and normalised
	Start, End int64         // bytes, End exclusive; 0 and -1 for the whole file
	ModTime    int64         // of the file, in microseconds since the epoch
	Hash       manifest.Hash // XXH128
}

// HashCache remembers the hashes of files in the database hash_cache.db, which it
// shares with the Deadline tools. It implements ops.HashCache. Rows are written as the
// reference writes them; those of the Deadline tools of Python, which have another form
// of time, are read, too. (Those tools find ours out of date, and hash again: one row
// cannot suit both.) Its methods may be
// called by any number of goroutines, and on a nil *HashCache, which remembers nothing.
// A database that fails is not used any more; Err says why.
type HashCache struct {
	file *database

	mu      sync.Mutex
	pending []HashRow // not written yet
}

// OpenHashCache opens the hash cache in dir, or in DefaultDir when dir is empty.
func OpenHashCache(dir string) (*HashCache, error) {
	db, err := openDatabase(dir, "hash_cache.db", hashSchema)
	if err != nil {
		return nil, err
	}
	return &HashCache{file: db}, nil
}

// part names what a row is about.
type part struct {
	path       string
	start, end int64
}

// Lookup sets the Hash of every row whose part of a file is remembered with the same
// ModTime. It leaves the other rows alone. One call for many rows is much faster than
// many calls.
func (c *HashCache) Lookup(rows []HashRow) {
	if c == nil || len(rows) == 0 {
		return
	}
	c.flush()
	for len(rows) > 0 {
		n := min(len(rows), lookupBatch)
		batch := rows[:n]
		if !c.file.try(func(db *sql.DB) error { return lookup(db, batch) }) {
			return
		}
		rows = rows[n:]
	}
}

// lookup is Lookup for one batch.
func lookup(db *sql.DB, rows []HashRow) error {
	wanted := make(map[part][]int, len(rows))
	paths := make([]any, 0, len(rows))
	for i, r := range rows {
		if i == 0 || rows[i-1].Path != r.Path {
			paths = append(paths, []byte(r.Path))
		}
		p := part{r.Path, r.Start, r.End}
		wanted[p] = append(wanted[p], i)
	}
	marks := strings.Repeat(",?", len(paths))[1:]
	found, err := db.Query(`SELECT file_path, range_start, range_end, file_hash, CAST(last_modified_time AS TEXT)
		FROM hashesV4 WHERE hash_algorithm = 'xxh128' AND file_path IN (`+marks+`)`, paths...)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var path, hash, modTime sql.RawBytes
		var start, end sql.NullInt64
		if err := found.Scan(&path, &start, &end, &hash, &modTime); err != nil {
			return err
		}
		for _, i := range wanted[part{string(path), start.Int64, end.Int64}] {
			if h := manifest.Hash(hash); h.IsXXH128() && isTime(string(modTime), rows[i].ModTime) {
				rows[i].Hash = h
			}
		}
	}
	return found.Err()
}

// isTime reports whether the text of the column last_modified_time stands for a time in
// microseconds since the epoch: in digits or, as the Deadline tools of Python write it,
// as a local time. Those round where everybody else truncates, so that the next
// microsecond stands for the same time.
func isTime(text string, micros int64) bool {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n == micros
	}
	return text == pythonTime(micros) || text == pythonTime(micros+1)
}

// pythonTime returns what str(datetime.fromtimestamp(…)) gives in Python.
func pythonTime(micros int64) string {
	layout := "2006-01-02 15:04:05.000000"
	if micros%1_000_000 == 0 {
		layout = time.DateTime
	}
	return time.UnixMicro(micros).Format(layout)
}

// Store remembers the rows, in place of what was known about the same parts. They are
// written later, many at a time: call Flush or Close at the end.
func (c *HashCache) Store(rows []HashRow) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.pending = append(c.pending, rows...)
	full := len(c.pending) >= storeBuffer
	c.mu.Unlock()
	if full {
		c.flush()
	}
}

// Flush writes what was stored since the last time.
func (c *HashCache) Flush() error {
	if c == nil {
		return nil
	}
	c.flush()
	return c.Err()
}

func (c *HashCache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock() // until they are written: Lookup must find them
	rows := c.pending
	c.pending = nil
	if len(rows) == 0 {
		return
	}
	c.file.try(func(db *sql.DB) error {
		return inTransaction(db, func(tx *sql.Tx) error { return insertHashes(tx, rows) })
	})
}

func insertHashes(tx *sql.Tx, rows []HashRow) error {
	const head = "INSERT OR REPLACE INTO hashesV4 VALUES "
	const tuple = ",(?,'xxh128',?,?,?,?)"
	full := head + strings.Repeat(tuple, storeBatch)[1:]
	for len(rows) > 0 {
		n := min(len(rows), storeBatch)
		values := make([]any, 0, 5*n)
		for _, r := range rows[:n] {
			values = append(values, []byte(r.Path), r.Start, r.End, string(r.Hash), r.ModTime)
		}
		query := full
		if n < storeBatch {
			query = head + strings.Repeat(tuple, n)[1:]
		}
		if _, err := tx.Exec(query, values...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// Err returns the error that made the cache useless, if any. It is worth a warning.
func (c *HashCache) Err() error {
	if c == nil {
		return nil
	}
	return c.file.failure()
}

// Close writes what is left and closes the database. It returns the error of the
// cache, if it had one.
func (c *HashCache) Close() error {
	if c == nil {
		return nil
	}
	err := c.Flush()
	if cerr := c.file.db.Close(); err == nil {
		err = cerr
	}
	return err
}
