// Package trace records which parts of which files a program reads first, so that they
// can be fetched ahead the next time.
//
// A trace is a text with one JSON object per line, in the order of the first touches:
//
//	{"path":"src/main.go","offset":0,"length":4096,"seconds":0.0132}
//
// The path is that of the file in the manifest, offset and length are a range of it in
// bytes, and seconds is the time since the recording began. What a program reads again is
// not in the trace again, and what it reads in sequence is one range. Traces are of use
// for any manifest with files of the same paths.
package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Touch is a range of a file that was read for the first time.
type Touch struct {
	Path    string  `json:"path"`
	Offset  int64   `json:"offset"`
	Length  int64   `json:"length"`
	Seconds float64 `json:"seconds"` // since the recording began
}

// maxTouches bounds the memory of a recording; what comes later is not in the trace.
const maxTouches = 1 << 20

// Recorder records the touches of files, which it knows by numbers.
type Recorder struct {
	start time.Time

	mu    sync.Mutex
	files map[uint64]*file
	list  []touch
	full  bool
}

type touch struct {
	file     uint64
	off, end int64
	at       time.Duration
}

// file is what has been read of a file.
type file struct {
	read []span // ascending, with gaps between
	last int    // its latest touch
}

type span struct{ off, end int64 }

// NewRecorder begins a recording.
func NewRecorder() *Recorder {
	return &Recorder{start: time.Now(), files: map[uint64]*file{}}
}

// Read records that n bytes of a file were read from off on. It may be called by any
// number of goroutines.
func (r *Recorder) Read(number uint64, off, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[number]
	if f == nil {
		if r.full {
			return
		}
		f = &file{last: -1}
		r.files[number] = f
	}
	for _, s := range f.add(span{off, off + n}) {
		if f.last >= 0 && r.list[f.last].end == s.off {
			r.list[f.last].end = s.end
			continue
		}
		if r.full = len(r.list) >= maxTouches; r.full {
			return
		}
		f.last = len(r.list)
		r.list = append(r.list, touch{file: number, off: s.off, end: s.end, at: time.Since(r.start)})
	}
}

// add adds s to what was read, and returns the parts of it that are new.
func (f *file) add(s span) (fresh []span) {
	first, _ := slices.BinarySearchFunc(f.read, s.off, func(x span, off int64) int {
		if x.end < off {
			return -1
		}
		return 1
	})
	joined, at, last := s, s.off, first
	for ; last < len(f.read) && f.read[last].off <= s.end; last++ {
		x := f.read[last]
		if at < x.off {
			fresh = append(fresh, span{at, x.off})
		}
		at = max(at, x.end)
		joined = span{min(joined.off, x.off), max(joined.end, x.end)}
	}
	if at < s.end {
		fresh = append(fresh, span{at, s.end})
	}
	f.read = slices.Replace(f.read, first, last, joined)
	return fresh
}

// Text returns the trace so far. Path names the files; those without a path are left out.
func (r *Recorder) Text(path func(number uint64) string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, t := range r.list {
		p := path(t.file)
		if p == "" {
			continue
		}
		if err := enc.Encode(Touch{Path: p, Offset: t.off, Length: t.end - t.off, Seconds: t.at.Seconds()}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Parse reads a trace.
func Parse(r io.Reader) ([]Touch, error) {
	var list []Touch
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var t Touch
		err := json.Unmarshal(lines.Bytes(), &t)
		if err == nil && (t.Path == "" || t.Offset < 0 || t.Length <= 0) {
			err = errors.New("a touch has a path, an offset and a length above 0")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d is no line of a trace: %w", n, err)
		}
		list = append(list, t)
	}
	return list, lines.Err()
}
