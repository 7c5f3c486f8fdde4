package fs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCrashRightAfterCleanOpen(t *testing.T) {
	f := newFixture(t, "d/")
	f.write("d/f", "first", 0)
	f.reopen()
	f.write("d/f", "longer than before", 0) // leaves no record in the log
	f.crash()
	f.want("d/", "d/f=longer than before")
}

// TestCutOffBytesStayCutOff covers a truncation whose record is lost in a crash: the
// short data file tells of it, and must be believed for good.
func TestCutOffBytesStayCutOff(t *testing.T) {
	f := newFixture(t, "f=0123456789")
	f.write("f", "A", 0)
	if err := os.Truncate(f.tree.ov.dataPath(f.ino("f")), 3); err != nil {
		t.Fatal(err)
	}
	f.crash()
	f.want("f=A12")
	f.truncate("f", 6)
	f.crash()
	f.want("f=A12000")
}

// TestChildOutlivesBaseDirectory moves a base file out of a base directory that is
// then removed: it has one name, before and after every kind of restart.
func TestChildOutlivesBaseDirectory(t *testing.T) {
	f := newFixture(t, "d/e/f=x", "d/e/g/h=y")
	f.rename("d/e/f", "f")
	f.rename("d/e/g", "g")
	f.remove("d/e")
	f.remove("d")
	f.settled("f=x", "g/", "g/h=y")
	if a, err := f.tree.GetAttr(f.ino("f")); err != nil || a.Nlink != 1 {
		t.Errorf("f: %+v, %v", a, err)
	}
	if p, err := f.tree.LookupParent(f.ino("g")); err != nil || p.Ino != RootIno {
		t.Errorf("parent of g: %+v, %v", p, err)
	}
	if a, err := f.tree.GetAttr(RootIno); err != nil || a.Nlink != 3 {
		t.Errorf("root: %+v, %v", a, err)
	}
}

func TestTmpfileKeepsItsHandleWhenNamed(t *testing.T) {
	f := newFixture(t, "d/")
	file, a, err := f.tree.Tmpfile(RootIno, 0o644, Owner{7, 8})
	if err != nil {
		t.Fatal(err)
	}
	file.WriteAt([]byte("before "), 0)
	if _, err := f.tree.Link(a.Ino, f.ino("d"), "f"); err != nil {
		t.Fatal(err)
	}
	file.WriteAt([]byte("after"), 7)
	f.want("d/", "d/f=before after")
	file.Close()
	f.settled("d/", "d/f=before after")
}

// TestPowerLossTakesOnlyWhatWasNotSynced plays a power loss: data files that were
// never synced are gone or short, although the log names them.
func TestPowerLossTakesOnlyWhatWasNotSynced(t *testing.T) {
	f := newFixture(t, "gone=0123456789", "short=0123456789", "cut=0123456789", "kept=0123456789")
	for _, name := range []string{"gone", "short", "cut", "kept", "new", "newer"} {
		f.write(name, "AB", 3)
	}
	f.truncate("cut", 7)
	f.tree.kill()
	data := func(name string) string { return filepath.Join(f.dir, dataDir, name) }
	inos := map[string]string{}
	for _, name := range []string{"gone", "short", "cut", "new"} {
		inos[name] = data(strconv.FormatUint(uint64(f.ino(name)), 16))
	}
	f.open()
	if err := f.tree.log(&opState{next: f.tree.nextIno, boot: "the run before"}); err != nil {
		t.Fatal(err)
	}
	f.tree.kill()
	for _, err := range []error{os.Remove(inos["gone"]), os.Truncate(inos["short"], 0), os.Remove(inos["cut"]), os.Remove(inos["new"])} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.open()
	f.settled("cut=0123456", "gone=0123456789", "kept=012AB56789", "new=", "newer=000AB", "short=0120056789")
}

// snapshotDir reads a directory tree, to show that nothing in it has changed.
func snapshotDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDamagedOverlayIsRefusedUnchanged damages an overlay in several ways: opening
// must fail, say where the data lies, and leave every file as it was.
func TestDamagedOverlayIsRefusedUnchanged(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string) error
		says   []string
	}{
		{"flipped bit in the log", func(t *testing.T, dir string) error { return flip(filepath.Join(dir, logFile), 60) }, []string{"damaged at byte", dataDir}},
		{"log of something else", func(t *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, logFile), bytes.Repeat([]byte("x"), 100), 0o600)
		}, []string{"not an overlay log", dataDir}},
		{"missing log", func(t *testing.T, dir string) error { return os.Remove(filepath.Join(dir, logFile)) }, []string{"is missing", dataDir}},
		{"missing content", func(t *testing.T, dir string) error {
			names, err := readNames(filepath.Join(dir, dataDir))
			if err != nil {
				return err
			}
			return os.Remove(filepath.Join(dir, dataDir, names[0]))
		}, []string{"content of", "missing"}},
		{"missing description", func(t *testing.T, dir string) error { return os.Remove(filepath.Join(dir, metaFile)) }, []string{metaFile}},
		{"garbled description", func(t *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, metaFile), []byte("{"), 0o600)
		}, []string{metaFile}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, story...)
			f.write("a/small", "written", 2)
			f.write("new", "written", 0)
			f.tree.kill()
			defer f.open() // for the cleanup
			defer f.swapDir(t)()
			if err := test.damage(t, f.dir); err != nil {
				t.Fatal(err)
			}
			before := snapshotDir(t, f.dir)
			_, err := New(f.base, f.blobs, f.dir, Options{Info: OverlayInfo{BaseID: "base"}})
			if !errors.Is(err, ErrDamaged) || Errno(err) != unix.EIO {
				t.Fatalf("opened: %v", err)
			}
			for _, s := range test.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("the message lacks %q: %v", s, err)
				}
			}
			after := snapshotDir(t, f.dir)
			for path, content := range before {
				if after[path] != content {
					t.Errorf("%s was changed", path)
				}
			}
			if len(after) != len(before) {
				t.Errorf("files before: %d, after: %d", len(before), len(after))
			}
		})
	}
}

// swapDir works on a copy of the overlay until the answer is called.
func (f *fixture) swapDir(t *testing.T) func() {
	old := f.dir
	f.dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(f.dir, os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	return func() { f.dir = old }
}

func flip(path string, off int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return err
	}
	b[0] ^= 4
	_, err = f.WriteAt(b[:], off)
	return err
}
