package integration

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestPartialCommit publishes some of the changes: the others stay, and are published
// by the next commit.
func TestPartialCommit(t *testing.T) {
	w := small(t)
	w.ok("mount", "a.json", "mnt")
	w.write("mnt/frame.exr", "image")
	w.write("mnt/render.log", "noise")
	w.ok("commit", "mnt", "--exclude", "*.log", "-o", "d1.json", "--parent-hash", "none")
	if text := w.read("d1.json"); strings.Contains(text, "render.log") || strings.Contains(text, "parentManifestHash") {
		t.Errorf("the diff holds what it should not: %s", text)
	}
	s := w.status("mnt")
	if got := strings.Join(s.lines(), ","); got != "A render.log" {
		t.Errorf("changes after a partial commit: %q", got)
	}
	w.fails(2, []string{"parent-hash"}, "commit", "mnt", "--parent-hash", "zzz")
	w.ok("umount", "mnt", "--diff-out", "d2.json")
	w.ok("mount", "a.json", "--diff", "d1.json", "--diff", "d2.json", "mnt")
	if w.read("mnt/frame.exr") != "image" || w.read("mnt/render.log") != "noise" {
		t.Error("the diffs together do not make the tree")
	}
	w.ok("umount", "mnt")
}

// TestRewrittenAlike writes the same bytes again: there is nothing to publish, and
// afterwards nothing to keep.
func TestRewrittenAlike(t *testing.T) {
	w := small(t)
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	content := w.read("project/good")
	w.write("mnt/good", content)
	out := w.ok("commit", "mnt", "--json")
	if !strings.Contains(out, `"added":0,"modified":0,"deleted":0`) {
		t.Errorf("commit says %s", out)
	}
	if s := w.status("mnt"); len(s.Changes) != 0 {
		t.Errorf("changes: %v", s.lines())
	}
	w.ok("umount", "mnt")
	if _, err := os.Stat(w.path("overlay/overlay.json")); !os.IsNotExist(err) {
		t.Errorf("the overlay was kept: %v", err)
	}
}

func TestOverlayCommands(t *testing.T) {
	w := small(t)
	if out := w.ok("overlay", "list"); out != "" {
		t.Errorf("overlays of a new user: %q", out)
	}
	w.ok("mount", "a.json", "mnt")
	overlay := w.status("mnt").Overlay
	w.write("mnt/new", "1")
	if err := os.Remove(w.path("mnt/bad")); err != nil {
		t.Fatal(err)
	}
	w.fails(11, []string{"in use"}, "overlay", "discard", overlay, "--yes")
	w.fails(4, nil, "umount", "mnt", "--no-commit")
	if out := w.ok("overlay", "list"); !strings.Contains(out, overlay) || !strings.Contains(out, w.path("mnt")) {
		t.Errorf("overlay list: %q", out)
	}
	if out := w.ok("overlay", "show", overlay); !strings.Contains(out, "A new\n") || !strings.Contains(out, "D bad\n") {
		t.Errorf("overlay show: %q", out)
	}
	w.fails(2, []string{"--yes"}, "overlay", "discard", overlay)
	w.fails(5, []string{"no overlay"}, "overlay", "discard", w.path("project"), "--yes")
	w.ok("overlay", "discard", overlay, "--yes")
	w.ok("mount", "a.json", "mnt")
	if _, err := os.Stat(w.path("mnt/new")); !os.IsNotExist(err) {
		t.Errorf("a discarded file is back: %v", err)
	}
	w.ok("umount", "mnt")
	if got := w.read("project/good"); got != strings.Repeat("good ", 1000) {
		t.Error("the project was touched")
	}
}

// TestCommitShrinksTheOverlay commits and goes on: what was committed leaves the overlay,
// files keep their inode numbers, and those that are open go on.
func TestCommitShrinksTheOverlay(t *testing.T) {
	w := small(t)
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	w.write("mnt/done", strings.Repeat("done ", 5000))
	w.write("mnt/good", "changed")
	open, err := os.OpenFile(w.path("mnt/log"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.WriteString("first\n"); err != nil {
		t.Fatal(err)
	}
	before := inode(t, w.path("mnt/done"))
	w.ok("commit", "mnt", "-o", "d1.json")
	if n := len(w.shell("ls overlay/data")); n == 0 || n > 20 {
		t.Errorf("only the open file should be in the overlay: %s", w.shell("ls -l overlay/data"))
	}
	if inode(t, w.path("mnt/done")) != before {
		t.Error("the inode number has changed")
	}
	if _, err := open.WriteString("second\n"); err != nil {
		t.Fatal(err)
	}
	w.shell("echo more >> mnt/done")
	w.kill("mnt")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	if s := w.status("mnt"); strings.Join(s.lines(), ",") != "M done,M log" {
		t.Errorf("changes after a crash: %v", s.lines())
	}
	w.ok("umount", "mnt", "--diff-out", "d2.json")
	w.ok("mount", "a.json", "--diff", "d1.json", "--diff", "d2.json", "mnt")
	if w.read("mnt/done") != strings.Repeat("done ", 5000)+"more\n" || w.read("mnt/log") != "first\nsecond\n" || w.read("mnt/good") != "changed" {
		t.Error("the diffs do not make the tree")
	}
	w.ok("umount", "mnt")
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestCommittedContentIsNotFetched commits to a bucket and reads what was written from a
// new mount, with the overlay gone from it: the cache has it.
func TestCommittedContentIsNotFetched(t *testing.T) {
	w, server := withServer(t)
	w.env = append(w.env, "SNAPFS_STORE=s3://"+server.Bucket+"/p?path-style=1&endpoint="+server.Endpoint)
	content := strings.Repeat("0123456789abcdef", 1<<20)
	w.write("project/old", "old")
	w.ok("snapshot", "project", "-o", "base.json")
	w.ok("mount", "base.json", "mnt", "--overlay", "overlay")
	w.write("mnt/large", content)
	w.write("mnt/small", "small")
	w.ok("commit", "mnt", "-o", "d.json")
	if left := w.shell("ls overlay/data"); left != "" {
		t.Errorf("left in the overlay: %s", left)
	}
	w.kill("mnt")
	w.ok("mount", "base.json", "mnt", "--overlay", "overlay")
	if w.read("mnt/large") != content || w.read("mnt/small") != "small" {
		t.Error("the contents differ")
	}
	if s := w.status("mnt"); s.FetchedBytes != 0 {
		t.Errorf("%d bytes were fetched", s.FetchedBytes)
	}
	w.ok("umount", "mnt")
}
