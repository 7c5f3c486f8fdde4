package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
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

// FuzzMemberOrder reads a text as it is and with its files in front. Canonical text has
// them behind the directories, where names are resolved and entries are checked as they
// are read; in front, that is left to passes over the whole manifest. Both must agree.
func FuzzMemberOrder(f *testing.F) {
	for _, members := range []string{
		`"dirs":[{"name":"d"},{"name":"$0/e"}],"files":[{"hash":"h","mtime":1,"name":"$1/a","size":1},{"mtime":1,"name":"b","size":1}]`,
		`"dirs":[{"name":"d"}],"files":[{"name":"$0/a","symlink":{"name":"$0/b"}},{"name":"l","symlink":{"name":"$7/b"}}]`,
		`"dirs":[{"name":"d"}],"files":[{"name":"l","symlink":{"name":"$7/b"},"name":"$0/l"},{"name":"$+0/m","symlink":{"name":"../x"}}]`,
		`"dirs":[{"name":"d"}],"files":[{"mtime":1,"name":"d","size":1},{"mtime":1,"name":"$0/x","size":1}]`,
		`"dirs":[{"name":"a/../b"},{"name":"."}],"files":[{"mtime":1,"name":"$1/x","size":1},{"mtime":1,"name":"$0/..","size":1}]`,
		`"dirs":[{"name":"."}],"files":[{"mtime":1,"name":"$0/c:","size":1},{"mtime":1,"name":"b","size":9223372036854775807},{"mtime":1,"name":"a","size":1}]`,
		`"dirs":[{"name":"d"}],"fileChunkSizeBytes":4,"files":[{"chunkhashes":["x"],"mtime":1,"name":"$0/a","size":5}]`,
		`"files":[{"delete":true,"name":"$0/a"},{"delete":true,"name":"b","size":1}],"dirs":[{"name":"d","delete":true}]`,
	} {
		for _, spec := range []string{specSnapshot, specSnapshotDiff, specAbsSnapshot, specAbsDiff} {
			f.Add([]byte(`{` + members + `,"hashAlg":"xxh128","specificationVersion":"` + spec + `","totalSize":1}`))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var members map[string]json.RawMessage
		if !utf8.Valid(text) || json.Unmarshal(text, &members) != nil || members["files"] == nil {
			return
		}
		turned := append([]byte(`{"files":`), members["files"]...)
		delete(members, "files")
		for name, value := range members {
			key, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			turned = append(append(append(append(turned, ','), key...), ':'), value...)
		}
		turned = append(turned, '}')
		one, oneErr := Decode(bytes.NewReader(text))
		other, otherErr := Decode(bytes.NewReader(turned))
		if (oneErr == nil) != (otherErr == nil) && !repeatsDirs(oneErr) {
			t.Fatalf("%s\n%v\n%v", text, oneErr, otherErr)
		}
		if oneErr != nil || otherErr != nil {
			return
		}
		if diff := cmp.Diff(one, other, cmp.AllowUnexported(Snapshot{}, SnapshotDiff{}, AbsSnapshot{}, AbsSnapshotDiff{})); diff != "" {
			t.Fatalf("%s\n%s", text, diff)
		}
		if err := errors.Join(one.Validate(), one.CheckSafe()); err != nil {
			t.Fatalf("%s\naccepted, although %v", text, err)
		}
	})
}

func repeatsDirs(err error) bool {
	return err != nil && strings.Contains(err.Error(), "dirs occurs again")
}
