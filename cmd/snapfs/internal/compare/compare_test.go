package compare

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/manifest"
)

func file(path string, size, mtime int64, hash manifest.Hash) manifest.File {
	return manifest.File{Path: path, Size: size, ModTime: mtime, Hash: hash}
}

func contents(chunk int64, files ...manifest.File) inspect.Contents {
	return inspect.Contents{Files: files, ChunkSize: chunk}
}

// lines renders changes like "M a [size mtime]".
func lines(changes []Change) []string {
	list := []string{}
	for _, c := range changes {
		line := c.Change + " " + c.Path
		if c.IsDir() {
			line += "/"
		}
		if len(c.Differs) > 0 {
			line += " [" + strings.Join(c.Differs, " ") + "]"
		}
		list = append(list, line)
	}
	return list
}

func TestTrees(t *testing.T) {
	link := manifest.File{Path: "l", Target: "a"}
	link2 := manifest.File{Path: "l", Target: "b"}
	run := manifest.File{Path: "a", Size: 1, ModTime: 1, Runnable: true}
	chunked := func(hashes ...manifest.Hash) manifest.File {
		return manifest.File{Path: "a", Size: 20, ModTime: 1, Chunks: hashes}
	}
	tests := []struct {
		name       string
		before     inspect.Contents
		after      inspect.Contents
		opts       Options
		want       []string
		wantCounts [4]int
	}{
		{name: "both empty", want: []string{}},
		{name: "equal", before: contents(0, file("a", 1, 1, "h")), after: contents(0, file("a", 1, 1, "h")), want: []string{}},
		{name: "added", after: contents(0, file("d/a", 1, 1, "h")), want: []string{"A d/", "A d/a"}, wantCounts: [4]int{2, 0, 0, 0}},
		{name: "deleted", before: contents(0, file("d/a", 1, 1, "h")), want: []string{"D d/", "D d/a"}, wantCounts: [4]int{0, 0, 2, 0}},
		{name: "implied and listed directories are equal", before: contents(0, file("d/a", 1, 1, "h")),
			after: inspect.Contents{Files: []manifest.File{file("d/a", 1, 1, "h")}, Dirs: []manifest.Dir{{Path: "d"}}}, want: []string{}},
		{name: "time", before: contents(0, file("a", 1, 1, "h")), after: contents(0, file("a", 1, 2, "h")),
			want: []string{"M a [mtime]"}, wantCounts: [4]int{0, 1, 0, 0}},
		{name: "time, with contents deciding", before: contents(0, file("a", 1, 1, "h")), after: contents(0, file("a", 1, 2, "h")),
			opts: Options{IgnoreTimes: true}, want: []string{}},
		{name: "time, with contents deciding but unknown", before: contents(0, file("a", 1, 1, "")), after: contents(0, file("a", 1, 2, "h")),
			opts: Options{IgnoreTimes: true}, want: []string{"M a [mtime]"}, wantCounts: [4]int{0, 1, 0, 0}},
		{name: "content", before: contents(0, file("a", 1, 1, "h")), after: contents(0, file("a", 1, 1, "i")),
			want: []string{"M a [content]"}, wantCounts: [4]int{0, 1, 0, 0}},
		{name: "content, ignored", before: contents(0, file("a", 1, 1, "h")), after: contents(0, file("a", 1, 1, "i")),
			opts: Options{IgnoreHashes: true}, want: []string{}},
		{name: "size", before: contents(0, file("a", 1, 1, "")), after: contents(0, file("a", 2, 1, "")),
			want: []string{"M a [size]"}, wantCounts: [4]int{0, 1, 0, 0}},
		{name: "chunks", before: contents(10, chunked("h", "i")), after: contents(10, chunked("h", "j")),
			want: []string{"M a [content]"}, wantCounts: [4]int{0, 1, 0, 0}},
		{name: "chunks of other sizes say nothing", before: contents(10, chunked("h", "i")), after: contents(7, chunked("x", "y", "z")), want: []string{}},
		{name: "execute bit", before: contents(0, file("a", 1, 1, "")), after: contents(0, run),
			want: []string{"M a [runnable]"}, wantCounts: [4]int{0, 1, 0, 0}},
		{name: "execute bit, ignored", before: contents(0, file("a", 1, 1, "")), after: contents(0, run), opts: Options{IgnoreRunnable: true}, want: []string{}},
		{name: "target", before: contents(0, link), after: contents(0, link2), want: []string{"M l [target]"}, wantCounts: [4]int{0, 1, 0, 0}},
		{name: "file becomes link", before: contents(0, file("l", 1, 1, "h")), after: contents(0, link), want: []string{"T l"}, wantCounts: [4]int{0, 0, 0, 1}},
		{name: "file becomes directory", before: contents(0, file("d", 1, 1, "h")), after: contents(0, file("d/a", 1, 1, "h")),
			want: []string{"T d/", "A d/a"}, wantCounts: [4]int{1, 0, 0, 1}},
		{name: "absolute paths", before: contents(0, file("/r/a", 1, 1, "h")), after: contents(0, file("/r/b", 1, 1, "h")),
			want: []string{"D /r/a", "A /r/b"}, wantCounts: [4]int{1, 0, 1, 0}},
		{name: "order by code units", after: contents(0, file("a\U00010000", 1, 1, "h"), file("a\uffee", 1, 1, "h")),
			want: []string{"A a\U00010000", "A a\uffee"}, wantCounts: [4]int{2, 0, 0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes := Trees(tt.before, tt.after, tt.opts)
			if diff := cmp.Diff(tt.want, lines(changes)); diff != "" {
				t.Error(diff)
			}
			s := Summarize(changes)
			if got := [4]int{s.Added, s.Modified, s.Deleted, s.TypeChanged}; got != tt.wantCounts || s.Any() != (len(tt.want) > 0) {
				t.Errorf("summary %+v, want counts %v", s, tt.wantCounts)
			}
		})
	}
}
