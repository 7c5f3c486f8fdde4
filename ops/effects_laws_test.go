package ops

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
	"pgregory.net/rapid"
)

// plantTree makes what m describes below root, with contents that depend on the sizes.
func plantTree(t *rapid.T, root string, m *manifest.Snapshot) {
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range m.Dirs {
		check(os.MkdirAll(filepath.Join(root, d.Path), 0o755))
	}
	for _, f := range m.Files {
		at := filepath.Join(root, f.Path)
		check(os.MkdirAll(filepath.Dir(at), 0o755))
		if f.Target != "" {
			check(os.Symlink(filepath.Join(root, f.Target), at))
			continue
		}
		mode := os.FileMode(0o644)
		if f.Runnable {
			mode = 0o755
		}
		check(os.WriteFile(at, []byte(strings.Repeat("ab", int(f.Size)*50)), mode))
		check(os.Chtimes(at, vectorTime, vectorTime.Add(time.Duration(f.Size)*time.Hour)))
	}
}

// bytesOf is the text of m.
func bytesOf(t *rapid.T, m manifest.Any) string {
	var text bytes.Buffer
	if err := manifest.EncodeV2025(&text, m); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// The same tree gives the same bytes, however many workers there are, and however many
// processors (spec/users.md §6, promise 7).
func TestWorkersDoNotShowInTheResult(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		root := filepath.Join(base, fmt.Sprint(n), "r")
		plantTree(t, root, drawTree(t, true))
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		opts := CollectOptions{ChunkSize: rapid.SampledFrom([]int64{30, 100, manifest.WholeFile}).Draw(t, "chunk"), Symlinks: rapid.SampledFrom(
			[]SymlinkPolicy{CollapseEscaping, CollapseAll, Preserve, TransitiveIncludeTargets}).Draw(t, "policy")}
		collected := ok[*manifest.AbsSnapshot](t)(Collect(t.Context(), []string{root}, opts))
		want := bytesOf(t, collected)
		procs := runtime.GOMAXPROCS(1)
		again := ok[*manifest.AbsSnapshot](t)(Collect(t.Context(), []string{root}, opts))
		runtime.GOMAXPROCS(procs)
		same(t, "collected on one processor", want, bytesOf(t, again))

		var hashed, uploaded []string
		for _, workers := range []int{1, 2, 7} {
			h, _, err := Hash(t.Context(), collected, HashOptions{Workers: workers})
			hashed = append(hashed, bytesOf(t, ok[*manifest.AbsSnapshot](t)(h, err)))
			u, _, err := HashUpload(t.Context(), collected, memstore.New(), UploadOptions{Workers: workers})
			uploaded = append(uploaded, bytesOf(t, ok[*manifest.AbsSnapshot](t)(u, err)))
		}
		for i := range hashed {
			same(t, "hashed by other numbers of workers", hashed[0], hashed[i])
			same(t, "uploaded by other numbers of workers", hashed[0], uploaded[i])
		}
		same(t, "the argument", want, bytesOf(t, collected))
	})
}

// No operation with effects changes its arguments.
func TestEffectsChangeNoArgument(t *testing.T) {
	store := memstore.New()
	m := snapshot(entry(t, store, "a", "a"), chunked(t, store, "c", strings.Repeat("c", 2<<20), 1<<20), manifest.File{Path: "l", Target: "a"})
	m.Dirs = []manifest.Dir{{Path: "d"}}
	before := m.Clone()
	dir := t.TempDir()
	for range 2 {
		downloadTo(t, m, dir, store, DownloadOptions{Conflict: CreateCopy})
	}
	abs, err := Join(m, filepath.Join(dir, "abs"))
	must(t, err)
	beforeAbs := abs.Clone()
	_, _, err = Download(t.Context(), abs, store, DownloadOptions{Conflict: CreateCopy})
	must(t, err)
	_, err = CacheSync(t.Context(), store, memstore.New(), []manifest.Any{m, abs}, SyncOptions{})
	must(t, err)
	if diff := cmp.Diff(before, m); diff != "" {
		t.Errorf("the relative manifest changed:\n%s", diff)
	}
	if diff := cmp.Diff(beforeAbs, abs); diff != "" {
		t.Errorf("the absolute manifest changed:\n%s", diff)
	}
}

// No transformation changes its arguments.
func TestTransformationsChangeNoArgument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTree(t, false), drawTree(t, true)
		d, e := drawDiff(t, true), drawDiff(t, true)
		slices.Reverse(a.Files) // nothing may sort in place
		slices.Reverse(d.Files)
		slices.Reverse(b.Dirs)
		before := []manifest.Any{a.Clone(), b.Clone(), d.Clone(), e.Clone()}
		ok[*manifest.SnapshotDiff](t)(Diff(a, b, DiffOptions{PreserveRunnable: true, IgnoreHashes: true}))
		ok[*manifest.Snapshot](t)(Compose(a, d, e))
		ok[*manifest.SnapshotDiff](t)(ComposeDiffs(d, e))
		Filter(d, func(e Entry) bool { return len(e.Path)%2 == 0 })
		for _, policy := range []SymlinkPolicy{CollapseEscaping, CollapseAll} {
			ok[*manifest.Snapshot](t)(Subtree(a, "a", policy))
			ok[*manifest.SnapshotDiff](t)(Subtree(d, "a", policy))
			ok[[]Part](t)(Partition(a, PartitionOptions{Roots: []string{"a"}, Symlinks: policy}))
		}
		ok[*manifest.AbsSnapshot](t)(Join(a, "/p"))
		ok[*manifest.SnapshotDiff](t)(JoinRel(d, "p"))
		same(t, "arguments", before, []manifest.Any{a, b, d, e})
	})
}

// A part holds exactly what lies below its root, and everything lies below some root.
func TestPartitionLosesAndDuplicatesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawTree(t, false)
		roots := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "a-/b", "😀"}), rapid.ID).Draw(t, "roots")
		parts := ok[[]Part](t)(Partition(m, PartitionOptions{Roots: roots, Symlinks: ExcludeEscaping}))
		covered := func(path string) bool {
			return slices.ContainsFunc(parts, func(p Part) bool {
				_, below := manifest.Within(path, p.Root)
				return below || path == p.Root
			})
		}
		for _, f := range m.Files {
			if !covered(f.Path) {
				t.Fatalf("%s is lost", f.Path)
			}
		}
		for _, d := range m.Dirs {
			if !covered(d.Path) {
				t.Fatalf("%s/ is lost", d.Path)
			}
		}
		for i, p := range parts {
			same(t, "what is below "+p.Root, below(m, p.Root), sorted(p.Manifest))
			for _, q := range parts[:i] {
				_, pInQ := manifest.Within(p.Root, q.Root)
				_, qInP := manifest.Within(q.Root, p.Root)
				given := slices.Contains(roots, q.Root)
				if p.Root == q.Root || pInQ || qInP && !given { // as in the reference, a given one may be covered
					t.Fatalf("roots %s and %s overlap", q.Root, p.Root)
				}
			}
		}
	})
}

// below returns the entries of m below root, sorted, without links that lead elsewhere.
func below(m *manifest.Snapshot, root string) *manifest.Snapshot {
	out := &manifest.Snapshot{HashAlg: m.HashAlg, ChunkSize: m.ChunkSize}
	for _, f := range m.Files {
		rest, inside := manifest.Within(f.Path, root)
		if f.Target != "" {
			target, ok := manifest.Within(f.Target, root)
			if f.Target == root {
				target, ok = ".", true
			}
			f.Target, inside = target, inside && ok
		}
		if f.Path = rest; inside {
			out.Files = append(out.Files, f)
		}
	}
	for _, d := range m.Dirs {
		if rest, inside := manifest.Within(d.Path, root); inside {
			out.Dirs = append(out.Dirs, manifest.Dir{Path: rest})
		}
	}
	return sorted(out)
}

func sorted(m *manifest.Snapshot) *manifest.Snapshot {
	m = m.Clone()
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(m.Dirs, func(a, b manifest.Dir) int { return strings.Compare(a.Path, b.Path) })
	return m
}
