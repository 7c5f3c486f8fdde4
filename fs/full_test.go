package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of a few megabytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("needs a small file system: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fullFixture has its overlay on a small disk. Its files map says what the tree must
// hold.
type fullFixture struct {
	*fixture
	files map[string]string
}

func newFullFixture(t *testing.T) *fullFixture {
	f := &fullFixture{&fixture{t: t, blobs: blobs{}, uid: 7, gid: 8}, map[string]string{"base": "0123456789"}}
	f.dir = filepath.Join(smallDisk(t, "10m"), "overlay")
	f.build([]string{"base=0123456789"})
	t.Cleanup(func() { f.tree.Close() })
	return f
}

// try writes a file as an application would, and takes down how much of it there is.
func (f *fullFixture) try(name, content string) error {
	file, a, err := f.tree.Create(RootIno, name, 0o644, Owner{})
	if err != nil {
		return err
	}
	defer f.tree.Forget(a.Ino, 1)
	defer file.Close()
	n, err := file.WriteAt([]byte(content), 0)
	f.files[name] = content[:n]
	if err == nil && n < len(content) {
		_, err = file.WriteAt([]byte(content[n:]), int64(n))
	}
	return err
}

// fill writes files until the disk is full, first large ones and then empty ones.
func (f *fullFixture) fill(prefix string) {
	f.t.Helper()
	for _, size := range []int{50_000, 3000, 0} {
		full := false
		for i := 0; !full; i++ {
			err := f.try(fmt.Sprintf("%s%d-%d", prefix, size, i), strings.Repeat("x", size))
			if full = errors.Is(err, unix.ENOSPC); err != nil && !full {
				f.t.Fatal(err)
			}
		}
	}
}

func (f *fullFixture) check(when string) {
	f.t.Helper()
	d, err := f.tree.OpenDir(RootIno)
	if err != nil {
		f.t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		e, ok := d.Entry(n)
		if !ok {
			break
		}
		want, known := f.files[e.Name]
		if got := f.raw(e.Ino); !known || got != want {
			f.t.Fatalf("%s: %s holds %d bytes, want %d (known: %v)", when, e.Name, len(got), len(want), known)
		}
	}
	if n != len(f.files) {
		f.t.Fatalf("%s: %d files, want %d", when, n, len(f.files))
	}
}

func (f *fullFixture) removeSome(keep int) {
	f.t.Helper()
	i := 0
	for name := range f.files {
		if i++; i <= keep || name == "base" {
			continue
		}
		if err := f.tree.Unlink(RootIno, name); err != nil {
			f.t.Fatalf("unlink on a full disk: %v", err)
		}
		delete(f.files, name)
	}
}

func TestFullDisk(t *testing.T) {
	f := newFullFixture(t)
	f.fill("a")
	f.check("full")
	f.crash()
	f.check("after a crash")
	f.reopen()
	f.check("after a clean close")
	f.fill("b") // a compacted log may have freed some space
	f.removeSome(10)
	f.check("after removing")
	if err := f.try("again", strings.Repeat("y", 100_000)); err != nil {
		t.Errorf("write after removing: %v", err)
	}
	f.fill("c")
	f.crash()
	f.check("full again, after a crash")
}

// TestFullDiskKeepsOldContent writes to files on a full disk: what cannot be written
// must leave what was there, and truncation must work.
func TestFullDiskKeepsOldContent(t *testing.T) {
	f := newFullFixture(t)
	f.write("base", "AB", 0)
	f.files["base"] = "AB23456789"
	f.fill("a")
	file, err := f.tree.Open(f.ino("base"), unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := file.WriteAt(make([]byte, 200_000), 1<<20); n > 0 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write: %d, %v", n, err)
	}
	if err := file.Allocate(0, 1<<20, 1<<20); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("allocate: %v", err)
	}
	file.Close()
	f.check("after failed writes")
	f.truncate("base", 5)
	f.files["base"] = "AB234"
	f.check("after truncation")
	f.crash()
	f.check("after a crash")
}

// TestFullLogRefusesGrowthNotRemoval fills the disk behind the back of the tree.
func TestFullLogRefusesGrowthNotRemoval(t *testing.T) {
	f := newFullFixture(t)
	for i := range 2000 {
		if err := f.try(fmt.Sprintf("f%d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	hog, err := os.Create(filepath.Join(filepath.Dir(f.dir), "hog"))
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	for err == nil {
		_, err = hog.Write(make([]byte, 4096))
	}
	made := 0
	for err = nil; err == nil; made++ {
		err = f.try(strings.Repeat("n", 200)+fmt.Sprint(made), "")
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("create: %v", err)
	}
	f.check("full")
	f.removeSome(0)
	f.check("after removing everything")
	f.crash()
	f.check("after a crash")
}
