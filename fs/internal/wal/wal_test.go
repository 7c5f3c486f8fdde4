package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func open(t *testing.T, path string) (*Log, []string, int64, error) {
	t.Helper()
	var got []string
	l, torn, err := Open(path, func(p []byte) error {
		got = append(got, string(p))
		return nil
	})
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, got, torn, err
}

func fill(t *testing.T, path string, n int) (want []string) {
	t.Helper()
	l, _, _, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := fmt.Sprintf("record %d%s", i, bytes.Repeat([]byte("x"), i*3))
		if err := l.Append([]byte(s)); err != nil {
			t.Fatal(err)
		}
		want = append(want, s)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	return want
}

func TestRecordsSurviveReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	want := fill(t, path, 9)
	l, got, torn, err := open(t, path)
	if err != nil || torn != 0 || !slices.Equal(got, want) {
		t.Fatalf("got %q, torn %d, %v", got, torn, err)
	}
	if err := l.Append([]byte("more")); err != nil {
		t.Fatal(err)
	}
	if _, got, _, _ = open(t, path); !slices.Equal(got, append(want, "more")) {
		t.Fatalf("after append: %q", got)
	}
}

// TestCutAtEveryByte checks that a log that was cut short yields the whole records
// before the cut, keeps the rest in a file of its own, and can be appended to.
func TestCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	want := fill(t, path, 5)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		cut := filepath.Join(dir, fmt.Sprintf("cut-%d", n))
		if err := os.WriteFile(cut, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		l, got, torn, err := open(t, cut)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("cut at %d: got %q", n, got)
		}
		if aside, _ := filepath.Glob(cut + ".torn-*"); (torn > 0) != (len(aside) == 1) {
			t.Fatalf("cut at %d: torn %d, set aside: %v", n, torn, aside)
		}
		if err := l.Append([]byte("next")); err != nil {
			t.Fatal(err)
		}
		if _, again, _, err := open(t, cut); err != nil || !slices.Equal(again, append(got, "next")) {
			t.Fatalf("cut at %d, after append: %q, %v", n, again, err)
		}
	}
}

// TestFlippedBitIsRefused flips each bit of a log in turn: opening it must fail and
// say where, and must never drop records.
func TestFlippedBitIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	fill(t, path, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(whole) {
		bad := bytes.Clone(whole)
		bad[i/8] ^= 1 << (i % 8)
		flipped := filepath.Join(dir, "flipped")
		if err := os.WriteFile(flipped, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_, got, _, err := open(t, flipped)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) {
			t.Fatalf("bit %d: got %q, %v", i, got, err)
		}
	}
}

func TestZeroTailOfPowerLoss(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	want := fill(t, path, 3)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, got, torn, err := open(t, path); err != nil || torn != 5000 || !slices.Equal(got, want) {
		t.Fatalf("got %q, torn %d, %v", got, torn, err)
	}
}

func TestRewriteReplacesEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	fill(t, path, 50)
	l, _, _, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Rewrite(func(add func([]byte) error) error { return add([]byte("state")) })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]byte("after")); err != nil {
		t.Fatal(err)
	}
	if _, got, _, err := open(t, path); err != nil || !slices.Equal(got, []string{"state", "after"}) {
		t.Fatalf("got %q, %v", got, err)
	}
	failed := errors.New("failed")
	if err := l.Rewrite(func(func([]byte) error) error { return failed }); !errors.Is(err, failed) {
		t.Fatalf("failed rewrite: %v", err)
	}
	if _, got, _, err := open(t, path); err != nil || !slices.Equal(got, []string{"state", "after"}) {
		t.Fatalf("after a failed rewrite: %q, %v", got, err)
	}
}
