package fs

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

// entriesOf lists a base, row by row: what inode numbers stand for.
func entriesOf(b *Base) (list []string) {
	for r := uint32(RootIno); r < uint32(len(b.rows)); r++ {
		x := b.rows[r]
		line := fmt.Sprintf("%d %q kind %d in %d, mtime %d", r, b.path(r), x.kind, x.parent, x.mtime)
		switch x.kind {
		case rowFile:
			line += fmt.Sprintf(", %d bytes %v, runnable %v", x.size, b.hashList(r), x.runnable)
		case rowLink:
			line += " -> " + b.target(r)
		case rowDir:
			first, end := b.children(r)
			line += fmt.Sprintf(", %d to %d with %d directories", first, end, b.subdirs(r))
		}
		list = append(list, line)
	}
	return list
}

// A base does not depend on whether the manifest was in memory, and in what order its
// entries came.
func TestBaseOfVisitedManifest(t *testing.T) {
	f := newFixture(t, "b/x.sh=run", "b/a/deep=d", "b/a.b=between", "b-c=sorts before b/", "l->b/x.sh", "empty/", "big="+string(make([]byte, 2*testChunk+1)))
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: testChunk}
	for r := uint32(RootIno) + 1; r < uint32(len(f.base.rows)); r++ {
		if f.base.rows[r].kind == rowDir {
			m.Dirs = append(m.Dirs, manifest.Dir{Path: f.base.path(r)})
		} else {
			m.Files = append(m.Files, f.base.file(r, f.base.path(r)))
		}
	}
	var text bytes.Buffer
	if err := manifest.EncodeV2025(&text, m); err != nil {
		t.Fatal(err)
	}
	builder := NewBaseBuilder()
	doc, err := manifest.Visit(&text, manifest.DecodeOptions{}, builder)
	if err != nil {
		t.Fatal(err)
	}
	visited, err := builder.Base(doc.Manifest.(*manifest.Snapshot).ChunkSize)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entriesOf(f.base), entriesOf(visited)); diff != "" {
		t.Error(diff)
	}
	if visited.Bytes() != f.base.Bytes() || visited.files != f.base.files {
		t.Errorf("%d bytes in %d files, want %d in %d", visited.Bytes(), visited.files, f.base.Bytes(), f.base.files)
	}
}

func TestBaseRefusesDeletions(t *testing.T) {
	var bad *BaseError
	if err := NewBaseBuilder().File(&manifest.File{Path: "a", Deleted: true}); !errors.As(err, &bad) {
		t.Errorf("accepted: %v", err)
	}
}
