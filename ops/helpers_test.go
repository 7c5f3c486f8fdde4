package ops

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/snapfs/snapfs/manifest"
)

// vectorTime is the modification time that the golden trees use.
var vectorTime = time.Unix(1_000_000_000, 0)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o600))
	must(t, os.Chmod(path, mode))
}

func sortedKeys(set map[string]bool) []string {
	return slices.Sorted(maps.Keys(set))
}

// collect is Collect that must succeed.
func collect(t testing.TB, opts CollectOptions, roots ...string) *manifest.AbsSnapshot {
	t.Helper()
	m, err := Collect(t.Context(), roots, opts)
	must(t, err)
	return m
}

// filePaths returns the paths of the files of m below root, links as "path -> target".
func filePaths(m *manifest.AbsSnapshot, root string) []string {
	var out []string
	rel := func(p string) string {
		if r, err := filepath.Rel(root, p); err == nil {
			return r
		}
		return p
	}
	for _, f := range m.Files {
		text := rel(f.Path)
		if f.Target != "" {
			text += " -> " + rel(f.Target)
		}
		out = append(out, text)
	}
	return out
}

func dirPaths(m *manifest.AbsSnapshot, root string) []string {
	var out []string
	for _, d := range m.Dirs {
		r, err := filepath.Rel(root, d.Path)
		if err != nil {
			r = d.Path
		}
		out = append(out, r)
	}
	return out
}
