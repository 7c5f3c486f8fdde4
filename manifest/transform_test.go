package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommonRoot(t *testing.T) {
	// "f" and "d" stand for files and directories, a leading "-" for a deletion.
	tests := []struct{ entries, want string }{
		{"f /foo/bar/baz.txt", "/foo/bar"},
		{"d /foo/bar", "/foo/bar"},
		{"f /baz.txt", "/"},
		{"f foo/bar/b", "foo/bar"},
		{"f b", "."},
		{"f foo/a, f bar/b", "."},
		{"d .", "."},
		{"f foo/x, d .", "foo"},
		{"f /a/b/c/x, f /a/b/d/y", "/a/b"},
		{"f /a/b.txt, d /c", "/"},
		{"f /a/c.txt, d /a, d /a/b", "/a"},
		{"f /a/b/c.txt, d /", "/a/b"},
		{"f /app/bar/x, f /app/baz/y", "/app"},
		{"f C:/foo.txt", "C:/"},
		{"f C:/foo/a, f C:/bar/b", "C:/"},
		{"f C:/foo/a, f D:/bar/b", "none"},
		{"-f /a/b.txt, d /a", "/a"},
		{"-f /a/b.txt, -d /a", "none"},
		{"", "none"},
		{"f /a.txt, f /b/c.txt", "/"},
		{"d /a, d /ab", "/"},
	}
	for _, tt := range tests {
		t.Run(tt.entries, func(t *testing.T) {
			var m AbsSnapshotDiff // CommonRoot does not depend on the style
			for entry := range strings.SplitSeq(tt.entries, ", ") {
				kind, path, _ := strings.Cut(entry, " ")
				deleted := strings.HasPrefix(kind, "-")
				switch {
				case strings.HasSuffix(kind, "f"):
					m.Files = append(m.Files, File{Path: path, Deleted: deleted})
				case strings.HasSuffix(kind, "d"):
					m.Dirs = append(m.Dirs, Dir{Path: path, Deleted: deleted})
				}
			}
			got, ok := m.CommonRoot()
			if !ok {
				got = "none"
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestClearHashes(t *testing.T) {
	link := File{Path: "l", Target: "a"}
	m := relDiff([]File{hashed("a"), {Path: "b", Size: 5, Chunks: []Hash{"x", "y"}, Runnable: true}, link, {Path: "c", Deleted: true}}, Dir{Path: "d"})
	before := m.Clone()
	want := relDiff([]File{{Path: "a", Size: 1, ModTime: 1}, {Path: "b", Size: 5, Runnable: true}, link, {Path: "c", Deleted: true}}, Dir{Path: "d"})
	if diff := cmp.Diff(want, m.ClearHashes()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, m); diff != "" {
		t.Errorf("the argument changed: %s", diff)
	}
}

func TestPaths(t *testing.T) {
	parents := map[string]string{"/x": "/", "/": "/", "C:/x": "C:/", "C:/": "C:/", "x": ".", ".": ".", "a/b/c": "a/b", "/a/b": "/a"}
	for path, want := range parents {
		if got := Parent(path); got != want {
			t.Errorf("Parent(%q) = %q, want %q", path, got, want)
		}
	}
	within := []struct{ path, dir, want string }{
		{"a/b", "a", "b"}, {"/a", "/", "a"}, {"C:/a", "C:/", "a"}, {"a/b", ".", "a/b"},
		{"ab/c", "a", "-"}, {"a", "a", "-"}, {"/a", ".", "-"}, {"a", "a/b", "-"}, {".", ".", "-"}, {"/", "/", "-"},
	}
	for _, tt := range within {
		got, ok := Within(tt.path, tt.dir)
		if !ok {
			got = "-"
		}
		if got != tt.want {
			t.Errorf("Within(%q, %q) = %q, want %q", tt.path, tt.dir, got, tt.want)
		}
	}
}

// Spec/gaps.md G-20: drives are what the reference makes of them, on every system, but a
// character of several bytes after the colon is dropped as a whole instead of a panic, and
// the double slash of UNC paths becomes one.
func TestNormalizeDrives(t *testing.T) {
	for path, want := range map[string]string{
		"C:": "C:/", "C:a/b": "C:/b", "C:é": "C:/", "C:é/x": "C:/x", "C:日本/x": "C:/本/x", "c:x": "c:/", "//server/share": "/server/share", `\\server\share`: `\\server\share`,
	} {
		if got := NormalizePath(path); got != want {
			t.Errorf("NormalizePath(%q) = %q, want %q", path, got, want)
		}
	}
	if !IsAbsPath("c:x") || !IsAbsPath(`\\server`) || IsAbsPath(`\server`) || IsAbsPath("é:x") {
		t.Error("the absolute paths are others than those of the reference")
	}
}

func TestComparePaths(t *testing.T) {
	inOrder := []string{"", "Z", "a", "a b", "a-b/x", "a/b/x", "a/x", "ab", "é", "\u07ff", "\ud7ff", "😀", "😁", "\ue000", "\ufffd"}
	for i, a := range inOrder {
		for j, b := range inOrder {
			got := ComparePaths(a, b)
			if (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("ComparePaths(%q, %q) = %d", a, b, got)
			}
		}
	}
}
