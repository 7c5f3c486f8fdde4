package ops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// Files that vanish, or turn into something else, while the tree is listed are passed
// over, aloud (the reference fails). Exclude is asked between listing and looking.
func TestCollectPassesOverWhatVanishes(t *testing.T) {
	root := t.TempDir()
	plantWords(t, root, "a=1 file=1 fifo=1 link>a dir/f=1 todir=1 z=1")
	at := func(name string) string { return filepath.Join(root, name) }
	var once sync.Once
	var skipped []string
	m := collect(t, CollectOptions{
		Exclude: func(string, bool) bool {
			once.Do(func() {
				must(t, os.Remove(at("file")))
				must(t, os.Remove(at("fifo")))
				must(t, unix.Mkfifo(at("fifo"), 0o644))
				must(t, os.Remove(at("link")))
				must(t, os.RemoveAll(at("dir")))
				must(t, os.Remove(at("todir")))
				must(t, os.Mkdir(at("todir"), 0o755))
			})
			return false
		},
		Skipped: func(path string, reason error) {
			if !errors.Is(reason, errVanished) {
				t.Errorf("%s: %v", path, reason)
			}
			skipped = append(skipped, strings.TrimPrefix(path, root+"/"))
		},
	}, root)
	sameWords(t, root+"/ a=1 z=1", plantedWords(m, root))
	slices.Sort(skipped)
	if diff := cmp.Diff([]string{"dir", "fifo", "file", "link", "todir"}, skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

// A hundred thousand files in one directory are nothing special.
func TestAHundredThousandFilesInOneDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many files")
	}
	const many = 100_000
	root := t.TempDir()
	var one string // the file that the others are hard links of, as far as that goes
	for i := range many {
		name := fmt.Sprintf("%s/f%06d", root, i)
		if i%1000 != 0 {
			must(t, os.Link(one, name))
			continue
		}
		one = name
		must(t, os.WriteFile(name, fmt.Append(nil, i), 0o644))
	}
	start := time.Now()
	store := memstore.New()
	m, stats := upload(t, collect(t, CollectOptions{}, root), store, UploadOptions{})
	if len(m.Files) != many || stats.UploadedFiles != many/1000 || stats.SkippedFiles != many-many/1000 {
		t.Errorf("%d files, %+v", len(m.Files), stats)
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("that took %v", d)
	}
}

// Paths of 4 000 bytes go in and out; below the destination they may be longer than
// the system takes at once.
func TestLongPathsGoInAndOut(t *testing.T) {
	store := memstore.New()
	f := entry(t, store, strings.Repeat("a123456789/", 363)+"file", "long") // 3 997 bytes
	link := manifest.File{Path: strings.Repeat("a123456789/", 362) + "link", Target: f.Path}
	m := snapshot(f, link)
	m.Dirs = []manifest.Dir{{Path: strings.Repeat("b123456789/", 360) + "dir"}}
	must(t, m.CheckSafe())
	dir := t.TempDir()
	for range 2 {
		_, stats := downloadTo(t, m, dir, store, DownloadOptions{})
		if stats.TotalFiles != 1 || stats.Links != 1 {
			t.Errorf("stats %+v", stats)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH, 0)
	must(t, err)
	defer unix.Close(fd)
	in, err := unix.Openat(fd, f.Path, unix.O_RDONLY, 0)
	must(t, err)
	text := make([]byte, 10)
	n, err := unix.Read(in, text)
	must(t, err)
	unix.Close(in)
	if string(text[:n]) != "long" {
		t.Errorf("read %q", text[:n])
	}
	diff := &manifest.SnapshotDiff{ChunkSize: 1, Files: []manifest.File{{Path: f.Path, Deleted: true}, {Path: link.Path, Deleted: true}}}
	for d := m.Dirs[0].Path; d != "."; d = filepath.Dir(d) {
		diff.Dirs = append(diff.Dirs, manifest.Dir{Path: d, Deleted: true})
	}
	for d := filepath.Dir(f.Path); d != "."; d = filepath.Dir(d) {
		diff.Dirs = append(diff.Dirs, manifest.Dir{Path: d, Deleted: true})
	}
	downloadTo(t, diff, dir, store, DownloadOptions{})
	wantTree(t, dir)

	short := filepath.Join(t.TempDir(), strings.Repeat("c123456789/", 300))
	must(t, os.MkdirAll(short, 0o755))
	writeFile(t, short+"/"+strings.Repeat("d", 200), "deep", 0o644)
	up, _ := upload(t, collect(t, CollectOptions{}, short), store, UploadOptions{})
	if content(t, store, up.Files[0], up.ChunkSize) != "deep" {
		t.Error("a file with a long path was not stored")
	}
}

// Spec/gaps.md G-38, spec/users.md §6 promise 9: whatever an operation is at, it ends
// soon after its context, and says so.
func TestEveryOperationEndsSoonAfterItsContext(t *testing.T) {
	root := writeTree(t, map[string]string{"a": "1", "b": "2", "c": strings.Repeat("c", 1000)})
	for i := range 200 {
		writeFile(t, fmt.Sprintf("%s/many/%d/f", root, i), "x", 0o644)
	}
	must(t, os.Truncate(filepath.Join(root, "c"), 200<<30)) // sparse: hashing it takes a while
	hanging := func(op faulty.Op) *faulty.Store {
		s := faulty.Wrap(memstore.New())
		s.Inject(faulty.Fault{Op: op, Hang: true, Times: faulty.Always})
		return s
	}
	stored := memstore.New()
	m := snapshot(entry(t, stored, "a", "a"), entry(t, stored, "b", strings.Repeat("b", 2<<20)))
	behind := func(op faulty.Op) *faulty.Store {
		s := faulty.Wrap(plain{stored})
		s.Inject(faulty.Fault{Op: op, Hang: true, Times: faulty.Always})
		return s
	}
	small := &manifest.AbsSnapshot{ChunkSize: manifest.WholeFile, Files: []manifest.File{{Path: filepath.Join(root, "a"), Size: 1}}}
	large := &manifest.AbsSnapshot{ChunkSize: manifest.WholeFile, Files: []manifest.File{{Path: filepath.Join(root, "c"), Size: 200 << 30}}}
	parts := &manifest.AbsSnapshot{ChunkSize: 1 << 30, Files: large.Files}
	hash := func(m *manifest.AbsSnapshot) func(context.Context) error {
		return func(ctx context.Context) error { _, _, err := Hash(ctx, m, HashOptions{}); return err }
	}
	up := func(s blobstore.Store, m *manifest.AbsSnapshot) func(context.Context) error {
		return func(ctx context.Context) error { _, _, err := HashUpload(ctx, m, s, UploadOptions{}); return err }
	}
	down := func(s blobstore.Store) func(context.Context) error {
		return func(ctx context.Context) error {
			_, _, err := DownloadTo(ctx, m, t.TempDir(), s, DownloadOptions{})
			return err
		}
	}
	syncTo := func(src, dst blobstore.Store) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := CacheSync(ctx, src, dst, []manifest.Any{m}, SyncOptions{SpoolDir: t.TempDir()})
			return err
		}
	}
	for _, tc := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"Collect", func(ctx context.Context) error {
			_, err := Collect(ctx, []string{root}, CollectOptions{Exclude: func(string, bool) bool { time.Sleep(20 * time.Millisecond); return false }})
			return err
		}},
		{"Hash", hash(large)},
		{"Hash of chunks", hash(parts)},
		{"HashUpload, hashing", up(memstore.New(), large)},
		{"HashUpload, asking", up(hanging(faulty.Stat), small)},
		{"HashUpload, storing", up(hanging(faulty.Put), small)},
		{"Download", down(behind(faulty.Open))},
		{"CacheSync, asking", syncTo(stored, hanging(faulty.Stat))},
		{"CacheSync, fetching", syncTo(behind(faulty.Open), plain{memstore.New()})},
		{"CacheSync, storing", syncTo(plain{stored}, plain{hanging(faulty.Put)})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			timer := time.AfterFunc(50*time.Millisecond, cancel)
			defer timer.Stop()
			start := time.Now()
			err := tc.run(ctx)
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("it ended after %v", d)
			}
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cancelled") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Spec/gaps.md G-24: no workers at all means the default, and so does a negative number.
func TestZeroWorkersMeanTheDefault(t *testing.T) {
	root := writeTree(t, map[string]string{"a": "1", "b": "2"})
	for _, workers := range []int{0, -3} {
		store := memstore.New()
		m := collect(t, CollectOptions{}, root)
		_, _, err := Hash(t.Context(), m, HashOptions{Workers: workers})
		must(t, err)
		up, _ := upload(t, m, store, UploadOptions{Workers: workers})
		rel, err := Subtree(up, root, CollapseEscaping)
		must(t, err)
		downloadTo(t, rel, t.TempDir(), store, DownloadOptions{Workers: workers})
		_, err = CacheSync(t.Context(), store, memstore.New(), []manifest.Any{up}, SyncOptions{Workers: workers})
		must(t, err)
	}
}
