package ops

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/snapfs/snapfs/manifest"
)

// bigTree returns a decoded snapshot of n hashed files, a thousand to a directory,
// and another in which one file of a hundred differs.
func bigTree(b *testing.B, n int) (parent, current *manifest.Snapshot) {
	b.Helper()
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: manifest.DefaultChunkSize}
	for i := range n {
		m.Files = append(m.Files, manifest.File{
			Path:    fmt.Sprintf("project/shots/sh%04d/render_v001.%06d.exr", i/1000, i%1000),
			Size:    int64(i),
			ModTime: 1700000000000000,
			Hash:    manifest.Sum(fmt.Append(nil, i)),
		})
	}
	var text bytes.Buffer
	must(b, manifest.EncodeV2025(&text, m))
	parent, err := manifest.DecodeAs[manifest.Rel, manifest.Full](&text)
	must(b, err)
	current = parent.Clone()
	for i := 0; i < n; i += 100 {
		current.Files[i].ModTime++
	}
	return parent, current
}

const bigTreeSize = 1_000_000

func BenchmarkDiff(b *testing.B) {
	parent, current := bigTree(b, bigTreeSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Diff(parent, current, DiffOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	parent, current := bigTree(b, bigTreeSize)
	diff, err := Diff(parent, current, DiffOptions{})
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		m, err := Compose(parent, diff)
		if err != nil {
			b.Fatal(err)
		}
		must(b, manifest.EncodeV2025(io.Discard, m))
	}
}

func BenchmarkComposeManyDiffs(b *testing.B) {
	parent, current := bigTree(b, 100_000)
	var diffs []*manifest.SnapshotDiff
	for range 100 {
		diff, err := Diff(parent, current, DiffOptions{})
		must(b, err)
		diffs = append(diffs, diff)
	}
	for b.Loop() {
		if _, err := Compose(parent, diffs...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDeleteDeepTree removes nested directories one by one: looking at what is
// left below each of them must not cost as much as what was there (spec/gaps.md
// G-37).
func BenchmarkDeleteDeepTree(b *testing.B) {
	parent := snap("")
	path := "d"
	for range 1000 {
		parent.Dirs = append(parent.Dirs, manifest.Dir{Path: path})
		for j := range 100 {
			parent.Files = append(parent.Files, manifest.File{Path: fmt.Sprintf("%s/f%d", path, j)})
		}
		path += "/d"
	}
	diff, err := Diff(parent, snap(""), DiffOptions{})
	must(b, err)
	for b.Loop() {
		m, err := Compose(parent, diff)
		must(b, err)
		if len(m.Files)+len(m.Dirs) > 0 {
			b.Fatal("something is left")
		}
	}
}

func BenchmarkSubtree(b *testing.B) {
	parent, _ := bigTree(b, bigTreeSize)
	for b.Loop() {
		if _, err := Subtree(parent, "project/shots", CollapseEscaping); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPartitionIntoManyRoots(b *testing.B) {
	parent, _ := bigTree(b, bigTreeSize)
	var roots []string
	for i := range bigTreeSize / 1000 {
		roots = append(roots, fmt.Sprintf("project/shots/sh%04d", i))
	}
	for b.Loop() {
		if _, err := Partition(parent, PartitionOptions{Roots: roots}); err != nil {
			b.Fatal(err)
		}
	}
}
