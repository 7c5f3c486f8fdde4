package integration

import (
	"os"
	"strings"
	"testing"
)

// TestManifestFromStdin mounts a manifest that nobody has in a file. Its overlay can be
// committed all the same after the mount has ended.
func TestManifestFromStdin(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.shell(`"` + program + `" mount - mnt < a.json`)
	w.write("mnt/one", "1")
	if d := strings.TrimSpace(w.ok("commit", "mnt")); strings.Contains(d, "/-") {
		t.Errorf("the diff %s is named after stdin", d)
	}
	w.write("mnt/two", "2")
	kept := w.status("mnt").Overlay
	w.fails(4, []string{"kept"}, "umount", "mnt", "--no-commit")
	w.ok("commit", "--overlay", kept, "-o", "d.json")
	if d := w.read("d.json"); !strings.Contains(d, `"two"`) || strings.Contains(d, `"one"`) {
		t.Errorf("the diff is %s", d)
	}
	bad := w.exec("sh", "-c", `echo nonsense | "`+program+`" mount - mnt`)
	if left, err := os.ReadDir(w.path("home/.local/state/snapfs/manifests")); bad.code != 12 || err != nil || len(left) != 1 {
		t.Errorf("a bad manifest: exit %d, kept %v, %v; want 12 and the good one only\n%s", bad.code, left, err, bad.stderr)
	}
}

// TestNamesWithBrackets uses names that are patterns to a glob.
func TestNamesWithBrackets(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.mkdir("mnt[1]")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.ok("mount", "a.json", "mnt[1]", "--overlay", "ov[1]")
	w.write("mnt[1]/one", "1")
	w.ok("commit", "mnt[1]", "-o", "d1.json")
	w.write("mnt[1]/one", "one")
	w.fails(4, nil, "umount", "mnt[1]", "--no-commit")
	w.ok("mount", "a.json", "mnt[1]", "--overlay", "ov[1]")
	if got := w.read("mnt[1]/one"); got != "one" {
		t.Errorf("one is %q", got)
	}
	w.ok("umount", "mnt[1]", "--diff-out", "d2.json")
	w.ok("compose", "a.json", "d1.json", "d2.json", "-o", "b.json")
	if got := w.ok("manifest", "cat", "b.json", "one"); got != "one" {
		t.Errorf("one is %q in the manifests", got)
	}
	if d := w.ok("manifest", "show", "d2.json", "--json"); !strings.Contains(d, `"files":1`) {
		t.Errorf("the second diff is not about the first: %s", d)
	}
}

// TestUnreachableMount looks for a living mount in the wrong runtime directory. It must
// be left alone, and not be called dead.
func TestUnreachableMount(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.ok("mount", "a.json", "mnt")
	other := *w
	other.mkdir("run2")
	if err := os.Chmod(w.path("run2"), 0o700); err != nil {
		t.Fatal(err)
	}
	other.env = append(append([]string{}, w.env...), "XDG_RUNTIME_DIR="+w.path("run2"))
	other.fails(5, []string{"XDG_RUNTIME_DIR"}, "umount", "mnt")
	other.fails(5, []string{"XDG_RUNTIME_DIR"}, "status", "mnt")
	if !isMounted(w.path("mnt")) {
		t.Error("the mount is gone")
	}
	w.ok("umount", "mnt")
}

// TestRefusedMounts asks for mounts that make no sense.
func TestRefusedMounts(t *testing.T) {
	w := newWorld(t)
	w.write("dir/f", "content")
	w.ok("snapshot", "dir", "-o", "a.json")
	w.fails(2, []string{"nonsense", "hint: "}, "mount", "a.json", "mnt", "-o", "nonsense")
	w.fails(2, []string{"snapfs snapshot"}, "mount", "dir", "mnt")
	if got := w.ok("status", "--json"); got != "" {
		t.Errorf("a mount that failed has left %s", got)
	}
	w.ok("mount", "a.json", "mnt")
	w.mkdir("mnt/sub")
	if os.Geteuid() != 0 { // the helper may not look into a mount of somebody else's, which it runs as
		w.fails(6, []string{"mount point that belongs to this user"}, "mount", "a.json", "mnt/sub")
		w.ok("umount", "mnt")
		return
	}
	w.ok("mount", "a.json", "mnt/sub")
	w.fails(11, []string{"mounted on " + w.path("mnt/sub")}, "umount", "mnt")
	w.ok("umount", "mnt/sub")
	w.ok("umount", "mnt")
}
