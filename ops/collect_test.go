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
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// Spec/ops.md §1.2 statements 8 to 12, G-35: each policy on one link, or a few.
func TestCollectSymlinkPolicies(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tree   [][]any
		policy SymlinkPolicy
		roots  []string
		files  []string
		dirs   []string
	}{
		{
			name:   "preserve_symlink_chain",
			tree:   [][]any{{"file", "in/f", 1., 420.}, {"link", "in/a", "b"}, {"link", "in/b", "f"}},
			policy: Preserve, roots: []string{"in"},
			files: []string{"in/a -> in/b", "in/b -> in/f", "in/f"}, dirs: []string{"in"},
		},
		{
			name:   "broken_symlink_preserved_with_preserve",
			tree:   [][]any{{"link", "in/a", "no/../such"}},
			policy: Preserve, roots: []string{"in"},
			files: []string{"in/a -> in/such"}, dirs: []string{"in"},
		},
		{
			name:   "collapse_symlink_chain",
			tree:   [][]any{{"file", "in/f", 7., 420.}, {"link", "in/a", "b"}, {"link", "in/b", "c"}, {"link", "in/c", "f"}},
			policy: CollapseAll, roots: []string{"in"},
			files: []string{"in/a", "in/b", "in/c", "in/f"}, dirs: []string{"in"},
		},
		{
			name:   "collapse_nested_directory_symlinks",
			tree:   [][]any{{"file", "d1/f1", 1., 420.}, {"link", "d1/nested", "../d2"}, {"file", "d2/f2", 1., 420.}, {"link", "in/l", "../d1"}},
			policy: CollapseAll, roots: []string{"in"},
			files: []string{"in/l/f1", "in/l/nested/f2"}, dirs: []string{"in", "in/l", "in/l/nested"},
		},
		{
			name:   "exclude_escaping_mixed_scenario",
			tree:   [][]any{{"file", "in/f", 1., 420.}, {"link", "in/a", "f"}, {"link", "in/b", "../out"}, {"link", "in/c", "b"}, {"file", "out", 1., 420.}},
			policy: ExcludeEscaping, roots: []string{"in"},
			files: []string{"in/a -> in/f", "in/c -> in/b", "in/f"}, dirs: []string{"in"},
		},
		{
			name:   "a sibling that is collected is inside",
			tree:   [][]any{{"link", "in/a", "../sib/f"}, {"file", "sib/f", 1., 420.}},
			policy: CollapseEscaping, roots: []string{"in", "sib"},
			files: []string{"in/a -> sib/f", "sib/f"}, dirs: []string{"in", "sib"},
		},
		{
			name:   "G-35 a link to an empty directory outside becomes an empty directory",
			tree:   [][]any{{"link", "in/a", "../empty"}, {"dir", "empty"}},
			policy: CollapseEscaping, roots: []string{"in"},
			files: nil, dirs: []string{"in", "in/a"},
		},
		{
			name:   "G-35 transitive inclusion keeps empty directories",
			tree:   [][]any{{"link", "in/a", "../out"}, {"dir", "out/empty"}},
			policy: TransitiveIncludeTargets, roots: []string{"in"},
			files: []string{"in/a -> out"}, dirs: []string{"in", "out", "out/empty"},
		},
		{
			name:   "deep_chain_of_escaping_symlinks",
			tree:   [][]any{{"link", "in/a", "../x/b"}, {"link", "x/b", "../y/c"}, {"link", "y/c", "../z/d"}, {"link", "z/d", "../f"}, {"file", "f", 1., 420.}},
			policy: TransitiveIncludeTargets, roots: []string{"in"},
			files: []string{"f", "in/a -> x/b", "x/b -> y/c", "y/c -> z/d", "z/d -> f"}, dirs: []string{"in"},
		},
		{
			name:   "transitive inclusion through a link lists nothing below the link",
			tree:   [][]any{{"link", "in/d", "../out"}, {"link", "in/f", "d/sub/f"}, {"file", "out/sub/f", 1., 420.}},
			policy: TransitiveIncludeTargets, roots: []string{"in"},
			files: []string{"in/d -> out", "in/f -> in/d/sub/f", "out/sub/f"}, dirs: []string{"in", "out", "out/sub"},
		},
		{
			name:   "long_cycle_chain",
			tree:   [][]any{{"link", "in/a", "../x/b"}, {"link", "x/b", "../y/c"}, {"link", "y/c", "../in/a"}},
			policy: TransitiveIncludeTargets, roots: []string{"in"},
			files: []string{"in/a -> x/b", "x/b -> y/c", "y/c -> in/a"}, dirs: []string{"in"},
		},
		{
			name:   "statement 16: a link to the parent directory",
			tree:   [][]any{{"file", "p/root/f", 1., 420.}, {"link", "p/root/up", ".."}},
			policy: CollapseEscaping, roots: []string{"p/root"},
			files: []string{"p/root/f", "p/root/up/root/f", "p/root/up/root/up -> p/root/up"},
			dirs:  []string{"p/root", "p/root/up", "p/root/up/root"},
		},
		{
			name:   "G-09 two links to one outside directory that links further out",
			tree:   [][]any{{"link", "in/a", "../d1"}, {"link", "in/b", "../d1"}, {"link", "d1/n", "../d2"}, {"file", "d2/f", 1., 420.}},
			policy: CollapseEscaping, roots: []string{"in"},
			files: []string{"in/a/n/f", "in/b/n/f"}, dirs: []string{"in", "in/a", "in/a/n", "in/b", "in/b/n"},
		},
		{
			name:   "G-09 outside directories that link to each other end in a link",
			tree:   [][]any{{"link", "in/a", "../d1"}, {"link", "d1/n", "../d2"}, {"link", "d2/n", "../d3"}, {"link", "d3/back", "../d2"}},
			policy: CollapseEscaping, roots: []string{"in"},
			files: []string{"in/a/n/n/back -> in/a/n"}, dirs: []string{"in", "in/a", "in/a/n", "in/a/n/n"},
		},
		{
			name:   "G-08 a root that is a link is a directory",
			tree:   [][]any{{"link", "in", "real"}, {"file", "real/f", 1., 420.}},
			policy: CollapseAll, roots: []string{"in"},
			files: []string{"in/f"}, dirs: []string{"in"},
		},
		{
			name:   "G-08 a link on the way to a root is a directory",
			tree:   [][]any{{"link", "top/l", "../real"}, {"file", "real/d/f", 1., 420.}},
			policy: Preserve, roots: []string{"top", "top/l/d"},
			files: []string{"top/l/d/f"}, dirs: []string{"top", "top/l", "top/l/d"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "a")
			buildTree(t, root, tc.tree)
			roots := make([]string, len(tc.roots))
			for i, r := range tc.roots {
				roots[i] = filepath.Join(root, r)
			}
			got := collect(t, CollectOptions{Symlinks: tc.policy}, roots...)
			if diff := cmp.Diff(tc.files, filePaths(got, root)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.dirs, dirPaths(got, root)); diff != "" {
				t.Errorf("dirs (-want +got):\n%s", diff)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// G-37: the root directory covers everything, and a prefix of a name nothing.
func TestCollectKnowsWhatIsInside(t *testing.T) {
	all := &collector{named: map[string]nameKind{"/": namedRoot}}
	some := &collector{named: map[string]nameKind{"/a/b": namedRoot, "/c": namedFile}}
	for _, tc := range []struct {
		c      *collector
		target string
		want   bool
	}{
		{all, "/etc/passwd", true}, {all, "/", true},
		{some, "/a/b", true}, {some, "/a/b/x/y", true}, {some, "/c", true},
		{some, "/a/bc", false}, {some, "/a", false}, {some, "/", false},
	} {
		if got := tc.c.isInside(tc.target); got != tc.want {
			t.Errorf("isInside(%q) = %v with %v", tc.target, got, tc.c.named)
		}
	}
}

// runnable_flag_captured_*, Spec/ops.md §1.2 statement 7.
func TestCollectRunnable(t *testing.T) {
	root := t.TempDir()
	want := map[string]bool{"0755": true, "0610": true, "0601": true, "0644": false}
	for name, mode := range map[string]os.FileMode{"0755": 0o755, "0610": 0o610, "0601": 0o601, "0644": 0o644} {
		writeFile(t, filepath.Join(root, name), "x", mode)
	}
	for _, f := range collect(t, CollectOptions{}, root).Files {
		if name := filepath.Base(f.Path); f.Runnable != want[name] {
			t.Errorf("%s: runnable %v", name, f.Runnable)
		}
	}
}

func TestCollectSortsByPathBytes(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a/z", "a-b/x", "a", "a.txt"} {
		if name != "a" {
			writeFile(t, filepath.Join(root, name), "", 0o644)
		}
	}
	got := collect(t, CollectOptions{}, root)
	if diff := cmp.Diff([]string{"a-b/x", "a.txt", "a/z"}, filePaths(got, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{".", "a", "a-b"}, dirPaths(got, root)); diff != "" {
		t.Errorf("dirs (-want +got):\n%s", diff)
	}
}

// G-07: relative roots give what their absolute forms give.
func TestCollectMakesRelativeRootsAbsolute(t *testing.T) {
	root := t.TempDir()
	buildTree(t, root, [][]any{{"file", "in/f", 1., 420.}, {"link", "in/l", "f"}})
	t.Chdir(root)
	got := collect(t, CollectOptions{Filenames: []string{"in/../in/f"}}, "in")
	if diff := cmp.Diff(collect(t, CollectOptions{}, filepath.Join(root, "in")), got, cmp.AllowUnexported(manifest.AbsSnapshot{})); diff != "" {
		t.Errorf("absolute and relative differ:\n%s", diff)
	}
}

func TestCollectRefusesWhatIsNamedWrongly(t *testing.T) {
	root := t.TempDir()
	buildTree(t, root, [][]any{{"dir", "d"}, {"file", "f", 1., 420.}})
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o644))
	at := func(name string) []string { return []string{filepath.Join(root, name)} }
	for _, tc := range []struct {
		name  string
		roots []string
		opts  CollectOptions
		want  error
	}{
		{"G-34 a directory named as a file", nil, CollectOptions{Filenames: at("d")}, manifest.ErrInvalid},
		{"G-34 a fifo named as a file", nil, CollectOptions{Filenames: at("fifo")}, manifest.ErrInvalid},
		{"error_file_as_directory", at("f"), CollectOptions{}, manifest.ErrInvalid},
		{"error_nonexistent_directory", at("no"), CollectOptions{}, os.ErrNotExist},
		{"required_filename_missing_errors", nil, CollectOptions{Filenames: at("f/no")}, os.ErrNotExist},
		{"an empty path", []string{""}, CollectOptions{}, manifest.ErrInvalid},
		{"a chunk size of -2", at("d"), CollectOptions{ChunkSize: -2}, manifest.ErrInvalid},
		{"an unknown policy", at("d"), CollectOptions{Symlinks: 99}, manifest.ErrInvalid},
		{"a name that is not UTF-8", []string{root + "/\xff"}, CollectOptions{}, manifest.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Collect(t.Context(), tc.roots, tc.opts); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestCollectSkipsOptionalAndSpecialFilesAloud(t *testing.T) {
	root := t.TempDir()
	buildTree(t, root, [][]any{{"dir", "in/d"}, {"file", "in/f", 1., 420.}, {"link", "in/l", "/nowhere"}})
	must(t, unix.Mkfifo(filepath.Join(root, "in/fifo"), 0o644))
	var skipped []string
	got := collect(t, CollectOptions{
		OptionalFilenames: []string{filepath.Join(root, "no"), filepath.Join(root, "in/d"), filepath.Join(root, "in/f")},
		Skipped:           func(path string, _ error) { skipped = append(skipped, strings.TrimPrefix(path, root+"/")) },
	}, filepath.Join(root, "in"))
	if diff := cmp.Diff([]string{"in/f"}, filePaths(got, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	slices.Sort(skipped)
	if diff := cmp.Diff([]string{"in/d", "in/fifo", "in/l"}, skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

// G-21: names that manifests cannot hold are all reported, none is altered or lost.
func TestCollectReportsEveryNameThatIsNotUTF8(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"good", "bad\xff1", "bad\xfe2", "d\xff/x"} {
		writeFile(t, filepath.Join(root, name), "", 0o644)
	}
	must(t, os.Symlink("bad\xff1", filepath.Join(root, "link")))
	_, err := Collect(t.Context(), []string{root}, CollectOptions{})
	var fails *Failures
	if !errors.As(err, &fails) || !errors.Is(err, manifest.ErrInvalid) {
		t.Fatalf("got %v, want *Failures that are ErrInvalid", err)
	}
	var got []string
	for _, f := range fails.List {
		got = append(got, strings.TrimPrefix(f.Path, root+"/"))
	}
	want := []string{"bad\xfe2", "bad\xff1", "link"}
	if !slices.Contains(got, "d\xff") && !slices.Contains(got, "d\xff/x") {
		t.Errorf("the directory is not reported: %q", got)
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%q is not reported: %q", w, got)
		}
	}
	m := collect(t, CollectOptions{Exclude: func(p string, _ bool) bool { return !strings.HasSuffix(p, "good") }}, root)
	if diff := cmp.Diff([]string{"good"}, filePaths(m, root)); diff != "" {
		t.Errorf("excluding them does not help:\n%s", diff)
	}
}

func TestCollectDoesNotEnterExcludedDirectories(t *testing.T) {
	root := t.TempDir()
	buildTree(t, root, [][]any{{"file", "a/f", 1., 420.}, {"file", "b/f", 1., 420.}, {"link", "l", "a"}})
	got := collect(t, CollectOptions{Exclude: func(p string, isDir bool) bool {
		if strings.HasSuffix(p, "/a/f") {
			t.Error("asked about something below an excluded directory")
		}
		return isDir && filepath.Base(p) == "a"
	}}, root)
	if diff := cmp.Diff([]string{"b/f", "l -> a"}, filePaths(got, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// G-33: a time before 1970 is recorded as 0 instead of failing the call.
func TestCollectClampsTimesBefore1970(t *testing.T) {
	root := t.TempDir()
	at := filepath.Join(root, "f")
	writeFile(t, at, "x", 0o644)
	old := time.Unix(-1000, 500_000)
	must(t, os.Chtimes(at, old, old))
	if got := collect(t, CollectOptions{}, root).Files[0].ModTime; got != 0 {
		t.Errorf("modification time %d, want 0", got)
	}
}

func TestCollectDeduplicatesOverlappingInputs(t *testing.T) {
	root := t.TempDir()
	buildTree(t, root, [][]any{{"file", "d/f", 5., 420.}, {"link", "d/l", "f"}})
	f := filepath.Join(root, "d/f")
	got := collect(t, CollectOptions{Filenames: []string{f, f, filepath.Join(root, "d/l")}, OptionalFilenames: []string{f}}, root, filepath.Join(root, "d"), root)
	if diff := cmp.Diff([]string{"d/f", "d/l -> d/f"}, filePaths(got, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got.TotalSize() != 5 {
		t.Errorf("total size %d, want 5", got.TotalSize())
	}
}

// Long paths and crowded directories are ordinary.
func TestCollectHandlesLongPathsAndManyFiles(t *testing.T) {
	root := t.TempDir()
	const many = 1500
	for i := range many {
		must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("f%05d", i)), nil, 0o644))
	}
	dir, err := unix.Open(root, unix.O_DIRECTORY, 0)
	must(t, err)
	name := strings.Repeat("n", 200)
	length := len(root)
	for ; length < 3850; length += 201 {
		must(t, unix.Mkdirat(dir, name, 0o755))
		next, err := unix.Openat(dir, name, unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(dir)
		dir = next
	}
	defer unix.Close(dir)
	create := func(total int) {
		fd, err := unix.Openat(dir, strings.Repeat("x", total-length-1), unix.O_CREAT|unix.O_WRONLY, 0o644)
		must(t, err)
		unix.Close(fd)
	}
	create(manifest.MaxPathLen)
	got := collect(t, CollectOptions{}, root)
	if len(got.Files) != many+1 || len(got.Files[many].Path) != manifest.MaxPathLen {
		t.Fatalf("%d files, the last with a path of %d bytes", len(got.Files), len(got.Files[many].Path))
	}
	must(t, got.CheckSafe())
	create(manifest.MaxPathLen + 1)
	if _, err := Collect(t.Context(), []string{root}, CollectOptions{}); !errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("a path that no manifest may hold gives %v", err)
	}
}

func TestCollectStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Collect(ctx, []string{t.TempDir()}, CollectOptions{})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cancelled") {
		t.Errorf("got %v", err)
	}
}

func TestCollectReportsUnreadableDirectories(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "closed"), 0))
	var fails *Failures
	if _, err := Collect(t.Context(), []string{root}, CollectOptions{}); !errors.As(err, &fails) || !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want *Failures that are ErrPermission", err)
	}
}

func TestCollectCountsFilesAsTotals(t *testing.T) {
	root := t.TempDir()
	buildTree(t, root, [][]any{{"file", "a", 3., 420.}, {"file", "d/b", 4., 420.}, {"link", "l", "a"}})
	var p Progress
	collect(t, CollectOptions{Progress: &p}, root)
	if got := p.Counts(); got.TotalFiles != 2 || got.TotalBytes != 7 {
		t.Errorf("counts %+v", got)
	}
}

func BenchmarkCollect(b *testing.B) {
	root := b.TempDir()
	for i := range 10_000 {
		p := filepath.Join(root, fmt.Sprintf("d%02d", i%100), fmt.Sprintf("f%d", i))
		must(b, os.MkdirAll(filepath.Dir(p), 0o755))
		must(b, os.WriteFile(p, nil, 0o644))
	}
	for b.Loop() {
		if m, err := Collect(b.Context(), []string{root}, CollectOptions{}); err != nil || len(m.Files) != 10_000 {
			b.Fatal(err)
		}
	}
}
