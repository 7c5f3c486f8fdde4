package manifest

import (
	"strings"
	"testing"
)

const testHash = "99aa06d3014798d86001c324468d497f"

func hashed(path string) File { return File{Path: path, Size: 1, ModTime: 1, Hash: testHash} }

func rel(files []File, dirs ...Dir) *Snapshot {
	return &Snapshot{HashAlg: XXH128, ChunkSize: 4, Files: files, Dirs: dirs}
}

func relDiff(files []File, dirs ...Dir) *SnapshotDiff {
	return &SnapshotDiff{HashAlg: XXH128, ChunkSize: 4, Files: files, Dirs: dirs}
}

func abs(files []File, dirs ...Dir) *AbsSnapshot {
	return &AbsSnapshot{HashAlg: XXH128, ChunkSize: 4, Files: files, Dirs: dirs}
}

func TestValidate(t *testing.T) {
	chunked := func(size int64, chunks ...Hash) []File {
		return []File{{Path: "f", Size: size, Chunks: chunks}}
	}
	tests := []struct {
		name string
		m    Any
		want string // substring of the error, "" for none
	}{
		{"empty", rel(nil), ""},
		{"relative", rel([]File{hashed("a/b")}, Dir{Path: "a"}), ""},
		{"absolute", abs([]File{hashed("/a/b")}, Dir{Path: "/"}), ""},
		{"absolute with a drive", abs([]File{hashed("C:/a")}), ""},
		{"chunk size zero", &Snapshot{}, "Manifest validation error: invalid fileChunkSizeBytes: got 0, must be -1 (WHOLE_FILE_CHUNK_SIZE) or a positive integer"},
		{"chunk size -2", &Snapshot{ChunkSize: -2}, "invalid fileChunkSizeBytes: got -2"},
		{"empty path", rel([]File{hashed("")}), "must not be empty"},
		{"empty directory path", rel(nil, Dir{}), "must not be empty"},
		{"absolute path in a relative kind", rel([]File{hashed("/a")}), "expected relative path, got: /a"},
		{"drive in a relative kind", rel([]File{hashed("c:foo")}), "expected relative path, got: c:foo"},
		{"relative path in an absolute kind", abs([]File{hashed("a")}), "expected absolute path, got: a"},
		{"deleted file in a snapshot", rel([]File{{Path: "a", Deleted: true}}), "deleted"},
		{"deleted directory in a snapshot", rel(nil, Dir{Path: "a", Deleted: true}), "deleted"},
		{"deleted file in a diff", relDiff([]File{{Path: "a", Deleted: true}}), ""},
		{"deleted and runnable", relDiff([]File{{Path: "a", Deleted: true, Runnable: true}}), ""},
		{"deleted with a size", relDiff([]File{{Path: "a", Deleted: true, Size: 1}}), "no data fields"},
		{"deleted with a target", relDiff([]File{{Path: "a", Deleted: true, Target: "b"}}), "no data fields"},
		{"link", rel([]File{{Path: "a", Target: "b"}}), ""},
		{"link with a size", rel([]File{{Path: "a", Target: "b", Size: 3}}), ""},
		{"link with an absolute target", rel([]File{{Path: "a", Target: "/b"}}), "symlink_target"},
		{"link with a hash", rel([]File{{Path: "a", Target: "b", Hash: testHash}}), "symlink must not have hash"},
		{"hash and chunks", rel([]File{{Path: "a", Size: 8, Hash: testHash, Chunks: []Hash{"x", "y"}}}), "at most one of"},
		{"unhashed", rel([]File{{Path: "a", Size: 8}}), ""},
		{"negative size", rel([]File{{Path: "a", Size: -1}}), "negative size"},
		{"sizes overflow", rel([]File{{Path: "a", Size: 1 << 62}, {Path: "b", Size: 1 << 62}}), "overflows at b"},
		{"chunks", rel(chunked(10, "x", "y", "z")), ""},
		{"chunks of a multiple", rel(chunked(8, "x", "y")), ""},
		{"too few chunks", rel(chunked(10, "x", "y")), "should have 3 chunks"},
		{"chunks of a small file", rel(chunked(4, "x")), "must have size > 4"},
		{"chunks without chunking", &Snapshot{ChunkSize: WholeFile, Files: chunked(10, "x")}, "no chunking (fileChunkSizeBytes=-1)"},
		{"huge size with chunks", rel(chunked(1<<62, "x")), "should have 1152921504606846976 chunks"},
		{"duplicate file", rel([]File{hashed("a"), hashed("a")}), "duplicate path: a"},
		{"duplicate file, not sorted", rel([]File{hashed("b"), hashed("a"), hashed("b")}), "duplicate path: b"},
		{"duplicate directory", rel(nil, Dir{Path: "a"}, Dir{Path: "a"}), "duplicate path: a"},
		{"file and directory", rel([]File{hashed("a"), hashed("b")}, Dir{Path: "b"}), "duplicate path: b"},
		{"file and directory, not sorted", rel([]File{hashed("b"), hashed("a")}, Dir{Path: "b"}), "duplicate path: b"},
		{"G-04: file becomes directory", relDiff([]File{{Path: "a", Deleted: true}}, Dir{Path: "a"}), ""},
		{"G-04: directory becomes file", relDiff([]File{hashed("a")}, Dir{Path: "a", Deleted: true}), ""},
		{"G-04: not sorted", relDiff([]File{hashed("b"), hashed("a")}, Dir{Path: "a", Deleted: true}), ""},
		{"deleted twice", relDiff([]File{{Path: "a", Deleted: true}}, Dir{Path: "a", Deleted: true}), "duplicate path: a"},
		{"live twice", relDiff([]File{hashed("a")}, Dir{Path: "a"}), "duplicate path: a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkError(t, tt.m.Validate(), tt.want) })
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return
	}
	wantInvalid(t, err)
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not contain %q", err, want)
	}
}

// hostile lists manifests that Validate accepts and nobody should materialise
// (spec/gaps.md G-30, G-31).
var hostile = []struct {
	name string
	m    Any
	want string
}{
	{"path escapes", rel([]File{hashed("../a")}), `must not contain ".."`},
	{"path is the parent", rel([]File{hashed("..")}), `must not contain ".."`},
	{"directory escapes", rel(nil, Dir{Path: "../../a"}), `must not contain ".."`},
	{"deletion escapes", relDiff([]File{{Path: "../a", Deleted: true}}), `must not contain ".."`},
	{"target escapes", rel([]File{{Path: "a", Target: "../b"}}), "symlink target of a"},
	{"target climbs through a link", rel([]File{{Path: "a", Target: "."}, {Path: "b", Target: "a/../x"}}), "symlink target of b"},
	{"absolute target climbs", abs([]File{{Path: "/a", Target: "/b/../../c"}}), "symlink target of /a"},
	{"not in normal form", rel([]File{hashed("a//b")}), "normal form"},
	{"not in normal form: dot", rel([]File{hashed("./b")}), "normal form"},
	{"not in normal form: slash", rel(nil, Dir{Path: "a/"}), "normal form"},
	{"NUL in a path", rel([]File{hashed("a\x00b")}), "NUL"},
	{"NUL in a target", rel([]File{{Path: "a", Target: "b\x00"}}), "NUL"},
	{"not UTF-8", rel([]File{hashed("a\xff")}), "UTF-8"},
	{"long component", rel([]File{hashed("a/" + strings.Repeat("x", 256))}), "longer than 255 bytes"},
	{"long path", rel([]File{hashed(strings.Repeat("x/", 2047) + "xx")}), "longer than 4095 bytes"},
	{"root is a file", rel([]File{hashed(".")}), "cannot be the root"},
	{"root is a link", abs([]File{{Path: "/", Target: "/etc"}}), "cannot be the root"},
	{"below a link", rel([]File{{Path: "a", Target: "b"}, hashed("a/x")}), `"a/x" is below "a"`},
	{"below a file", rel([]File{hashed("a"), hashed("a/b/c/x")}), `"a/b/c/x" is below "a"`},
	{"below a file, not sorted", rel([]File{hashed("a/x"), hashed("a")}), `"a/x" is below "a"`},
	{"below a file, names between", rel([]File{hashed("a"), hashed("a-b"), hashed("a/x")}), `"a/x" is below "a"`},
	{"directory below a file", rel([]File{hashed("a")}, Dir{Path: "a/b"}), `"a/b" is below "a"`},
	{"below a file and a deleted directory", relDiff([]File{hashed("a"), hashed("a/b/c")}, Dir{Path: "a/b", Deleted: true}), `"a/b/c" is below "a"`},
	{"hash is a path", rel([]File{{Path: "a", Size: 1, Hash: "../../x"}}), "not alphanumeric"},
	{"chunk hash is a path", rel([]File{{Path: "a", Size: 5, Chunks: []Hash{"x", "/y"}}}), "not alphanumeric"},
}

func TestCheckSafeRefuses(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.m.Validate(); err != nil {
				t.Errorf("Validate is not expected to mind: %v", err)
			}
			checkError(t, tt.m.CheckSafe(), tt.want)
			checkError(t, EncodeV2025(&strings.Builder{}, tt.m), tt.want)
		})
	}
}

func TestCheckSafeAccepts(t *testing.T) {
	tests := []struct {
		name string
		m    Any
	}{
		{"names with dots", rel([]File{hashed("..."), hashed("a..b/.hidden")})},
		{"255 bytes", rel([]File{hashed(strings.Repeat("x", 255))})},
		{"backslash and colon", rel([]File{hashed(`a\..\b`), hashed("ab:c")})},
		{"test hashes", rel([]File{{Path: "a", Size: 1, Hash: "h1"}})},
		{"deletion below a new file", relDiff([]File{hashed("a"), {Path: "a/x", Deleted: true}}, Dir{Path: "a", Deleted: true})},
		{"entry below a deleted file", relDiff([]File{{Path: "a", Deleted: true}, hashed("a/x")})},
		{"neighbour with a common prefix", rel([]File{hashed("a"), hashed("ab/x"), hashed("a-b/x")})},
		{"root directory", rel([]File{hashed("a")}, Dir{Path: "."})},
		{"absolute root", abs([]File{hashed("/a")}, Dir{Path: "/"})},
		{"link to the root", rel([]File{{Path: "a", Target: "."}})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.m.CheckSafe(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckCase(t *testing.T) {
	tests := []struct {
		name string
		m    Any
		want string
	}{
		{"different", rel([]File{hashed("a"), hashed("b")}), ""},
		{"same directory", rel([]File{hashed("D/a"), hashed("D/b")}, Dir{Path: "D"}), ""},
		{"files", rel([]File{hashed("a"), hashed("A")}), `"a" and "A"`},
		{"directories", rel([]File{hashed("d/a"), hashed("D/b")}), `"d" and "D"`},
		{"file and directory", rel([]File{hashed("d")}, Dir{Path: "D"}), `"d" and "D"`},
		{"beyond ASCII", rel([]File{hashed("É"), hashed("é")}), `"É" and "é"`},
		{"deletion", relDiff([]File{hashed("a"), {Path: "A", Deleted: true}}), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkError(t, tt.m.CheckCase(), tt.want) })
	}
}
