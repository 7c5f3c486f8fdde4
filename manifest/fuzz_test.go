package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{` + relHeader + `,"dirs":[{"name":"d"}],"files":[{"name":"$0/a","symlink":{"name":"d"}},{"mtime":1,"name":"b","size":1}]}`))
	f.Add([]byte(`{"hashAlg":"xxh128","manifestVersion":"2023-03-03","paths":[{"hash":"h","mtime":1,"path":"\ud83d\ude00","size":1}],"totalSize":1}`))
	f.Add([]byte(`{"fileChunkSizeBytes":4,"files":[{"chunkhashes":["x","y"],"mtime":1,"name":"a","size":5}],"specificationVersion":"absolute-manifest-diff-beta-2025-12","hashAlg":"xxh128","totalSize":1e2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Decode(bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v does not wrap ErrInvalid", err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("accepted text that is not JSON: %q", text)
		}
		var first, second bytes.Buffer
		if err := EncodeV2025(&first, m); err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		again, err := Decode(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		if err := EncodeV2025(&second, again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("encoding is not stable:\n%s\n%s", &first, &second)
		}
	})
}

// FuzzRoundTrip builds a manifest and expects that whatever can be written is read
// back the same.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a/b", "c", "d/e", int64(7), int64(1), "h", true)
	f.Add("$0/x", "$1", "\u07ff\U0001f600", int64(0), int64(-3), "", false)
	f.Fuzz(func(t *testing.T, path, link, target string, size, mtime int64, hash string, runnable bool) {
		m := relDiff([]File{
			{Path: path, Size: size, ModTime: mtime, Hash: Hash(hash), Runnable: runnable},
			{Path: link, Target: target},
		}, Dir{Path: target})
		if target == "" {
			return // that would be a second regular file
		}
		var text bytes.Buffer
		if err := EncodeV2025(&text, m); err != nil {
			return
		}
		if !utf8.Valid(text.Bytes()) || !json.Valid(text.Bytes()) {
			t.Fatalf("not JSON: %q", text.Bytes())
		}
		got, err := DecodeAs[Rel, Diff](&text)
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		found := 0
		for _, f := range got.Files {
			switch {
			case f.Path == path && f.Size == size && f.ModTime == max(0, mtime) && f.Hash == Hash(hash) && f.Runnable == runnable:
				found++
			case f.Path == link && f.Target == target:
				found++
			}
		}
		if found != 2 || len(got.Files) != 2 {
			t.Fatalf("wrote %+v, read %+v", m.Files, got.Files)
		}
	})
}

func FuzzNormalizePath(f *testing.F) {
	for _, seed := range []string{"", "/", "a/../..", "C:", "c:é/x", "//a/./b/", "../..", `\\x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := NormalizePath(path)
		if again := NormalizePath(got); again != got {
			t.Errorf("%q: normalised twice, %q becomes %q", path, got, again)
		}
		if utf8.ValidString(path) && !utf8.ValidString(got) {
			t.Errorf("%q: %q is not UTF-8", path, got)
		}
		if isNormal(path) && got != path {
			t.Errorf("%q changed to %q, but was reported normal", path, got)
		}
	})
}
