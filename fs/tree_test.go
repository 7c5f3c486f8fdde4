package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

var story = []string{"a/b/deep=0123456789abcdefXYZ", "a/small=hello", "a/up->top", "empty/", "run.sh=#!", "top="}

func TestBaseShowsThrough(t *testing.T) {
	f := newFixture(t, story...)
	f.settled("a/", "a/b/", "a/b/deep=0123456789abcdefXYZ", "a/small=hello", "a/up->../top", "empty/", "run.sh=#!", "top=")
	a, err := f.tree.GetAttr(f.ino("run.sh"))
	if err != nil || a.Mode != unix.S_IFREG|0o755 || a.UID != 7 || a.GID != 8 || a.Nlink != 1 || a.Mtime != 1_700_000_000_000_004_000 {
		t.Fatalf("run.sh: %+v, %v", a, err)
	}
	if a, err = f.tree.GetAttr(RootIno); err != nil || a.Mode != unix.S_IFDIR|0o755 || a.Nlink != 4 {
		t.Fatalf("root: %+v, %v", a, err)
	}
}

func TestWriteOverBaseKeepsTheRest(t *testing.T) {
	f := newFixture(t, story...)
	f.write("a/b/deep", "__", 7)
	f.settled("a/", "a/b/", "a/b/deep=0123456__9abcdefXYZ", "a/small=hello", "a/up->../top", "empty/", "run.sh=#!", "top=")
	if got := f.blobs[manifest.Sum([]byte("01234567"))]; string(got) != "01234567" {
		t.Fatal("the base blob was changed")
	}
}

func TestTruncateThenExtendReadsZeros(t *testing.T) {
	f := newFixture(t, "f=0123456789")
	f.truncate("f", 3)
	f.truncate("f", 12)
	f.settled("f=012000000000")
	f.write("f", "x", 14)
	f.write("f", "y", 1)
	f.settled("f=0y200000000000x")
}

func TestRenameBaseDirectory(t *testing.T) {
	f := newFixture(t, story...)
	f.rename("a", "empty/moved")
	f.write("empty/moved/b/new", "n", 0)
	f.remove("empty/moved/small")
	f.settled("empty/", "empty/moved/", "empty/moved/b/", "empty/moved/b/deep=0123456789abcdefXYZ", "empty/moved/b/new=n",
		"empty/moved/up->../top", "run.sh=#!", "top=")
	f.rename("empty/moved", "a")
	f.settled("a/", "a/b/", "a/b/deep=0123456789abcdefXYZ", "a/b/new=n", "a/up->../top", "empty/", "run.sh=#!", "top=")
}

func TestExchangeAndReplace(t *testing.T) {
	f := newFixture(t, "d/x=1", "f=2", "g=3")
	if err := f.tree.Rename(RootIno, "d", RootIno, "f", unix.RENAME_EXCHANGE); err != nil {
		t.Fatal(err)
	}
	f.settled("d=2", "f/", "f/x=1", "g=3")
	f.rename("g", "d")
	f.settled("d=3", "f/", "f/x=1")
	for _, bad := range []struct {
		from, to string
		flags    uint32
		want     error
	}{
		{"d", "f", 0, unix.EISDIR},
		{"f", "d", 0, unix.ENOTDIR},
		{"d", "f", unix.RENAME_NOREPLACE, unix.EEXIST},
		{"none", "x", 0, unix.ENOENT},
		{"d", "none", unix.RENAME_EXCHANGE, unix.ENOENT},
	} {
		if err := f.tree.Rename(RootIno, bad.from, RootIno, bad.to, bad.flags); !errors.Is(err, bad.want) {
			t.Errorf("rename %s to %s (%d): %v, want %v", bad.from, bad.to, bad.flags, err, bad.want)
		}
	}
	if err := f.tree.Rename(RootIno, "f", f.ino("f"), "below", 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("rename into itself: %v", err)
	}
}

func TestUnlinkedFileLivesUntilClosed(t *testing.T) {
	f := newFixture(t, "base=0123456789", "keep=k")
	file, err := f.tree.Open(f.ino("base"), unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	f.remove("base")
	f.write("base", "new", 0)
	buf := make([]byte, 20)
	if n, err := file.ReadAt(context.Background(), buf, 0); err != nil || string(buf[:n]) != "0123456789" {
		t.Fatalf("old handle reads %q, %v", buf[:n], err)
	}
	if a, err := f.tree.GetAttr(file.Ino()); err != nil || a.Nlink != 0 {
		t.Fatalf("unlinked: %+v, %v", a, err)
	}
	file.Close()
	f.settled("base=new", "keep=k")
}

func TestHardLinks(t *testing.T) {
	f := newFixture(t, "d/", "x=1")
	if _, err := f.tree.Link(f.ino("x"), f.ino("d"), "y"); err != nil {
		t.Fatal(err)
	}
	f.write("d/y", "2", 0)
	f.settled("d/", "d/y=2", "x=2")
	if a, b := f.ino("x"), f.ino("d/y"); a != b {
		t.Fatalf("inodes %d and %d", a, b)
	}
	if a, err := f.tree.GetAttr(f.ino("x")); err != nil || a.Nlink != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
	f.remove("x")
	f.settled("d/", "d/y=2")
}

func TestChunksAreKnownUntilTheyChange(t *testing.T) {
	f := newFixture(t, "f=0123456789abcdefXYZ")
	f.write("f", "_", 9)
	changes := f.tree.Changes()
	if len(changes) != 1 || changes[0].Content == nil {
		t.Fatalf("changes: %+v", changes)
	}
	var known []bool
	for _, c := range changes[0].Content.Chunks {
		known = append(known, c.Hash != "")
	}
	if !slices.Equal(known, []bool{true, false, true}) {
		t.Fatalf("known chunks: %v", known)
	}
}

// kinds lists changes as status does, in short.
func (f *fixture) kinds() string {
	var parts []string
	for _, c := range f.tree.Changes() {
		s := fmt.Sprintf("%c %s", c.Kind, c.Path)
		if c.From != "" {
			s += "<" + c.From
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

func TestChanges(t *testing.T) {
	tests := []struct {
		name string
		do   func(f *fixture)
		want string
	}{
		{"nothing", func(*fixture) {}, ""},
		{"new file", func(f *fixture) { f.write("a/n", "1", 0) }, "A a/n"},
		{"written file", func(f *fixture) { f.write("a/small", "H", 0) }, "M a/small"},
		{"chmod x", func(f *fixture) { f.chmod("a/small", 0o755) }, "M a/small"},
		{"chmod without effect", func(f *fixture) { f.chmod("a/small", 0o600) }, ""},
		{"deleted file", func(f *fixture) { f.remove("a/small") }, "D a/small"},
		{"deleted and made again", func(f *fixture) { f.remove("top"); f.write("top", "x", 0) }, "M top"},
		{"renamed file", func(f *fixture) { f.rename("a/small", "s") }, "D a/small, A s<a/small"},
		{"renamed and back", func(f *fixture) { f.rename("a", "z"); f.rename("z", "a") }, ""},
		{"renamed directory", func(f *fixture) { f.rename("a/b", "b") }, "D a/b, D a/b/deep, A b<a/b, A b/deep<a/b/deep"},
		{"file becomes directory", func(f *fixture) { f.remove("top"); f.mkdir("top"); f.write("top/x", "1", 0) }, "D top, T top, A top/x"},
		{"new empty directory", func(f *fixture) { f.mkdir("n") }, "A n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, story...)
			test.do(f)
			if got := f.kinds(); got != test.want {
				t.Errorf("changes: %q, want %q", got, test.want)
			}
			f.crash()
			if got := f.kinds(); got != test.want {
				t.Errorf("changes after a crash: %q, want %q", got, test.want)
			}
		})
	}
}

func (f *fixture) chmod(path string, mode uint32) {
	f.t.Helper()
	if _, err := f.tree.SetAttr(f.ino(path), SetAttr{Mode: &mode}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) mkdir(path string) {
	f.t.Helper()
	d, n := f.parent(path)
	if _, err := f.tree.Mkdir(d, n, 0o755, Owner{7, 8}); err != nil {
		f.t.Fatal(err)
	}
}

func TestOverlayIsLockedAndKnowsItsBase(t *testing.T) {
	f := newFixture(t, story...)
	if _, err := New(f.base, f.blobs, f.dir, Options{Info: OverlayInfo{BaseID: "base"}}); !errors.Is(err, ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
	f.tree.Close()
	if _, err := New(f.base, f.blobs, f.dir, Options{Info: OverlayInfo{BaseID: "other"}}); !errors.Is(err, ErrOtherBase) {
		t.Fatalf("other base: %v", err)
	}
	f.open()
}

// TestLookingAtAnOverlayDoesNotKeepItShut asks all the time whether an overlay is in
// use while it is opened again and again.
func TestLookingAtAnOverlayDoesNotKeepItShut(t *testing.T) {
	f := newFixture(t, story...)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				OverlayInUse(f.dir)
			}
		}
	}()
	for range 50 {
		f.crash()
	}
	close(stop)
	<-done
}

func TestReadOnlyTree(t *testing.T) {
	f := newFixture(t, story...)
	ro, err := New(f.base, f.blobs, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ro.Mkdir(RootIno, "x", 0o755, Owner{}); !errors.Is(err, unix.EROFS) {
		t.Errorf("mkdir: %v", err)
	}
	if _, err := ro.Open(f.ino("top"), unix.O_RDWR); !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing: %v", err)
	}
	if err := ro.Unlink(RootIno, "top"); !errors.Is(err, unix.EROFS) {
		t.Errorf("unlink: %v", err)
	}
}

func TestMissingBlobIsAnIOError(t *testing.T) {
	f := newFixture(t, "f=content")
	clear(f.blobs)
	file, err := f.tree.Open(f.ino("f"), unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.ReadAt(context.Background(), make([]byte, 4), 0)
	if Errno(err) != unix.EIO {
		t.Fatalf("read: %v (%v), want EIO", err, Errno(err))
	}
}

func TestNewBaseRefusesHostileEntries(t *testing.T) {
	h := manifest.Sum(nil)
	file := func(paths ...string) (list []manifest.File) {
		for _, p := range paths {
			list = append(list, manifest.File{Path: p, Hash: h})
		}
		return list
	}
	tests := map[string][]manifest.File{
		"escapes":              file("../x"),
		"escapes inside":       file("a/../../x"),
		"dot":                  file("a/./x"),
		"empty component":      file("a//x"),
		"absolute":             file("/etc/x"),
		"NUL":                  file("a\x00b"),
		"component too long":   file(strings.Repeat("x", 256)),
		"below a file":         file("a", "a/b"),
		"twice":                file("a", "b", "a"),
		"hash that is a path":  {{Path: "a", Hash: "../../x"}},
		"no hash":              {{Path: "a"}},
		"size not that of all": {{Path: "a", Size: 20, Chunks: []manifest.Hash{h, h}}},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			var bad *BaseError
			if _, err := NewBase(&manifest.Snapshot{ChunkSize: testChunk, Files: files}); !errors.As(err, &bad) {
				t.Errorf("accepted: %v", err)
			}
		})
	}
}
