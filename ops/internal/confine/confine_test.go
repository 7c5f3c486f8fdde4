package confine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a root beside things that must never be reached through it.
func world(t *testing.T) (outside string, r *Root) {
	t.Helper()
	top := t.TempDir()
	outside, inside := filepath.Join(top, "outside"), filepath.Join(top, "root")
	must(t, os.MkdirAll(filepath.Join(outside, "sub"), 0o755))
	must(t, os.MkdirAll(filepath.Join(inside, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(inside, "file"), nil, 0o644))
	must(t, os.Symlink(outside, filepath.Join(inside, "out")))
	must(t, os.Symlink("a", filepath.Join(inside, "in")))
	must(t, os.Symlink("..", filepath.Join(inside, "a/up")))
	r, err := Open(inside)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return outside, r
}

// bothWays runs a test with openat2 and without.
func bothWays(t *testing.T, test func(t *testing.T, outside string, r *Root)) {
	for name, walked := range map[string]bool{"openat2": false, "component by component": true} {
		t.Run(name, func(t *testing.T) {
			outside, r := world(t)
			r.walked.Store(walked)
			test(t, outside, r)
			if r.walked.Load() != walked {
				t.Skip("this kernel has no openat2")
			}
		})
	}
}

func TestDirRefusesWhatLeadsOut(t *testing.T) {
	bothWays(t, func(t *testing.T, _ string, r *Root) {
		for _, tc := range []struct {
			rel  string
			want error
		}{
			{".", nil}, {"a", nil}, {"a/b", nil},
			{"out", ErrUnsafe}, {"out/sub", ErrUnsafe}, {"in", ErrUnsafe}, {"in/b", ErrUnsafe}, {"a/up", ErrUnsafe}, {"a/up/a", ErrUnsafe},
			{"..", ErrUnsafe}, {"../outside", ErrUnsafe}, {"a/../../outside", ErrUnsafe}, {"/", ErrUnsafe}, {"", ErrUnsafe}, {"a/", ErrUnsafe}, {"a//b", ErrUnsafe},
			{"no", fs.ErrNotExist}, {"a/no/b", fs.ErrNotExist},
			{"file", unix.ENOTDIR}, {"file/x", unix.ENOTDIR},
		} {
			d, err := r.Dir(tc.rel)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("Dir(%q) = %v, want %v", tc.rel, err, tc.want)
			}
			if err == nil {
				d.Close()
			}
		}
	})
}

func TestUnsafePathsAreNamed(t *testing.T) {
	bothWays(t, func(t *testing.T, _ string, r *Root) {
		_, err := r.Dir("a/up/a/b")
		if want := r.Join("a/up") + " is a symbolic link"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	})
}

func TestMakeDir(t *testing.T) {
	bothWays(t, func(t *testing.T, outside string, r *Root) {
		for _, tc := range []struct {
			rel     string
			created bool
			want    error
		}{
			{"a/b", false, nil}, {"x/y/z", true, nil}, {"x/y", false, nil},
			{"out/new", false, ErrUnsafe}, {"in/new", false, ErrUnsafe}, {"a/up/new", false, ErrUnsafe},
			{"file", false, unix.ENOTDIR}, {"file/new", false, unix.ENOTDIR}, {"../new", false, ErrUnsafe},
		} {
			d, created, err := r.MakeDir(tc.rel)
			if created != tc.created || !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("MakeDir(%q) = %v, %v, want %v, %v", tc.rel, created, err, tc.created, tc.want)
			}
			if err == nil {
				d.Close()
			}
		}
		if _, err := os.Lstat(filepath.Join(outside, "new")); err == nil {
			t.Error("a directory was made outside")
		}
	})
}

// A directory that is replaced by a link after it was opened does not redirect what
// is done through its handle.
func TestHandleOutlivesReplacement(t *testing.T) {
	outside, r := world(t)
	d, err := r.Dir("a/b")
	must(t, err)
	defer d.Close()
	must(t, os.Rename(r.Join("a/b"), r.Join("moved")))
	must(t, os.Symlink(outside, r.Join("a/b")))
	temp, err := d.CreateTemp(0o644)
	must(t, err)
	defer temp.Discard()
	must(t, temp.Replace("f"))
	if _, err := os.Lstat(filepath.Join(outside, "f")); err == nil {
		t.Error("the file landed outside")
	}
	if _, err := os.Lstat(r.Join("moved/f")); err != nil {
		t.Error(err)
	}
}

func TestNamesAreNotPaths(t *testing.T) {
	_, r := world(t)
	d, err := r.Dir("a")
	must(t, err)
	defer d.Close()
	for _, name := range []string{"", ".", "..", "b/x", "/etc"} {
		_, mkdir := d.Mkdir(name)
		_, open := d.Open(name)
		_, lstat := d.Lstat(name)
		_, readlink := d.Readlink(name)
		for op, err := range map[string]error{
			"Mkdir": mkdir, "Open": open, "Lstat": lstat, "Readlink": readlink,
			"Remove": d.Remove(name), "RemoveDir": d.RemoveDir(name),
			"Symlink": d.Symlink("x", name), "ReplaceSymlink": d.ReplaceSymlink("x", name),
		} {
			if !errors.Is(err, ErrUnsafe) {
				t.Errorf("%s(%q) = %v, want ErrUnsafe", op, name, err)
			}
		}
	}
}

// temps are the two kinds of files being written.
func temps(t *testing.T, test func(t *testing.T, d *Dir, create func() *Temp)) {
	for name, make := range map[string]func(*Dir, uint32) (*Temp, error){
		"without a name": (*Dir).CreateTemp, "with a temporary name": (*Dir).createNamed,
		"linked through proc": func(d *Dir, perm uint32) (*Temp, error) {
			d.root.byProc.Store(true)
			return d.CreateTemp(perm)
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, r := world(t)
			d, err := r.Dir("a/b")
			must(t, err)
			t.Cleanup(func() { d.Close() })
			test(t, d, func() *Temp {
				temp, err := make(d, 0o755)
				must(t, err)
				_, err = temp.WriteString("new")
				must(t, err)
				return temp
			})
		})
	}
}

func names(t *testing.T, d *Dir) string {
	t.Helper()
	entries, err := os.ReadDir(d.Path())
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestTempIsPlacedOrGone(t *testing.T) {
	temps(t, func(t *testing.T, d *Dir, create func() *Temp) {
		old := unix.Umask(0o022)
		defer unix.Umask(old)
		create().Discard()
		if got := names(t, d); got != "" {
			t.Errorf("a discarded file left %q", got)
		}
		temp := create()
		must(t, temp.SetModTime(1_234_567))
		must(t, temp.Place("f"))
		temp.Discard()
		info, err := d.Lstat("f")
		must(t, err)
		if got := names(t, d); got != "f" || info.MicroMod != 1_234_567 || info.Mode&0o777 != 0o755 {
			t.Errorf("placed as %q with time %d and mode %o", got, info.MicroMod, info.Mode)
		}
		temp = create()
		if err := temp.Place("f"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("placing over a file gives %v", err)
		}
		temp.Discard()
		if got := names(t, d); got != "f" {
			t.Errorf("a refused file left %q", got)
		}
	})
}

func TestTempReplaces(t *testing.T) {
	temps(t, func(t *testing.T, d *Dir, create func() *Temp) {
		victim := filepath.Join(t.TempDir(), "victim")
		must(t, os.WriteFile(victim, []byte("old"), 0o644))
		must(t, os.WriteFile(filepath.Join(d.Path(), "file"), []byte("old"), 0o644))
		must(t, os.Symlink(victim, filepath.Join(d.Path(), "link")))
		must(t, os.Mkdir(filepath.Join(d.Path(), "dir"), 0o755))
		if temp := create(); temp.name == "" { // what a killed process left is cleared away
			must(t, os.WriteFile(filepath.Join(d.Path(), tempName("file")), nil, 0o644))
			temp.Discard()
		} else {
			temp.Discard()
		}
		for _, name := range []string{"file", "link", "new"} {
			temp := create()
			must(t, temp.Replace(name))
			temp.Discard()
			got, err := os.ReadFile(filepath.Join(d.Path(), name))
			must(t, err)
			if info, _ := d.Lstat(name); string(got) != "new" || !info.IsRegular() {
				t.Errorf("%s holds %q and is %o", name, got, info.Mode)
			}
		}
		if old, _ := os.ReadFile(victim); string(old) != "old" {
			t.Error("a link was written through")
		}
		temp := create()
		if err := temp.Replace("dir"); !errors.Is(err, unix.EISDIR) {
			t.Errorf("replacing a directory gives %v", err)
		}
		temp.Discard()
		if got := names(t, d); got != "dir file link new" {
			t.Errorf("left are %q", got)
		}
	})
}

func TestReplaceSymlink(t *testing.T) {
	_, r := world(t)
	d, err := r.Dir(".")
	must(t, err)
	defer d.Close()
	for _, name := range []string{"in", "file", "fresh"} {
		must(t, d.ReplaceSymlink("text", name))
		if got, err := d.Readlink(name); err != nil || got != "text" {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if err := d.ReplaceSymlink("text", "a"); !errors.Is(err, unix.EISDIR) {
		t.Errorf("replacing a directory gives %v", err)
	}
	if err := d.Symlink("text", "in"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating what exists gives %v", err)
	}
}

func TestSetModTimeOfLinksAndTheFarPast(t *testing.T) {
	_, r := world(t)
	d, err := r.Dir(".")
	must(t, err)
	defer d.Close()
	for _, micros := range []int64{0, 1, -1, -1_500_000, 1_700_000_000_123_456} {
		must(t, d.SetModTime("out", micros))
		if info, _ := d.Lstat("out"); info.MicroMod != micros || !info.IsLink() {
			t.Errorf("time %d, want %d", info.MicroMod, micros)
		}
	}
}
