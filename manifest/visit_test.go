package manifest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// keeper keeps what it visits.
type keeper struct {
	files    []File
	dirs     []Dir
	expected int
	fail     error
}

func (k *keeper) Expect(files int) { k.expected = files }

func (k *keeper) File(f *File) error {
	c := *f
	c.Path, c.Target, c.Hash = strings.Clone(f.Path), strings.Clone(f.Target), Hash(strings.Clone(string(f.Hash)))
	c.Chunks = nil
	for _, h := range f.Chunks {
		c.Chunks = append(c.Chunks, Hash(strings.Clone(string(h))))
	}
	k.files = append(k.files, c)
	return k.fail
}

func (k *keeper) Dir(d *Dir) error {
	k.dirs = append(k.dirs, *d)
	return nil
}

// checkVisit compares a visit of text with decoding it. It returns the error of the
// visit.
func checkVisit(t *testing.T, text []byte) error {
	t.Helper()
	var k keeper
	doc, err := Visit(bytes.NewReader(text), DecodeOptions{}, &k)
	want, wantErr := DecodeDocument(bytes.NewReader(text), DecodeOptions{})
	if err != nil {
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("%s\nVisit: %v, which is not ErrInvalid", text, err)
		}
		return err
	}
	if wantErr != nil {
		for _, tree := range []string{"duplicate path", "entry below a file or link"} {
			if strings.Contains(wantErr.Error(), tree) {
				return nil
			}
		}
		t.Fatalf("%s\nVisit accepts what DecodeDocument refuses: %v", text, wantErr)
	}
	files, dirs := entriesOf(want.Manifest)
	if diff := cmp.Diff(files, k.files); diff != "" {
		t.Fatalf("%s\nfiles (-decoded +visited):\n%s", text, diff)
	}
	if diff := cmp.Diff(dirs, k.dirs); diff != "" {
		t.Fatalf("%s\ndirectories (-decoded +visited):\n%s", text, diff)
	}
	if !slices.Equal(doc.Warnings(), want.Warnings()) || doc.Hash != want.Hash || KindOf(doc.Manifest) != KindOf(want.Manifest) {
		t.Fatalf("%s\nvisited %+v, decoded %+v", text, doc, want)
	}
	return nil
}

func entriesOf(m Any) ([]File, []Dir) {
	switch m := m.(type) {
	case *Snapshot:
		return m.Files, m.Dirs
	case *SnapshotDiff:
		return m.Files, m.Dirs
	case *AbsSnapshot:
		return m.Files, m.Dirs
	case *AbsSnapshotDiff:
		return m.Files, m.Dirs
	}
	return nil, nil
}

func TestVisit(t *testing.T) {
	for name, text := range goldens(t) {
		if err := checkVisit(t, []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkVisit(t, sampleText(t)); err != nil {
		t.Error(err)
	}
	header := `{` + relHeader
	for text, want := range map[string]string{
		header + `,"files":[{"mtime":1,"name":"$0/a","size":1}],"dirs":[{"name":"d"}]}`:                                              "as they are read",
		header + `,"files":[{"mtime":1,"name":"a","size":1}],"files":[]}`:                                                            "more than one list",
		header + `,"files":[],"paths":[]}`:                                                                                           "more than one list",
		header + `,"files":[{"delete":true,"name":"a"}]}`:                                                                            "manifest of this kind",
		header + `,"files":[{"mtime":1,"name":"/a","size":1}]}`:                                                                      "manifest of this kind",
		header + `,"files":[{"mtime":1,"name":"..","size":1}]}`:                                                                      `must not contain ".."`,
		header + `,"fileChunkSizeBytes":1,"files":[{"chunkhashes":["x"],"mtime":1,"name":"a","size":2}]}`:                            "should have 2 chunks",
		header + `,"files":[{"chunkhashes":["x","y"],"mtime":1,"name":"a","size":2}],"fileChunkSizeBytes":1}`:                        "must have size >",
		header + `,"fileChunkSizeBytes":1,"files":[{"chunkhashes":["x","y"],"mtime":1,"name":"a","size":2}],"fileChunkSizeBytes":2}`: "behind the files",
	} {
		checkError(t, checkVisit(t, []byte(text)), want)
	}
}

func TestVisitEndsWithTheErrorOfTheVisitor(t *testing.T) {
	k := keeper{fail: errors.New("enough")}
	if _, err := Visit(bytes.NewReader(sampleText(t)), DecodeOptions{}, &k); !errors.Is(err, k.fail) || len(k.files) != 1 {
		t.Errorf("error %v after %d files", err, len(k.files))
	}
}

func TestVisitTellsHowManyFilesToExpect(t *testing.T) {
	var text bytes.Buffer
	if err := EncodeV2025(&text, bigSnapshot(20_000)); err != nil {
		t.Fatal(err)
	}
	var k keeper
	if _, err := Visit(&text, DecodeOptions{}, &k); err != nil || k.expected < 18_000 || k.expected > 22_000 {
		t.Errorf("expected %d files, %v", k.expected, err)
	}
}

func FuzzVisit(f *testing.F) {
	f.Add([]byte(`{"dirs":[{"name":"d"}],"fileChunkSizeBytes":4,"files":[{"chunkhashes":["x","y"],"mtime":1,"name":"$0/a","size":5},{"name":"l","symlink":{"name":"$0/a"}}],` + relHeader + `}`))
	f.Add([]byte(`{"hashAlg":"xxh128","manifestVersion":"2023-03-03","paths":[{"hash":"h","mtime":1,"path":"a/./b","size":1}],"totalSize":1}`))
	f.Fuzz(func(t *testing.T, text []byte) { _ = checkVisit(t, text) })
}
