package wal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzOpen opens arbitrary bytes as a log. It is refused without a change, or yields
// records that are still there, with one more, when it is opened again.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(magic))
	f.Add([]byte(magic[:5]))
	f.Add(appendRecord([]byte(magic), []byte("record")))
	f.Add(appendRecord(appendRecord([]byte(magic), []byte("one")), []byte("two"))[:50])
	f.Add(append(appendRecord([]byte(magic), []byte("record")), make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, got, err := open(t, path)
		if err != nil {
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatal(err)
			}
			if now, _ := os.ReadFile(path); !slices.Equal(now, content) {
				t.Fatal("a log that was refused has changed")
			}
			return
		}
		if err := l.Append([]byte("one more"), false); err != nil {
			t.Fatal(err)
		}
		_, again, err := open(t, path)
		if err != nil || !slices.Equal(again, append(got, "one more")) {
			t.Fatalf("%q, then %q: %v", got, again, err)
		}
	})
}
