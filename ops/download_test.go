package ops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

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
