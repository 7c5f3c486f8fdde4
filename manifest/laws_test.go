package manifest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// names are what encoders stumble over; there are few of them, so that entries meet.
var names = []string{"a", "a-", "b", "$0", "$1", "é", "😀", "\ufffd", "\x7f", "\x01", "q\"\\", "a b", "<&>"}

// drawn draws entries that could exist together: nothing lies below a file. In a diff
// some are deletions.
type drawn struct {
	t     *rapid.T
	root  string
	diff  bool
	files []File
	dirs  []Dir
}

func (d *drawn) dir(prefix string, depth int) {
	list := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID).Draw(d.t, "names")
	for _, name := range list {
		path := prefix + name
		deleted := d.diff && rapid.IntRange(0, 3).Draw(d.t, "deleted") == 0
		switch kind := rapid.IntRange(0, 4).Draw(d.t, path); {
		case deleted && kind < 3:
			d.files = append(d.files, File{Path: path, Deleted: true})
		case deleted:
			d.dirs = append(d.dirs, Dir{Path: path, Deleted: true})
		case kind == 0:
			d.files = append(d.files, File{Path: path, Target: d.root + rapid.SampledFrom([]string{"a", "b/é", "$0/x"}).Draw(d.t, "target")})
		case kind == 1:
			d.files = append(d.files, File{Path: path, Size: 9, ModTime: 3, Chunks: []Hash{"x", "y", "z"}})
		case kind == 2:
			d.files = append(d.files, File{
				Path: path, Size: rapid.Int64Range(0, 1<<40).Draw(d.t, "size"), ModTime: rapid.Int64Range(0, 1<<53).Draw(d.t, "time"),
				Hash: Hash(rapid.SampledFrom([]string{"", testHash}).Draw(d.t, "hash")), Runnable: rapid.Bool().Draw(d.t, "runnable"),
			})
		default:
			if rapid.Bool().Draw(d.t, "listed") {
				d.dirs = append(d.dirs, Dir{Path: path})
			}
			if depth > 0 {
				d.dir(path+"/", depth-1)
			}
		}
	}
}

// drawManifest draws a manifest of the kind.
func drawManifest[P PathStyle, K Kind](t *rapid.T) *Manifest[P, K] {
	m := &Manifest[P, K]{HashAlg: XXH128, ChunkSize: 4}
	d := drawn{t: t, diff: m.IsDiff()}
	if m.IsAbs() {
		d.root = rapid.SampledFrom([]string{"/", "/p/", "C:/"}).Draw(t, "root")
	}
	d.dir(d.root, 3)
	m.Files, m.Dirs = d.files, d.dirs
	if m.IsDiff() {
		m.ParentHash = Hash(rapid.SampledFrom([]string{"", testHash}).Draw(t, "parent"))
	}
	return m
}

// What we write is read and written again without a change (spec/formats.md §3), and
// holds what was in the manifest.
func checkWire[P PathStyle, K Kind](t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawManifest[P, K](t)
		before := m.Clone()
		var first, second bytes.Buffer
		if err := EncodeV2025(&first, any(m).(Any)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, m); diff != "" {
			t.Fatalf("the argument changed: %s", diff)
		}
		text := first.String()
		read, err := DecodeAs[P, K](strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if err := EncodeV2025(&second, any(read).(Any)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, second.String()); diff != "" {
			t.Fatal(diff)
		}
		got := map[string]File{}
		for _, f := range read.Files {
			got[f.Path] = f
		}
		for _, f := range m.Files {
			if diff := cmp.Diff(f, got[f.Path]); diff != "" {
				t.Fatal(diff)
			}
		}
		if len(read.Files) != len(m.Files) || read.TotalSize() != m.TotalSize() || read.ParentHash != m.ParentHash {
			t.Fatalf("read %d files of %d bytes with parent %q", len(read.Files), read.TotalSize(), read.ParentHash)
		}
	})
}

func TestDecodingUndoesEncoding(t *testing.T) {
	t.Run("snapshot", checkWire[Rel, Full])
	t.Run("diff", checkWire[Rel, Diff])
	t.Run("abs-snapshot", checkWire[Abs, Full])
	t.Run("abs-diff", checkWire[Abs, Diff])
}

// The same for v2023, of what that can hold.
func TestDecodingUndoesEncodingOfV2023(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawManifest[Rel, Full](t)
		m.ChunkSize, m.Dirs = WholeFile, nil
		for i := range m.Files {
			f := &m.Files[i]
			*f = File{Path: f.Path, Size: f.Size, ModTime: f.ModTime, Hash: testHash}
		}
		var first, second bytes.Buffer
		if err := EncodeV2023(&first, m); err != nil {
			t.Fatal(err)
		}
		text := first.String()
		read, err := DecodeAs[Rel, Full](strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := EncodeV2023(&second, read); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, second.String()); diff != "" {
			t.Fatal(diff)
		}
		if len(read.Files) != len(m.Files) {
			t.Fatalf("%d of %d files", len(read.Files), len(m.Files))
		}
	})
}
