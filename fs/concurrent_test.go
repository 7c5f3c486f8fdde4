package fs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// checkInvariants checks that what the nodes say of each other agrees. The tree must
// not be in use.
func (t *Tree) checkInvariants() error {
	names := make(map[link]Ino) // every name that leads to a node
	for _, n := range t.nodes {
		if n.dir == nil {
			continue
		}
		if len(n.links) > 1 {
			return fmt.Errorf("directory %d has %d names", n.ino, len(n.links))
		}
		subdirs := uint32(0)
		for _, e := range t.names(n) {
			names[link{n.ino, e.name}] = e.ino
			if t.typeOf(e.ino) == unix.S_IFDIR {
				subdirs++
			}
			if e.ino >= firstOverlayIno && t.nodes[e.ino] == nil {
				return fmt.Errorf("%q of %d leads to inode %d, which does not exist", e.name, n.ino, e.ino)
			}
		}
		if subdirs != n.dir.subdirs {
			return fmt.Errorf("directory %d has %d subdirectories, and counts %d", n.ino, subdirs, n.dir.subdirs)
		}
		if len(n.links) == 0 && len(t.names(n)) > 0 {
			return fmt.Errorf("removed directory %d has entries", n.ino)
		}
	}
	for ino, n := range t.nodes {
		if n.ino != ino || n.unlinked != (len(n.links) == 0) {
			return fmt.Errorf("inode %d: number %d, unlinked %v, names %v", ino, n.ino, n.unlinked, n.links)
		}
		if len(n.links) == 0 && n.busy == 0 && t.references(ino, n).Load() <= 0 {
			return fmt.Errorf("inode %d has no name, nobody uses it, and it is still there", ino)
		}
		if n.busy == 0 && n.file != nil && n.file.f != nil {
			return fmt.Errorf("inode %d: the data file is open, and nobody uses it", ino)
		}
		for _, l := range n.links {
			if ino != RootIno && t.child(l.parent, l.name) != ino {
				return fmt.Errorf("inode %d believes that it is %q of %d", ino, l.name, l.parent)
			}
		}
	}
	for l, ino := range names {
		if n := t.nodes[ino]; n != nil && !slices.Contains(n.links, l) {
			return fmt.Errorf("inode %d does not know that it is %q of %d", ino, l.name, l.parent)
		}
	}
	return nil
}

// TestConcurrentOperations lets goroutines work on the same few names, with
// compactions and cuts in between, and checks that nodes, names and log agree in the
// end.
func TestConcurrentOperations(t *testing.T) {
	f := newFixture(t, "a/x=0123456789abcdef", "a/y/z=1", "b/x=2", "c=3", "d->c")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(w)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f.tree.randomOp(rng); err != nil && Errno(err) == unix.EIO {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 8 {
		time.Sleep(30 * time.Millisecond)
		if err := f.tree.compact(false); err != nil {
			t.Error(err)
		}
		f.tree.Checkpoint().Close()
	}
	close(stop)
	wg.Wait()
	if err := f.tree.checkInvariants(); err != nil {
		t.Fatal(err)
	}
	before := f.dump()
	f.crash()
	if err := f.tree.checkInvariants(); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	if after := f.dump(); after != before {
		t.Fatalf("before the crash:\n%s\nafter it:\n%s", before, after)
	}
}

// randomOp does something to a random name. Most of what can go wrong is right.
func (t *Tree) randomOp(rng *rand.Rand) error {
	dir, name := t.randomName(rng)
	defer t.Forget(dir, 1)
	switch rng.IntN(10) {
	case 0:
		a, err := t.Mkdir(dir, name, 0o755, Owner{})
		if err == nil {
			t.Forget(a.Ino, 1)
		}
		return err
	case 1:
		return t.Rmdir(dir, name)
	case 2:
		return t.Unlink(dir, name)
	case 3, 4:
		to, newName := t.randomName(rng)
		defer t.Forget(to, 1)
		return t.Rename(dir, name, to, newName, []uint32{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[rng.IntN(4)])
	case 5:
		f, a, err := t.Create(dir, name, 0o644, Owner{})
		if err != nil {
			return err
		}
		defer t.Forget(a.Ino, 1)
		defer f.Close()
		_, err = f.WriteAt([]byte(name), rng.Int64N(20))
		return err
	}
	a, err := t.Lookup(dir, name)
	if err != nil {
		return err
	}
	defer t.Forget(a.Ino, 1)
	return t.randomUse(rng, a)
}

// randomUse does something to an inode.
func (t *Tree) randomUse(rng *rand.Rand, a Attr) error {
	switch rng.IntN(5) {
	case 0:
		size := rng.Int64N(20)
		_, err := t.SetAttr(a.Ino, SetAttr{Size: &size})
		return err
	case 1:
		dir, name := t.randomName(rng)
		defer t.Forget(dir, 1)
		_, err := t.Link(a.Ino, dir, name)
		if err == nil {
			t.Forget(a.Ino, 1)
		}
		return err
	case 2:
		return t.SetXattr(a.Ino, "user.x", []byte("v"), 0)
	case 3:
		d, err := t.OpenDir(a.Ino)
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			e, b, ok := d.EntryAttr(i)
			if !ok {
				return nil
			}
			if e.Ino != 0 {
				t.Forget(b.Ino, 1)
			}
		}
	}
	f, err := t.Open(a.Ino, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("w"), rng.Int64N(20)); err != nil {
		return err
	}
	_, err = f.ReadAt(context.Background(), make([]byte, 30), 0)
	return err
}

// randomName returns a directory, a reference to which is counted, and a name in it.
func (t *Tree) randomName(rng *rand.Rand) (Ino, string) {
	letters := strings.Split("abcdxyz", "")
	dir, err := t.LookupParent(RootIno) // the root itself
	for range rng.IntN(3) {
		a, e := t.Lookup(dir.Ino, letters[rng.IntN(len(letters))])
		if err == nil && e == nil && a.Type() == unix.S_IFDIR {
			t.Forget(dir.Ino, 1)
			dir = a
		} else if e == nil {
			t.Forget(a.Ino, 1)
		}
	}
	return dir.Ino, letters[rng.IntN(len(letters))]
}
