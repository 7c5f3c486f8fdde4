package fs

import (
	"strings"
	"testing"
)

// The blocks of a file are those that its content takes, here or in the base, whether the
// file is open or not.
func TestBlocksLeaveOutHoles(t *testing.T) {
	const mega = 1 << 20
	f := newFixture(t, "base="+strings.Repeat("b", 64))
	blocks := func(path string) int64 {
		t.Helper()
		a, err := f.tree.GetAttr(f.ino(path))
		if err != nil {
			t.Fatal(err)
		}
		return a.Blocks() * 512
	}
	f.write("sparse", "x", 50*mega)
	if got := blocks("sparse"); got == 0 || got > mega {
		t.Errorf("a byte behind a hole takes %d bytes", got)
	}
	f.write("dense", strings.Repeat("x", 2*mega), 0)
	if got := blocks("dense"); got < 2*mega || got > 3*mega {
		t.Errorf("2 MiB take %d bytes", got)
	}
	f.truncate("base", 10*mega)
	if got := blocks("base"); got > mega {
		t.Errorf("a base file made longer takes %d bytes", got)
	}
	f.reopen()
	for path, most := range map[string]int64{"sparse": mega, "dense": 3 * mega, "base": mega} {
		if got := blocks(path); got > most {
			t.Errorf("%s takes %d bytes after a restart", path, got)
		}
	}
}
