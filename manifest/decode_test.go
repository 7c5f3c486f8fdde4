package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const relHeader = `"hashAlg":"xxh128","specificationVersion":"relative-manifest-snapshot-beta-2025-12","totalSize":0`

func TestDecodeV2025Leniency(t *testing.T) {
	const a = `{"mtime":1,"name":"a","size":1}`
	tests := []struct {
		name, members string
		want          *Snapshot
	}{
		{"nothing optional", ``, rel(nil)},
		{"null chunk size", `,"fileChunkSizeBytes":null`, rel(nil)},
		{"fractional chunk size", `,"fileChunkSizeBytes":1.0`, rel(nil)},
		{"chunk size too large", `,"fileChunkSizeBytes":9223372036854775808`, rel(nil)},
		{"chunk size minus zero", `,"fileChunkSizeBytes":-0`, rel(nil)},
		{"files is not an array", `,"files":{"a":[1,{}]}`, rel(nil)},
		{"parent hash is not a string", `,"parentManifestHash":7`, rel(nil)},
		{"unknown members", `,"x":[{"y":null}],"files":[{"mtime":1,"name":"a","size":1,"z":[[]],"deleted":true}]`, rel([]File{{Path: "a", Size: 1, ModTime: 1}})},
		{"files before dirs", `,"files":[{"mtime":1,"name":"$0/a","size":1}],"dirs":[{"name":"d"}]`, rel([]File{{Path: "d/a", Size: 1, ModTime: 1}}, Dir{Path: "d"})},
		{"last files win", `,"files":[{}],"files":[` + a + `]`, rel([]File{{Path: "a", Size: 1, ModTime: 1}})},
		{"last dirs win", `,"dirs":[{"name":"x"},{}],"files":[{"mtime":1,"name":"$0/a","size":1}],"dirs":[{"name":"d"}]`, rel([]File{{Path: "d/a", Size: 1, ModTime: 1}}, Dir{Path: "d"})},
		{"last member of an entry wins", `,"files":[{"size":"x","mtime":1,"name":"b","size":2,"name":"a"}]`, rel([]File{{Path: "a", Size: 2, ModTime: 1}})},
		{"escaped key", `,"f\u0069les":[` + a + `]`, rel([]File{{Path: "a", Size: 1, ModTime: 1}})},
		{"runnable of another type", `,"files":[{"mtime":1,"name":"a","size":1,"runnable":1,"delete":"x"}]`, rel([]File{{Path: "a", Size: 1, ModTime: 1}})},
		{"hash of another type", `,"files":[{"mtime":1,"name":"a","size":1,"hash":7}]`, rel([]File{{Path: "a", Size: 1, ModTime: 1}})},
		{"link of another type", `,"files":[{"mtime":1,"name":"a","size":1,"symlink":"x"}]`, rel([]File{{Path: "a", Size: 1, ModTime: 1}})},
		{"link without a name", `,"files":[{"mtime":1,"name":"a","size":1,"symlink":{"name":7}}]`, rel([]File{{Path: "a", Size: 1, ModTime: 1}})},
		{"link with a size", `,"files":[{"mtime":1,"name":"a","size":1,"symlink":{"name":"b"}}]`, rel([]File{{Path: "a", Size: 1, ModTime: 1, Target: "b"}})},
		{"chunk hashes of other types", `,"fileChunkSizeBytes":268435456,"files":[{"mtime":1,"name":"a","size":268435457,"chunkhashes":["x",7,null,"y"]}]`, rel([]File{{Path: "a", Size: 268435457, ModTime: 1, Chunks: []Hash{"x", "y"}}})},
		{"reference with a plus", `,"dirs":[{"name":"d"},{"name":"$+0/e"},{"name":"$00/f"}]`, rel(nil, Dir{Path: "d"}, Dir{Path: "d/e"}, Dir{Path: "d/f"})},
		{"reference with a deep rest", `,"dirs":[{"name":"d"}],"files":[{"mtime":1,"name":"$0/./b//c","size":1}]`, rel([]File{{Path: "d/b/c", Size: 1, ModTime: 1}}, Dir{Path: "d"})},
		{"target with a dot", `,"dirs":[{"name":"d"}],"files":[{"name":"a","symlink":{"name":"$0/./x"}}]`, rel([]File{{Path: "a", Target: "d/x"}}, Dir{Path: "d"})},
		{"target with dots in a name", `,"dirs":[{"name":"d"}],"files":[{"name":"a","symlink":{"name":"$0/x..y"}}]`, rel([]File{{Path: "a", Target: "d/x..y"}}, Dir{Path: "d"})},
		{"dollar without a slash", `,"files":[{"mtime":1,"name":"$7","size":1}]`, rel([]File{{Path: "$7", Size: 1, ModTime: 1}})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeAs[Rel, Full](strings.NewReader(`{` + relHeader + tt.members + `}`))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.ChunkSize = DefaultChunkSize
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	file := func(members string) string {
		return `{` + relHeader + `,"files":[{"mtime":1,"name":"a","size":1},{` + members + `}]}`
	}
	tests := []struct{ name, text, want string }{
		{"empty", ``, "Invalid JSON: unexpected end of text"},
		{"byte order mark", "\ufeff{}", "Invalid JSON"},
		{"two values", `{} {}`, "Invalid JSON"},
		{"trailing comma", `{"a":1,}`, "Invalid JSON"},
		{"missing colon", `{"a" 1}`, "':' at byte 5"},
		{"leading zero", `{"a":01}`, "malformed number"},
		{"lone minus", `{"a":-}`, "malformed number"},
		{"number out of range", `{"a":1e999}`, "malformed number"},
		{"bad literal", `{"a":trux}`, "literal true"},
		{"lone high surrogate", `{"a":"\ud800"}`, "surrogate"},
		{"lone low surrogate", `{"a":"\udc00"}`, "surrogate"},
		{"wrong pair", `{"a":"\ud800\u0041"}`, "surrogate"},
		{"raw control character", "{\"a\":\"\x01\"}", "control character"},
		{"not UTF-8", "{\"a\":\"\xff\"}", "UTF-8"},
		{"unknown escape", `{"a":"\x"}`, "escape"},
		{"deep nesting", strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200), "nested too deeply"},
		{"not an object", `[{}]`, "Unknown manifest format"},
		{"no version", `{"foo":"bar"}`, "Unknown manifest format"},
		{"v2023 version null", `{"manifestVersion":null,` + relHeader + `}`, "missing manifestVersion"},
		{"spec version null", `{"specificationVersion":null}`, "missing specificationVersion"},
		{"no hashAlg", `{"specificationVersion":"nope"}`, "missing hashAlg"},
		{"no totalSize", `{"specificationVersion":"nope","hashAlg":"xxh128"}`, "totalSize"},
		{"unknown spec comes last", `{"specificationVersion":"nope","hashAlg":"xxh128","totalSize":0,"dirs":[{}]}`, "dir entry missing 'name'"},
		{"fractional totalSize", `{` + relHeader + `,"totalSize":1.0}`, "totalSize"},
		{"broken JSON after a bad entry", `{` + relHeader + `,"files":[{}],`, "Invalid JSON"},
		{"entry is not an object", `{` + relHeader + `,"files":[7]}`, "file entry missing 'name'"},
		{"missing name", file(`"size":1`), "file entry missing 'name'"},
		{"missing size", file(`"name":"b","mtime":1`), "must have size and mtime: b"},
		{"negative mtime", file(`"name":"b","mtime":-1,"size":1`), "must have size and mtime: b"},
		{"size as a string", file(`"name":"b","mtime":1,"size":"1"`), "must have size and mtime: b"},
		{"size beyond int64", file(`"name":"b","mtime":1,"size":9223372036854775808`), "size of b is too large"},
		{"empty target", file(`"name":"b","symlink":{"name":""}`), "symlink_target"},
		{"empty hash", file(`"name":"b","mtime":1,"size":1,"hash":""`), "hash of b is empty"},
		{"no chunks", file(`"name":"b","mtime":1,"size":1,"chunkhashes":[]`), "chunkhashes"},
		{"plain slash", file(`"name":"b/c","mtime":1,"size":1`), "must use $N/ reference"},
		{"reference to nothing", file(`"name":"$0/c","mtime":1,"size":1`), "index 0 not found"},
		{"reference with two pluses", file(`"name":"$++0/c"`), "expected $N/component format"},
		{"reference without a number", file(`"name":"$/c"`), "expected $N/component format"},
		{"target with a bad reference", file(`"name":"b","symlink":{"name":"$3/x"}`), "index 3 not found"},
		{"G-30: path escapes by reference", `{` + relHeader + `,"dirs":[{"name":".."}],"files":[{"mtime":1,"name":"$0/x","size":1}]}`, `".."`},
		{"G-30: target escapes", file(`"name":"b","symlink":{"name":".."}`), `".."`},
		{"G-30: NUL", file(`"name":"b\u0000","mtime":1,"size":1`), "NUL"},
		{"G-30: below a link", `{` + relHeader + `,"dirs":[{"name":"d"}],"files":[{"name":"l","symlink":{"name":"d"}},{"mtime":1,"name":"$1/x","size":1}],"dirs":[{"name":"d"},{"name":"l"}]}`, "duplicate path: l"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Decode(strings.NewReader(tt.text))
			checkError(t, err, tt.want)
			if m != nil {
				t.Errorf("got a manifest, too: %v", m)
			}
		})
	}
}

// Hostile manifests cannot be written by our encoder, so their texts are made of
// plain names.
func TestDecodeRefusesHostileManifests(t *testing.T) {
	for _, name := range []string{"..", strings.Repeat("x", 256), "a\u0000b"} {
		text := fmt.Sprintf(`{"hashAlg":"xxh128","manifestVersion":"2023-03-03","paths":[{"hash":"h","mtime":1,"path":%q,"size":1}],"totalSize":1}`, name)
		text = strings.ReplaceAll(text, `\x00`, `\u0000`)
		_, err := Decode(strings.NewReader(text))
		wantInvalid(t, err)
	}
	const below = `{"hashAlg":"xxh128","manifestVersion":"2023-03-03","paths":[{"hash":"h","mtime":1,"path":"a","size":1},{"hash":"h","mtime":1,"path":"a/b","size":1}],"totalSize":2}`
	_, err := Decode(strings.NewReader(below))
	checkError(t, err, "below a file or link")
}

func TestDecodeDriveOfWindows(t *testing.T) { // G-01
	m := abs([]File{hashed("C:/Users/t/a.txt"), hashed("D:/b")}, Dir{Path: "C:/"}, Dir{Path: "C:/Users"})
	var text bytes.Buffer
	if err := EncodeV2025(&text, m); err != nil {
		t.Fatal(err)
	}
	got, err := DecodeAs[Abs, Full](&text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Files, got.Files); diff != "" {
		t.Error(diff)
	}
}

// A name below a file or link cannot refer to it as a directory: that would be a
// duplicate path, which is what the reference writes.
func TestNamesThroughFiles(t *testing.T) {
	tests := []struct {
		name string
		m    Any
		want string // part of the text
	}{
		{"target through a link", rel([]File{{Path: "cur", Target: "v2"}, {Path: "l", Target: "cur/x/y"}}),
			`{"dirs":[{"name":"."}],"fileChunkSizeBytes":4,"files":[{"name":"cur","symlink":{"name":"v2"}},{"name":"l","symlink":{"name":"$0/cur/x/y"}}]`},
		{"target through a deeper link", rel([]File{{Path: "d/cur", Target: "v2"}, {Path: "l", Target: "d/cur/x"}}),
			`"symlink":{"name":"$0/cur/x"}`},
		{"absolute", abs([]File{{Path: "/cur", Target: "/v2"}, {Path: "/l", Target: "/cur/x"}}),
			`"symlink":{"name":"/cur/x"}`},
		{"deletion below a new file", relDiff([]File{hashed("a"), {Path: "a/b", Deleted: true}, {Path: "a/c/d", Deleted: true}, {Path: "b/c", Deleted: true}}),
			`{"delete":true,"name":"$0/a/b"}`},
		{"target through a file that was a directory", relDiff([]File{hashed("a"), {Path: "a/b", Deleted: true}, {Path: "l", Target: "a/b/c"}}, Dir{Path: "a", Deleted: true}),
			`{"name":"l","symlink":{"name":"$0/b/c"}}`},
		{"deleted directory below a new file", relDiff([]File{hashed("d/a")}, Dir{Path: "d/a/b", Deleted: true}),
			`{"delete":true,"name":"$0/a/b"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var text strings.Builder
			if err := EncodeV2025(&text, tt.m); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), tt.want) {
				t.Errorf("%s does not contain %s", &text, tt.want)
			}
			got, err := Decode(strings.NewReader(text.String()))
			if err != nil {
				t.Fatalf("%v: %s", err, &text)
			}
			if diff := cmp.Diff(filesOf(tt.m), filesOf(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func filesOf(m Any) []File {
	switch m := m.(type) {
	case *Snapshot:
		return m.Files
	case *SnapshotDiff:
		return m.Files
	case *AbsSnapshot:
		return m.Files
	case *AbsSnapshotDiff:
		return m.Files
	}
	return nil
}

// sampleText returns a text that uses every member of the format.
func sampleText(t *testing.T) []byte {
	t.Helper()
	m := relDiff([]File{
		hashed("a/é😀\"\\.txt"),
		{Path: "a/big", Size: 9, ModTime: 1, Chunks: []Hash{"x", "y", "z"}, Runnable: true},
		{Path: "a/link", Target: "b/c"},
		{Path: "gone", Deleted: true},
	}, Dir{Path: "old", Deleted: true}, Dir{Path: "b"})
	m.ParentHash = testHash
	var text bytes.Buffer
	if err := EncodeV2025(&text, m); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func TestDecodeTruncatedAnywhere(t *testing.T) {
	texts := map[string][]byte{"v2025": sampleText(t)}
	for name, text := range goldens(t) {
		texts["v2023 "+name] = []byte(text)
	}
	for name, text := range texts {
		for n := range len(text) {
			m, err := Decode(bytes.NewReader(text[:n]))
			if m != nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "Invalid JSON") {
				t.Fatalf("%s cut at %d: got %v, error %v", name, n, m, err)
			}
		}
	}
}

func TestDecodeFromSlowReader(t *testing.T) {
	text := sampleText(t)
	want, err := Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(iotest.OneByteReader(bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeLongTokens(t *testing.T) {
	junk := strings.Repeat("x", 1<<20)
	text := `{"junk":"` + junk + `","` + junk + `":[1` + strings.Repeat("0", 250) + `],` + relHeader + `}` + strings.Repeat(" ", 1<<20)
	if _, err := Decode(strings.NewReader(text)); err != nil {
		t.Error(err)
	}
}

func TestDecodePassesOnReadErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	_, err := Decode(iotest.ErrReader(broken))
	if !errors.Is(err, broken) || errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestDecodeLimits(t *testing.T) {
	text := sampleText(t)
	tests := []struct {
		name string
		opts DecodeOptions
		want string
	}{
		{"enough", DecodeOptions{MaxBytes: int64(len(text)), MaxEntries: 4}, ""},
		{"text", DecodeOptions{MaxBytes: int64(len(text)) - 1}, "more than"},
		{"entries", DecodeOptions{MaxEntries: 3}, "more than 3 entries"},
		{"directories", DecodeOptions{MaxEntries: 1}, "more than 1 directories"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := DecodeDocument(bytes.NewReader(text), tt.opts)
			checkError(t, err, tt.want)
		})
	}
}

// A chain of references makes every directory longer than the one before. Without a
// limit, 40 kB of text would ask for gigabytes.
func TestDecodeReferenceBomb(t *testing.T) {
	var text strings.Builder
	text.WriteString(`{` + relHeader + `,"dirs":[{"name":"` + strings.Repeat("x", 200) + `"}`)
	for i := range 2000 {
		fmt.Fprintf(&text, `,{"name":"$%d/%s"}`, i, strings.Repeat("x", 200))
	}
	text.WriteString(`]}`)
	_, err := Decode(strings.NewReader(text.String()))
	checkError(t, err, "longer than 4095 bytes")
}

func TestDocument(t *testing.T) {
	text := sampleText(t)
	name := filepath.Join(t.TempDir(), "m.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if doc.Hash != Sum(text) || doc.Size != int64(len(text)) || doc.Format != V2025 || doc.DeclaredTotal != 10 {
		t.Errorf("got %+v", doc)
	}
	if w := doc.Warnings(); w != nil {
		t.Errorf("unexpected warnings %q", w)
	}
	if _, err := As[Rel, Diff](doc); err != nil {
		t.Error(err)
	}
	_, err = As[Abs, Full](doc)
	checkError(t, err, "expected a manifest of kind abs-snapshot, got diff")
	_, err = ReadFile(name + ".missing")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
}

func TestWrongTotalIsAWarning(t *testing.T) { // G-29
	doc, err := DecodeDocument(strings.NewReader(`{`+relHeader+`,"totalSize":7}`), DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w := doc.Warnings(); len(w) != 1 || !strings.Contains(w[0], "totalSize is 7") {
		t.Errorf("warnings %q", w)
	}
}

func TestV2023TextIsADiffOnRequest(t *testing.T) {
	text := goldens(t)["nested_dirs"]
	full, err := DecodeAs[Rel, Full](strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	diff, err := DecodeAs[Rel, Diff](strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(full.Files, diff.Files); d != "" {
		t.Error(d)
	}
	_, err = DecodeAs[Rel, Diff](strings.NewReader(`{` + relHeader + `}`))
	checkError(t, err, "expected a manifest of kind diff, got snapshot")
}

// Spec/gaps.md G-32: what we would not read we do not write.
func TestEncodersValidate(t *testing.T) {
	twice := &Snapshot{ChunkSize: WholeFile, Files: []File{hashed("a"), hashed("a")}}
	var out strings.Builder
	checkError(t, EncodeV2023(&out, twice), "duplicate path: a")
	checkError(t, EncodeV2025(&out, twice), "duplicate path: a")
	checkError(t, EncodeV2025(&out, abs([]File{hashed("a")})), "expected absolute path, got: a")
	checkError(t, EncodeV2023(&out, &Snapshot{ChunkSize: WholeFile, Files: []File{hashed("../a")}}), `".."`)
	checkError(t, EncodeV2025(&out, relDiff([]File{{Path: "a", Deleted: true, Hash: testHash}})), "no data fields")
	if out.Len() != 0 {
		t.Errorf("wrote %s", &out)
	}
}

// The text does not depend on the order of the entries in memory.
func TestEncodeIsDeterministic(t *testing.T) {
	m := abs([]File{hashed("/b/😀"), hashed("/b/\ufffd"), hashed("/a-b/x"), hashed("/a/b/x"), {Path: "/l", Target: "/a/b"}}, Dir{Path: "/z"}, Dir{Path: "/a/c"})
	var want strings.Builder
	if err := EncodeV2025(&want, m); err != nil {
		t.Fatal(err)
	}
	for range len(m.Files) {
		m.Files = append(m.Files[1:len(m.Files):len(m.Files)], m.Files[0])
		m.Dirs[0], m.Dirs[1] = m.Dirs[1], m.Dirs[0]
		var got strings.Builder
		if err := EncodeV2025(&got, m); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Fatal(diff)
		}
	}
}
