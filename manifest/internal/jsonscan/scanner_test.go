package jsonscan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

// scanAll reads a value of any shape with nothing but the exported methods.
func scanAll(text string) (offset int64, err error) {
	s := New(iotest.OneByteReader(strings.NewReader(text)), 1<<20)
	s.Skip()
	err = s.Finish()
	return s.Offset(), err
}

func FuzzSkipAgreesWithTheStandardLibrary(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00",null,true]}`, `[[[]]]`, `1e999`, `"\ud800"`, `-0`, `01`, ` 1 `, "\"\xff\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := scanAll(text)
		if err == nil && !json.Valid([]byte(text)) {
			t.Errorf("accepted %q", text)
		}
		// The limits of this package are the only reasons to refuse JSON.
		limits := []string{"UTF-8", "surrogate", "malformed number", "nested too deeply"}
		if err != nil && json.Valid([]byte(text)) {
			for _, limit := range limits {
				if strings.Contains(err.Error(), limit) {
					return
				}
			}
			t.Errorf("refused %q: %v", text, err)
		}
	})
}

func TestStrings(t *testing.T) {
	long := strings.Repeat("0123456é", 40<<10)
	for _, want := range []string{"", "x", `a"b\c/d`, "\b\f\n\r\t", "é日😀", "\x7f", "12345678", "1234567\n", long} {
		text, err := json.Marshal([]string{want})
		if err != nil {
			t.Fatal(err)
		}
		s := New(strings.NewReader(string(text)), 1<<30)
		if !s.OpenArray() || !s.NextElement() {
			t.Fatalf("no element in %.40s: %v", text, s.Err())
		}
		got, ok := s.Text()
		if !ok || string(got) != want {
			t.Errorf("%.40q: got %.40q, %v", want, got, s.Err())
		}
	}
}

func TestNumbers(t *testing.T) {
	tests := []struct {
		text     string
		uint     uint64
		uintOK   bool
		int      int64
		intOK    bool
		isBroken bool
	}{
		{text: "0", uintOK: true, intOK: true},
		{text: "7", uint: 7, uintOK: true, int: 7, intOK: true},
		{text: "-7", int: -7, intOK: true},
		{text: "-0"},
		{text: "9223372036854775807", uint: 1<<63 - 1, uintOK: true, int: 1<<63 - 1, intOK: true},
		{text: "9223372036854775808", uint: 1 << 63, uintOK: true},
		{text: "18446744073709551615", uint: 1<<64 - 1, uintOK: true},
		{text: "18446744073709551616"},
		{text: "99999999999999999999999"},
		{text: "-9223372036854775808", int: -1 << 63, intOK: true},
		{text: "1.0"}, {text: "1e3"}, {text: "1E+3"}, {text: "0.5e-3"}, {text: `"7"`}, {text: "null"}, {text: "[7]"},
		{text: "00", isBroken: true}, {text: "1.", isBroken: true}, {text: ".5", isBroken: true}, {text: "1e", isBroken: true},
		{text: "+1", isBroken: true}, {text: "1-2", isBroken: true}, {text: "1e999", isBroken: true}, {text: "--1", isBroken: true},
	}
	for _, tt := range tests {
		u := New(strings.NewReader("["+tt.text+"]"), 1<<20)
		u.OpenArray()
		u.NextElement()
		if n, ok := u.Uint(); n != tt.uint || ok != tt.uintOK || (u.Err() != nil) != tt.isBroken {
			t.Errorf("Uint of %s: %d, %t, %v", tt.text, n, ok, u.Err())
		}
		i := New(strings.NewReader("["+tt.text+"]"), 1<<20)
		i.OpenArray()
		i.NextElement()
		if n, ok := i.Int(); n != tt.int || ok != tt.intOK || (i.Err() != nil) != tt.isBroken {
			t.Errorf("Int of %s: %d, %t, %v", tt.text, n, ok, i.Err())
		}
	}
}

func TestErrorsTellThePosition(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{"a":1 "b"}`, `unexpected '"', expected ',' or '}' at byte 7`},
		{`[1`, "unexpected end of text, expected ',' or ']' at byte 2"},
		{`{1}`, "unexpected '1', expected a key at byte 1"},
		{`[tru]`, "unexpected ']', expected the literal true at byte 4"},
		{`[] []`, "unexpected '[', expected the end of the text at byte 3"},
		{`["` + "\n", "control character in a string at byte 2"},
	}
	for _, tt := range tests {
		_, err := scanAll(tt.text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestDepth(t *testing.T) {
	for depth, ok := range map[int]bool{127: true, 128: false, 100_000: false} {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			_, err := scanAll(strings.Repeat("[", depth) + strings.Repeat("]", depth))
			if (err == nil) != ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	for limit, want := range map[int64]error{4: nil, 3: ErrTooLarge} {
		s := New(strings.NewReader("[12]"), limit)
		s.Skip()
		if err := s.Finish(); !errors.Is(err, want) {
			t.Errorf("limit %d: got %v, want %v", limit, err, want)
		}
	}
}
