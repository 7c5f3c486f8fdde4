package manifest

import (
	"fmt"
	"strings"
	"testing"
)

func chainOfLinks(n int) []File {
	files := []File{hashed("end")}
	for i := range n {
		target := "end"
		if i > 0 {
			target = fmt.Sprintf("l%d", i-1)
		}
		files = append(files, File{Path: fmt.Sprintf("l%d", i), Target: target})
	}
	return files
}

func TestFollow(t *testing.T) {
	files := append(chainOfLinks(66),
		hashed("d/e/f"), File{Path: "to-d", Target: "d"}, File{Path: "to-to-d", Target: "to-d"},
		File{Path: "loop", Target: "pool"}, File{Path: "pool", Target: "loop"})
	links := NewLinks(files, []Dir{{Path: "empty"}, {Path: "gone", Deleted: true}})
	tests := []struct {
		target, want string // "" for nothing, a trailing slash for a directory
	}{
		{"end", "end"}, {"./end", "end"}, {"d/e/f", "d/e/f"},
		{"l62", "end"}, // a chain of 64 entries
		{"l63", ""},    // one too many
		{"d", "d/"}, {"d/e", "d/e/"}, {"empty", "empty/"}, {".", "./"},
		{"to-d", "d/"}, {"to-to-d", "d/"}, {"to-to-d/e/f", "d/e/f"}, {"to-d/e", "d/e/"},
		{"loop", ""}, {"loop/x", ""}, {"nope", ""}, {"gone", ""}, {"end/x", ""}, {"to-d/nope", ""}, {"../end", ""},
	}
	for _, tt := range tests {
		file, dir, ok := links.Follow(tt.target)
		got := ""
		switch {
		case ok && file != nil:
			got = file.Path
		case ok:
			got = dir + "/"
		}
		if got != tt.want {
			t.Errorf("%s leads to %q, want %q", tt.target, got, tt.want)
		}
	}
}

// Links to directories full of links multiply: 30 directories with 30 links each
// would give 30! copies.
func TestCopierStopsLinkBombs(t *testing.T) {
	var files []File
	for i := range 30 {
		for j := range 30 {
			files = append(files, File{Path: fmt.Sprintf("d%d/l%d", i, j), Target: fmt.Sprintf("d%d", j)})
		}
		files = append(files, hashed(fmt.Sprintf("d%d/%s", i, strings.Repeat("x", 200))))
	}
	c := NewCopier(NewLinks(files, nil), nil)
	c.room = 10 << 20
	_, err := c.Replace("copy", "d0")
	checkError(t, err, "replacing links by copies")
	if most := 10 << 20 / entrySize; len(c.Files) > most {
		t.Errorf("%d files were copied", len(c.Files))
	}
}
