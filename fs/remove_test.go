package fs

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRemovalCutShort kills a deletion of an overlay after each of its steps. What is
// left is no damaged overlay: the next mount begins a new one.
func TestRemovalCutShort(t *testing.T) {
	steps := []string{dataDir, commitsDir, logFile, goneFile}
	for n := range len(steps) + 1 {
		f := newFixture(t, "f=base")
		f.write("f", "written", 0)
		f.write("new", "new", 0)
		if err := f.tree.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(f.dir, metaFile), filepath.Join(f.dir, goneFile)); err != nil {
			t.Fatal(err)
		}
		if err := removeParts(f.dir, steps[:n]...); err != nil {
			t.Fatal(err)
		}
		f.open()
		f.want("f=base")
		f.write("f", "WRITTEN", 0)
		f.reopen()
		f.want("f=WRITTEN")
	}
}
