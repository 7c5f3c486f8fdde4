package canonjson

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestAppendString(t *testing.T) {
	// As Python writes them: json.dumps(s, ensure_ascii=True).
	tests := []struct{ in, want string }{
		{"", `""`},
		{"plain <&>/'", `"plain <&>/'"`},
		{`q"q\`, `"q\"q\\"`},
		{"\b\f\n\r\t", `"\b\f\n\r\t"`},
		{"\x00\x01\x1f", `"\u0000\u0001\u001f"`},
		{"\x7f", "\"\x7f\""},
		{"é\u07ff", `"\u00e9\u07ff"`},
		{"日\u2028\ufffd", `"\u65e5\u2028\ufffd"`},
		{"😀x", `"\ud83d\ude00x"`},
	}
	for _, tt := range tests {
		if got := string(AppendString(nil, tt.in)); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	long := strings.Repeat("x", 3*flushAt)
	w.Raw(`{"a":`)
	w.Int(-7)
	w.Raw(`,"b":`)
	w.Prefixed([]byte("$1/"), "é")
	w.Raw(`,"c":`)
	w.String(long)
	w.Raw(`}`)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := `{"a":-7,"b":"$1/\u00e9","c":"` + long + `"}`; out.String() != want {
		t.Errorf("got %.60s…", out.String())
	}
}

type fullDisk struct{ room int }

var errFull = errors.New("full")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriterKeepsTheFirstError(t *testing.T) {
	w := NewWriter(&fullDisk{})
	for range 3 {
		w.String(strings.Repeat("x", flushAt))
	}
	if err := w.Flush(); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
