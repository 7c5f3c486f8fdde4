package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/snapfs/snapfs/manifest"
)

// largeManifest writes a snapshot of so many empty files that mounting it leaves an index.
func (w *world) largeManifest(name, prefix string) {
	w.t.Helper()
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: manifest.DefaultChunkSize}
	for i := range 25_000 {
		m.Files = append(m.Files, manifest.File{
			Path: fmt.Sprintf("d%02d/%s%d", i%50, prefix, i), Hash: manifest.Sum(nil), ModTime: 1_700_000_000_000_000,
		})
	}
	var text strings.Builder
	if err := manifest.EncodeV2025(&text, m); err != nil {
		w.t.Fatal(err)
	}
	w.write(name, text.String())
}

// indexes lists the indexes that mounts have left.
func (w *world) indexes() []string {
	list, err := filepath.Glob(w.path("home/.cache/snapfs/indexes/*.index"))
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// parentOf returns the hash of the parent that a diff names.
func (w *world) parentOf(name string) manifest.Hash {
	doc, err := manifest.DecodeDocument(strings.NewReader(w.read(name)), manifest.DecodeOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := manifest.As[manifest.Rel, manifest.Diff](doc)
	if err != nil {
		w.t.Fatal(err)
	}
	return d.ParentHash
}

// TestMountLeavesItsIndex mounts the same large manifests again and again, with the
// index of the first mount, without it, and with a damaged one: they look the same.
func TestMountLeavesItsIndex(t *testing.T) {
	w := newWorld(t)
	w.largeManifest("a.json", "f")
	w.write("dir/extra", "content")
	w.write("other/x", "")
	w.ok("snapshot", "dir", "-o", "b.json")
	w.ok("snapshot", "other", "-o", "c.json")
	w.ok("diff", "c.json", "b.json", "-o", "diff.json")
	mount := []string{"mount", "a.json", "mnt", "--diff", "diff.json"}
	list := func() string { return w.shell("cd mnt && find . -printf '%p %s %T@ %i %m\\n' | sort") }

	w.ok(mount...)
	want := list()
	eventually(t, "an index", func() bool { return len(w.indexes()) == 1 })
	w.write("mnt/new", "new")
	w.ok("umount", "mnt", "--diff-out", "d1.json")

	index := w.indexes()[0]
	before, err := os.Stat(index)
	if err != nil {
		t.Fatal(err)
	}
	w.ok(mount...)
	if got := list(); got != want {
		t.Error("the mount that uses the index looks different")
	}
	w.write("mnt/new", "new")
	w.ok("umount", "mnt", "--diff-out", "d2.json")
	if a, b := w.parentOf("d1.json"), w.parentOf("d2.json"); a != b {
		t.Errorf("the diffs have the parents %s and %s", a, b)
	}

	text, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	long := time.Unix(1_000_000_000, 0)
	if err := errors.Join(os.WriteFile(index, text, 0o600), os.Chtimes(index, long, long)); err != nil {
		t.Fatal(err)
	}
	w.ok(mount...)
	if got := list(); got != want {
		t.Error("the mount that finds a damaged index looks different")
	}
	eventually(t, "a new index", func() bool {
		now, err := os.Stat(index)
		return err == nil && now.ModTime().After(long) && now.Size() == before.Size()
	})
	w.ok("umount", "mnt")

	w.largeManifest("a.json", "g") // the same name, another content
	w.ok(mount...)
	if got := list(); !strings.Contains(got, "/g1 ") || strings.Contains(got, "/f1 ") {
		t.Error("another manifest of the same name was mounted")
	}
	w.ok("umount", "mnt")

	if err := os.Chmod(filepath.Dir(index), 0o777); err != nil {
		t.Fatal(err)
	}
	w.largeManifest("a.json", "f")
	w.ok(mount...) // without what others may have written
	if got := list(); got != want {
		t.Error("the mount that cannot trust the index looks different")
	}
	w.ok("umount", "mnt")
	w.ok("cache", "clear")
	if left := w.indexes(); len(left) != 0 {
		t.Errorf("cache clear has left %q", left)
	}
}
