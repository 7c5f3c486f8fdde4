package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// kill ends the process of a mount without warning, and detaches the mount.
func (w *world) kill(dir string) {
	w.t.Helper()
	pid := w.status(dir).PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the process ends", func() bool { return !alive(pid) })
	w.run("umount", dir)
}

// TestOverlayNeedsNoOtherFile kills a mount, takes away or changes the manifests that it
// was made from, and commits the overlay: the diff is that of the base that there was.
func TestOverlayNeedsNoOtherFile(t *testing.T) {
	for name, harm := range map[string]string{
		"deleted":                "rm base/*.json",
		"its directory is gone":  "rm -r base",
		"replaced":               `echo '{"files":[]}' > base/a.json; rm base/d.json`,
		"written in place":       "printf x >> base/a.json",
		"nothing, for comparing": "true",
	} {
		t.Run(name, func(t *testing.T) {
			w := small(t)
			w.mkdir("base")
			w.ok("mount", "a.json", "mnt")
			w.write("mnt/second", "2")
			w.ok("umount", "mnt", "--diff-out", "base/d.json")
			w.shell("mv a.json base/a.json")
			w.ok("mount", "base/a.json", "--diff", "base/d.json", "mnt", "--overlay", "overlay")
			w.write("mnt/good", "better")
			w.write("mnt/third", "3")
			w.kill("mnt")
			w.shell(harm)
			if out := w.ok("overlay", "show", "overlay"); !strings.Contains(out, "M good\n") || strings.Contains(out, "second") {
				t.Errorf("overlay show: %q", out)
			}
			w.ok("commit", "--overlay", "overlay", "-o", "diff.json")
			if text := w.read("diff.json"); !strings.Contains(text, "third") || strings.Contains(text, "second") {
				t.Errorf("the diff is %s", text)
			}
			if _, err := os.Stat(w.path("overlay")); !os.IsNotExist(err) {
				t.Errorf("the overlay is still there: %v", err)
			}
		})
	}
}

// TestRemountWithoutManifest mounts an overlay again whose manifest is gone: by its name,
// by the name of the overlay alone, and by both.
func TestRemountWithoutManifest(t *testing.T) {
	w := small(t)
	for name, args := range map[string][]string{
		"manifest": {"a.json", "mnt"}, "overlay": {"mnt", "--overlay", "overlay"}, "both": {"a.json", "mnt", "--overlay", "overlay"},
	} {
		t.Run(name, func(t *testing.T) {
			w.ok("snapshot", "project", "-o", "a.json")
			first := []string{"mount", "a.json", "mnt"}
			if name != "manifest" {
				first = append(first, "--overlay", "overlay")
			}
			w.ok(first...)
			w.write("mnt/"+name, "1")
			w.kill("mnt")
			w.shell("rm a.json")
			w.ok(append([]string{"mount"}, args...)...)
			if w.read("mnt/"+name) != "1" || w.read("mnt/good") != w.read("project/good") {
				t.Error("the tree is another one")
			}
			if got := strings.Join(strings.Fields(strings.Join(w.statusLines("mnt"), " ")), " "); got != "A "+name {
				t.Errorf("changes: %q", got)
			}
			w.ok("umount", "mnt", "--diff-out", name+".json")
		})
	}
	w.fails(2, []string{"argument"}, "mount", "mnt")
	w.fails(5, []string{"no overlay"}, "mount", "mnt", "--overlay", "overlay")
}

func (w *world) statusLines(dir string) []string {
	s := w.status(dir)
	return s.lines()
}

// TestKeptManifestIsChecked damages the copy: it is not used, and the manifest itself is.
func TestKeptManifestIsChecked(t *testing.T) {
	w := small(t)
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	w.write("mnt/new", "1")
	w.kill("mnt")
	copies, err := filepath.Glob(w.path("overlay/manifests/*.json"))
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies: %v, %v", copies, err)
	}
	if err := os.WriteFile(copies[0], []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.shell("mv a.json b.json")
	w.fails(5, []string{"a.json"}, "commit", "--overlay", "overlay")
	w.shell("mv b.json a.json")
	w.ok("commit", "--overlay", "overlay", "-o", "diff.json")
}
