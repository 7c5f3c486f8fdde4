package fs

import (
	"testing"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// borrow opens a file and borrows its data file.
func (f *fixture) borrow(path string, flags uint32) (*File, int) {
	f.t.Helper()
	file, err := f.tree.Open(f.ino(path), flags)
	if err != nil {
		f.t.Fatal(err)
	}
	data, err := file.Borrow(false)
	if err != nil || data == nil {
		f.t.Fatalf("%s cannot be borrowed: %v", path, err)
	}
	return file, int(data.Fd())
}

func TestBorrowedOnlyWhereAllIsWritten(t *testing.T) {
	f := newFixture(t, "base=base", "cut=base", "run.sh=x")
	f.write("new", "content", 0)
	f.write("run.sh", "y", 0)
	mode := uint32(0o4755)
	if _, err := f.tree.SetAttr(f.ino("run.sh"), SetAttr{Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path  string
		flags uint32
		want  bool
	}{
		{"base", unix.O_RDONLY, false},
		{"base", unix.O_RDWR, false},
		{"cut", unix.O_WRONLY | unix.O_TRUNC, true},
		{"cut", unix.O_RDONLY, true},
		{"new", unix.O_RDONLY, true},
		{"new", unix.O_RDWR, true},
		{"run.sh", unix.O_RDWR, false}, // the first write takes the set-user-ID bit
	} {
		file, err := f.tree.Open(f.ino(test.path), test.flags)
		if err != nil {
			t.Fatal(err)
		}
		data, err := file.Borrow(false)
		if err != nil || (data != nil) != test.want {
			t.Errorf("%s, flags %#x: borrowed %v, want %v (%v)", test.path, test.flags, data != nil, test.want, err)
		}
		file.Close()
	}
}

// settle tells the tree what the contents of changed files have turned out to be.
func (f *fixture) settle(contents map[string]string) {
	f.t.Helper()
	cut := f.tree.Checkpoint()
	defer cut.Close()
	for i := range cut.Changes {
		c := &cut.Changes[i]
		c.New = c.Content.Resolve(c.New, []manifest.Hash{manifest.Sum([]byte(contents[c.Path]))})
	}
	if err := f.tree.Settled(cut); err != nil {
		f.t.Fatal(err)
	}
}

// TestDirectWritesAreNoticed writes past the tree, as the kernel does.
func TestDirectWritesAreNoticed(t *testing.T) {
	f := newFixture(t)
	f.write("f", "first", 0)
	f.settle(map[string]string{"f": "first"})
	if c := f.tree.Changes(); c[0].Content != nil {
		t.Fatalf("the hash is not known: %+v", c)
	}
	file, fd := f.borrow("f", unix.O_RDWR)
	if !f.tree.Changing(file.Ino()) {
		t.Error("a borrowed file is not said to change")
	}
	cut := f.tree.Checkpoint()
	defer cut.Close()
	content := cut.Changes[0].Content
	if content == nil || content.Changed() {
		t.Fatalf("the hash of a borrowed file is taken to be known, or it to have changed: %+v", cut.Changes)
	}
	r := content.ReaderAt(t.Context())
	if _, err := unix.Pwrite(fd, []byte("second"), 0); err != nil {
		t.Fatal(err)
	}
	if !content.Changed() {
		t.Error("a direct write is not noticed")
	}
	p := make([]byte, 5)
	if _, err := r.ReadAt(p, 0); err != nil || string(p) != "secon" {
		t.Errorf("read %q, %v", p, err)
	}
	again, entry := content.Again("f")
	if entry.Size != 6 || again.Changed() {
		t.Errorf("taken again: %+v", entry)
	}
	cut.Changes[0].Content = again
	cut.Changes[0].New = again.Resolve(entry, []manifest.Hash{manifest.Sum([]byte("second"))})
	if err := f.tree.Settled(cut); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Pwrite(fd, []byte("third!"), 0); err != nil { // of the same size
		t.Fatal(err)
	}
	f.tree.kill() // the hash of "second" must not have been remembered
	f.open()
	changes := f.tree.Changes()
	if len(changes) != 1 || changes[0].Content == nil || changes[0].New.Size != 6 {
		t.Errorf("after a crash: %+v", changes)
	}
}

// TestSizeOfDirectWritesIsNeverOld makes a direct write that leaves no trace in the time
// stamps, as one within the same tick of the clock: the size must show it. Whoever was
// told the old size, as a database is of its log, would overwrite what was written.
func TestSizeOfDirectWritesIsNeverOld(t *testing.T) {
	f := newFixture(t)
	f.write("f", "first", 0)
	file, fd := f.borrow("f", unix.O_RDWR)
	defer file.Close()
	if _, err := unix.Pwrite(fd, []byte("and more"), 5); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	n := f.tree.nodes[file.Ino()]
	n.mu.Lock()
	n.file.seen = st.Ctim.Nano()
	n.mu.Unlock()
	if a, err := f.tree.GetAttr(file.Ino()); err != nil || a.Size != 13 {
		t.Errorf("size %d, %v", a.Size, err)
	}
	// Nor may it be old because somebody else changes the file just now.
	n.io.Lock()
	defer n.io.Unlock()
	if _, err := unix.Pwrite(fd, []byte("and more"), 13); err != nil {
		t.Fatal(err)
	}
	if a, err := f.tree.GetAttr(file.Ino()); err != nil || a.Size != 21 {
		t.Errorf("size while the file is busy: %d, %v", a.Size, err)
	}
}
