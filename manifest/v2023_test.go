package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The golden texts were written by Python's json.dumps, sorted by UTF-16BE, so they
// do not depend on our encoder (spec/tests.md §2).
func goldens(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "v2023", "*.json"))
	if err != nil || len(names) != 11 {
		t.Fatalf("%d golden texts, error %v", len(names), err)
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimSuffix(filepath.Base(name), ".json")] = string(text)
	}
	return texts
}

func decodeGolden(t *testing.T, text string) *Snapshot {
	t.Helper()
	m, err := DecodeAs[Rel, Full](strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func encodeV2023Text[K Kind](t *testing.T, m *Manifest[Rel, K]) string {
	t.Helper()
	var out bytes.Buffer
	if err := EncodeV2023(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestV2023RoundTrip(t *testing.T) {
	for name, text := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			m := decodeGolden(t, text)
			if diff := cmp.Diff(text, encodeV2023Text(t, m)); diff != "" {
				t.Error(diff)
			}
			slices.Reverse(m.Files)
			for range 100 {
				if encodeV2023Text(t, m) != text {
					t.Fatal("the text depends on the order of the files")
				}
			}
		})
	}
}

func TestV2023DecodeKeepsEveryField(t *testing.T) {
	m := decodeGolden(t, goldens(t)["extreme_values"])
	want := &Snapshot{HashAlg: XXH128, ChunkSize: WholeFile, Files: []File{
		{Path: "big.bin", Size: 1 << 40, ModTime: 9999999999999999, Hash: "21c83db663c0a3fa2cf432b83069dd10"},
		{Path: "old.txt", Size: 1, ModTime: 0, Hash: "05bef20a8f26b8f57160876836f53388"},
	}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if got := m.TotalSize(); got != 1099511627777 {
		t.Errorf("total %d", got)
	}
}

func TestV2023Order(t *testing.T) {
	tests := map[string][]string{
		"case_sensitive_sort":   {"FILE.txt", "File.txt", "fILE.txt", "file.txt"},
		"utf16be_sort_order":    {"Atop.txt", "ztop.txt", "~tilde.txt", "éaccent.txt", "āmacron.txt"},
		"special_chars":         {"UPPERCASE.TXT", "file name.txt", "file-name.txt", "file.name.txt", "file_name.txt"},
		"unicode_filenames":     {"abc.txt", "café.txt", "naïve.txt", "Ångström.txt", "日本語.txt"},
		"nested_dirs":           {"a/b/c/deep.txt", "a/b/shallow.txt", "a/top.txt", "root.txt"},
		"multiple_files_sorted": {"alpha.txt", "middle.txt", "zebra.txt"},
	}
	texts := goldens(t)
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range decodeGolden(t, texts[name]).Files {
				got = append(got, f.Path)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestV2023LooksLikeTheStockTool(t *testing.T) {
	text := goldens(t)["large_manifest"]
	m := decodeGolden(t, text)
	if len(m.Files) != 100 || m.TotalSize() != 5171200 {
		t.Errorf("%d files, total %d", len(m.Files), m.TotalSize())
	}
	if strings.ContainsAny(text, " \n\t") {
		t.Error("white space in the text")
	}
	if !strings.HasPrefix(text, `{"hashAlg":"xxh128","manifestVersion":"2023-03-03","paths":[{"hash":"`) {
		t.Errorf("unexpected start: %.80s", text)
	}
	if !strings.HasSuffix(text, `}],"totalSize":5171200}`) {
		t.Errorf("unexpected end: %s", text[len(text)-60:])
	}
}

func TestV2023FlattensAndReportsLosses(t *testing.T) {
	hash := Sum(nil)
	file := func(path string) File { return File{Path: path, Size: 3, ModTime: 5, Hash: hash} }
	runnable := file("bin/run")
	runnable.Runnable = true
	m := &SnapshotDiff{
		ChunkSize:  WholeFile,
		ParentHash: hash,
		Files: []File{
			file("a.txt"), runnable, file("d/x"), file("d/e/y"),
			{Path: "to-file", Target: "a.txt"},
			{Path: "to-dir", Target: "d"},
			{Path: "to-dir-by-link", Target: "to-dir"},   // G-36
			{Path: "through-link", Target: "to-dir/e/y"}, // a link in the middle
			{Path: "broken", Target: "nope"},
			{Path: "loop", Target: "loop"},
			{Path: "to-empty", Target: "empty"},
			{Path: "gone", Deleted: true},
		},
		Dirs: []Dir{{Path: "d"}, {Path: "empty"}, {Path: "old", Deleted: true}},
	}
	lost, err := V2023Losses(m)
	if err != nil {
		t.Fatal(err)
	}
	wantLost := Losses{Dirs: 1, Deletions: 2, Runnable: 1, ReplacedLinks: 4, DroppedLinks: []string{"broken", "loop", "to-empty"}, ParentHash: true}
	if diff := cmp.Diff(wantLost, lost); diff != "" {
		t.Error(diff)
	}
	if !lost.Any() || (Losses{}).Any() {
		t.Error("Any does not tell losses from none")
	}
	var got []string
	for _, f := range decodeGolden(t, encodeV2023Text(t, m)).Files {
		got = append(got, f.Path)
	}
	want := []string{"a.txt", "bin/run", "d/e/y", "d/x", "through-link", "to-dir-by-link/e/y", "to-dir-by-link/x", "to-dir/e/y", "to-dir/x", "to-file"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The stock tool writes times before 1970; the reference cannot read them (G-33).
func TestV2023ReadsOldTimes(t *testing.T) {
	m := decodeGolden(t, `{"hashAlg":"xxh128","manifestVersion":"2023-03-03","paths":[{"hash":"h","mtime":-5,"path":"a","size":1}],"totalSize":1}`)
	if m.Files[0].ModTime != -5 {
		t.Errorf("got %d", m.Files[0].ModTime)
	}
	if text := encodeV2023Text(t, m); !strings.Contains(text, `"mtime":0,`) {
		t.Errorf("wrote %s", text)
	}
}
