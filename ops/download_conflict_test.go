package ops

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// conflict_*, G-16: what becomes of files and links that exist.
func TestDownloadConflicts(t *testing.T) {
	s := memstore.New()
	m := snapshot(entry(t, s, "file.txt", "new"), chunked(t, s, "c", strings.Repeat("n", 2<<20), 1<<20),
		manifest.File{Path: "link", Target: "file.txt"}, entry(t, s, "was-link", "new"))
	for _, tc := range []struct {
		policy  ConflictPolicy
		want    []string
		paths   []string
		skipped int64
	}{
		{Overwrite, []string{"c: 2097152 bytes", "file.txt: new", "link -> file.txt", "victim: v", "was-link: new"}, []string{"file.txt", "c", "link", "was-link"}, 0},
		{Skip, []string{"c: old", "file.txt: old", "link: old", "victim: v", "was-link -> victim"}, []string{"file.txt", "c", "link", "was-link"}, 3},
		{
			CreateCopy,
			[]string{"c: old", "c (1): 2097152 bytes", "file (1).txt: new", "file.txt: old", "link: old", "link (1) -> file.txt", "victim: v", "was-link -> victim", "was-link (1): new"},
			[]string{"file (1).txt", "c (1)", "link (1)", "was-link (1)"}, 0,
		},
	} {
		t.Run(tc.policy.String(), func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"file.txt", "c", "link"} {
				writeFile(t, filepath.Join(dir, name), "old", 0o644)
			}
			writeFile(t, filepath.Join(dir, "victim"), "v", 0o644)
			must(t, os.Symlink("victim", filepath.Join(dir, "was-link")))
			got, stats := downloadTo(t, m, dir, s, DownloadOptions{Conflict: tc.policy})
			wantTree(t, dir, tc.want...)
			var paths []string
			for _, f := range got.Files {
				paths = append(paths, f.Path)
				if f.IsRegular() {
					info, err := os.Lstat(filepath.Join(dir, f.Path))
					must(t, err)
					if info.ModTime().UnixMicro() != f.ModTime {
						t.Errorf("%s is dated %d, reported %d", f.Path, info.ModTime().UnixMicro(), f.ModTime)
					}
				}
			}
			if diff := cmp.Diff(tc.paths, paths); diff != "" {
				t.Errorf("reported paths (-want +got):\n%s", diff)
			}
			if stats.SkippedFiles != tc.skipped || stats.DownloadedFiles != 3-tc.skipped {
				t.Errorf("stats %+v", stats)
			}
		})
	}
}

// Only Overwrite makes files that are there what the manifest says (G-02).
func TestDownloadLeavesModesAloneUnlessItOverwrites(t *testing.T) {
	s := memstore.New()
	f := entry(t, s, "f", "x")
	f.Runnable = true
	for policy, want := range map[ConflictPolicy]os.FileMode{Overwrite: 0o755, Skip: 0o644, CreateCopy: 0o644} {
		dir, cache := t.TempDir(), newMapCache()
		at := filepath.Join(dir, "f")
		writeFile(t, at, "x", 0o644)
		must(t, os.Chtimes(at, time.UnixMicro(testTime), time.UnixMicro(testTime)))
		cache.Store([]HashRow{{Path: at, End: -1, ModTime: testTime, Hash: f.Hash}})
		_, stats := downloadTo(t, snapshot(f), dir, s, DownloadOptions{Conflict: policy, Cache: cache})
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != want || stats.SkippedFiles != 1 {
			t.Errorf("%s: mode %v, %+v, %v", policy, info.Mode(), stats, err)
		}
	}
}

func TestCopyNames(t *testing.T) {
	for _, tc := range []struct {
		name string
		n    int
		want string
	}{
		{"file.txt", 1, "file (1).txt"}, {".bashrc", 1, ".bashrc (1)"}, {"a.tar.gz", 1, "a.tar (1).gz"},
		{"noext", 2, "noext (2)"}, {"x (1).txt", 1, "x (1) (1).txt"}, {".a.b", 1, ".a (1).b"},
	} {
		if got := copyName(tc.name, tc.n); got != tc.want {
			t.Errorf("copyName(%q, %d) = %q, want %q", tc.name, tc.n, got, tc.want)
		}
	}
}

// diff_deletes_*, G-05, G-13: what a diff removes, and what it must not.
func TestDownloadAppliesDeletions(t *testing.T) {
	s := memstore.New()
	diff := &manifest.SnapshotDiff{HashAlg: manifest.XXH128, ChunkSize: 1 << 20,
		Files: []manifest.File{
			{Path: "gone", Deleted: true}, {Path: "never/was", Deleted: true}, {Path: "dangling", Deleted: true}, {Path: "link", Deleted: true},
			{Path: "p/q/f", Deleted: true}, {Path: "becomes-dir", Deleted: true}, {Path: "now-a-dir", Deleted: true},
			entry(t, s, "becomes-file", "x"),
		},
		Dirs: []manifest.Dir{
			{Path: "p", Deleted: true}, {Path: "p/q", Deleted: true}, {Path: "full", Deleted: true}, {Path: "never", Deleted: true},
			{Path: "becomes-dir"}, {Path: "becomes-file", Deleted: true}, {Path: "implied"}, {Path: "fresh"},
		},
	}
	diff.Files = append(diff.Files, manifest.File{Path: "implied/f", Deleted: true})
	build := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "d")
		buildTree(t, dir, [][]any{
			{"file", "gone", 1., 420.}, {"file", "target", 1., 420.}, {"link", "dangling", "/no/where"}, {"link", "link", "target"},
			{"file", "p/q/f", 1., 420.}, {"file", "full/keep", 1., 420.}, {"file", "becomes-dir", 1., 420.}, {"dir", "now-a-dir"}, {"dir", "becomes-file"},
		})
		return dir
	}
	t.Run("applied", func(t *testing.T) {
		dir := build(t)
		_, stats := downloadTo(t, diff, dir, s, DownloadOptions{})
		want := []string{"becomes-dir/", "becomes-file: x", "fresh/", "full/", "full/keep: x", "now-a-dir/", "target: x"}
		wantTree(t, dir, want...)
		if stats.DeletedFiles != 5 || stats.DeletedDirs != 3 || stats.KeptDirs != 1 || stats.CreatedDirs != 2 {
			t.Errorf("stats %+v", stats)
		}
		_, stats = downloadTo(t, diff, dir, s, DownloadOptions{}) // nothing more to do
		wantTree(t, dir, want...)
		if stats.DeletedFiles != 0 || stats.DeletedDirs != 0 || stats.SkippedFiles != 1 {
			t.Errorf("stats of the second run %+v", stats)
		}
	})
	t.Run("diff_apply_deletes_false_skips_deletions", func(t *testing.T) {
		dir := build(t)
		diff := *diff
		diff.Files, diff.Dirs = diff.Files[:4], nil
		downloadTo(t, &diff, dir, s, DownloadOptions{KeepDeleted: true})
		if _, err := os.Lstat(filepath.Join(dir, "gone")); err != nil {
			t.Error(err)
		}
	})
}

func TestDownloadReportsFailedDeletions(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(outside, "f"), "x", 0o644)
	must(t, os.Symlink(outside, filepath.Join(dir, "l")))
	diff := &manifest.SnapshotDiff{ChunkSize: 1, Files: []manifest.File{{Path: "l/f", Deleted: true}}, Dirs: []manifest.Dir{{Path: "l", Deleted: true}}}
	_, _, err := DownloadTo(t.Context(), diff, dir, memstore.New(), DownloadOptions{})
	var fails *Failures
	if !errors.As(err, &fails) || len(fails.List) != 1 || !errors.Is(err, ErrUnsafe) {
		t.Errorf("G-13: got %v", err)
	}
	wantTree(t, outside, "f: x")
}

func TestConflictPolicyNames(t *testing.T) {
	for p := Overwrite; p <= CreateCopy; p++ {
		if got, err := ParseConflictPolicy(p.String()); err != nil || got != p {
			t.Errorf("ParseConflictPolicy(%q) = %v, %v", p.String(), got, err)
		}
	}
	if _, err := ParseConflictPolicy("ask"); !errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("an unknown name gives %v", err)
	}
}
