// Package jsonscan reads JSON text from a stream, token by token, without building
// a tree of values.
//
// It accepts exactly the JSON of RFC 8259 with these limits: strings are valid
// UTF-8 without lone surrogates, containers nest at most 127 deep, and numbers fit
// a float64. Errors are sticky: after the first one every method returns zero
// values, so that loops end by themselves, and Err tells what happened.
package jsonscan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"unicode/utf8"
)

// maxDepth is the number of containers that may enclose a value, plus one.
const maxDepth = 128

// firstBuffer is the initial size of the window on the input. A token that does
// not fit makes it grow.
const firstBuffer = 128 << 10

// SyntaxError describes text that is not JSON, or that breaks one of the limits of
// the package.
type SyntaxError struct {
	Offset int64 // bytes from the start of the input
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset)
}

// ErrTooLarge means that the input is longer than the scanner was allowed to read.
var ErrTooLarge = errors.New("text is too large")

// Scanner reads one JSON text. Use New to make one.
type Scanner struct {
	r     io.Reader
	limit int64 // bytes of input that may still be read

	buf  []byte
	pos  int   // next unread byte of buf
	end  int   // end of the bytes read into buf
	base int64 // offset of buf[0] in the input
	keep int   // first byte of buf that must survive a refill, or -1 when that is pos
	eof  bool

	depth   int
	first   bool // the container was opened just now: no comma before the next item
	scratch []byte
	err     error
}

// New returns a Scanner that reads at most limit bytes from r.
func New(r io.Reader, limit int64) *Scanner {
	return &Scanner{r: r, limit: limit, buf: make([]byte, firstBuffer), keep: -1}
}

// Err returns the first error: a *SyntaxError, ErrTooLarge, or what the reader
// returned.
func (s *Scanner) Err() error { return s.err }

// Offset returns the position of the next unread byte.
func (s *Scanner) Offset() int64 { return s.base + int64(s.pos) }

func (s *Scanner) fail(reason string) {
	s.stop(&SyntaxError{Offset: s.Offset(), Reason: reason})
}

// Stop ends the scan with err, unless it has failed already.
func (s *Scanner) Stop(err error) { s.stop(err) }

// stop makes err the result of the scan, unless there is one already, and hides the
// rest of the input.
func (s *Scanner) stop(err error) {
	if s.err == nil {
		s.err = err
	}
	s.end = s.pos
}

// fill reads more input behind the window, moving the bytes that are still needed
// to its front. It reports false at the end of the input and after an error.
func (s *Scanner) fill() bool {
	if s.err != nil || s.eof {
		return false
	}
	from := s.pos
	if s.keep >= 0 {
		from = s.keep
		s.keep = 0
	}
	copy(s.buf, s.buf[from:s.end])
	s.base += int64(from)
	s.pos -= from
	s.end -= from
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	return s.read()
}

func (s *Scanner) read() bool {
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if s.limit -= int64(n); s.limit < 0 {
			s.stop(ErrTooLarge)
			return false
		}
		switch {
		case err == io.EOF:
			s.eof = true
			return n > 0
		case err != nil:
			s.stop(err)
			return false
		case n > 0:
			return true
		}
	}
	s.stop(io.ErrNoProgress)
	return false
}

// peek skips white space and returns the next byte without consuming it, or 0 at
// the end of the input and after an error.
func (s *Scanner) peek() byte {
	if s.pos < s.end && s.buf[s.pos] > ' ' {
		return s.buf[s.pos]
	}
	return s.skipSpace()
}

func (s *Scanner) skipSpace() byte {
	for {
		for s.pos < s.end {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\n', '\r':
				s.pos++
			default:
				return c
			}
		}
		if !s.fill() {
			return 0
		}
	}
}

// unexpected fails with a description of what stands at the current position.
func (s *Scanner) unexpected(want string) {
	if s.pos == s.end {
		s.fail("unexpected end of text, expected " + want)
		return
	}
	s.fail(fmt.Sprintf("unexpected %q, expected %s", s.buf[s.pos], want))
}

// Finish checks that nothing but white space follows.
func (s *Scanner) Finish() error {
	if c := s.peek(); s.err == nil && (c != 0 || s.pos < s.end) {
		s.unexpected("the end of the text")
	}
	return s.err
}

// OpenObject consumes the "{" of an object. When the next value is something else
// it reports false and consumes nothing.
func (s *Scanner) OpenObject() bool { return s.open('{') }

// OpenArray consumes the "[" of an array. When the next value is something else it
// reports false and consumes nothing.
func (s *Scanner) OpenArray() bool { return s.open('[') }

func (s *Scanner) open(bracket byte) bool {
	if s.peek() != bracket {
		return false
	}
	if s.depth++; s.depth >= maxDepth {
		s.fail("containers nested too deeply")
		return false
	}
	s.pos++
	s.first = true
	return true
}

// item moves to the next item of the container that ends with bracket, or past its
// end, which it reports as false.
func (s *Scanner) item(bracket byte) bool {
	first := s.first
	s.first = false
	switch c := s.peek(); {
	case c == bracket:
		s.pos++
		s.depth--
		return false
	case first:
		return s.err == nil
	case c == ',':
		s.pos++
		return true
	}
	s.unexpected(fmt.Sprintf("',' or %q", bracket))
	return false
}

// NextElement moves to the next element of the innermost array, or past its end,
// which it reports as false. The caller consumes each element.
func (s *Scanner) NextElement() bool { return s.item(']') }

// NextKey moves to the next member of the innermost object and returns its key, or
// moves past the end of the object, which it reports as false. The key is valid
// until the next call; the caller consumes the value.
func (s *Scanner) NextKey() (key []byte, ok bool) {
	if !s.item('}') {
		return nil, false
	}
	if s.peek() != '"' {
		s.unexpected("a key")
		return nil, false
	}
	s.keep = s.pos
	from, to, escaped := s.scanString()
	colon := s.peek() == ':'
	if colon {
		s.pos++
		// scanString answers relative to keep, which a refill moves.
		key = s.text(from, to, escaped)
	}
	s.keep = -1
	if s.err == nil && !colon {
		s.unexpected("':'")
	}
	return key, s.err == nil
}

// scanString consumes the string at the current position, whose first byte is at
// keep. It returns the bounds of what is between the quotes, relative to keep, and
// whether there are escapes in it.
func (s *Scanner) scanString() (from, to int, escaped bool) {
	i, ascii := s.keep+1, true
	for {
		i += plainPrefix(s.buf[i:s.end])
		if i == s.end || s.buf[i] == '\\' && i+1 == s.end {
			n := i - s.keep
			if !s.fill() {
				s.pos = s.end
				s.fail("unexpected end of text inside a string")
				return 0, 0, false
			}
			i = s.keep + n
			continue
		}
		switch c := s.buf[i]; {
		case c == '"':
			s.pos = i + 1
			if !ascii && !utf8.Valid(s.buf[s.keep:i]) {
				s.fail("string is not valid UTF-8")
			}
			return 1, i - s.keep, escaped
		case c == '\\':
			escaped = true
			i += 2
		case c >= utf8.RuneSelf:
			ascii = false
			i++
		default:
			s.pos = i
			s.fail("control character in a string")
			return 0, 0, false
		}
	}
}

// plainPrefix returns how many bytes at the front of b stand for themselves inside a
// string: ASCII without control characters, quotes and backslashes. It looks at
// eight bytes at a time; in every byte of the mask the highest bit is the answer.
func plainPrefix(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^('"'*ones), x^('\\'*ones)
		mask := (x-' '*ones)&^x | (quote-ones)&^quote | (slash-ones)&^slash | x
		if mask &= highs; mask != 0 {
			return i + bits.TrailingZeros64(mask)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] < utf8.RuneSelf && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

func (s *Scanner) text(from, to int, escaped bool) []byte {
	if s.err != nil {
		return nil
	}
	raw := s.buf[s.keep+from : s.keep+to]
	if !escaped {
		return raw
	}
	out, reason := unescape(s.scratch[:0], raw)
	s.scratch = out
	if reason != "" {
		s.fail(reason)
	}
	return out
}
