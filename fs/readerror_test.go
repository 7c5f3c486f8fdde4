package fs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// breakFile makes every read of a file fail with EIO until the returned function is
// called: the memory of this process, which cannot be read at its beginning, lies over it.
func breakFile(t *testing.T, path string) (repair func()) {
	t.Helper()
	if err := unix.Mount("/proc/self/mem", path, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	mounted := true
	repair = func() {
		if mounted {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
		mounted = false
	}
	t.Cleanup(repair)
	return repair
}

// TestUnreadableLog opens an overlay whose log cannot be read: it is refused with an
// error that names the log, nothing is changed, and nothing is missing when it can be read
// again.
func TestUnreadableLog(t *testing.T) {
	f := newFixture(t, "base=0123456789")
	f.write("new", "content", 0)
	if err := f.tree.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.dir, logFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	repair := breakFile(t, path)
	_, err = New(f.base, f.blobs, f.dir, Options{Info: OverlayInfo{BaseID: "base"}})
	if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), path) {
		t.Errorf("opening says %v", err)
	}
	repair()
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the log was changed: %v", err)
	}
	f.open()
	f.settled("base=0123456789", "new=content")
}

// TestUnreadableContent reads a file whose data file cannot be read: EIO, also to a
// commit, and everything is there when it can be read again.
func TestUnreadableContent(t *testing.T) {
	f := newFixture(t)
	f.write("new", "content", 0)
	ino := f.ino("new")
	repair := breakFile(t, f.tree.ov.dataPath(ino))
	file, err := f.tree.Open(ino, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := file.ReadAt(context.Background(), make([]byte, 7), 0); Errno(err) != unix.EIO || n != 0 {
		t.Errorf("read %d bytes, %v", n, err)
	}
	cut := f.tree.Checkpoint()
	if _, err := cut.Changes[0].Content.ReaderAt(context.Background()).ReadAt(make([]byte, 7), 0); !errors.Is(err, unix.EIO) {
		t.Errorf("a commit reads, and gets %v", err)
	}
	cut.Close()
	file.Close()
	repair()
	f.settled("new=content")
}

// TestContentThatIsNoFile finds something else in the place of a data file after a crash.
func TestContentThatIsNoFile(t *testing.T) {
	f := newFixture(t)
	f.write("new", "content", 0)
	path := f.tree.ov.dataPath(f.ino("new"))
	f.tree.kill()
	if err := errors.Join(os.Rename(path, path+".away"), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	_, err := New(f.base, f.blobs, f.dir, Options{Info: OverlayInfo{BaseID: "base"}})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("opening says %v", err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(path+".away", path)); err != nil {
		t.Fatal(err)
	}
	f.open()
	f.settled("new=content")
}
