package inspect

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
)

func TestDiskUsage(t *testing.T) {
	c := Contents{
		Files: []manifest.File{
			{Path: "top", Size: 1}, {Path: "a/x", Size: 10}, {Path: "a/b/y", Size: 100}, {Path: "a/b/c/z", Size: 1000},
			{Path: "ab/w", Size: 10000}, {Path: "a/link", Target: "top"}, {Path: "a/gone", Deleted: true},
		},
		Dirs: []manifest.Dir{{Path: "e"}, {Path: "a/e"}, {Path: "d", Deleted: true}},
	}
	tests := []struct {
		name, dir string
		depth     int
		want      []string
	}{
		{"one level", ".", 1, []string{". 11111 5", "a 1110 3", "ab 10000 1", "e 0 0"}},
		{"only the top", "", 0, []string{". 11111 5"}},
		{"all levels of a directory", "a", -1, []string{"a 1110 3", "a/b 1100 2", "a/b/c 1000 1", "a/e 0 0"}},
		{"unnormalised path", "./a/", 1, []string{"a 1110 3", "a/b 1100 2", "a/e 0 0"}},
		{"a file", "top", 1, []string{"top 1 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, u := range c.DiskUsage(tt.dir, tt.depth) {
				got = append(got, fmt.Sprintf("%s %d %d", u.Path, u.Bytes, u.Files))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDiskUsageOfAbsolutePaths(t *testing.T) {
	c := Contents{Files: []manifest.File{{Path: "/r/a/x", Size: 1}, {Path: "/r/y", Size: 2}}}
	var got []string
	for _, u := range c.DiskUsage("/", 2) {
		got = append(got, fmt.Sprintf("%s %d", u.Path, u.Bytes))
	}
	if diff := cmp.Diff([]string{"/ 3", "/r 3", "/r/a 1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBelow(t *testing.T) {
	for _, tt := range []struct {
		dir, path string
		want      bool
	}{
		{"", "a", true}, {".", "a/b", true}, {"a", "a", true}, {"a", "a/b", true}, {"a/", "a/b", true},
		{"a", "ab", false}, {"a/b", "a", false}, {"/", "/x", true}, {"/x", "/x/y", true}, {"/x", "/xy", false},
	} {
		if got := Below(tt.dir)(tt.path); got != tt.want {
			t.Errorf("Below(%q)(%q) = %v", tt.dir, tt.path, got)
		}
	}
}

func TestFile(t *testing.T) {
	c := Contents{Files: []manifest.File{
		{Path: "d/x", Size: 1}, {Path: "up", Target: "d"}, {Path: "loop", Target: "loop"}, {Path: "gone", Deleted: true},
		{Path: "dangling", Target: "nowhere"},
	}}
	for _, tt := range []struct {
		path, want string
		code       failure.Code
	}{
		{"d/x", "d/x", 0}, {"./up/x", "d/x", 0},
		{"d", "", failure.Usage}, {"up", "", failure.Usage},
		{"loop", "", failure.NotFound}, {"gone", "", failure.NotFound}, {"dangling", "", failure.NotFound}, {"y", "", failure.NotFound},
	} {
		f, err := c.File(tt.path)
		if tt.code != 0 {
			if failure.Classify(err) == nil || failure.Classify(err).Code != tt.code {
				t.Errorf("File(%q): %v, want code %d", tt.path, err, tt.code)
			}
			continue
		}
		if err != nil || f.Path != tt.want {
			t.Errorf("File(%q) = %v, %v, want %q", tt.path, f, err, tt.want)
		}
	}
}
