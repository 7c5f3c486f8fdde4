package ops

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

// entriesOf makes a manifest of words: "a/b" is a file, "a/" a directory,
// "l>a/b" a link, "-a" and "-a/" are deletions, "a=7" is a file of seven bytes, and
// "a*" is runnable.
func entriesOf[P manifest.PathStyle, K manifest.Kind](words string) *manifest.Manifest[P, K] {
	m := &manifest.Manifest[P, K]{HashAlg: manifest.XXH128, ChunkSize: manifest.WholeFile}
	for _, word := range strings.Fields(words) {
		path, deleted := strings.CutPrefix(word, "-")
		if dir, ok := strings.CutSuffix(path, "/"); ok && path != "/" {
			m.Dirs = append(m.Dirs, manifest.Dir{Path: dir, Deleted: deleted})
			continue
		}
		if path == "/" {
			m.Dirs = append(m.Dirs, manifest.Dir{Path: path, Deleted: deleted})
			continue
		}
		f := manifest.File{Deleted: deleted}
		path, f.Runnable = strings.CutSuffix(path, "*")
		var isLink bool
		if f.Path, f.Target, isLink = strings.Cut(path, ">"); !isLink && !deleted {
			var size string
			f.Path, size, _ = strings.Cut(path, "=")
			f.Size, f.ModTime, f.Hash = int64(len(size)), 1, "h"
		}
		m.Files = append(m.Files, f)
	}
	return m
}

func snap(words string) *manifest.Snapshot      { return entriesOf[manifest.Rel, manifest.Full](words) }
func delta(words string) *manifest.SnapshotDiff { return entriesOf[manifest.Rel, manifest.Diff](words) }
func absSnap(words string) *manifest.AbsSnapshot {
	return entriesOf[manifest.Abs, manifest.Full](words)
}

// wordsOf is the reverse of entriesOf, sorted.
func wordsOf[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K]) string {
	var words []string
	for _, f := range m.Files {
		word := f.Path
		if f.Deleted {
			word = "-" + word
		}
		if f.Target != "" {
			word += ">" + f.Target
		}
		if f.Size > 0 {
			word += "=" + strings.Repeat("x", int(f.Size))
		}
		if f.Runnable {
			word += "*"
		}
		words = append(words, word)
	}
	for _, d := range m.Dirs {
		word := strings.TrimSuffix(d.Path, "/") + "/"
		if d.Deleted {
			word = "-" + word
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// got is the words of a result that must be valid.
func got[P manifest.PathStyle, K manifest.Kind](t *testing.T) func(m *manifest.Manifest[P, K], err error) string {
	return func(m *manifest.Manifest[P, K], err error) string {
		t.Helper()
		must(t, err)
		must(t, m.Validate())
		must(t, m.CheckSafe())
		return wordsOf(m)
	}
}

func sameWords(t *testing.T, want, got string) {
	t.Helper()
	words := strings.Fields(want)
	slices.Sort(words)
	if diff := cmp.Diff(strings.Join(words, " "), got); diff != "" {
		t.Error(diff)
	}
}

func wantInvalid(t *testing.T, err error, substring string) {
	t.Helper()
	if !errors.Is(err, manifest.ErrInvalid) || !strings.Contains(err.Error(), substring) {
		t.Errorf("got error %v, want one that is manifest.ErrInvalid and contains %q", err, substring)
	}
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name, parent, current string
		opts                  DiffOptions
		want                  string
	}{
		{"nothing", "a d/ l>a", "l>a a d/", DiffOptions{}, ""},
		{"new, changed, gone", "a b=x c", "a b=xx d", DiffOptions{}, "b=xx d -c"},
		{"directories", "p/ q/ q/f", "p/ r/", DiffOptions{}, "r/ -q/ -q/f"},
		{"links by target only", "l>a m>a n>a", "l>a m>b n", DiffOptions{}, "m>b n"},
		{"execute bit", "a b*", "a* b*", DiffOptions{}, "a*"},
		{"execute bit kept", "a* b* c=x*", "a b c=xx d*", DiffOptions{PreserveRunnable: true}, "c=xx* d*"},
		{"G-39: a link has no execute bit to keep", "a>b", "a*", DiffOptions{PreserveRunnable: true}, "a*"},
		{"G-04: file becomes directory", "a", "a/ a/b", DiffOptions{}, "-a a/ a/b"},
		{"G-04: directory becomes file", "a/ a/b", "a", DiffOptions{}, "-a/ -a/b a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sameWords(t, tt.want, got[manifest.Rel, manifest.Diff](t)(Diff(snap(tt.parent), snap(tt.current), tt.opts)))
		})
	}
}

func TestDiffOrder(t *testing.T) {
	d, err := Diff(snap("z b/ b/c/ b/cc/ zz/ a"), snap("q/ p/ y x"), DiffOptions{ParentHash: "p"})
	must(t, err)
	var order []string
	for _, f := range d.Files {
		order = append(order, f.Path)
	}
	for _, dir := range d.Dirs {
		order = append(order, dir.Path+"/")
	}
	if got, want := strings.Join(order, " "), "x y a z p/ q/ b/cc/ b/c/ zz/ b/"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d.ParentHash != "p" || d.ChunkSize != manifest.WholeFile {
		t.Errorf("header %q %d", d.ParentHash, d.ChunkSize)
	}
}

func TestDiffHashStates(t *testing.T) {
	hashed, links, none := snap("a"), snap("l>a"), snap("")
	unhashed := hashed.ClearHashes()
	tests := []struct {
		name            string
		parent, current *manifest.Snapshot
		want            string
	}{
		{"hashed and unhashed", hashed, unhashed, "hashed parent manifest against unhashed current"},
		{"unhashed and hashed", unhashed, hashed, "unhashed parent manifest against hashed current"},
		{"both unhashed", unhashed, unhashed, ""},
		{"links only", links, hashed, ""},
		{"links only, unhashed", unhashed, links, ""},
		{"empty", none, unhashed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Diff(tt.parent, tt.current, DiffOptions{})
			if tt.want == "" {
				must(t, err)
			} else {
				wantInvalid(t, err, tt.want)
			}
			d, err := Diff(tt.parent, tt.current, DiffOptions{IgnoreHashes: true})
			must(t, err)
			if tt.want != "" && len(d.Files) != 0 {
				t.Errorf("hashes were not ignored: %+v", d.Files)
			}
		})
	}
}

func TestDiffOfOtherChunkSize(t *testing.T) {
	parent, current := snap(""), snap("a")
	current.ChunkSize = 4
	_, err := Diff(parent, current, DiffOptions{})
	must(t, err) // a whole hash fits any chunk size
	current.Files[0] = manifest.File{Path: "a", Size: 5, Chunks: []manifest.Hash{"x", "y"}}
	_, err = Diff(parent, current, DiffOptions{})
	wantInvalid(t, err, "fileChunkSizeBytes")
}

func TestCompose(t *testing.T) {
	tests := []struct {
		name, base string
		diffs      []string
		want       string
	}{
		{"no diffs: implied directories are listed", "a/b/c d/", nil, "a/b/c a/ a/b/ d/"},
		{"add, change, delete", "a b=x c", []string{"b=xx d -c"}, "a b=xx d"},
		{"delete and add again", "a", []string{"-a", "a=x"}, "a=x"},
		{"a directory that lost its last file stays", "d/a", []string{"-d/a"}, "d/"},
		{"only empty directories are removed", "d/ d/a e/", []string{"-d/ -e/"}, "d/ d/a"},
		{"nested directories are removed", "d/ d/e/ d/e/a", []string{"-d/ -d/e/ -d/e/a"}, ""},
		{"a file deletion removes what is below", "d/ d/e/ d/e/a d-/x", []string{"-d"}, "d-/ d-/x"},
		{"G-04: file becomes directory", "a", []string{"-a a/ a/b"}, "a/ a/b"},
		{"G-04: directory becomes file", "a/ a/b", []string{"-a/ -a/b a"}, "a"},
		{"G-05: a stale deletion creates no directory", "x", []string{"-d/a d/"}, "x"},
		{"G-05: nor does a chain of them", "d/ d/e/ d/e/a", []string{"-d/ -d/e/ -d/e/a", "d/ d/e/ -d/e/a"}, ""},
		{"a new empty directory is created", "x", []string{"d/e/"}, "x d/ d/e/"},
		{"a directory with deletions and additions", "d/a", []string{"d/ -d/a d/b"}, "d/ d/b"},
		{"a new file displaces a directory", "d/ d/a", []string{"d"}, "d"},
		{"a new file displaces a file above it", "d", []string{"d/a"}, "d/ d/a"},
		{"a new directory displaces no file", "d", []string{"d/ d/e/"}, "d"},
		{"links", "a l>a", []string{"l>b m>a"}, "a l>b m>a"},
		{"names around a slash", "a a-/x", []string{"-a a/ a/x"}, "a/ a/x a-/ a-/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var diffs []*manifest.SnapshotDiff
			for _, d := range tt.diffs {
				diffs = append(diffs, delta(d))
			}
			sameWords(t, tt.want, got[manifest.Rel, manifest.Full](t)(Compose(snap(tt.base), diffs...)))
		})
	}
}

func TestComposeAbsolute(t *testing.T) {
	// G-18: the reference lists "/" twice.
	sameWords(t, "/ /a/ /a/b", got[manifest.Abs, manifest.Full](t)(Compose(absSnap("/ /a/b"))))
	sameWords(t, "C:/ C:/a/ C:/a/b", got[manifest.Abs, manifest.Full](t)(Compose(absSnap("C:/a/b"))))
}

// v2023_decode_as_diff_can_feed_compose_snapshot_with_diffs: what a task wrote, laid over
// its inputs.
func TestComposeWithV2023Text(t *testing.T) {
	var text strings.Builder
	must(t, manifest.EncodeV2023(&text, snap("b=xx d/e")))
	d, err := manifest.DecodeAs[manifest.Rel, manifest.Diff](strings.NewReader(text.String()))
	must(t, err)
	sameWords(t, "a b=xx d/ d/c d/e", got[manifest.Rel, manifest.Full](t)(Compose(snap("a b=x d/ d/c"), d)))
}

func TestComposeDiffs(t *testing.T) {
	tests := []struct {
		name  string
		diffs []string
		want  string
	}{
		{"one", []string{"a -b d/ -e/"}, "a -b d/ -e/"},
		{"later entries win", []string{"a=x b", "a=xx c"}, "a=xx b c"},
		{"G-10: a deletion stays what it was", []string{"-a -d/"}, "-a -d/"},
		{"G-10: add then delete", []string{"a", "-a"}, "-a"},
		{"delete then add", []string{"-a", "a"}, "a"},
		{"a directory comes back with a file", []string{"-d/", "d/e/a"}, "d/ d/e/ d/e/a"},
		{"a directory goes with its files", []string{"d/ d/a", "-d/ -d/a"}, "-d/ -d/a"},
		{"a directory stays when it is not empty", []string{"d/ d/a", "-d/"}, "d/ d/a"},
		{"G-40: a file deletion removes what is below", []string{"x/a x/b/c", "-x"}, "-x"},
		{"file to directory", []string{"-a", "a/ a/b"}, "-a a/ a/b"},
		{"file to directory to nothing", []string{"-a a/ a/b", "-a/ -a/b"}, "-a"},
		{"directory to file", []string{"-a/ -a/b", "a"}, "-a/ -a/b a"},
		{"directory to file to nothing", []string{"-a/ -a/b a", "-a"}, "-a/ -a/b"},
		{"implied directory to file to nothing", []string{"-a/b a", "-a"}, "-a/ -a/b"},
		{"directory to file to directory", []string{"-a/ -a/b a", "-a a/ a/c"}, "-a/b a/ a/c"},
		{"file to directory to file", []string{"-a a/ a/b", "-a/ -a/b a=x"}, "a=x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			diffs := []*manifest.SnapshotDiff{}
			for _, d := range tt.diffs {
				diffs = append(diffs, delta(d))
			}
			diffs[0].ParentHash = "p"
			m, err := ComposeDiffs(diffs[0], diffs[1:]...)
			sameWords(t, tt.want, got[manifest.Rel, manifest.Diff](t)(m, err))
			if m.ParentHash != "p" {
				t.Errorf("parent hash %q", m.ParentHash)
			}
		})
	}
}

func TestComposeChunkSizes(t *testing.T) {
	other := delta("a")
	other.ChunkSize = 7
	_, err := Compose(snap("a"), delta("b"), other)
	wantInvalid(t, err, "file_chunk_size_bytes")
	_, err = ComposeDiffs(delta("b"), other)
	wantInvalid(t, err, "file_chunk_size_bytes")
	_, err = ComposeDiffs[manifest.Rel](nil)
	wantInvalid(t, err, "empty list")
}

func TestFilterKeepsTheRest(t *testing.T) {
	m := delta("src/a.c src/b.o -src/c.o lib/ -obj/ l.o>src")
	m.ParentHash = "p"
	before := m.Clone()
	f, err := NewGlobFilter(nil, []string{"*.o", "o*"})
	must(t, err)
	out := Filter(m, f.Keep)
	sameWords(t, "src/a.c lib/", wordsOf(out))
	if out.ParentHash != "p" || out.ChunkSize != m.ChunkSize || out.HashAlg != m.HashAlg {
		t.Errorf("header changed: %+v", out)
	}
	if diff := cmp.Diff(before, m); diff != "" {
		t.Errorf("the argument changed: %s", diff)
	}
	big := Filter(snap("a=x b=xxx d/"), func(e Entry) bool { return e.File == nil || e.File.Size > 1 })
	sameWords(t, "b=xxx d/", wordsOf(big))
}

func TestGlobErrors(t *testing.T) {
	for _, pattern := range []string{"a**", "**a", "***", "a/**b", "[", "[a", "[!", "[]", "[!]", "a/[b"} {
		_, err := NewGlobFilter([]string{"ok"}, []string{pattern})
		wantInvalid(t, err, pattern)
	}
	f, err := NewGlobFilter([]string{"*.c", "**/x"}, []string{"[a-c]*"})
	must(t, err)
	if got, want := f.String(), `include ["*.c" "**/x"], exclude ["[a-c]*"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A pattern of many stars must not take exponential time.
func TestGlobOfManyStars(t *testing.T) {
	f, err := NewGlobFilter([]string{strings.Repeat("*a", 40) + "b", strings.Repeat("**/a/", 40) + "b"}, nil)
	must(t, err)
	if f.Match(strings.Repeat("a/", 2000)) {
		t.Error("matched")
	}
}

func TestSubtree(t *testing.T) {
	tests := []struct {
		name, tree, root string
		policy           SymlinkPolicy
		want             string
	}{
		{"below a directory", "a/x a/b/y a-/z ab/z a/ a/e/", "a", CollapseEscaping, "x b/y e/"},
		{"identity", "a/x l>a/x d/", "", CollapseEscaping, "a/x l>a/x d/"},
		{"G-17: link to the root", "a/l>a a/x", "a", CollapseEscaping, "l>. x"},
		{"link to a file outside", "a/l>b b=x", "a", CollapseEscaping, "l=x"},
		{"link to a file outside, excluded", "a/l>b a/m>a/x b=x", "a", ExcludeEscaping, "m>x"},
		{"all links excluded", "a/l>b a/m>a/x b=x", "a", ExcludeAll, ""},
		{"dangling link outside", "a/l>b", "a", CollapseEscaping, ""},
		{"dangling link inside", "a/l>a/b", "a", CollapseEscaping, "l>b"},
		{"cycles", "a/l>a/l a/m>a/n a/n>a/m", "a", CollapseAll, ""},
		{"link to a directory outside", "a/l>b b/x b/c/y", "a", CollapseEscaping, "l/ l/x l/c/y"},
		{"G-36: link to an empty directory", "a/l>b b/ b/c/", "a", CollapseEscaping, "l/ l/c/"},
		{"G-36: chain to a directory", "a/l>m m>b b/x", "a", CollapseEscaping, "l/ l/x"},
		{"a link in the middle of a target", "a/l>m/x m>b b/x=y", "a", CollapseEscaping, "l=x"},
		{"G-14: link inside a copy, into the copy", "a/l>b b/x b/m>b/x b/n>b", "a", CollapseEscaping, "l/ l/x l/m>l/x l/n>l"},
		{"G-14: link inside a copy, into the root", "a/l>b a/x b/m>a/x", "a", CollapseEscaping, "x l/ l/m>x"},
		{"G-14: link inside a copy, elsewhere", "a/l>b b/m>c c=x", "a", CollapseEscaping, "l/ l/m=x"},
		{"G-14: link inside a copy, to a directory elsewhere", "a/l>b b/m>c c/x c/n>b", "a", CollapseEscaping, "l/ l/m/ l/m/x l/m/n>l"},
		{"directory that holds the link itself", "a/x a/l>a", ".", CollapseAll, "a/x a/l/ a/l/x"},
		{"directories that hold each other", "a/l>b b/l>a a/x b/y", ".", CollapseAll, "a/x b/y a/l/ a/l/y a/l/l/ a/l/l/x b/l/ b/l/x b/l/l/ b/l/l/y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sameWords(t, tt.want, got[manifest.Rel, manifest.Full](t)(Subtree(snap(tt.tree), tt.root, tt.policy)))
		})
	}
}

func TestSubtreeOfDiff(t *testing.T) {
	tests := []struct{ name, diff, root, want string }{
		{"deletions", "a/x -a/y -a/d/ -b", "a", "x -y -d/"},
		{"link to a deleted file", "a/l>b -b", "a", "-l"},
		{"copy over deletions", "a/l>b -a/l/ -a/l/x -a/l/z b/x", "a", "l/ l/x -l/z"},
		{"copy of deletions over deletions", "a/l>b -a/l/ -a/l/x -b/x b/y", "a", "l/ -l/x l/y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := delta(tt.diff)
			m.ParentHash = "p"
			out, err := Subtree(m, tt.root, CollapseEscaping)
			sameWords(t, tt.want, got[manifest.Rel, manifest.Diff](t)(out, err))
			if out.ParentHash != "" {
				t.Error("the hash of the parent is of another tree")
			}
		})
	}
}

func TestSubtreeRefuses(t *testing.T) {
	_, err := Subtree(absSnap("/a/b"), "a", CollapseEscaping)
	wantInvalid(t, err, "relative")
	_, err = Subtree(absSnap("/a/b"), ".", CollapseEscaping)
	wantInvalid(t, err, "relative")
	_, err = Subtree(snap("a/b"), "/a", CollapseEscaping)
	wantInvalid(t, err, "absolute")
	_, err = Subtree(snap("a/b"), "a", Preserve)
	wantInvalid(t, err, "symlink_policy preserve is not supported for subtree")
	_, err = Subtree(snap("a/b"), "a", TransitiveIncludeTargets)
	wantInvalid(t, err, "transitive_include_targets")
}

func TestJoin(t *testing.T) {
	tests := []struct{ prefix, want string }{
		{"/", "/a /d/e/ /l>/a /r>/ /"},
		{"/x/../y/", "/y/a /y/d/e/ /y/l>/y/a /y/r>/y /y/"},
		{"C:/p", "C:/p/a C:/p/d/e/ C:/p/l>C:/p/a C:/p/r>C:/p C:/p/"},
	}
	for _, tt := range tests {
		t.Run(tt.prefix, func(t *testing.T) {
			sameWords(t, tt.want, got[manifest.Abs, manifest.Full](t)(Join(snap("a d/e/ l>a r>. ./"), tt.prefix)))
		})
	}
	sameWords(t, "x/y/a -x/y/b -x/y/d/", got[manifest.Rel, manifest.Diff](t)(JoinRel(delta("a -b -d/"), "./x//y")))
}

func TestJoinRefuses(t *testing.T) {
	_, err := Join(snap("a"), "")
	wantInvalid(t, err, "empty")
	_, err = JoinRel(snap("a"), "")
	wantInvalid(t, err, "empty")
	_, err = Join(snap("a"), "x")
	wantInvalid(t, err, "must be absolute")
	_, err = JoinRel(snap("a"), "/x")
	wantInvalid(t, err, "must be relative")
	_, err = Join(snap("../a"), "/x") // G-30
	wantInvalid(t, err, "leaves the root")
	_, err = Join(snap("l>../a"), "/x")
	wantInvalid(t, err, "leaves the root")
	_, err = JoinRel(snap("../d/"), "x")
	wantInvalid(t, err, "leaves the root")
}

func TestPartition(t *testing.T) {
	tests := []struct {
		name, tree string
		opts       PartitionOptions
		want       string // "root: words; root: words"
	}{
		{"single", "/a/b/f", PartitionOptions{}, "/a/b: f"},
		{"nothing in common", "/a/f /b/f", PartitionOptions{}, "/: a/f b/f"},
		{"component boundary", "/ab/f /ac/f", PartitionOptions{}, "/: ab/f ac/f"},
		{"empty", "", PartitionOptions{}, ""},
		{"empty with roots", "", PartitionOptions{Roots: []string{"/b", "/a"}}, "/b: ; /a: "},
		{"remainder", "/p/x /d/s/x /h/u/c/y", PartitionOptions{Roots: []string{"/p"}}, "/p: x; /d/s: x; /h/u/c: y"},
		{"remainder with a common directory", "/p/x /d/s/x /d/t/y", PartitionOptions{Roots: []string{"/p"}}, "/p: x; /d: s/x t/y"},
		{"referenced", "/p/src/m", PartitionOptions{ReferencedPaths: []string{"/p/out"}}, "/p: src/m"},
		{"auto root above a given one", "/x/y/a /x/z/b /x/c", PartitionOptions{Roots: []string{"/x/y"}}, "/x/y: a; /x: c y/a z/b"},
		{"link across parts", "/a/l>/b/f /b/f=x /c/g", PartitionOptions{Roots: []string{"/a", "/b", "/c"}}, "/a: l=x; /b: f=x; /c: g"},
		{"something at the very top", "/p/x /d/s/x /f", PartitionOptions{Roots: []string{"/p"}}, "/p: x; /: d/s/x f p/x"},
		{"G-19: drives", "C:/a/x C:/b/y D:/c/z", PartitionOptions{}, "C:/: a/x b/y; D:/c: z"},
		{"G-19: slash covers everything", "/a/f /f", PartitionOptions{Roots: []string{"/"}}, "/: a/f f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			parts, err := Partition(absSnap(tt.tree), tt.opts)
			must(t, err)
			sameParts(t, tt.want, parts)
		})
	}
	parts, err := Partition(snap("a/x b/y"), PartitionOptions{}) // G-19
	must(t, err)
	sameParts(t, ".: a/x b/y", parts)
}

func sameParts(t *testing.T, want string, parts []Part) {
	t.Helper()
	var list []string
	for _, p := range parts {
		must(t, p.Manifest.Validate())
		list = append(list, p.Root+": "+wordsOf(p.Manifest))
	}
	if got := strings.Join(list, "; "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPartitionRefuses(t *testing.T) {
	tests := []struct {
		name string
		opts PartitionOptions
		want string
	}{
		{"nested roots", PartitionOptions{Roots: []string{"/a/b", "/a"}}, "root '/a/b' is a subpath of root '/a'"},
		{"G-19: root below slash", PartitionOptions{Roots: []string{"/", "/a"}}, "root '/a' is a subpath of root '/'"},
		{"G-19: equal roots", PartitionOptions{Roots: []string{"/a", "/a/"}}, "given twice"},
		{"relative root", PartitionOptions{Roots: []string{"a"}}, "relative root"},
		{"relative reference", PartitionOptions{ReferencedPaths: []string{"a"}}, "relative referenced path"},
		{"policy", PartitionOptions{Symlinks: Preserve}, "not supported for partition"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Partition(absSnap("/a/b/c"), tt.opts)
			wantInvalid(t, err, tt.want)
		})
	}
}
