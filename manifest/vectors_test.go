package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is a case of testdata/vectors: an input and the answer of the reference.
type vector struct {
	Name   string      `json:"name"`
	Op     string      `json:"op"`
	Gap    string      `json:"gap"`
	Path   string      `json:"path"`
	Text   string      `json:"text"`
	M      rawManifest `json:"m"`
	Expect struct {
		OK      json.RawMessage `json:"ok"`
		Error   string          `json:"error"`
		Message string          `json:"message"`
	} `json:"expect"`
}

// rawManifest is the shape of spec/formats.md §4.
type rawManifest struct {
	Kind     string `json:"kind"`
	Manifest struct {
		Files []struct {
			Path        string `json:"path"`
			Hash        Hash   `json:"hash"`
			Size        int64  `json:"size"`
			Mtime       int64  `json:"mtime"`
			ChunkHashes []Hash `json:"chunkhashes"`
			Symlink     string `json:"symlinkTarget"`
			Runnable    bool   `json:"runnable"`
			Deleted     bool   `json:"deleted"`
		} `json:"files"`
		Dirs []struct {
			Path    string `json:"path"`
			Deleted bool   `json:"deleted"`
		} `json:"dirs"`
		ParentHash Hash  `json:"parentManifestHash"`
		ChunkSize  int64 `json:"fileChunkSizeBytes"`
	} `json:"manifest"`
}

func (r rawManifest) build() Any {
	switch r.Kind {
	case "snapshot":
		return buildRaw[Rel, Full](r)
	case "diff":
		return buildRaw[Rel, Diff](r)
	case "abs-snapshot":
		return buildRaw[Abs, Full](r)
	case "abs-diff":
		return buildRaw[Abs, Diff](r)
	}
	panic("unknown kind " + r.Kind)
}

func buildRaw[P PathStyle, K Kind](r rawManifest) *Manifest[P, K] {
	m := &Manifest[P, K]{HashAlg: XXH128, ChunkSize: r.Manifest.ChunkSize, ParentHash: r.Manifest.ParentHash}
	for _, f := range r.Manifest.Files {
		m.Files = append(m.Files, File{
			Path: f.Path, Size: f.Size, ModTime: f.Mtime, Hash: f.Hash, Chunks: f.ChunkHashes,
			Target: f.Symlink, Runnable: f.Runnable, Deleted: f.Deleted,
		})
	}
	for _, d := range r.Manifest.Dirs {
		m.Dirs = append(m.Dirs, Dir{Path: d.Path, Deleted: d.Deleted})
	}
	return m
}

// forEachVector runs f as a subtest for every case of a file.
func forEachVector(t *testing.T, file string, f func(t *testing.T, v vector)) {
	t.Helper()
	in, err := os.Open(filepath.Join("testdata", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		t.Run(v.Op+" "+v.Name, func(t *testing.T) { f(t, v) })
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if n < 40 {
		t.Errorf("%s: only %d vectors", file, n)
	}
}

func (v vector) wantText(t *testing.T) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(v.Expect.OK, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func wantInvalid(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("got error %v, want one that wraps ErrInvalid", err)
	}
	if !strings.HasPrefix(err.Error(), "Manifest validation error: ") {
		t.Errorf("error text %q lacks its prefix", err)
	}
}

func TestPathVectors(t *testing.T) {
	forEachVector(t, "paths.jsonl", func(t *testing.T, v vector) {
		if v.Op == "human" {
			return // sizes for people are the business of package ops
		}
		if got, want := NormalizePath(v.Path), v.wantText(t); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestEncodeVectors(t *testing.T) {
	forEachVector(t, "encode.jsonl", func(t *testing.T, v vector) {
		var out bytes.Buffer
		var err error
		switch m := v.M.build(); {
		case v.Op == "encode-v2025":
			err = EncodeV2025(&out, m)
		case v.M.Kind == "snapshot":
			err = EncodeV2023(&out, m.(*Snapshot))
		default:
			err = EncodeV2023(&out, m.(*SnapshotDiff))
		}
		if v.Expect.Error != "" {
			wantInvalid(t, err)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v.wantText(t), out.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDecodeVectors(t *testing.T) {
	forEachVector(t, "decode.jsonl", func(t *testing.T, v vector) {
		m, err := decodeVector(v)
		if v.Gap != "" {
			if v.Gap != "G-30" {
				t.Fatalf("no rule for %s", v.Gap)
			}
			wantInvalid(t, err) // the reference accepts "..", which escapes
			return
		}
		if v.Expect.Error != "" {
			wantInvalid(t, err)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkDecoded(t, v, m)
	})
}

func decodeVector(v vector) (Any, error) {
	if v.Op == "decode-as-diff" {
		return DecodeAs[Rel, Diff](strings.NewReader(v.Text))
	}
	return Decode(strings.NewReader(v.Text))
}

// checkDecoded compares m with the answer of the reference. The reference repeats
// the totalSize of the text; ours is the sum (spec/gaps.md G-29).
func checkDecoded(t *testing.T, v vector, m Any) {
	t.Helper()
	var want struct{ Kind, V2025 string }
	if err := json.Unmarshal(v.Expect.OK, &want); err != nil {
		t.Fatal(err)
	}
	if got := KindOf(m); got != want.Kind {
		t.Errorf("kind %s, want %s", got, want.Kind)
	}
	var out bytes.Buffer
	if err := EncodeV2025(&out, m); err != nil {
		t.Fatal(err)
	}
	untotal := func(text string) string { return text[:strings.LastIndex(text, `"totalSize":`)] }
	if diff := cmp.Diff(untotal(want.V2025), untotal(out.String())); diff != "" {
		t.Error(diff)
	}
}
