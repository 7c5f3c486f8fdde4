package fs

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

func TestFSView(t *testing.T) {
	f := newFixture(t, story...)
	f.write("a/new", "written in the overlay", 0)
	f.write("a/b/deep", "__", 3)
	f.mkdir("made")
	f.rename("empty", "made/moved")
	f.remove("run.sh")
	want := []string{"a/b/deep", "a/small", "a/up", "a/new", "made/moved", "top"}
	if err := fstest.TestFS(f.tree.FS(t.Context()), want...); err != nil {
		t.Fatal(err)
	}
}

func TestFSViewFollowsLinksInside(t *testing.T) {
	f := newFixture(t, "d/f=found", "d/e/x=1", "up->d/f", "dir->d/e", "d/e/back->d", "root->.")
	for path, text := range map[string]string{"d/e/abs": "/etc/passwd", "d/e/out": "../../../etc/passwd", "loop": "loop", "chain": "./dir/./back/../d//f"} {
		dir, name := f.parent(path)
		if _, err := f.tree.Symlink(dir, name, text, Owner{}); err != nil {
			t.Fatal(err)
		}
	}
	view := f.tree.FS(t.Context())
	for _, path := range []string{"up", "dir/back/f", "dir/back/e/back/f", "chain", "root/up", "root/root/d/f"} {
		if b, err := iofs.ReadFile(view, path); err != nil || string(b) != "found" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	for path, want := range map[string]error{
		"d/e/abs": iofs.ErrNotExist, "d/e/out": iofs.ErrNotExist, "loop": unix.ELOOP, "d/f/x": unix.ENOTDIR, "nothing": iofs.ErrNotExist,
		"../d": iofs.ErrInvalid, "/d": iofs.ErrInvalid,
	} {
		if _, err := iofs.Stat(view, path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if text, err := iofs.ReadLink(view, "d/e/abs"); err != nil || text != "/etc/passwd" {
		t.Errorf("readlink: %q, %v", text, err)
	}
}

func TestFSViewEndsWithItsContext(t *testing.T) {
	f := newFixture(t, "f=content")
	g := f.gated()
	ctx, cancel := context.WithCancel(t.Context())
	file, err := f.tree.FS(ctx).Open("f")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	go func() {
		<-g.asked
		cancel()
	}()
	if _, err := io.ReadAll(file); !errors.Is(err, context.Canceled) {
		t.Fatalf("read: %v", err)
	}
}
