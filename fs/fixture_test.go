package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// blobs is a store in memory that counts what is read.
type blobs map[manifest.Hash][]byte

func (b blobs) put(p []byte) manifest.Hash {
	h := manifest.Sum(p)
	b[h] = p
	return h
}

func (b blobs) ReadBlobAt(_ context.Context, blob manifest.Blob, p []byte, off int64) (int, error) {
	content, ok := b[blob.Hash]
	if !ok {
		return 0, fmt.Errorf("no blob %s: %w", blob.Hash, os.ErrNotExist)
	}
	if off >= int64(len(content)) {
		return 0, io.EOF
	}
	return copy(p, content[off:]), nil
}

// fixture is a base of a few files, with the chunk size so small that files of more
// than 8 bytes are in chunks.
const testChunk = 8

type fixture struct {
	t        failer
	blobs    blobs
	base     *Base
	last     *Base  // parent of the next commit, nil for the base
	dir      string // overlay
	uid, gid uint32
	tree     *Tree
}

// failer is what testing.T, testing.B and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// newFixture makes a base of lines "path=content", "path->target" and "path/".
func newFixture(t testing.TB, lines ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, blobs: blobs{}, dir: filepath.Join(t.TempDir(), "overlay"), uid: 7, gid: 8}
	f.build(lines)
	t.Cleanup(func() { f.tree.Close() })
	return f
}

func (f *fixture) build(lines []string) {
	f.t.Helper()
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: testChunk}
	for i, line := range lines {
		mtime := int64(1_700_000_000_000_000 + i)
		if path, target, ok := strings.Cut(line, "->"); ok {
			m.Files = append(m.Files, manifest.File{Path: path, Target: target})
		} else if path, content, ok := strings.Cut(line, "="); ok {
			m.Files = append(m.Files, f.entry(path, content, mtime))
		} else {
			m.Dirs = append(m.Dirs, manifest.Dir{Path: strings.TrimSuffix(line, "/")})
		}
	}
	base, err := NewBase(m)
	if err != nil {
		f.t.Fatal(err)
	}
	f.base = base
	f.open()
}

func (f *fixture) entry(path, content string, mtime int64) manifest.File {
	e := manifest.File{Path: path, Size: int64(len(content)), ModTime: mtime, Runnable: strings.HasSuffix(path, ".sh")}
	if len(content) <= testChunk {
		e.Hash = f.blobs.put([]byte(content))
		return e
	}
	for c := range slices.Chunk([]byte(content), testChunk) {
		e.Chunks = append(e.Chunks, f.blobs.put(c))
	}
	return e
}

func (f *fixture) open() {
	f.t.Helper()
	tree, err := New(f.base, f.blobs, f.dir, Options{
		UID: f.uid, GID: f.gid, Umask: 0o022, Parent: f.last, Info: OverlayInfo{BaseID: "base"},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.tree = tree
}

// crash opens the overlay again as after a kill -9: without Close.
func (f *fixture) crash() {
	f.t.Helper()
	f.tree.kill()
	f.open()
}

// kill leaves the overlay as the end of the process would.
func (t *Tree) kill() {
	t.ov.mu.Lock()
	t.ov.garbage = nil
	t.ov.mu.Unlock()
	close(t.ov.closing)
	<-t.ov.done
	t.ov.log.Close()
	t.ov.dataFD.Close()
	t.ov.lock.Unlock()
}

func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.tree.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.open()
}

func (f *fixture) ino(path string) Ino {
	f.t.Helper()
	ino := RootIno
	for name := range strings.SplitSeq(path, "/") {
		a, err := f.tree.Lookup(ino, name)
		if err != nil {
			f.t.Fatalf("lookup %s of %s: %v", name, path, err)
		}
		f.tree.Forget(a.Ino, 1)
		ino = a.Ino
	}
	return ino
}

func (f *fixture) parent(path string) (Ino, string) {
	dir, name := splitPath(path)
	if dir == "" {
		return RootIno, name
	}
	return f.ino(dir), name
}

func (f *fixture) write(path, content string, off int64) {
	f.t.Helper()
	dir, name := f.parent(path)
	file, a, err := f.tree.Create(dir, name, 0o644, Owner{7, 8})
	if errors.Is(err, unix.EEXIST) {
		file, err = f.tree.Open(f.ino(path), unix.O_RDWR)
	} else if err == nil {
		defer f.tree.Forget(a.Ino, 1)
	}
	if err != nil {
		f.t.Fatalf("open %s: %v", path, err)
	}
	defer file.Close()
	if n, err := file.WriteAt([]byte(content), off); err != nil || n != len(content) {
		f.t.Fatalf("write %s: %d, %v", path, n, err)
	}
}

func (f *fixture) truncate(path string, size int64) {
	f.t.Helper()
	if _, err := f.tree.SetAttr(f.ino(path), SetAttr{Size: &size}); err != nil {
		f.t.Fatalf("truncate %s: %v", path, err)
	}
}

func (f *fixture) rename(from, to string) {
	f.t.Helper()
	d1, n1 := f.parent(from)
	d2, n2 := f.parent(to)
	if err := f.tree.Rename(d1, n1, d2, n2, 0); err != nil {
		f.t.Fatalf("rename %s to %s: %v", from, to, err)
	}
}

func (f *fixture) remove(path string) {
	f.t.Helper()
	d, n := f.parent(path)
	err := f.tree.Unlink(d, n)
	if errors.Is(err, unix.EISDIR) {
		err = f.tree.Rmdir(d, n)
	}
	if err != nil {
		f.t.Fatalf("remove %s: %v", path, err)
	}
}

// dump lists the whole tree in the notation of newFixture.
func (f *fixture) dump() string {
	f.t.Helper()
	var b strings.Builder
	f.dumpDir(&b, RootIno, "")
	return b.String()
}

func (f *fixture) dumpDir(b *strings.Builder, ino Ino, prefix string) {
	d, err := f.tree.OpenDir(ino)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; ; i++ {
		e, ok := d.Entry(i)
		if !ok {
			return
		}
		path := prefix + e.Name
		switch e.Type {
		case unix.S_IFDIR:
			fmt.Fprintf(b, "%s/\n", path)
			f.dumpDir(b, e.Ino, path+"/")
		case unix.S_IFLNK:
			text, err := f.tree.Readlink(e.Ino)
			if err != nil {
				f.t.Fatal(err)
			}
			fmt.Fprintf(b, "%s->%s\n", path, text)
		case unix.S_IFREG:
			fmt.Fprintf(b, "%s=%s\n", path, f.content(e.Ino))
		}
	}
}

func (f *fixture) content(ino Ino) string {
	f.t.Helper()
	return strings.ReplaceAll(f.raw(ino), "\x00", "0")
}

func (f *fixture) raw(ino Ino) string {
	f.t.Helper()
	file, err := f.tree.Open(ino, unix.O_RDONLY)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	a, err := f.tree.GetAttr(ino)
	if err != nil {
		f.t.Fatal(err)
	}
	buf := make([]byte, a.Size+10)
	n, err := file.ReadAt(context.Background(), buf, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	if int64(n) != a.Size {
		f.t.Fatalf("read %d bytes of a file of %d", n, a.Size)
	}
	return string(buf[:n])
}

func (f *fixture) want(lines ...string) {
	f.t.Helper()
	want := strings.Join(lines, "\n") + "\n"
	if got := f.dump(); got != want {
		f.t.Fatalf("tree is\n%s\nwant\n%s", got, want)
	}
}

// settled checks the tree now, after a crash, and after a clean close.
func (f *fixture) settled(lines ...string) {
	f.t.Helper()
	f.want(lines...)
	f.crash()
	f.want(lines...)
	f.reopen()
	f.want(lines...)
	f.reopen()
	f.want(lines...)
}
