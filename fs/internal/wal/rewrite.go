package wal

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Rewriter replaces a log by a shorter one, while the log goes on growing. The new
// log has the records that were added to the Rewriter, and behind them those that
// were appended to the old one since StartRewrite. Whatever happens, the file is
// either the old log or the new one, and both are complete.
type Rewriter struct {
	l      *Log
	f      *os.File
	copied int64 // up to where the new log has what the old one has
	size   int64 // of the new log
	buf    []byte
	err    error // makes every further call fail
}

const (
	// flushSize is how many bytes a Rewriter collects between writes.
	flushSize = 1 << 20
	// shortTail is how many bytes may be copied while appends wait.
	shortTail = 64 << 10
	// maxRounds bounds how long Finish runs after a log that grows fast.
	maxRounds = 10
)

// StartRewrite begins a rewrite. It must end with Finish or Abandon, and there must
// be one at a time.
func (l *Log) StartRewrite() *Rewriter {
	r := &Rewriter{l: l, copied: l.Size(), buf: append(make([]byte, 0, flushSize), magic...)}
	r.f, r.err = os.OpenFile(r.path(), os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	return r
}

func (r *Rewriter) path() string { return r.l.path + ".new" }

// Add adds a record. It writes to the disk only when much has been added since the
// last Flush.
func (r *Rewriter) Add(payload []byte) error {
	r.buf = appendRecord(r.buf, payload)
	if len(r.buf) < flushSize {
		return r.err
	}
	return r.Flush()
}

// Flush writes what was added.
func (r *Rewriter) Flush() error {
	if r.err != nil {
		return r.err
	}
	_, r.err = r.f.WriteAt(r.buf, r.size)
	r.size += int64(len(r.buf))
	r.buf = r.buf[:0]
	return r.err
}

// Abandon ends the rewrite and leaves the log as it was.
func (r *Rewriter) Abandon() {
	if r.f != nil {
		r.f.Close()
		os.Remove(r.path())
	}
}

// Finish puts the new log in the place of the old one, durably. With keepReserve it
// fails rather than go on without the disk space that Log keeps in reserve. Appends
// wait only while the last few records are copied.
func (r *Rewriter) Finish(keepReserve bool) error {
	err := r.catchUp()
	if err == nil && keepReserve {
		err = unix.Fallocate(int(r.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, r.size, reserve)
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = nil
		}
	}
	if err != nil {
		r.Abandon()
		return err
	}
	l := r.l
	l.syncMu.Lock() // until the name is durable, nothing in the new file is
	defer l.syncMu.Unlock()
	if err := r.swap(); err != nil {
		r.Abandon()
		return err
	}
	return SyncDir(filepath.Dir(l.path))
}

// catchUp copies what was appended since the rewrite began, but for a short tail,
// and makes it durable.
func (r *Rewriter) catchUp() error {
	if err := r.Flush(); err != nil {
		return err
	}
	for range maxRounds {
		end := r.l.Size()
		if err := errors.Join(r.copyTail(end), r.f.Sync()); err != nil {
			return err
		}
		if r.l.Size()-end <= shortTail {
			break
		}
	}
	return nil
}

// copyTail copies the old log up to end.
func (r *Rewriter) copyTail(end int64) error {
	n, err := io.Copy(io.NewOffsetWriter(r.f, r.size), io.NewSectionReader(r.l.f, r.copied, end-r.copied))
	r.copied += n
	r.size += n
	return err
}

func (r *Rewriter) swap() error {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > r.copied {
		if err := errors.Join(r.copyTail(l.size), unix.Fdatasync(int(r.f.Fd()))); err != nil {
			return err
		}
	}
	if err := os.Rename(r.path(), l.path); err != nil {
		return err
	}
	l.f.Close()
	l.f, l.size, l.allocated, l.broken = r.f, r.size, r.size, nil
	l.synced.Store(r.size)
	return nil
}
