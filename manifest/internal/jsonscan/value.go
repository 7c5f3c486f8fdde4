package jsonscan

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Text consumes the next value. When it is a string, Text returns its bytes, which
// are valid until the next call.
func (s *Scanner) Text() (text []byte, ok bool) {
	if s.peek() != '"' {
		s.Skip()
		return nil, false
	}
	s.keep = s.pos
	from, to, escaped := s.scanString()
	text = s.text(from, to, escaped)
	s.keep = -1
	return text, s.err == nil
}

// Uint consumes the next value. When it is an integer literal without sign,
// fraction and exponent that fits a uint64, Uint returns it.
func (s *Scanner) Uint() (n uint64, ok bool) {
	if n, ok := s.plainUint(); ok {
		return n, true
	}
	lit, isNumber := s.number()
	if !isNumber {
		return 0, false
	}
	for _, c := range lit {
		d := uint64(c - '0')
		if d > 9 || n > (1<<64-1)/10 {
			return 0, false
		}
		if n = n*10 + d; n < d {
			return 0, false
		}
	}
	return n, true
}

// plainUint is Uint for the common case: at most 18 digits that end within the
// window. It consumes nothing when it reports false.
func (s *Scanner) plainUint() (n uint64, ok bool) {
	s.peek()
	i := s.pos
	for ; i < s.end && i-s.pos < 18; i++ {
		d := uint64(s.buf[i] - '0')
		if d > 9 {
			break
		}
		n = n*10 + d
	}
	leadingZero := i > s.pos+1 && s.buf[s.pos] == '0'
	if i == s.pos || i == s.end || leadingZero || numberByte(s.buf[i]) {
		return 0, false
	}
	s.pos = i
	return n, true
}

// Int consumes the next value. When it is an integer literal without fraction and
// exponent that fits an int64, Int returns it. "-0" is not such a literal.
func (s *Scanner) Int() (n int64, ok bool) {
	lit, isNumber := s.number()
	if !isNumber || string(lit) == "-0" {
		return 0, false
	}
	n, err := strconv.ParseInt(string(lit), 10, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}

// Bool consumes the next value. It reports true when that is the literal true.
func (s *Scanner) Bool() bool {
	isTrue := s.peek() == 't'
	s.Skip()
	return isTrue && s.err == nil
}

// Skip consumes the next value, whatever it is.
func (s *Scanner) Skip() {
	switch c := s.peek(); c {
	case '"':
		s.Text()
	case '{':
		if s.OpenObject() {
			for _, ok := s.NextKey(); ok; _, ok = s.NextKey() {
				s.Skip()
			}
		}
	case '[':
		if s.OpenArray() {
			for s.NextElement() {
				s.Skip()
			}
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		if c == '-' || '0' <= c && c <= '9' {
			s.number()
			return
		}
		s.unexpected("a value")
	}
}

func (s *Scanner) literal(word string) {
	for i := range len(word) {
		if s.pos == s.end && !s.fill() || s.buf[s.pos] != word[i] {
			s.unexpected("the literal " + word)
			return
		}
		s.pos++
	}
}

// number consumes the next value. When it is a number, number returns its text,
// which is valid until the next call.
func (s *Scanner) number() (lit []byte, ok bool) {
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		s.Skip()
		return nil, false
	}
	s.keep = s.pos
	i := s.pos
	for {
		for i < s.end && numberByte(s.buf[i]) {
			i++
		}
		if i < s.end {
			break
		}
		n := i - s.keep
		more := s.fill()
		i = s.keep + n
		if !more {
			break
		}
	}
	lit = s.buf[s.keep:i]
	if s.err == nil && !validNumber(lit) {
		s.fail("malformed number")
	}
	s.pos, s.keep = i, -1
	return lit, s.err == nil
}

func numberByte(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// validNumber reports whether lit matches the grammar of numbers and fits a
// float64.
func validNumber(lit []byte) bool {
	rest := lit
	if len(rest) > 0 && rest[0] == '-' {
		rest = rest[1:]
	}
	whole := digits(rest)
	if whole == 0 || whole > 1 && rest[0] == '0' {
		return false
	}
	rest = rest[whole:]
	if len(rest) == 0 && whole < 300 {
		return true
	}
	if len(rest) > 0 && rest[0] == '.' {
		n := digits(rest[1:])
		if n == 0 {
			return false
		}
		rest = rest[1+n:]
	}
	if len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		n := digits(rest)
		if n == 0 {
			return false
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return false
	}
	_, err := strconv.ParseFloat(string(lit), 64)
	return err == nil
}

func digits(b []byte) int {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}

// unescape appends raw to dst with its escapes resolved. A reason says why that is
// not possible.
func unescape(dst, raw []byte) (out []byte, reason string) {
	for len(raw) > 0 {
		if raw[0] != '\\' {
			dst = append(dst, raw[0])
			raw = raw[1:]
			continue
		}
		if raw[1] != 'u' {
			c := simpleEscape(raw[1])
			if c == 0 {
				return dst, "unknown escape in a string"
			}
			dst = append(dst, c)
			raw = raw[2:]
			continue
		}
		r, n := unicodeEscape(raw)
		if n == 0 {
			return dst, "malformed \\u escape or lone surrogate in a string"
		}
		dst = utf8.AppendRune(dst, r)
		raw = raw[n:]
	}
	return dst, ""
}

func simpleEscape(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return 0
}

// unicodeEscape decodes the \uXXXX escape, or the pair of them, that raw starts
// with. The length is 0 when there is none.
func unicodeEscape(raw []byte) (r rune, n int) {
	r, ok := hex4(raw)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(raw[6:])
	if !ok {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

func hex4(raw []byte) (r rune, ok bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	for _, c := range raw[2:6] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
