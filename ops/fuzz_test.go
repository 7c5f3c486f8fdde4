package ops

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/snapfs/snapfs/manifest"
)

// FuzzGlob compares the matcher with one that tries everything, and with what is known
// of single characters.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{
		{"a/**/b", "a/x/y/b"}, {"**/x", "x"}, {"a/**", "a/"}, {"*é?", "aéb"}, {"[]a-c]*", "]/"}, {"[!a]", "\xff"}, {"[a-", "a"}, {"***", ""}, {"*/*/*/*", "////"}, {"[z-a]", "m"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 4096 || len(path) > manifest.MaxPathLen {
			return
		}
		g, err := compileGlob(pattern)
		if err != nil {
			if !errors.Is(err, manifest.ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			return
		}
		got := g.match(path)
		if !strings.ContainsAny(pattern, "*?[") && utf8.ValidString(pattern) && got != (pattern == path) {
			t.Errorf("%q on %q: %t, though nothing in it is special", pattern, path, got)
		}
		if len(g.tokens) > 8 || len(path) > 12 {
			return // trying everything would take too long
		}
		if want := backtrack(g.tokens, path); got != want {
			t.Errorf("%q on %q: %t, want %t", pattern, path, got, want)
		}
	})
}
