// Package wal is an append-only file of checksummed records.
//
// The file starts with a magic line. Each record is a header of three little-endian
// 32-bit words (the length of the payload, the CRC-32C of that length, the CRC-32C
// of the payload) and the payload. The length has a checksum of its own so that a
// record that was cut short (a crash while it was appended, harmless: it was never
// acknowledged) can be told from one that was damaged later (an error: records
// behind it must not be dropped silently).
package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	magic      = "snapfs overlay log 1\n"
	headerSize = 12
	// maxRecord bounds the memory that a damaged length can ask for.
	maxRecord = 64 << 20
	// reserve is how much disk space is kept allocated ahead of the end: half of it
	// in any case, for urgent records.
	reserve = 2 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CorruptError reports a record that was damaged after it had been written.
type CorruptError struct {
	Path   string
	Offset int64 // where the damaged record starts
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("overlay log %s is damaged at byte %d (%s)", e.Path, e.Offset, e.Reason)
}

// Log is an open log. Its methods may be called by several goroutines.
type Log struct {
	path string

	mu        sync.Mutex // guards all below; held while appending
	f         *os.File
	size      int64
	allocated int64 // up to where disk space is reserved
	noReserve bool  // the file system cannot reserve
	broken    error // set when a failed append could not be undone
	buf       []byte

	syncMu sync.Mutex   // held by the goroutine that syncs for all
	synced atomic.Int64 // size that is known to be durable; written under syncMu
}

// Open opens the log at path, creating it when it does not exist, and calls replay
// for the payload of each record in order. The payload is only valid during the
// call. A record that was cut short at the end is moved aside, to a file whose name
// starts with that of the log.
func Open(path string, replay func(payload []byte) error) (l *Log, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	l = &Log{path: path, f: f}
	if fi.Size() < int64(len(magic)) {
		return l, l.create(fi.Size())
	}
	end, err := replayAll(path, io.NewSectionReader(f, 0, fi.Size()), replay)
	if err != nil {
		return nil, err
	}
	if torn := fi.Size() - end; torn > 0 {
		if err := l.setAside(end, torn); err != nil {
			return nil, err
		}
	}
	l.size = end
	return l, nil
}

// create writes the magic line to a new log, or to one whose creation was
// interrupted within that line.
func (l *Log) create(have int64) error {
	old := make([]byte, have)
	if _, err := l.f.ReadAt(old, 0); err != nil {
		return err
	}
	if string(old) != magic[:have] {
		return &CorruptError{Path: l.path, Reason: "not an overlay log"}
	}
	if _, err := l.f.WriteAt([]byte(magic), 0); err != nil {
		return err
	}
	l.size = int64(len(magic))
	return nil
}

// setAside copies the torn tail of the log to a file of its own and removes it.
func (l *Log) setAside(off, n int64) error {
	tail := make([]byte, n)
	if _, err := l.f.ReadAt(tail, off); err != nil {
		return err
	}
	if err := os.WriteFile(fmt.Sprintf("%s.torn-%d", l.path, off), tail, 0o600); err != nil {
		return err
	}
	return l.f.Truncate(off)
}

// replayAll returns the offset behind the last whole record.
func replayAll(path string, r *io.SectionReader, replay func([]byte) error) (int64, error) {
	head := make([]byte, len(magic))
	if _, err := r.ReadAt(head, 0); err != nil {
		return 0, err
	}
	if string(head) != magic {
		return 0, &CorruptError{Path: path, Reason: "not an overlay log"}
	}
	sc := scanner{path: path, r: r, off: int64(len(magic)), size: r.Size()}
	for {
		payload, err := sc.next()
		if err != nil || payload == nil {
			return sc.off, err
		}
		if err := replay(payload); err != nil {
			return 0, &CorruptError{Path: path, Offset: sc.off, Reason: err.Error()}
		}
		sc.off += headerSize + int64(len(payload))
	}
}

type scanner struct {
	path      string
	r         *io.SectionReader
	off, size int64

	window []byte // bytes of the file that start at winOff
	winOff int64
	buf    []byte
}

// next returns the payload of the record at s.off, or nil at the end of the log or
// when the record there is not whole.
func (s *scanner) next() ([]byte, error) {
	head, err := s.bytes(s.off, headerSize)
	if err != nil || head == nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head))
	if crc32.Checksum(head[:4], castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		if zero, err := s.zeroTail(); zero || err != nil {
			return nil, err // blocks that were allocated but never written: a power loss
		}
		return nil, &CorruptError{Path: s.path, Offset: s.off, Reason: "bad length checksum"}
	}
	want := binary.LittleEndian.Uint32(head[8:])
	if n == 0 || n > maxRecord {
		return nil, &CorruptError{Path: s.path, Offset: s.off, Reason: fmt.Sprintf("record of %d bytes", n)}
	}
	payload, err := s.bytes(s.off+headerSize, int(n))
	if err != nil || payload == nil {
		return nil, err
	}
	if crc32.Checksum(payload, castagnoli) != want {
		if zero, err := s.zeroTail(); zero || err != nil {
			return nil, err
		}
		return nil, &CorruptError{Path: s.path, Offset: s.off, Reason: "bad checksum"}
	}
	return payload, nil
}

// bytes returns n bytes at off, or nil when the file ends before them.
func (s *scanner) bytes(off int64, n int) ([]byte, error) {
	if off+int64(n) > s.size {
		return nil, nil
	}
	if off < s.winOff || off+int64(n) > s.winOff+int64(len(s.window)) {
		want := min(max(int64(n), 1<<20), s.size-off)
		if int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.window, s.winOff = s.buf[:want], off
		if _, err := s.r.ReadAt(s.window, off); err != nil {
			return nil, err
		}
	}
	return s.window[off-s.winOff:][:n], nil
}

// zeroTail reports whether everything behind the header of the current record, or
// the header too, is zero.
func (s *scanner) zeroTail() (bool, error) {
	for off := s.off + headerSize; off < s.size; {
		n := min(1<<16, s.size-off)
		b, err := s.bytes(off, int(n))
		if err != nil {
			return false, err
		}
		for _, c := range b {
			if c != 0 {
				return false, nil
			}
		}
		off += n
	}
	return s.off+headerSize < s.size, nil
}

// Append adds a record. When it returns nil the record survives the end of the
// process; Sync makes it survive a power loss. After an error the log is as it was.
// An urgent record, one that helps to free space, may use the last of the disk space
// that is reserved.
func (l *Log) Append(payload []byte, urgent bool) error {
	if len(payload) > maxRecord {
		return fmt.Errorf("overlay log %s: record of %d bytes: %w", l.path, len(payload), unix.EFBIG)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	l.buf = appendRecord(l.buf[:0], payload)
	if err := l.makeRoom(int64(len(l.buf)), urgent); err != nil {
		return err
	}
	if _, err := l.f.WriteAt(l.buf, l.size); err != nil {
		if terr := l.f.Truncate(l.size); terr != nil {
			l.broken = fmt.Errorf("overlay log %s: %w after a failed write", l.path, terr)
		}
		l.allocated = l.size // which truncation has given back
		return err
	}
	l.size += int64(len(l.buf))
	return nil
}

func appendRecord(b, payload []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:start+4], castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

// makeRoom keeps disk space reserved behind the end of the log. When the disk is full
// it refuses records of n bytes that are not urgent.
func (l *Log) makeRoom(n int64, urgent bool) error {
	if l.noReserve || l.size+n+reserve/2 <= l.allocated {
		return nil
	}
	err := unix.Fallocate(int(l.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, l.size, n+reserve)
	switch {
	case err == nil:
		l.allocated = l.size + n + reserve
	case err != unix.ENOSPC && err != unix.EDQUOT:
		l.noReserve = true
	case !urgent:
		return err
	}
	return nil
}

// Size returns the size of the log in bytes.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Sync makes every record durable whose Append returned before the call. Goroutines
// that call it at the same time share one flush of the disk.
func (l *Log) Sync() error {
	target := l.Size()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.synced.Load() >= target {
		return nil
	}
	l.mu.Lock()
	f, size := l.f, l.size
	l.mu.Unlock()
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("flush %s: %w", l.path, err)
	}
	l.synced.Store(size)
	return nil
}

// IsSynced reports whether everything that was appended is durable.
func (l *Log) IsSynced() bool { return l.synced.Load() >= l.Size() }

// Close closes the file. It does not sync.
func (l *Log) Close() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = os.ErrClosed
	return l.f.Close()
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
