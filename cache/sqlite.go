package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the database driver
)

// DefaultDir returns the directory of the two databases, which is shared with the
// Deadline tools: $HOME/.deadline/job_attachments (spec/caches.md §6).
func DefaultDir() (string, error) {
	home := os.Getenv("HOME")
	if home == "" {
		return "", errors.New("the environment variable HOME is not set: name the directory of the hash cache")
	}
	return filepath.Join(home, ".deadline", "job_attachments"), nil
}

// database is an SQLite file that is only a hint: when it fails, it is not used any
// more, and the first error can be asked for.
type database struct {
	path string
	db   *sql.DB

	mu  sync.Mutex
	err error
}

// busyTimeout is how long, in milliseconds, a database that another process writes to is
// waited for.
const busyTimeout = 5000

// openDatabase opens the file name in dir, or in DefaultDir when dir is empty, with the
// tables of schema.
func openDatabase(dir, name, schema string) (*database, error) {
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	source := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout), "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-16384)",
	}}.Encode()}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1) // the connection is the lock between goroutines
	if _, err := db.Exec(schema); err != nil {
		db.Close()
		return nil, fmt.Errorf("open %s: %w (going on without it; if it is damaged, delete it)", path, err)
	}
	return &database{path: path, db: db}, nil
}

// failure returns the error that made the database useless, if any.
func (d *database) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// try calls fn unless the database has failed before, and reports whether it succeeded.
func (d *database) try(fn func(*sql.DB) error) bool {
	if d.failure() != nil {
		return false
	}
	err := fn(d.db)
	if err == nil {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = fmt.Errorf("%s: %w (going on without it)", d.path, err)
	}
	return false
}

// inTransaction calls fn in a transaction, which it commits when fn succeeds.
func inTransaction(db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
