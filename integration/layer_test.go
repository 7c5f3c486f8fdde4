package integration

import (
	"io"
	"os"
	"strings"
	"testing"
)

// layered is a mount of a tree, and a diff of another one, which is not mounted.
func layered(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.mkdir("store")
	w.env = append(w.env, "SNAPFS_STORE="+w.path("store"))
	w.shell(`
		mkdir -p a/dir/gone a/type
		for f in same changed removed mine dir/x dir/gone/y type/z; do echo "old $f" > a/$f; done
		ln -s same a/link
		cp -a a b
		echo "new text" > b/changed; echo added > b/dir/added; mkdir b/deep; echo deeper > b/deep/er; echo theirs > b/mine
		chmod +x b/same; rm -r b/dir/gone b/removed b/type b/link; ln -s changed b/link; echo file > b/type
	`)
	w.ok("snapshot", "a", "-o", "a.json")
	w.ok("snapshot", "b", "-o", "b.json")
	w.ok("diff", "a.json", "b.json", "-o", "d.json")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	return w
}

// TestLayerAdd adds a layer to a mount in use: everything that the kernel remembers is
// right afterwards, who has a file open goes on with it, and nothing is there to commit.
func TestLayerAdd(t *testing.T) {
	w := layered(t)
	tree(t, w.path("mnt")) // so that the kernel remembers all of it
	if _, err := os.Stat(w.path("mnt/dir/added")); !os.IsNotExist(err) {
		t.Fatal(err)
	}
	open, err := os.Open(w.path("mnt/changed"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	w.ok("layer", "add", "mnt", "d.json")
	same(t, tree(t, w.path("mnt")), tree(t, w.path("b")))
	if b, err := io.ReadAll(open); err != nil || string(b) != "old changed\n" {
		t.Errorf("the open file reads %q, %v", b, err)
	}
	if s := w.status("mnt"); len(s.Changes) != 0 {
		t.Errorf("changes: %v", s.lines())
	}
	w.ok("layer", "add", "mnt", "d.json") // once more: nothing is left to do
	w.write("mnt/changed", "again")
	open.Close()
	w.kill("mnt")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	if s := w.status("mnt"); strings.Join(s.lines(), ",") != "M changed" {
		t.Errorf("changes after a crash: %v", s.lines())
	}
	w.ok("umount", "mnt", "--diff-out", "d2.json")
	w.ok("mount", "b.json", "--diff", "d2.json", "mnt")
	if w.read("mnt/changed") != "again" {
		t.Error("the diff of the mount with the layer is not one of the tree with the layer")
	}
	w.ok("umount", "mnt")
}

// TestLayerConflicts adds a layer to a mount with changes: those win, and are listed.
func TestLayerConflicts(t *testing.T) {
	w := layered(t)
	w.write("mnt/mine", "mine")
	w.write("mnt/dir/gone/new", "new")
	w.shell("rm mnt/changed")
	writer, err := os.OpenFile(w.path("mnt/removed"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	out := w.fails(3, []string{"mine", "dir/gone", "changed", "open for writing"}, "layer", "add", "mnt", "d.json", "--json").stdout
	var done struct {
		Applied   int
		Conflicts []struct{ Path, Reason string }
	}
	w.decode(out, &done)
	if len(done.Conflicts) != 4 || done.Applied == 0 {
		t.Errorf("outcome: %+v", done)
	}
	writer.Close()
	if w.read("mnt/mine") != "mine" || w.read("mnt/dir/gone/new") != "new" || w.read("mnt/deep/er") != "deeper\n" {
		t.Error("the tree is not what it should be")
	}
	s := w.status("mnt")
	if got := strings.Join(s.lines(), ","); got != "D changed,A dir/gone,A dir/gone/new,M mine,A removed" {
		t.Errorf("changes: %s", got)
	}
	w.fails(4, nil, "umount", "mnt", "--no-commit")
}

// TestLayerRefused adds what cannot be added.
func TestLayerRefused(t *testing.T) {
	w := layered(t)
	w.fails(2, []string{"snapfs diff"}, "layer", "add", "mnt", "b.json")
	w.fails(5, []string{"none.json"}, "layer", "add", "mnt", "none.json")
	w.fails(2, nil, "layer", "add", "mnt")
	w.fails(5, []string{"no snapfs mount"}, "layer", "add", "a", "d.json")
	w.shell("cp -a a c; echo theirs > c/mine; echo mine > mnt/mine")
	w.ok("snapshot", "c", "-o", "c.json")
	w.ok("diff", "a.json", "c.json", "-o", "dc.json")
	w.fails(8, []string{"mine: it was changed here"}, "layer", "add", "mnt", "dc.json")
	w.shell("cp d.json mnt/d.json") // a diff in the mount itself
	w.fails(3, []string{"mine"}, "layer", "add", "mnt", "mnt/d.json")
}
