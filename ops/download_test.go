package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

const testTime = int64(1_600_000_000_123_456)

// entry makes the entry of a file whose content is in the store.
func entry(t testing.TB, s blobstore.Store, path, content string) manifest.File {
	t.Helper()
	storePut(t, s, content)
	return manifest.File{Path: path, Size: int64(len(content)), ModTime: testTime, Hash: manifest.Sum([]byte(content))}
}

// chunked makes the entry of a file split into chunks that are in the store.
func chunked(t testing.TB, s blobstore.Store, path, content string, chunk int) manifest.File {
	t.Helper()
	f := manifest.File{Path: path, Size: int64(len(content)), ModTime: testTime}
	for part := range slices.Chunk([]byte(content), chunk) {
		storePut(t, s, string(part))
		f.Chunks = append(f.Chunks, manifest.Sum(part))
	}
	return f
}

func snapshot(files ...manifest.File) *manifest.Snapshot {
	return &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: 1 << 20, Files: files}
}

// listing describes a tree: one line for each entry, in order.
func listing(t testing.TB, root string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		name := strings.TrimPrefix(p, root+"/")
		switch {
		case e.IsDir():
			out = append(out, name+"/")
		case e.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			must(t, err)
			out = append(out, name+" -> "+to)
		default:
			text, err := os.ReadFile(p)
			must(t, err)
			if len(text) > 40 {
				text = fmt.Appendf(nil, "%d bytes", len(text))
			}
			out = append(out, name+": "+string(text))
		}
		return nil
	}))
	return out
}

func wantTree(t testing.TB, root string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, listing(t, root)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// downloadTo is DownloadTo that must succeed.
func downloadTo[K manifest.Kind](t testing.TB, m *manifest.Manifest[manifest.Rel, K], dir string, s blobstore.Store, opts DownloadOptions) (*manifest.Manifest[manifest.Rel, K], DownloadStats) {
	t.Helper()
	got, stats, err := DownloadTo(t.Context(), m, dir, s, opts)
	must(t, err)
	return got, stats
}

// Spec/ops.md §4: files of all sorts, directories, links, their times and modes.
func TestDownloadMaterialisesATree(t *testing.T) {
	defer unix.Umask(unix.Umask(0o027))
	s := memstore.New()
	run := entry(t, s, "bin/run", "#!")
	run.Runnable = true
	late := entry(t, s, "bin/late", "x")
	late.ModTime += 1_000_000
	m := snapshot(run, late, entry(t, s, "empty", ""), entry(t, s, "sp ace/é\\\"", "text"),
		chunked(t, s, "big", strings.Repeat("0123456789", 250_000), 1<<20),
		manifest.File{Path: "bin/link", Target: "sp ace/é\\\""}, manifest.File{Path: "up", Target: "."},
		manifest.File{Path: "bin/dangling", Target: "no/where"})
	m.Dirs = []manifest.Dir{{Path: "deep/er/empty"}, {Path: "bin"}}
	for _, workers := range []int{1, 8} {
		dir := filepath.Join(t.TempDir(), "new", "dir")
		var p Progress
		got, stats := downloadTo(t, m, dir, s, DownloadOptions{Workers: workers, Progress: &p})
		wantTree(t, dir, "big: 2500000 bytes", "bin/", "bin/dangling -> ../no/where", "bin/late: x", "bin/link -> ../sp ace/é\\\"",
			"bin/run: #!", "deep/", "deep/er/", "deep/er/empty/", "empty: ", "sp ace/", "sp ace/é\\\": text", "up -> .")
		if diff := cmp.Diff(m.Files, got.Files); diff != "" {
			t.Errorf("the result differs from the manifest:\n%s", diff)
		}
		for name, want := range map[string]struct {
			mode  os.FileMode
			micro int64
		}{
			"bin/run": {0o750, testTime}, "bin/late": {0o640, testTime + 1_000_000}, "empty": {0o640, testTime}, "big": {0o640, testTime},
			"bin": {0o750, testTime + 1_000_000}, "sp ace": {0o750, testTime}, "deep": {0o750, testTime + 1_000_000}, "bin/link": {0o777, testTime + 1_000_000},
		} {
			info, err := os.Lstat(filepath.Join(dir, name))
			must(t, err)
			if info.Mode().Perm() != want.mode || info.ModTime().UnixMicro() != want.micro {
				t.Errorf("%s: mode %o, time %d; want %o, %d", name, info.Mode().Perm(), info.ModTime().UnixMicro(), want.mode, want.micro)
			}
		}
		if stats.DownloadedFiles != 5 || stats.DownloadedBytes != m.TotalSize() || stats.Links != 3 || stats.CreatedDirs != 5 || stats.SkippedFiles != 0 {
			t.Errorf("stats %+v", stats)
		}
		if c := p.Counts(); c.Percent() != 100 || c.DoneFiles != 5 {
			t.Errorf("progress %+v", c)
		}
		if msg := stats.Message(); !strings.HasPrefix(msg, "Downloaded 2.5 MB (5 chunks) in ") || !strings.HasSuffix(msg, "/s)") {
			t.Errorf("message %q", msg)
		}
	}
}

// The result of collecting, uploading and downloading is the tree, wherever it is.
func TestRoundTripWithDirectoryStore(t *testing.T) {
	root := writeTree(t, map[string]string{"a/f": "one", "a/b/g": strings.Repeat("two", 1_000_000), "empty": ""})
	must(t, os.Chmod(filepath.Join(root, "a/f"), 0o755))
	must(t, os.Symlink("../f", filepath.Join(root, "a/b/l")))
	s, err := dirstore.Open(t.TempDir(), dirstore.Options{})
	must(t, err)
	m, _ := upload(t, collect(t, CollectOptions{ChunkSize: 1 << 20}, root), s, UploadOptions{})
	must(t, os.Rename(root, root+".was"))
	_, stats, err := Download(t.Context(), m, s, DownloadOptions{Root: filepath.Dir(root), RelativeLinks: true})
	must(t, err)
	if diff := cmp.Diff(listing(t, root+".was"), listing(t, root)); diff != "" {
		t.Errorf("trees differ:\n%s", diff)
	}
	if diff := cmp.Diff(m.Files, mustHash(t, collect(t, CollectOptions{ChunkSize: 1 << 20}, root)).Files); diff != "" {
		t.Errorf("manifests differ:\n%s", diff)
	}
	if stats.DownloadedFiles != 3 || stats.Links != 1 {
		t.Errorf("stats %+v", stats)
	}
}

func mustHash(t testing.TB, m *manifest.AbsSnapshot) *manifest.AbsSnapshot {
	t.Helper()
	got, _, err := Hash(t.Context(), m, HashOptions{})
	must(t, err)
	return got
}

// Absolute manifests write absolute links, as the reference does, unless asked.
func TestDownloadLinkTexts(t *testing.T) {
	root := t.TempDir()
	at := func(p string) string { return filepath.Join(root, p) }
	m := &manifest.AbsSnapshot{HashAlg: manifest.XXH128, ChunkSize: 1, Files: []manifest.File{
		{Path: at("d/in"), Target: at("x/y")}, {Path: at("d/root"), Target: root}, {Path: at("out"), Target: "/etc/passwd"},
	}}
	for _, tc := range []struct {
		name string
		opts DownloadOptions
		want []string
		fail bool
	}{
		{"no root", DownloadOptions{}, []string{"d/", "d/in -> " + at("x/y"), "d/root -> " + root, "out -> /etc/passwd"}, false},
		{"in a root", DownloadOptions{Root: root}, []string{"d/", "d/in -> " + at("x/y"), "d/root -> " + root}, true},
		{"relative", DownloadOptions{Root: root, RelativeLinks: true}, []string{"d/", "d/in -> ../x/y", "d/root -> .."}, true},
		{"escaping allowed", DownloadOptions{Root: root, RelativeLinks: true, AllowEscapingLinks: true}, []string{"d/", "d/in -> ../x/y", "d/root -> ..", "out -> /etc/passwd"}, false},
		{"none", DownloadOptions{Symlinks: ExcludeAll}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			must(t, os.RemoveAll(at("d")))
			must(t, os.RemoveAll(at("out")))
			_, _, err := Download(t.Context(), m, memstore.New(), tc.opts)
			if errors.Is(err, ErrUnsafe) != tc.fail || (err != nil) != tc.fail {
				t.Errorf("error %v", err)
			}
			wantTree(t, root, tc.want...)
		})
	}
}

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

// chunked_file_downloaded_when_hash_mismatch: all chunks must be known, not only the first.
func TestDownloadWantsEveryChunkToBeKnown(t *testing.T) {
	s := memstore.New()
	f := chunked(t, s, "f", strings.Repeat("a", 1<<20)+"bb", 1<<20)
	dir, cache := t.TempDir(), newMapCache()
	at := filepath.Join(dir, "f")
	writeFile(t, at, strings.Repeat("a", 1<<20)+"??", 0o644)
	must(t, os.Chtimes(at, time.UnixMicro(testTime), time.UnixMicro(testTime)))
	cache.Store([]HashRow{
		{Path: at, End: 1 << 20, ModTime: testTime, Hash: f.Chunks[0]},
		{Path: at, Start: 1 << 20, End: 1<<20 + 2, ModTime: testTime, Hash: manifest.Sum([]byte("??"))},
	})
	_, stats := downloadTo(t, snapshot(f), dir, s, DownloadOptions{Cache: cache})
	if stats.DownloadedFiles != 1 {
		t.Errorf("stats %+v", stats)
	}
	if text, err := os.ReadFile(at); err != nil || !strings.HasSuffix(string(text), "abb") {
		t.Errorf("the file ends in %q, %v", text[len(text)-3:], err)
	}
}

// A snapshot dates all directories, a diff only those that it makes.
func TestDownloadDatesDirectories(t *testing.T) {
	s := memstore.New()
	m := snapshot(entry(t, s, "old/f", "x"), entry(t, s, "new/f", "y"))
	diff := &manifest.SnapshotDiff{HashAlg: m.HashAlg, ChunkSize: m.ChunkSize, Files: m.Files}
	dated := func(dir string) (dated []string) {
		for _, name := range []string{"old", "new"} {
			info, err := os.Stat(filepath.Join(dir, name))
			must(t, err)
			if info.ModTime().UnixMicro() == testTime {
				dated = append(dated, name)
			}
		}
		return dated
	}
	for name, tc := range map[string]struct {
		run  func(dir string)
		want []string
	}{
		"snapshot": {func(dir string) { downloadTo(t, m, dir, s, DownloadOptions{}) }, []string{"old", "new"}},
		"diff":     {func(dir string) { downloadTo(t, diff, dir, s, DownloadOptions{}) }, []string{"new"}},
	} {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "old"), 0o755))
		tc.run(dir)
		if diff := cmp.Diff(tc.want, dated(dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
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

// G-30, spec/users.md §5: a destination prepared by an attacker.
func TestDownloadIsConfined(t *testing.T) {
	s := memstore.New()
	for _, tc := range []struct {
		name  string
		plant func(dir, outside string) error
		m     *manifest.Snapshot
	}{
		{
			"a directory is a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			snapshot(entry(t, s, "d/f", "x")),
		},
		{
			"a directory above is a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			snapshot(entry(t, s, "d/sub/f", "x")),
		},
		{
			"only a directory below a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			&manifest.Snapshot{ChunkSize: 1, Dirs: []manifest.Dir{{Path: "d/new"}}},
		},
		{
			"a link below a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			snapshot(manifest.File{Path: "d/l", Target: "x"}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, outside := t.TempDir(), t.TempDir()
			must(t, tc.plant(dir, outside))
			_, _, err := DownloadTo(t.Context(), tc.m, dir, s, DownloadOptions{})
			var fails *Failures
			if !errors.As(err, &fails) || !errors.Is(err, ErrUnsafe) {
				t.Errorf("got %v, want failures that are ErrUnsafe", err)
			}
			wantTree(t, outside)
		})
	}
}

// G-30, G-31: manifests that must be refused before anything is touched.
func TestDownloadRefusesHostileManifests(t *testing.T) {
	s := memstore.New()
	good := entry(t, s, "good", "x")
	for _, tc := range []struct {
		name string
		file manifest.File
		more []manifest.File
	}{
		{"..", manifest.File{Path: "../f", Hash: good.Hash, Size: 1}, nil},
		{".. in the middle", manifest.File{Path: "a/../../f", Hash: good.Hash, Size: 1}, nil},
		{"a link that climbs out", manifest.File{Path: "l", Target: "../x"}, nil},
		{"an absolute link", manifest.File{Path: "l", Target: "/etc/passwd"}, nil},
		{"an absolute path", manifest.File{Path: "/f", Hash: good.Hash, Size: 1}, nil},
		{"link and write through it", manifest.File{Path: "l", Target: "good"}, []manifest.File{{Path: "l/f", Hash: good.Hash, Size: 1}}},
		{"a hash that is a path", manifest.File{Path: "f", Hash: "../../x", Size: 1}, nil},
		{"a short hash", manifest.File{Path: "f", Hash: "abc", Size: 1}, nil},
		{"rejects_file_with_no_hash", manifest.File{Path: "f", Size: 1}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			m := snapshot(append([]manifest.File{good, tc.file}, tc.more...)...)
			if _, _, err := DownloadTo(t.Context(), m, dir, s, DownloadOptions{}); !errors.Is(err, manifest.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			wantTree(t, dir)
		})
	}
	abs := &manifest.AbsSnapshot{ChunkSize: 1, Files: []manifest.File{{Path: "relative", Hash: good.Hash, Size: 1}}}
	if _, _, err := Download(t.Context(), abs, s, DownloadOptions{}); !errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("download_relative_path_raises_error: %v", err)
	}
	abs.Files[0].Path = "/somewhere/else"
	if _, _, err := Download(t.Context(), abs, s, DownloadOptions{Root: t.TempDir()}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a file outside of the root gives %v", err)
	}
}

// G-06: directories that only links lead to are not made.
func TestDownloadMakesNoDirectoriesForLinkTargets(t *testing.T) {
	root := t.TempDir()
	at := func(p string) string { return filepath.Join(root, p) }
	m := &manifest.AbsSnapshot{ChunkSize: 1,
		Files: []manifest.File{{Path: at("job/d/l"), Target: at("lib/v1/x")}, {Path: at("job/e/l"), Target: at("job/e/dir/x")}},
		Dirs:  []manifest.Dir{{Path: root}, {Path: at("job")}, {Path: at("job/d")}, {Path: at("job/e")}, {Path: at("job/e/dir")}, {Path: at("lib")}, {Path: at("lib/v1")}},
	}
	_, _, err := Download(t.Context(), m, memstore.New(), DownloadOptions{})
	must(t, err)
	wantTree(t, root, "job/", "job/d/", "job/d/l -> "+at("lib/v1/x"), "job/e/", "job/e/dir/", "job/e/l -> "+at("job/e/dir/x"))
}

// Spec/ops.md §4 statement 6: the cache knows what is on disk.
func TestDownloadUsesTheCache(t *testing.T) {
	s := memstore.New()
	chunky := chunked(t, s, "c", strings.Repeat("ab", 1<<20), 1<<20)
	m := snapshot(entry(t, s, "f", "hello"), chunky)
	dir, cache := t.TempDir(), newMapCache()
	downloadTo(t, m, dir, s, DownloadOptions{Cache: cache})
	if len(cache.rows) != 3 || cache.rows[HashRow{Path: dir + "/c", Start: 1 << 20, End: 2 << 20}] != chunky.Chunks[1] {
		t.Fatalf("hash_cache_updated_after_chunked_download: %v", cache.rows)
	}
	counted := faulty.Wrap(s)
	opens := func() int { return countCalls(counted, faulty.Open) }
	// The times in the manifest do not matter, those on disk do.
	other := snapshot(slices.Clone(m.Files)...)
	other.Files[0].ModTime, other.Files[1].ModTime = 5, 6
	other.Files[0].Runnable = true
	got, stats := downloadTo(t, other, dir, counted, DownloadOptions{Cache: cache})
	if stats.SkippedFiles != 2 || stats.SkippedBytes != 5+2<<20 || opens() != 0 {
		t.Errorf("hash_cache_skip_on_second_download: %+v", stats)
	}
	if got.Files[0].ModTime != testTime || got.Files[1].ModTime != testTime {
		t.Errorf("reported times %d, %d", got.Files[0].ModTime, got.Files[1].ModTime)
	}
	if info, _ := os.Stat(filepath.Join(dir, "f")); info.Mode().Perm() != 0o755 {
		t.Errorf("G-02: a file that is there already has mode %o", info.Mode())
	}
	for _, tc := range []struct {
		name    string
		disturb func() error
	}{
		{"stale_hash_cache_triggers_redownload", func() error { return os.WriteFile(filepath.Join(dir, "f"), []byte("HELLO"), 0o644) }},
		{"hash_cache_deleted_file_redownloads", func() error { return os.Remove(filepath.Join(dir, "f")) }},
		{"another file of that size and time", func() error {
			must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("HELLO"), 0o644))
			at := time.UnixMicro(testTime)
			cache.Store([]HashRow{{Path: dir + "/f", End: -1, ModTime: testTime, Hash: manifest.Sum([]byte("HELLO"))}})
			return os.Chtimes(filepath.Join(dir, "f"), at, at)
		}},
	} {
		must(t, tc.disturb())
		_, stats := downloadTo(t, m, dir, counted, DownloadOptions{Cache: cache})
		if stats.DownloadedFiles != 1 || stats.SkippedFiles != 1 {
			t.Errorf("%s: %+v", tc.name, stats)
		}
		wantTree(t, dir, "c: 2097152 bytes", "f: hello")
	}
}

// Without a cache, what has the right size and time is read instead of fetched: the
// reference always fetches (deliberately different).
func TestDownloadResumesWithoutCache(t *testing.T) {
	s := faulty.Wrap(memstore.New())
	m := snapshot(entry(t, s, "a", "aaa"), entry(t, s, "b", "bbb"), chunked(t, s, "c", strings.Repeat("c", 2<<20), 1<<20))
	dir := t.TempDir()
	downloadTo(t, m, dir, s, DownloadOptions{})
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("BBB"), 0o644))
	must(t, os.Chtimes(filepath.Join(dir, "b"), time.UnixMicro(testTime), time.UnixMicro(testTime)))
	before := countCalls(s, faulty.Open)
	_, stats := downloadTo(t, m, dir, s, DownloadOptions{})
	if stats.SkippedFiles != 2 || stats.DownloadedFiles != 1 || countCalls(s, faulty.Open) != before+1 {
		t.Errorf("stats %+v, %d requests", stats, countCalls(s, faulty.Open)-before)
	}
	wantTree(t, dir, "a: aaa", "b: bbb", "c: 2097152 bytes")
}

// G-22, G-12: whatever arrives is verified, and failures leave nothing behind.
func TestDownloadVerifiesAndCleansUp(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", rangedMin/16+3)
	inner := memstore.New()
	files := map[string]manifest.File{
		"small": entry(t, inner, "f", "hello"), "large": entry(t, inner, "f", big),
		"chunked": chunked(t, inner, "f", strings.Repeat("x", 1<<20)+"y", 1<<20),
	}
	always := faulty.Always
	for _, tc := range []struct {
		name  string
		file  string
		fault faulty.Fault
		want  error
		text  string
	}{
		{"intact", "large", faulty.Fault{Op: faulty.Stat}, nil, ""},
		{"a byte is wrong once", "small", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true}, nil, ""},
		{"a byte is wrong once in a range", "large", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Skip: 2}, nil, ""},
		{"corrupted_cache_object", "small", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Times: always}, blobstore.ErrMismatch, "hash mismatch"},
		{"corrupted_chunked_cache_object", "chunked", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Times: always}, blobstore.ErrMismatch, "hash mismatch"},
		{"a byte is always wrong in a range", "large", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Times: always}, blobstore.ErrMismatch, "hash mismatch"},
		{"a stream breaks off once", "large", faulty.Fault{Op: faulty.Open, Stream: true, After: 1 << 20, Err: io.ErrUnexpectedEOF, Skip: 1}, nil, ""},
		{"a stream ends early once", "small", faulty.Fault{Op: faulty.Open, Stream: true, After: 2, Err: io.EOF}, nil, ""},
		{"streams always break off", "large", faulty.Fault{Op: faulty.Open, Stream: true, After: 1 << 20, Err: io.ErrUnexpectedEOF, Times: always}, io.ErrUnexpectedEOF, ""},
		{"download_missing_object_returns_error", "chunked", faulty.Fault{Op: faulty.Open, Skip: 1, Err: blobstore.ErrNotFound, Times: always}, blobstore.ErrNotFound, ""},
		{"no permission", "large", faulty.Fault{Op: faulty.Open, Skip: 2, Err: blobstore.ErrPermission, Times: always}, blobstore.ErrPermission, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := faulty.Wrap(inner)
			s.Inject(tc.fault)
			dir := t.TempDir()
			_, stats, err := DownloadTo(t.Context(), snapshot(files[tc.file]), dir, s, DownloadOptions{Workers: 4})
			if tc.want == nil {
				must(t, err)
				text, err := os.ReadFile(filepath.Join(dir, "f"))
				must(t, err)
				if manifest.Sum(text) != manifest.Sum([]byte(map[string]string{"small": "hello", "large": big}[tc.file])) {
					t.Error("the content is wrong")
				}
				if stats.DownloadedBytes != files[tc.file].Size {
					t.Errorf("stats %+v", stats)
				}
				return
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if stats.DownloadedFiles != 0 || stats.DownloadedBytes != 0 {
				t.Errorf("stats %+v", stats)
			}
			wantTree(t, dir)
		})
	}
}

// A truncated or flipped blob of a local store takes another way to the file.
func TestDownloadVerifiesLocalBlobs(t *testing.T) {
	content := strings.Repeat("0123456789", 200_000)
	for _, tc := range []struct {
		name   string
		damage func(p []byte) []byte
		want   error
	}{
		{"intact", func(p []byte) []byte { return p }, nil},
		{"a byte flipped", func(p []byte) []byte { p[1_000_000] ^= 1; return p }, blobstore.ErrMismatch},
		{"download_with_truncated_cache_object", func(p []byte) []byte { return p[:1_000_000] }, blobstore.ErrMismatch},
	} {
		for _, size := range []int{2_000_000, 100_000_0 + 1} {
			t.Run(fmt.Sprint(tc.name, " of ", size), func(t *testing.T) {
				root := t.TempDir()
				s, err := dirstore.Open(root, dirstore.Options{})
				must(t, err)
				m := snapshot(entry(t, s, "f", content[:size]))
				at := filepath.Join(root, string(m.Files[0].Hash)+".xxh128")
				must(t, os.Chmod(at, 0o644))
				must(t, os.WriteFile(at, tc.damage([]byte(content[:size])), 0o644))
				dir := t.TempDir()
				_, _, err = DownloadTo(t.Context(), m, dir, s, DownloadOptions{})
				if !errors.Is(err, tc.want) || (err != nil) != (tc.want != nil) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if tc.want != nil {
					wantTree(t, dir)
				}
			})
		}
	}
}

func TestDownloadStopsWhenCancelled(t *testing.T) {
	inner := memstore.New()
	var files []manifest.File
	for i := range 30 {
		files = append(files, entry(t, inner, fmt.Sprintf("d/f%02d", i), fmt.Sprint("content", i)))
	}
	files = append(files, entry(t, inner, "large", strings.Repeat("x", rangedMin)))
	s := faulty.Wrap(inner)
	s.Inject(faulty.Fault{Op: faulty.Open, Skip: 10, Times: faulty.Always, Hang: true})
	dir := t.TempDir()
	_, _, err := DownloadTo(cancelAt(t, s, faulty.Open, 14), snapshot(files...), dir, s, DownloadOptions{Workers: 4})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cancelled") {
		t.Errorf("got %v", err)
	}
	after := listing(t, dir)
	_, stats := downloadTo(t, snapshot(files...), dir, inner, DownloadOptions{})
	complete := listing(t, dir)
	for _, line := range after {
		if !slices.Contains(complete, line) && !strings.Contains(line, ".part: ") {
			t.Errorf("left behind: %s", line)
		}
	}
	if left, _ := parts(t, dir); len(left) > 0 {
		t.Errorf("left behind for good: %q", left)
	}
	if stats.DownloadedFiles+stats.SkippedFiles != 31 || stats.SkippedFiles == 0 {
		t.Errorf("the second run did %+v", stats)
	}
}

func TestDownloadReportsEveryFailure(t *testing.T) {
	s := memstore.New()
	m := snapshot(entry(t, s, "ok", "1"), entry(t, s, "is-dir", "2"), entry(t, s, "file/below", "3"),
		manifest.File{Path: "missing", Size: 1, Hash: manifest.Sum([]byte("?"))}, manifest.File{Path: "link-is-dir", Target: "ok"})
	dir := t.TempDir()
	buildTree(t, dir, [][]any{{"dir", "is-dir"}, {"dir", "link-is-dir"}, {"file", "file", 1., 420.}})
	got, stats, err := DownloadTo(t.Context(), m, dir, s, DownloadOptions{})
	var fails *Failures
	if !errors.As(err, &fails) || got == nil {
		t.Fatalf("got %v, %v", got, err)
	}
	var paths []string
	for _, f := range fails.List {
		paths = append(paths, strings.TrimPrefix(f.Path, dir+"/"))
	}
	if diff := cmp.Diff([]string{"file", "file/below", "is-dir", "link-is-dir", "missing"}, paths); diff != "" {
		t.Errorf("failures (-want +got):\n%s\n%v", diff, err)
	}
	if stats.DownloadedFiles != 1 {
		t.Errorf("stats %+v", stats)
	}
	wantTree(t, dir, "file: x", "is-dir/", "link-is-dir/", "ok: 1")
}

func TestDownloadChecksSpaceFirst(t *testing.T) {
	m := snapshot(manifest.File{Path: "f", Size: 1 << 60, Hash: manifest.Sum(nil)})
	s := faulty.Wrap(memstore.New())
	dir := t.TempDir()
	_, _, err := DownloadTo(t.Context(), m, dir, s, DownloadOptions{})
	if !errors.Is(err, unix.ENOSPC) || len(s.Calls()) != 0 {
		t.Errorf("got %v after %d requests", err, len(s.Calls()))
	}
}

func TestDownloadOfNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	_, stats := downloadTo(t, snapshot(), dir, memstore.New(), DownloadOptions{})
	if stats.TotalFiles != 0 || stats.Message() != "Downloaded 0 B (0 chunks) in 0.00s" {
		t.Errorf("stats %+v, message %q", stats, stats.Message())
	}
	wantTree(t, dir)
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

func benchmarkDownload(b *testing.B, prepare func(root string)) {
	root := b.TempDir()
	prepare(root)
	store, err := dirstore.Open(b.TempDir(), dirstore.Options{})
	must(b, err)
	m, _ := upload(b, collect(b, CollectOptions{}, root), store, UploadOptions{})
	for i := range m.Files {
		m.Files[i].Path = strings.TrimPrefix(m.Files[i].Path, root+"/")
	}
	rel := snapshot(m.Files...)
	rel.ChunkSize = m.ChunkSize
	b.SetBytes(m.TotalSize())
	for b.Loop() {
		b.StopTimer()
		dir, err := os.MkdirTemp(b.TempDir(), "out")
		must(b, err)
		b.StartTimer()
		downloadTo(b, rel, dir, store, DownloadOptions{})
		b.StopTimer()
		must(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}

func BenchmarkDownloadSmall(b *testing.B) {
	benchmarkDownload(b, func(root string) { writeSmall(b, root, 10_000, 16<<10) })
}

func BenchmarkDownloadLarge(b *testing.B) {
	benchmarkDownload(b, func(root string) { writeLarge(b, root, 4, 512<<20) })
}
