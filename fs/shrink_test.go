package fs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// dataFiles lists the data files of the overlay.
func (f *fixture) dataFiles() []string {
	f.t.Helper()
	names, err := readNames(filepath.Join(f.dir, dataDir))
	if err != nil {
		f.t.Fatal(err)
	}
	return names
}

// commitAll commits everything and gives up what is not needed any more.
func (f *fixture) commitAll() {
	f.t.Helper()
	x := &treeTarget{fixture: *f, start: map[string]string{}}
	x.commit(f.t)
	f.last = x.last
	if err := f.tree.Shrink(); err != nil {
		f.t.Fatal(err)
	}
}

// TestCommittedContentLeavesTheOverlay commits files of one and of several chunks, and
// writes to them again: only what is written then is in the overlay, and only the chunks
// of that are to be hashed.
func TestCommittedContentLeavesTheOverlay(t *testing.T) {
	f := newFixture(t, "base=0123456789abcdef0123")
	f.write("base", "X", 1)
	f.write("new", "abcdefghijklmnopqrst", 0)
	f.write("small", "abc", 0)
	f.write("empty", "x", 0)
	f.truncate("empty", 0)
	before := f.ino("new")
	f.commitAll()
	if names := f.dataFiles(); len(names) != 0 {
		t.Fatalf("data files after a commit: %v", names)
	}
	if f.ino("new") != before {
		t.Error("the inode number has changed")
	}
	want := []string{"base=0X23456789abcdef0123", "empty=", "new=abcdefghijklmnopqrst", "small=abc"}
	f.settled(want...)
	f.write("new", "Y", 9)
	cut := f.tree.Checkpoint()
	if len(cut.Changes) != 1 {
		t.Fatalf("changes: %+v", cut.Changes)
	}
	hashed := 0
	for _, c := range cut.Changes[0].Content.Chunks {
		if c.Hash == "" {
			hashed++
		}
	}
	cut.Close()
	if hashed != 1 {
		t.Errorf("%d chunks are to be hashed, want 1", hashed)
	}
	want[2] = "new=abcdefghiYklmnopqrst"
	f.settled(want...)
	f.commitAll()
	f.truncate("new", 10)
	f.truncate("new", 12)
	want[2] = "new=abcdefghiY00"
	f.settled(want...)
	f.commitAll()
	f.settled(want...)
	if names := f.dataFiles(); len(names) != 0 {
		t.Fatalf("data files after the last commit: %v", names)
	}
}

// TestOpenFilesShrinkLater commits while a file is open: its content stays until the file
// is closed, and is right all the time.
func TestOpenFilesShrinkLater(t *testing.T) {
	f := newFixture(t)
	f.write("a", "0123456789abcdef", 0)
	file, err := f.tree.Open(f.ino("a"), unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	f.commitAll()
	if names := f.dataFiles(); len(names) != 1 {
		t.Errorf("data files while it is open: %v", names)
	}
	if _, err := file.WriteAt([]byte("X"), 3); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 16)
	if n, err := file.ReadAt(context.Background(), got, 0); err != nil || string(got[:n]) != "012X456789abcdef" {
		t.Errorf("read %q, %v", got[:n], err)
	}
	file.Close()
	if err := f.tree.Shrink(); err != nil {
		t.Fatal(err)
	}
	if names := f.dataFiles(); len(names) != 1 {
		t.Errorf("what was written behind the commit is gone: %v", names)
	}
	f.commitAll()
	if names := f.dataFiles(); len(names) != 0 {
		t.Errorf("data files at the end: %v", names)
	}
	f.settled("a=012X456789abcdef")
}

// TestKilledWhileShrinking keeps the data file that a crash left between the record and
// the removal: it is removed at the next start, and the content is that of the store.
func TestKilledWhileShrinking(t *testing.T) {
	f := newFixture(t)
	f.write("a", "0123456789", 0)
	path := f.tree.ov.dataPath(f.ino("a"))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.commitAll()
	if err := os.WriteFile(path, []byte(strings.Repeat("?", len(content))), 0o600); err != nil {
		t.Fatal(err)
	}
	f.crash()
	f.want("a=0123456789")
	if names := f.dataFiles(); len(names) != 0 {
		t.Errorf("data files: %v", names)
	}
}

// adopter takes down what it is offered.
type adopter struct {
	blobs
	taken map[string]bool
}

func (a *adopter) Adopt(b manifest.Blob, f *os.File, off int64) {
	p := make([]byte, b.Size)
	if _, err := f.ReadAt(p, off); err == nil {
		a.taken[string(p)] = true
	}
}

// TestWrittenContentIsOffered offers the chunks that are wholly in the data file.
func TestWrittenContentIsOffered(t *testing.T) {
	f := newFixture(t, "base=0123456789abcdef0123")
	a := &adopter{blobs: f.blobs, taken: map[string]bool{}}
	f.tree.blobs = a
	f.write("base", "X", 9)
	f.write("base", "end", 17)
	f.write("new", "abcdefghij", 0)
	f.commitAll()
	for _, want := range []string{"abcdefgh", "ij"} {
		if !a.taken[want] {
			t.Errorf("%q was not offered: %v", want, a.taken)
		}
	}
	if len(a.taken) != 2 {
		t.Errorf("offered: %v", a.taken)
	}
}
