package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func open(t *testing.T, path string) (*Log, []string, error) {
	t.Helper()
	var got []string
	l, err := Open(path, func(p []byte) error {
		got = append(got, string(p))
		return nil
	})
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, got, err
}

// torn returns how many bytes opening the log at path has set aside.
func torn(t *testing.T, path string) (n int64) {
	t.Helper()
	files, err := filepath.Glob(path + ".torn-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		fi, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		n += fi.Size()
	}
	return n
}

func fill(t *testing.T, path string, n int) (want []string) {
	t.Helper()
	l, _, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := fmt.Sprintf("record %d%s", i, bytes.Repeat([]byte("x"), i*3))
		if err := l.Append([]byte(s), false); err != nil {
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
	l, got, err := open(t, path)
	if err != nil || torn(t, path) != 0 || !slices.Equal(got, want) {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := l.Append([]byte("more"), false); err != nil {
		t.Fatal(err)
	}
	if _, got, _ = open(t, path); !slices.Equal(got, append(want, "more")) {
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
		l, got, err := open(t, cut)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("cut at %d: got %q", n, got)
		}
		if whole := len(magic) + size(got); n > whole && torn(t, cut) != int64(n-whole) {
			t.Fatalf("cut at %d behind %d whole bytes: %d bytes set aside", n, whole, torn(t, cut))
		}
		if err := l.Append([]byte("next"), false); err != nil {
			t.Fatal(err)
		}
		if _, again, err := open(t, cut); err != nil || !slices.Equal(again, append(got, "next")) {
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
		_, got, err := open(t, flipped)
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
	if _, got, err := open(t, path); err != nil || torn(t, path) != 5000 || !slices.Equal(got, want) {
		t.Fatalf("got %q, torn %d, %v", got, torn(t, path), err)
	}
}

// size returns how long the records are in a log.
func size(records []string) (n int) {
	for _, r := range records {
		n += headerSize + len(r)
	}
	return n
}

func TestRewriteKeepsWhatWasAppendedMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	fill(t, path, 50)
	l, _, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	add := func(s string) {
		t.Helper()
		if err := l.Append([]byte(s), false); err != nil {
			t.Fatal(err)
		}
	}
	r := l.StartRewrite()
	add("meanwhile")
	if err := r.Add([]byte("state")); err != nil {
		t.Fatal(err)
	}
	add("meanwhile too")
	if err := r.Finish(true); err != nil {
		t.Fatal(err)
	}
	add("after")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	want := []string{"state", "meanwhile", "meanwhile too", "after"}
	if _, got, err := open(t, path); err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %q, %v", got, err)
	}
	r = l.StartRewrite()
	r.Add([]byte("other"))
	r.Abandon()
	if _, got, err := open(t, path); err != nil || !slices.Equal(got, want) {
		t.Fatalf("after an abandoned rewrite: %q, %v", got, err)
	}
	if left, _ := filepath.Glob(path + "?*"); left != nil {
		t.Fatalf("left over: %v", left)
	}
}

// TestRewriteWhileAppending checks that no record is lost or doubled when a log is
// rewritten again and again under appends and syncs.
func TestRewriteWhileAppending(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, _, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	const records = 3000
	done := make(chan error)
	go func() {
		for i := range records {
			if err := l.Append(fmt.Appendf(nil, "%d", i), false); err != nil {
				done <- err
				return
			}
			if i%500 == 0 {
				l.Sync()
			}
		}
		done <- nil
	}()
	for range 20 {
		// The state is the records themselves: what is in the log so far.
		r := l.StartRewrite()
		whole := make([]byte, r.copied)
		if _, err := l.f.ReadAt(whole, 0); err != nil {
			t.Fatal(err)
		}
		for off := len(magic); off < len(whole); {
			n := int(binary.LittleEndian.Uint32(whole[off:]))
			r.Add(whole[off+headerSize:][:n])
			off += headerSize + n
		}
		if err := r.Finish(true); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_, got, err := open(t, path)
	if err != nil || len(got) != records {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for i, s := range got {
		if s != fmt.Sprint(i) {
			t.Fatalf("record %d is %q", i, s)
		}
	}
}
