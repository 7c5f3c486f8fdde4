package ops

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

// collectVector is one line of testdata/vectors/collect.jsonl: a real tree, the
// arguments, and what the reference answered.
type collectVector struct {
	Name     string
	Tree     [][]any
	Dirs     []string
	Files    []string
	Optional []string
	Symlinks string
	Chunk    int64
	Expect   struct {
		OK    *struct{ V2025 string }
		Error string
	}
}

// The cases list link-in-inlined-directory results of collapse-all as the reference
// gives them: a link that stays inside an inlined directory remains a link.
func TestCollectVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors/collect.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range bytes.Lines(text) {
		var v collectVector
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		count++
		t.Run(v.Name, func(t *testing.T) { v.run(t) })
	}
	if count != 26 {
		t.Errorf("%d cases, want 26", count)
	}
}

func (v *collectVector) run(t *testing.T) {
	root := filepath.Join(t.TempDir(), "r")
	buildTree(t, root, v.Tree)
	under := func(list []string) (abs []string) {
		for _, p := range list {
			abs = append(abs, filepath.Join(root, p))
		}
		return abs
	}
	opts := CollectOptions{Filenames: under(v.Files), OptionalFilenames: under(v.Optional), ChunkSize: v.Chunk}
	if v.Symlinks != "" {
		var err error
		if opts.Symlinks, err = ParseSymlinkPolicy(v.Symlinks); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Collect(t.Context(), under(v.Dirs), opts)
	switch v.Expect.Error {
	case "":
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(expectedTree(t, v.Expect.OK.V2025, root), treeOf(got)); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
	case "not-found":
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v, want an error that is os.ErrNotExist", err)
		}
	case "validation":
		if !errors.Is(err, manifest.ErrInvalid) {
			t.Errorf("got %v, want an error that is manifest.ErrInvalid", err)
		}
	default:
		t.Fatalf("unknown error class %q", v.Expect.Error)
	}
}

// buildTree makes the tree that the lines ["dir", path], ["file", path, size, mode]
// and ["link", path, target] describe.
func buildTree(t *testing.T, root string, lines [][]any) {
	t.Helper()
	must(t, os.MkdirAll(root, 0o755))
	for _, l := range lines {
		at := filepath.Join(root, l[1].(string))
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		switch l[0] {
		case "dir":
			must(t, os.MkdirAll(at, 0o755))
		case "file":
			writeFile(t, at, strings.Repeat("x", int(l[2].(float64))), os.FileMode(l[3].(float64)))
			must(t, os.Chtimes(at, vectorTime, vectorTime))
		case "link":
			must(t, os.Symlink(l[2].(string), at))
		}
	}
}

// flatTree is a manifest in a form that does not depend on how it is encoded.
// Directories include every ancestor, because v2025 names those too.
type flatTree struct {
	ChunkSize int64
	Files     []manifest.File
	Dirs      []string
}

func treeOf(m *manifest.AbsSnapshot) flatTree {
	dirs := map[string]bool{}
	add := func(p string) {
		for ; p != "/"; p = path.Dir(p) {
			dirs[p] = true
		}
	}
	for _, f := range m.Files {
		add(path.Dir(f.Path))
		if f.Target != "" {
			add(path.Dir(f.Target))
		}
	}
	for _, d := range m.Dirs {
		add(d.Path)
	}
	return flatTree{m.ChunkSize, m.Files, sortedKeys(dirs)}
}

// expectedTree reads the part of v2025 that unhashed absolute snapshots use, moved
// to root.
func expectedTree(t *testing.T, text, root string) flatTree {
	t.Helper()
	type link struct{ Name string }
	var doc struct {
		Dirs  []struct{ Name string }
		Files []struct {
			Name        string
			Size, Mtime int64
			Runnable    bool
			Symlink     *link
		}
		FileChunkSizeBytes int64
	}
	must(t, json.NewDecoder(bufio.NewReader(strings.NewReader(text))).Decode(&doc))
	var names []string
	expand := func(name string) string {
		if rest, ok := strings.CutPrefix(name, "$"); ok {
			number, base, _ := strings.Cut(rest, "/")
			var n int
			must(t, json.Unmarshal([]byte(number), &n))
			return names[n] + "/" + base
		}
		return name
	}
	for _, d := range doc.Dirs {
		names = append(names, expand(d.Name))
	}
	from := ""
	for _, n := range names {
		if strings.HasPrefix(n, "/tmp/") && strings.HasSuffix(n, "/r") && strings.Count(n, "/") == 3 {
			from = n
		}
	}
	move := func(p string) string { return root + strings.TrimPrefix(p, from) }
	out := flatTree{ChunkSize: doc.FileChunkSizeBytes}
	dirs := map[string]bool{}
	for p := root; p != "/"; p = path.Dir(p) {
		dirs[p] = true
	}
	for _, n := range names {
		if strings.HasPrefix(n, from) {
			dirs[move(n)] = true
		}
	}
	for _, f := range doc.Files {
		file := manifest.File{Path: move(expand(f.Name)), Size: f.Size, ModTime: f.Mtime, Runnable: f.Runnable}
		if f.Symlink != nil {
			file.Target = move(expand(f.Symlink.Name))
		}
		out.Files = append(out.Files, file)
	}
	slices.SortFunc(out.Files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	out.Dirs = sortedKeys(dirs)
	return out
}
