package fs

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCompactionUnderWriters compacts the log again and again while goroutines
// change the tree, each in a directory of its own and all of them in a shared one.
// After a crash the tree must be what it was.
func TestCompactionUnderWriters(t *testing.T) {
	lines := []string{"shared/"}
	const writers = 4
	for w := range writers {
		lines = append(lines, fmt.Sprintf("d%d/base/f=0123456789abcdef", w), fmt.Sprintf("d%d/base/g/h=x", w))
	}
	f := newFixture(t, lines...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
					f.churn(t, fmt.Sprintf("d%d", w), round)
				}
			}
		})
	}
	for range 15 {
		if err := f.tree.compact(false); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	before := f.dump()
	links := f.nlinks()
	f.crash()
	if after := f.dump(); after != before {
		t.Fatalf("after a crash:\n%s\nbefore:\n%s", after, before)
	}
	if after := f.nlinks(); after != links {
		t.Fatalf("links after a crash:\n%s\nbefore:\n%s", after, links)
	}
}

// churn makes, changes, moves and removes things in a directory.
func (f *fixture) churn(t *testing.T, dir string, round int) {
	tree, d := f.tree, f.ino(dir)
	name := fmt.Sprintf("n%d", round%7)
	check := func(err error, allowed ...error) {
		if err == nil {
			return
		}
		for _, a := range allowed {
			if err == a {
				return
			}
		}
		t.Errorf("%s, round %d: %v", dir, round, err)
	}
	file, a, err := tree.Create(d, name, 0o644, Owner{})
	if check(err, unix.EEXIST); err == nil {
		_, err = file.WriteAt([]byte(dir+name), int64(round%20))
		check(err)
		file.Close()
		tree.Forget(a.Ino, 1)
	}
	check(tree.Rename(d, "base", f.ino("shared"), dir, 0))
	check(tree.Rename(f.ino("shared"), dir, d, "base", 0))
	sub, err := tree.Mkdir(d, "sub", 0o755, Owner{})
	if check(err, unix.EEXIST); err == nil {
		check(tree.Rename(d, name, sub.Ino, name, 0))
		check(tree.Rename(d, "sub", d, "moved", 0), unix.ENOTEMPTY)
		tree.Forget(sub.Ino, 1)
	}
	if round%3 == 0 {
		moved, err := tree.Lookup(d, "moved")
		if err == nil {
			for i := range 7 {
				check(tree.Unlink(moved.Ino, fmt.Sprintf("n%d", i)), unix.ENOENT)
			}
			check(tree.Rmdir(d, "moved"))
			tree.Forget(moved.Ino, 1)
		}
	}
}

// nlinks lists the link count of every directory of the root.
func (f *fixture) nlinks() (s string) {
	d, err := f.tree.OpenDir(RootIno)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; ; i++ {
		e, ok := d.Entry(i)
		if !ok {
			return s
		}
		a, err := f.tree.GetAttr(e.Ino)
		s += fmt.Sprintf("%s %d %v\n", e.Name, a.Nlink, err)
	}
}

// TestLogStaysShort changes one file for as long as it takes to outgrow any log that
// is never compacted.
func TestLogStaysShort(t *testing.T) {
	f := newFixture(t, "f=x")
	mode := uint32(0o600)
	for i := range 400_000 {
		mode ^= 0o077
		if _, err := f.tree.SetAttr(2, SetAttr{Mode: &mode}); err != nil {
			t.Fatal(err)
		}
		for try := 0; i%100_000 == 99_999 && f.tree.ov.log.Size() > 2*compactMin; try++ {
			if time.Sleep(10 * time.Millisecond); try > 1000 {
				t.Fatalf("the log has %d bytes after %d changes", f.tree.ov.log.Size(), i)
			}
		}
	}
	f.crash()
	if a, err := f.tree.GetAttr(2); err != nil || a.Mode&0o777 != mode {
		t.Fatalf("mode %o, want %o: %v", a.Mode, mode, err)
	}
}
