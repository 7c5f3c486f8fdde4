// Package canonjson writes canonical JSON: the bytes that Python's
// json.dumps(sort_keys=True, separators=(",", ":"), ensure_ascii=True) writes
// (spec/formats.md §1.3). It is not RFC 8785. Callers supply the keys in order.
package canonjson

import (
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// flushAt is the number of buffered bytes that makes a Writer write them out.
const flushAt = 64 << 10

// Writer writes pieces of canonical JSON through a buffer. Errors are sticky and
// reported by Flush.
type Writer struct {
	w   io.Writer
	buf []byte
	err error
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, buf: make([]byte, 0, flushAt+4<<10)}
}

// Raw writes text as it is: brackets, separators, literal keys.
func (w *Writer) Raw(text string) {
	w.buf = append(w.buf, text...)
	w.spill()
}

// String writes s as a JSON string.
func (w *Writer) String(s string) {
	w.buf = AppendString(w.buf, s)
	w.spill()
}

// Prefixed writes prefix and s as one JSON string. The prefix is copied as it is.
func (w *Writer) Prefixed(prefix []byte, s string) {
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, prefix...)
	w.buf = append(appendText(w.buf, s), '"')
	w.spill()
}

// Int writes n as a JSON number.
func (w *Writer) Int(n int64) {
	w.buf = strconv.AppendInt(w.buf, n, 10)
	w.spill()
}

func (w *Writer) spill() {
	if len(w.buf) >= flushAt {
		w.flush()
	}
}

func (w *Writer) flush() {
	if w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
	w.buf = w.buf[:0]
}

// Flush writes out what is buffered and returns the first error of all writes.
func (w *Writer) Flush() error {
	w.flush()
	return w.err
}

// AppendString appends s to dst as a JSON string of ASCII characters. Bytes that
// are not UTF-8 become U+FFFD; callers that must not lose them check before.
func AppendString(dst []byte, s string) []byte {
	return append(appendText(append(dst, '"'), s), '"')
}

// appendText appends s without the quotes.
func appendText(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		if c < utf8.RuneSelf {
			dst = appendEscape(dst, c)
			i++
		} else {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = appendRune(dst, r)
			i += n
		}
		start = i
	}
	return append(dst, s[start:]...)
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return appendUnit(dst, rune(c))
}

func appendRune(dst []byte, r rune) []byte {
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return appendUnit(appendUnit(dst, high), low)
	}
	return appendUnit(dst, r)
}

// appendUnit appends the \uXXXX escape of one UTF-16 code unit.
func appendUnit(dst []byte, u rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
}
