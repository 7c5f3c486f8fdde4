package trace

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFirstTouches(t *testing.T) {
	for _, tc := range []struct {
		name  string
		reads [][3]int64 // file, offset, length
		want  []string
	}{
		{"in sequence is one", [][3]int64{{1, 0, 10}, {1, 10, 10}, {1, 20, 5}}, []string{"f1 0+25"}},
		{"read again is nothing", [][3]int64{{1, 0, 10}, {1, 0, 10}, {1, 3, 4}}, []string{"f1 0+10"}},
		{"interleaved files", [][3]int64{{1, 0, 10}, {2, 5, 5}, {1, 10, 10}, {2, 10, 1}}, []string{"f1 0+20", "f2 5+6"}},
		{"backwards", [][3]int64{{1, 10, 10}, {1, 0, 10}}, []string{"f1 10+10", "f1 0+10"}},
		{"around what is known", [][3]int64{{1, 10, 10}, {1, 5, 20}}, []string{"f1 10+10", "f1 5+5", "f1 20+5"}},
		{"without a path", [][3]int64{{9, 0, 10}, {1, 0, 1}}, []string{"f1 0+1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewRecorder()
			for _, x := range tc.reads {
				r.Read(uint64(x[0]), x[1], x[2])
			}
			text, err := r.Text(func(n uint64) string {
				if n == 9 {
					return ""
				}
				return fmt.Sprint("f", n)
			})
			if err != nil {
				t.Fatal(err)
			}
			list, err := Parse(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, x := range list {
				got = append(got, fmt.Sprintf("%s %d+%d", x.Path, x.Offset, x.Length))
				if x.Seconds < 0 || x.Seconds > time.Minute.Seconds() {
					t.Errorf("touched after %v s", x.Seconds)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The touches of a file cover exactly what was read, and no byte twice.
func TestTouchesCoverReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 40
		r, read, covered := NewRecorder(), [size]int{}, [size]int{}
		for range rapid.IntRange(1, 20).Draw(t, "reads") {
			off := rapid.Int64Range(0, size-1).Draw(t, "off")
			n := rapid.Int64Range(1, size-off).Draw(t, "n")
			r.Read(1, off, n)
			for i := off; i < off+n; i++ {
				read[i] = 1
			}
		}
		for _, x := range r.list {
			for i := x.off; i < x.end; i++ {
				covered[i]++
			}
		}
		if read != covered {
			t.Errorf("read %v\ncovered %v", read, covered)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":    "{\"path\":\"a\",\"length\":1}\nfile\n",
		"no path":    "\n" + `{"offset":0,"length":1}`,
		"no length":  "\n" + `{"path":"a","offset":0}`,
		"bad offset": "\n" + `{"path":"a","offset":-1,"length":1}`,
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
