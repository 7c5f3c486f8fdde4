package ops

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
	"pgregory.net/rapid"
)

// names is small, so that random trees meet. "a-" sorts between "a" and "a/x".
var names = []string{"a", "a-", "b", "😀"}

// drawTree draws a relative snapshot that could exist: nothing lies below a file.
// When listAll is set, every directory is listed, as in a decoded manifest.
func drawTree(t *rapid.T, listAll bool) *manifest.Snapshot {
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: manifest.WholeFile}
	drawDir(t, m, "", 2, listAll)
	return m
}

func drawDir(t *rapid.T, m *manifest.Snapshot, prefix string, depth int, listAll bool) {
	for _, name := range names {
		path := prefix + name
		switch rapid.IntRange(0, 5).Draw(t, path) {
		case 0:
			m.Files = append(m.Files, manifest.File{
				Path: path, Size: int64(rapid.IntRange(0, 2).Draw(t, "size")), ModTime: 1,
				Hash: "h", Runnable: rapid.Bool().Draw(t, "runnable"),
			})
		case 1:
			target := rapid.SampledFrom([]string{"a", "a/b", "b/a-", "x", ".", "a/a/😀"}).Draw(t, "target")
			m.Files = append(m.Files, manifest.File{Path: path, Target: target})
		case 2, 3:
			if depth == 0 {
				continue
			}
			if listAll || rapid.Bool().Draw(t, "listed") {
				m.Dirs = append(m.Dirs, manifest.Dir{Path: path})
			}
			drawDir(t, m, path+"/", depth-1, listAll)
		}
	}
}

// drawDiff draws a diff that need not fit any tree.
func drawDiff(t *rapid.T, dirDeletions bool) *manifest.SnapshotDiff {
	tree := drawTree(t, false)
	m := &manifest.SnapshotDiff{HashAlg: tree.HashAlg, ChunkSize: tree.ChunkSize, Files: tree.Files, Dirs: tree.Dirs}
	taken := map[string]bool{}
	for _, f := range m.Files {
		taken[f.Path] = true
	}
	gone := drawTree(t, false)
	for _, f := range gone.Files {
		if !taken[f.Path] {
			taken[f.Path] = true
			m.Files = append(m.Files, manifest.File{Path: f.Path, Deleted: true})
		}
	}
	for _, d := range m.Dirs {
		taken[d.Path] = true
	}
	for _, d := range gone.Dirs {
		if dirDeletions && !taken[d.Path] {
			m.Dirs = append(m.Dirs, manifest.Dir{Path: d.Path, Deleted: true})
		}
	}
	return m
}

// closed returns m with all directories listed and everything sorted.
func closed(m *manifest.Snapshot) *manifest.Snapshot {
	c, err := Compose(m)
	if err != nil {
		panic(err)
	}
	return c
}

// unrooted returns m without the directory ".", which an encoded diff may list to
// have something to refer to.
func unrooted(m *manifest.Snapshot) *manifest.Snapshot {
	m.Dirs = slices.DeleteFunc(m.Dirs, func(d manifest.Dir) bool { return d.Path == "." })
	return m
}

// throughWire returns m as it is read after it was written.
func throughWire[K manifest.Kind](t *rapid.T, m *manifest.Manifest[manifest.Rel, K]) *manifest.Manifest[manifest.Rel, K] {
	var text bytes.Buffer
	if err := manifest.EncodeV2025(&text, any(m).(manifest.Any)); err != nil {
		t.Fatal(err)
	}
	got, err := manifest.DecodeAs[manifest.Rel, K](&text)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// drawDecoded draws a tree as it is decoded: every directory is listed, and so are
// the directories that targets of links would be in.
func drawDecoded(t *rapid.T) *manifest.Snapshot { return unrooted(throughWire(t, drawTree(t, true))) }

func ok[T any](t *rapid.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// valid fails unless m could be written and materialised.
func valid(t *rapid.T, m manifest.Any) {
	t.Helper()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := m.CheckSafe(); err != nil {
		t.Fatal(err)
	}
}

func same(t *rapid.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// Applying the diff from a to b to a gives b, even after the diff was written and
// read, which adds directories to it (spec/gaps.md G-04, G-05).
func TestComposeUndoesDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawDecoded(t), drawDecoded(t)
		beforeA, beforeB := a.Clone(), b.Clone()
		d := ok[*manifest.SnapshotDiff](t)(Diff(a, b, DiffOptions{}))
		valid(t, d)
		want := closed(b)
		same(t, "compose", want, ok[*manifest.Snapshot](t)(Compose(a, d)))
		same(t, "compose after a round trip", want, unrooted(ok[*manifest.Snapshot](t)(Compose(a, throughWire(t, d)))))
		same(t, "first argument", beforeA, a)
		same(t, "second argument", beforeB, b)
	})
}

// Where directories are implied only, one that lost its last file stays, and so do
// those above it: nothing tells that it is gone. That is the only difference.
func TestComposeUndoesDiffUpToImpliedDirectories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTree(t, false), drawTree(t, false)
		d := ok[*manifest.SnapshotDiff](t)(Diff(a, b, DiffOptions{}))
		got, want := ok[*manifest.Snapshot](t)(Compose(a, d)), closed(b)
		same(t, "files", want.Files, got.Files)
		for _, dir := range want.Dirs {
			if !slices.Contains(got.Dirs, dir) {
				t.Fatalf("directory %s is missing", dir.Path)
			}
		}
		for _, dir := range got.Dirs {
			if !slices.Contains(want.Dirs, dir) && !leadsToImplied(a, dir.Path) {
				t.Fatalf("directory %s is too much", dir.Path)
			}
		}
	})
}

// leadsToImplied reports whether there is a directory at or below dir that m does
// not list.
func leadsToImplied(m *manifest.Snapshot, dir string) bool {
	return slices.ContainsFunc(closed(m).Dirs, func(d manifest.Dir) bool {
		_, below := manifest.Within(d.Path, dir)
		return (below || d.Path == dir) && !slices.Contains(m.Dirs, d)
	})
}

// A chain of diffs can be merged in any grouping.
func TestComposeDiffsIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		trees := []*manifest.Snapshot{drawDecoded(t), drawDecoded(t), drawDecoded(t), drawDecoded(t)}
		var d []*manifest.SnapshotDiff
		for i := range 3 {
			one := ok[*manifest.SnapshotDiff](t)(Diff(trees[i], trees[i+1], DiffOptions{ParentHash: manifest.Hash(names[i])}))
			d = append(d, throughWire(t, one))
		}
		before := d[0].Clone()
		merge := func(first *manifest.SnapshotDiff, rest ...*manifest.SnapshotDiff) *manifest.SnapshotDiff {
			m := ok[*manifest.SnapshotDiff](t)(ComposeDiffs(first, rest...))
			valid(t, m)
			return m
		}
		want := closed(trees[3])
		for what, merged := range map[string]*manifest.SnapshotDiff{
			"all at once":   merge(d[0], d[1], d[2]),
			"first two":     merge(merge(d[0], d[1]), d[2]),
			"last two":      merge(d[0], merge(d[1], d[2])),
			"over the wire": throughWire(t, merge(throughWire(t, merge(d[0], d[1])), d[2])),
		} {
			sameButEmptied(t, what, trees[:3], want, unrooted(ok[*manifest.Snapshot](t)(Compose(trees[0], merged))))
			if merged.ParentHash != d[0].ParentHash {
				t.Fatalf("%s: parent hash %q", what, merged.ParentHash)
			}
		}
		same(t, "argument", before, d[0])
	})
}

// sameButEmptied is same, but got may lack empty directories that one of the trees
// before did not have: see ComposeDiffs.
func sameButEmptied(t *rapid.T, what string, before []*manifest.Snapshot, want, got *manifest.Snapshot) {
	t.Helper()
	same(t, what, want.Files, got.Files)
	for _, dir := range got.Dirs {
		if !slices.Contains(want.Dirs, dir) {
			t.Fatalf("%s: directory %s is too much", what, dir.Path)
		}
	}
	for _, dir := range want.Dirs {
		created := slices.ContainsFunc(before, func(m *manifest.Snapshot) bool { return !slices.Contains(closed(m).Dirs, dir) })
		if !created && !slices.Contains(got.Dirs, dir) {
			t.Fatalf("%s: directory %s is missing", what, dir.Path)
		}
	}
}

// Diffs that remove no directories have one effect, merged or not, on any tree at
// all (spec/gaps.md G-40), as long as files do not take the place of directories.
func TestComposeDiffsOnAnyTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, d1, d2 := drawTree(t, false), drawDiff(t, false), drawDiff(t, false)
		suffixFiles(base.Files)
		suffixFiles(d1.Files)
		suffixFiles(d2.Files)
		want := ok[*manifest.Snapshot](t)(Compose(base, d1, d2))
		valid(t, want)
		merged := ok[*manifest.SnapshotDiff](t)(ComposeDiffs(d1, d2))
		sameButEmptied(t, "merged", []*manifest.Snapshot{base}, want, ok[*manifest.Snapshot](t)(Compose(base, merged)))
	})
}

// suffixFiles gives files names that no directory has.
func suffixFiles(files []manifest.File) {
	for i := range files {
		files[i].Path += ".f"
	}
}

func TestComposeGivesTreesThatCanExist(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, d1, d2 := drawTree(t, false), drawDiff(t, true), drawDiff(t, true)
		valid(t, ok[*manifest.Snapshot](t)(Compose(base, d1, d2)))
		valid(t, ok[*manifest.SnapshotDiff](t)(ComposeDiffs(d1, d2)))
	})
}

func TestSubtreeUndoesJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawTree(t, false)
		before := m.Clone()
		prefix := rapid.SampledFrom([]string{"/", "/a", "/x/y/", "C:/", "C:/a"}).Draw(t, "prefix")
		joined := ok[*manifest.AbsSnapshot](t)(Join(m, prefix))
		valid(t, joined)
		same(t, "subtree of join", m, ok[*manifest.Snapshot](t)(Subtree(joined, prefix, CollapseEscaping)))

		relPrefix := rapid.SampledFrom([]string{"a", "x/y/", ".", "./é"}).Draw(t, "relative prefix")
		joinedRel := ok[*manifest.Snapshot](t)(JoinRel(m, relPrefix))
		same(t, "subtree of relative join", m, ok[*manifest.Snapshot](t)(Subtree(joinedRel, relPrefix, CollapseEscaping)))
		same(t, "argument", before, m)
	})
}

// Whatever the links of a tree are, what comes out is sound.
func TestSubtreeIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawTree(t, false)
		before := m.Clone()
		root := rapid.SampledFrom([]string{".", "a", "b", "a/b"}).Draw(t, "root")
		policy := rapid.SampledFrom([]SymlinkPolicy{CollapseEscaping, CollapseAll, ExcludeEscaping, ExcludeAll}).Draw(t, "policy")
		got := ok[*manifest.Snapshot](t)(Subtree(m, root, policy))
		valid(t, got)
		for i := range got.Files {
			if got.Files[i].IsLink() && (policy == CollapseAll || policy == ExcludeAll) {
				t.Fatalf("%s left the link %s", policy, got.Files[i].Path)
			}
		}
		same(t, "argument", before, m)
	})
}

func TestSubtreeOfDiffIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := ok[*manifest.SnapshotDiff](t)(Diff(drawTree(t, false), drawTree(t, false), DiffOptions{}))
		root := rapid.SampledFrom([]string{".", "a", "b"}).Draw(t, "root")
		policy := rapid.SampledFrom([]SymlinkPolicy{CollapseEscaping, CollapseAll}).Draw(t, "policy")
		valid(t, ok[*manifest.SnapshotDiff](t)(Subtree(d, root, policy)))
	})
}

// Nothing is lost by a partition, and nothing is in two parts unless one root lies
// above the other.
func TestPartitionCoversEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawTree(t, false)
		roots := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "a-/b", "😀"}), rapid.ID).Draw(t, "roots")
		parts := ok[[]Part](t)(Partition(m, PartitionOptions{Roots: roots, Symlinks: ExcludeEscaping}))
		for i := range m.Files {
			f := &m.Files[i]
			var holders []string
			for _, p := range parts {
				if rest, inside := manifest.Within(f.Path, p.Root); inside && (f.IsLink() || hasFile(p.Manifest, rest)) {
					holders = append(holders, p.Root)
				}
			}
			if len(holders) == 0 {
				t.Fatalf("%s is in no part", f.Path)
			}
			for j, a := range holders {
				for _, b := range holders[:j] {
					_, aInB := manifest.Within(a, b)
					_, bInA := manifest.Within(b, a)
					if !aInB && !bInA {
						t.Fatalf("%s is in parts %s and %s", f.Path, a, b)
					}
				}
			}
		}
		for i, root := range roots {
			if parts[i].Root != root {
				t.Fatalf("part %d is %s, not %s", i, parts[i].Root, root)
			}
		}
	})
}

func hasFile(m *manifest.Snapshot, path string) bool {
	return slices.ContainsFunc(m.Files, func(f manifest.File) bool { return f.Path == path })
}

// The matcher agrees with the textbook one that tries everything.
func TestGlobAgreesWithBacktracking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "/", "*", "?", "**/", "[ab]", "[!a]", "é"})
		pattern := strings.Join(rapid.SliceOfN(part, 0, 7).Draw(t, "pattern"), "")
		path := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "/", "é"}), 0, 9).Draw(t, "path"), "")
		g, err := compileGlob(pattern)
		if err != nil {
			t.Skip("malformed")
		}
		if got, want := g.match(path), backtrack(g.tokens, path); got != want {
			t.Fatalf("%q on %q: got %t, want %t", pattern, path, got, want)
		}
	})
}

func backtrack(tokens []globToken, path string) bool {
	if len(tokens) == 0 {
		return path == ""
	}
	for first := tokens[0]; first.kind >= globSeq; {
		if backtrack(tokens[1:], path) {
			return true
		}
		if path == "" {
			return false
		}
		path = path[first.step(path):]
	}
	if path == "" {
		return false
	}
	r, n := utf8.DecodeRuneInString(path)
	return tokens[0].matchesRune(r) && backtrack(tokens[1:], path[n:])
}
