package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOutputInsideMount asks the process of a mount to write to its own mount. It
// would wait for itself, unkillable: it must refuse, by whatever path the place is
// reached, and go on.
func TestOutputInsideMount(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.ok("mount", "a.json", "mnt")
	w.write("mnt/new", "new")
	if err := os.Symlink("mnt", w.path("link")); err != nil {
		t.Fatal(err)
	}
	w.fails(2, []string{"inside the mount"}, "commit", "mnt", "-o", "mnt/d.json")
	w.fails(2, []string{"inside the mount"}, "commit", "mnt", "-o", "link/d.json")
	w.fails(2, []string{"inside the mount"}, "umount", "mnt", "--diff-out", "mnt/d.json")
	w.fails(8, []string{"is a directory"}, "umount", "mnt", "--diff-out", "dir")
	w.fails(8, []string{"not a regular file"}, "umount", "mnt", "--diff-out", "/dev/null")
	w.fails(5, []string{"nodir"}, "umount", "mnt", "--diff-out", "nodir/d.json")
	if !isMounted(w.path("mnt")) {
		t.Fatal("a refused unmount has unmounted")
	}
	w.shell(`"` + program + `" commit mnt -o - > d.json`)
	w.ok("umount", "mnt")
}

// TestPlacesInsideMountPoint puts what a mount needs where the mount would hide it.
func TestPlacesInsideMountPoint(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.write("mnt/store/x", "")
	w.ok("snapshot", "dir", "-o", "a.json")
	for _, flag := range [][]string{
		{"--overlay", "mnt/overlay"}, {"--cache-dir", "mnt/cache"}, {"--store", "mnt/store"}, {"--diff-out", "mnt/d.json"},
	} {
		w.fails(2, []string{"inside the mount point", flag[0]}, append([]string{"mount", "a.json", "mnt"}, flag...)...)
	}
	home := *w
	home.env = append(append([]string{}, w.env...), "HOME="+w.path("mnt"))
	home.fails(2, []string{"inside the mount point"}, "mount", "a.json", "mnt")
	if isMounted(w.path("mnt")) {
		t.Error("it is mounted")
	}
}

// TestBaseInsideMountPoint mounts over the directory that holds the base: diffs cannot
// be written beside it then, and go elsewhere.
func TestBaseInsideMountPoint(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "mnt/a.json")
	w.ok("mount", "mnt/a.json", "mnt")
	w.write("mnt/new", "new")
	w.ok("commit", "mnt")
	w.write("mnt/newer", "newer")
	w.ok("umount", "mnt")
	diffs, err := filepath.Glob(w.path("home/.local/state/snapfs/diffs/*.json"))
	if err != nil || len(diffs) != 2 {
		t.Errorf("diffs %v, %v; want 2", diffs, err)
	}
}

// TestSpecialOutputs writes manifests to what is no regular file. It must be written
// to, never replaced by a file.
func TestSpecialOutputs(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.write("real.json", "old")
	if err := os.Symlink("real.json", w.path("link.json")); err != nil {
		t.Fatal(err)
	}
	w.shell(`mkfifo pipe; cat pipe > piped.json & "` + program + `" compose a.json -o pipe; wait; test -p pipe; cmp a.json piped.json`)
	w.ok("compose", "a.json", "-o", "link.json")
	if fi, err := os.Lstat(w.path("link.json")); err != nil || fi.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is gone: %v, %v", fi, err)
	}
	if got := w.read("real.json"); got != w.read("a.json") {
		t.Errorf("behind the link is %q", got)
	}
	w.fails(8, []string{"is a directory"}, "compose", "a.json", "-o", "dir")
	w.fails(2, []string{"empty"}, "compose", "a.json", "-o", "")
	w.fails(5, []string{"a.json/x"}, "compose", "a.json", "-o", "a.json/x")
	w.ok("mount", "a.json", "mnt")
	w.write("mnt/new", "new")
	w.shell(`"` + program + `" commit mnt -o /dev/stdout | grep -q '"new"'`)
	w.ok("umount", "mnt")
}

// TestCommitToBrokenStdout commits to a stdout that takes nothing. The commit counts
// then, so the manifest must be left somewhere, and the message must say where.
func TestCommitToBrokenStdout(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.ok("mount", "a.json", "mnt")
	for i, redirect := range []string{"> /dev/full", "| true"} {
		name := fmt.Sprint("new", i)
		w.write("mnt/"+name, name)
		r := w.exec("bash", "-o", "pipefail", "-c", `"`+program+`" commit mnt -o - `+redirect)
		_, path, found := strings.Cut(strings.TrimSpace(r.stderr), "its manifest is ")
		if !found {
			if r.code == 0 && i == 1 {
				continue // the reader went too late to be missed
			}
			t.Fatalf("%s: exit %d, %s", redirect, r.code, r.stderr)
		}
		if got := w.ok("manifest", "cat", path, name); got != name {
			t.Errorf("%s: the diff holds %q", redirect, got)
		}
	}
	w.write("mnt/more", "")
	if got := w.ok("commit", "mnt", "-o", "-"); !strings.Contains(got, `"more"`) {
		t.Errorf("the diff is %s", got)
	}
	left, err := filepath.Glob(w.path("home/.local/state/snapfs/diffs/*"))
	if err != nil || len(left) > 2 {
		t.Errorf("left over: %v, %v", left, err)
	}
	w.ok("umount", "mnt")
}

// TestKeepAttributes unmounts a tree of which only attributes have changed that no
// manifest can hold: they were to be kept, so they are.
func TestKeepAttributes(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.write("dir/g", "content")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.ok("mount", "a.json", "mnt", "--on-unmount", "keep")
	if err := os.Chmod(w.path("mnt/f"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := os.Chtimes(w.path("mnt/g"), old, old); err != nil {
		t.Fatal(err)
	}
	w.ok("umount", "mnt")
	w.ok("mount", "a.json", "mnt", "--on-unmount", "keep")
	if fi, err := os.Stat(w.path("mnt/f")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the mode is lost: %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Stat(w.path("mnt/g")); err != nil || !fi.ModTime().Equal(old) {
		t.Errorf("the time is lost: %v, %v", fi.ModTime(), err)
	}
	w.ok("umount", "mnt")
}

// TestMountWithoutHome mounts as a service does that has no home directory.
func TestMountWithoutHome(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json", "--store", "store")
	homeless := *w
	homeless.env = slices.DeleteFunc(slices.Clone(w.env), func(v string) bool { return strings.HasPrefix(v, "HOME=") })
	homeless.ok("mount", "a.json", "mnt", "--store", "store", "--cache-dir", "cache", "--overlay", "overlay")
	w.write("mnt/new", "new")
	homeless.ok("commit", "mnt", "-o", "d.json")
	homeless.ok("umount", "mnt")
}

// TestWorkingDirectoryIsLetGo mounts from a directory, by relative names, and looks
// whether the process has stayed there.
func TestWorkingDirectoryIsLetGo(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json", "--store", "store")
	w.ok("mount", "a.json", "mnt", "--store", "store", "--overlay", "overlay", "--cache-dir", "cache", "--diff-out", "d.json")
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", w.status("mnt").PID)); err != nil || dir != "/" {
		t.Errorf("the process is in %s, %v", dir, err)
	}
	w.write("mnt/new", "new")
	if got := w.read("mnt/f"); got != "content" {
		t.Errorf("f is %q", got)
	}
	w.ok("umount", "mnt")
	if got := w.ok("manifest", "cat", "d.json", "new", "--store", "store"); got != "new" {
		t.Errorf("new is %q", got)
	}
}
