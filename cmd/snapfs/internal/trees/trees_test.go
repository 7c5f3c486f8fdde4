package trees

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

func TestCollectSelected(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{"a.txt", "src/main.go", "src/deep/x.txt", "build/out.o", "docs/a.md"} {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(path), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name             string
		include, exclude []string
		want             []string
	}{
		{"all", nil, nil, []string{"a.txt", "build/", "build/out.o", "docs/", "docs/a.md", "empty/", "src/", "src/deep/", "src/deep/x.txt", "src/main.go"}},
		{"a directory stands for what lies below", []string{"src"}, nil, []string{"src/", "src/deep/", "src/deep/x.txt", "src/main.go"}},
		{"files bring their directories", []string{"*.txt"}, nil, []string{"a.txt", "src/", "src/deep/", "src/deep/x.txt"}},
		{"excluded directory", nil, []string{"src", "build", "docs"}, []string{"a.txt", "empty/"}},
		{"excluded files leave their directory", nil, []string{"*.o", "src", "docs", "a*"}, []string{"build/", "empty/"}},
		{"exclude beats include", []string{"src"}, []string{"**/deep"}, []string{"src/", "src/main.go"}},
		{"nothing", []string{"nope"}, nil, []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sel, err := NewSelection(tt.include, tt.exclude)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := Collect(t.Context(), root, Options{Select: sel})
			if err != nil {
				t.Fatal(err)
			}
			rel, err := tree.Relative(tree.Manifest)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, paths(rel)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// paths lists the entries of m, sorted, directories with a slash.
func paths(m *manifest.Snapshot) []string {
	byPath := map[string]string{}
	for _, f := range m.Files {
		byPath[f.Path] = f.Path
	}
	for _, d := range m.Dirs {
		byPath[d.Path] = d.Path + "/"
	}
	list := []string{}
	for _, p := range slices.Sorted(maps.Keys(byPath)) {
		list = append(list, byPath[p])
	}
	return list
}

func TestSelection(t *testing.T) {
	sel, err := NewSelection([]string{"a", "*.go"}, []string{"a/b"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"a": true, "a/x": true, "a/b": false, "a/b/c.go": false, "x/y.go": true, "x/y": false, "ab": false,
	} {
		if got := sel.Match(path); got != want {
			t.Errorf("Match(%q) = %v", path, got)
		}
	}
	if _, err := NewSelection([]string{"["}, nil); err == nil {
		t.Error("malformed pattern accepted")
	}
}
