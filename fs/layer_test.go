package fs

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// layer adds the difference between the parent and a tree of the given lines (see
// newFixture), and returns what was in conflict.
func (f *fixture) layer(lines ...string) []string {
	f.t.Helper()
	diff, next := f.diffTo(lines)
	done, err := f.tree.AddLayer(diff, next)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.tree.Rebase(next, f.tree.Commits()+1); err != nil {
		f.t.Fatal(err)
	}
	f.last = next
	conflicts := []string{}
	for _, c := range done.Conflicts {
		conflicts = append(conflicts, c.Path+": "+c.Reason)
	}
	return conflicts
}

// diffTo returns the diff from the parent to a tree, and the index of that.
func (f *fixture) diffTo(lines []string) (*manifest.SnapshotDiff, *Base) {
	f.t.Helper()
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: testChunk}
	d := &manifest.SnapshotDiff{HashAlg: manifest.XXH128, ChunkSize: testChunk}
	for i, line := range lines {
		if path, target, ok := strings.Cut(line, "->"); ok {
			m.Files = append(m.Files, manifest.File{Path: path, Target: target})
		} else if path, content, ok := strings.Cut(line, "="); ok {
			m.Files = append(m.Files, f.entry(path, content, int64(1_800_000_000_000_000+i)))
		} else {
			m.Dirs = append(m.Dirs, manifest.Dir{Path: strings.TrimSuffix(line, "/")})
		}
	}
	next, err := NewBase(m)
	if err != nil {
		f.t.Fatal(err)
	}
	d.Files, d.Dirs = m.Files, m.Dirs
	old := f.tree.Parent().Snapshot()
	for _, x := range old.Files {
		if next.find(x.Path) == 0 {
			d.Files = append(d.Files, manifest.File{Path: x.Path, Deleted: true})
		}
	}
	for _, x := range old.Dirs {
		if next.find(x.Path) == 0 {
			d.Dirs = append(d.Dirs, manifest.Dir{Path: x.Path, Deleted: true})
		}
	}
	return d, next
}

// TestLayer adds layers to a base in which nothing, or something, was changed.
func TestLayer(t *testing.T) {
	base := []string{"a=old", "d/", "d/x=0123456789abcdef", "d/y=y", "e/", "link->a"}
	for name, test := range map[string]struct {
		change    func(f *fixture)
		layer     []string
		conflicts []string
		want      []string
		left      []string // what is to be committed then
	}{
		"nothing changed": {
			layer: []string{"a=new", "d/", "d/x=0123456789abcdeX", "f/", "f/deep=1", "link->d/x"},
			want:  []string{"a=new", "d/", "d/x=0123456789abcdeX", "f/", "f/deep=1", "link->d/x"},
		},
		"file and directory change places": {
			layer: []string{"a/", "a/in=1", "d=file", "e/", "link->a"},
			want:  []string{"a/", "a/in=1", "d=file", "e/", "link->a"},
		},
		"the same was done here": {
			change:    func(f *fixture) { f.remove("d/y"); f.write("g", "g", 0) },
			layer:     []string{"a=old", "d/", "d/x=0123456789abcdef", "e/", "g=h", "link->a"},
			want:      []string{"a=old", "d/", "d/x=0123456789abcdef", "e/", "g=g", "link->a"},
			conflicts: []string{"g: it was made here, too"}, left: []string{"M g"},
		},
		"changed here": {
			change:    func(f *fixture) { f.write("a", "X", 0); f.write("e/mine", "1", 0); f.remove("link") },
			layer:     []string{"a=new", "d/", "d/x=0123456789abcdef", "d/y=z", "link->d/x"},
			conflicts: []string{"e: something in it was made or changed here", "a: it was changed here", "link: it was deleted or moved here"},
			want:      []string{"a=Xld", "d/", "d/x=0123456789abcdef", "d/y=z", "e/", "e/mine=1"},
			left:      []string{"M a", "A e", "A e/mine", "D link"},
		},
		"a directory was moved here": {
			change:    func(f *fixture) { f.rename("d", "moved") },
			layer:     []string{"a=new", "d/", "d/x=other", "d/y=y", "e/", "link->a"},
			conflicts: []string{"d: it was deleted or moved here", "d/x: d was deleted or moved here", "d/y: d was deleted or moved here"},
			want:      []string{"a=new", "e/", "link->a", "moved/", "moved/x=0123456789abcdef", "moved/y=y"},
			left:      []string{"D d", "D d/x", "D d/y", "A moved", "A moved/x", "A moved/y"},
		},
		"a name of the layer is a file here": {
			change:    func(f *fixture) { f.write("f", "mine", 0) },
			layer:     append([]string{"f/", "f/deep=1"}, base...),
			conflicts: []string{"f: it was made here, too", "f/deep: f is no directory here"},
			want:      []string{"a=old", "d/", "d/x=0123456789abcdef", "d/y=y", "e/", "f=mine", "link->a"},
			left:      []string{"D f", "T f", "D f/deep"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, base...)
			if test.change != nil {
				test.change(f)
			}
			conflicts := f.layer(test.layer...)
			if test.conflicts == nil {
				test.conflicts = []string{}
			}
			if d := cmp.Diff(test.conflicts, conflicts); d != "" {
				t.Errorf("conflicts (-want +got):\n%s", d)
			}
			f.settled(test.want...)
			var left []string
			for _, c := range f.tree.Changes() {
				if !c.TimeOnly {
					left = append(left, fmt.Sprintf("%c %s", c.Kind, c.Path))
				}
			}
			if d := cmp.Diff(test.left, left); d != "" {
				t.Errorf("changes left (-want +got):\n%s", d)
			}
		})
	}
}

// TestLayerKeepsWhatNoManifestHolds replaces a file that has an owner, a mode and an
// attribute of its own.
func TestLayerKeepsWhatNoManifestHolds(t *testing.T) {
	f := newFixture(t, "a=old")
	ino := f.ino("a")
	mode := uint32(0o600)
	if _, err := f.tree.SetAttr(ino, SetAttr{Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	if err := f.tree.SetXattr(ino, "user.note", []byte("keep"), 0); err != nil {
		t.Fatal(err)
	}
	if c := f.layer("a=new"); len(c) > 0 {
		t.Fatal(c)
	}
	f.settled("a=new")
	a, err := f.tree.GetAttr(f.ino("a"))
	if err != nil || a.Mode != unix.S_IFREG|0o600 {
		t.Errorf("mode %o, %v", a.Mode, err)
	}
	if v, err := f.tree.GetXattr(f.ino("a"), "user.note"); string(v) != "keep" {
		t.Errorf("attribute %q, %v", v, err)
	}
}

// TestLayerCutShort crashes before the layer is part of the parent: its entries count as
// changes, and adding it again finishes the work.
func TestLayerCutShort(t *testing.T) {
	f := newFixture(t, "a=old", "b=old")
	lines := []string{"a=new", "b=new", "c=new"}
	diff, next := f.diffTo(lines)
	part := *diff
	part.Files = part.Files[:2]
	if _, err := f.tree.AddLayer(&part, next); err != nil {
		t.Fatal(err)
	}
	f.crash()
	f.want("a=new", "b=new")
	if n := len(f.tree.Changes()); n != 2 {
		t.Errorf("%d changes", n)
	}
	if c := f.layer(lines...); len(c) > 0 {
		t.Errorf("conflicts: %v", c)
	}
	f.settled(lines...)
	if c := f.tree.Changes(); len(c) > 0 {
		t.Errorf("changes: %+v", c)
	}
	tree, err := New(f.base, f.blobs, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.AddLayer(diff, next); !errors.Is(err, unix.EROFS) {
		t.Errorf("a read-only tree says %v", err)
	}
}
