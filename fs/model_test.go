package fs

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/fs/internal/fsmodel"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestModel runs random operations, crashes and reopenings on a tree and on a plain
// directory and compares them after every step. After every step, too, the changes
// that a commit would publish must turn the base into the tree.
//
//	go test ./fs -run TestModel -rapid.checks 10000 -rapid.steps 100
func TestModel(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "model")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		fast, err := os.MkdirTemp(fastDir(), "model")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(fast)
		tree := newTreeTarget(t, fast)
		defer tree.close()
		plain := filepath.Join(dir, "plain")
		if err := tree.export(plain); err != nil {
			t.Fatal(err)
		}
		reference := fsmodel.NewOS(plain)
		defer reference.CloseAll()
		m := fsmodel.NewMachine(reference, tree, fsmodel.Config{
			Unit: testChunk, MaxUnits: 5, Modes: modelModes(),
		})
		again := func(what string, do func()) func(*rapid.T) {
			return func(t *rapid.T) { t.Log(what); m.CloseAll(); do() }
		}
		t.Repeat(map[string]func(*rapid.T){
			"1 step": m.Step, "2 step": m.Step, "3 step": m.Step, "4 step": m.Step, "5 step": m.Step, "6 step": m.Step,
			"7 compact": func(t *rapid.T) { t.Log("compact"); tree.compact() },
			"8 commit":  func(t *rapid.T) { t.Log("commit"); tree.commit(t) },
			"90 crash":  again("crash", tree.crash),
			"91 reopen": again("reopen", tree.reopen),
			"": func(t *rapid.T) {
				m.Compare(t)
				tree.checkCut(t)
				if err := tree.tree.checkInvariants(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// modelModes are the modes that the machine sets. Only root can look into a directory
// of mode 0600, and write to a plain file without dropping its set-group-ID bit; the
// tree leaves that one to who knows the writer.
func modelModes() []uint32 {
	if os.Geteuid() == 0 {
		return []uint32{0o644, 0o755, 0o600, 0o777, 0o2755}
	}
	return []uint32{0o744, 0o755, 0o700, 0o777}
}

// TestCommitWhileADirectoryIsElsewhere moves a base directory away and another thing
// to its place, commits, and moves it back: its contents, which nobody has touched,
// are changes now.
func TestCommitWhileADirectoryIsElsewhere(t *testing.T) {
	for _, between := range []string{"nothing", "crash", "reopen", "compact"} {
		t.Run(between, func(t *testing.T) {
			x := newTreeTarget(t, t.TempDir())
			defer x.close()
			x.rename("a/a/d", "away")
			x.rename("b/a/d", "a/a/d") // with a file of the same name
			x.commit(t)
			switch between {
			case "crash":
				x.crash()
			case "reopen":
				x.reopen()
			case "compact":
				x.compact()
			}
			x.checkCut(t)
			x.rename("a/a/d", "b/a/d")
			x.rename("away", "a/a/d")
			x.reopen()
			x.checkCut(t)
			x.commit(t)
			x.checkCut(t)
		})
	}
}

// fastDir returns a directory where syncing costs nothing, if there is one.
func fastDir() string {
	const shm = "/dev/shm"
	if unix.Access(shm, unix.W_OK) == nil {
		return shm
	}
	return ""
}

// modelBase has what the machine stumbles over: nested directories, files in
// several chunks, an empty file, links.
var modelBase = []string{
	"a/a/a=0123456789abcdefghijklmno", "a/a/b=12345678", "a/a/d/b=one", "a/b=123456789", "a/c->nowhere",
	"b/a/d/b=another", "b/c/b=", "b/d/", "c=01234567abcdefgh",
}

// treeTarget runs operations on a Tree as the kernel would: it walks paths, checks
// what the kernel checks, and holds a reference to every file that is open.
type treeTarget struct {
	fixture
	rt    failer
	slots [fsmodel.Slots]slot
	start map[string]string // what the base holds; see entries
}

// slot is a file as the kernel has it open.
type slot struct {
	*File
	access int  // O_RDONLY, O_WRONLY or O_RDWR
	tmp    bool // it has never had a name
}

func newTreeTarget(t failer, dir string) *treeTarget {
	f := fixture{t: t, blobs: blobs{}, dir: filepath.Join(dir, "overlay"), uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	f.build(modelBase)
	x := &treeTarget{fixture: f, rt: t}
	x.start = x.entries()
	return x
}

func (x *treeTarget) close() {
	x.CloseAll()
	x.tree.Close()
}

func (x *treeTarget) compact() {
	if err := x.tree.compact(false); err != nil {
		x.rt.Fatal(err)
	}
}

func (x *treeTarget) CloseAll() {
	for i := range x.slots {
		x.closeSlot(i)
	}
}

func (x *treeTarget) closeSlot(i int) error {
	f := x.slots[i].File
	if f == nil {
		return unix.EBADF
	}
	x.slots[i] = slot{}
	f.Close()
	x.tree.Forget(f.Ino(), 1)
	return nil
}

// export makes a plain directory that equals the tree.
func (x *treeTarget) export(dir string) error {
	return x.exportDir(dir, RootIno)
}

func (x *treeTarget) exportDir(dir string, ino Ino) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, e := range x.list(ino) {
		path := filepath.Join(dir, e.Name)
		var err error
		switch e.Type {
		case unix.S_IFDIR:
			err = x.exportDir(path, e.Ino)
		case unix.S_IFREG:
			err = os.WriteFile(path, []byte(x.content(e.Ino)), 0o644)
		case unix.S_IFLNK:
			text, _ := x.tree.Readlink(e.Ino)
			err = os.Symlink(text, path)
		}
		if err != nil {
			return err
		}
		if err := x.copyTimes(path, e.Ino); err != nil {
			return err
		}
	}
	return nil
}

func (x *treeTarget) copyTimes(path string, ino Ino) error {
	a, err := x.tree.GetAttr(ino)
	if err != nil {
		return err
	}
	ts := []unix.Timespec{timespec(a.Atime), timespec(a.Mtime)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
}

func (x *treeTarget) list(ino Ino) (list []Dirent) {
	d, err := x.tree.OpenDir(ino)
	if err != nil {
		x.rt.Fatal(err)
	}
	for i := 0; ; i++ {
		e, ok := d.Entry(i)
		if !ok {
			return list
		}
		list = append(list, e)
	}
}

// walk resolves a path without following links, and returns the attributes of what
// it leads to. The reference that the look-up made is given back.
func (x *treeTarget) walk(path string) (Attr, error) {
	a, err := x.tree.GetAttr(RootIno)
	if path == "" {
		return a, err
	}
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case err != nil:
			return a, err
		case a.Type() == unix.S_IFLNK:
			return a, unix.ENOENT // links lead nowhere
		case a.Type() != unix.S_IFDIR:
			return a, unix.ENOTDIR
		}
		if a, err = x.tree.Lookup(a.Ino, name); err == nil {
			x.tree.Forget(a.Ino, 1)
		}
	}
	return a, err
}

// parent resolves all but the last name of a path.
func (x *treeTarget) parentOf(path string) (Ino, string, error) {
	dir, name := splitPath(path)
	a, err := x.walk(dir)
	switch {
	case err != nil:
		return 0, "", err
	case a.Type() == unix.S_IFLNK:
		return 0, "", unix.ENOENT
	case a.Type() != unix.S_IFDIR:
		return 0, "", unix.ENOTDIR
	}
	return a.Ino, name, nil
}

// entries lists what a manifest says of the tree: kind, content, times and the
// execute permission of each path.
func (x *treeTarget) entries() map[string]string {
	all := make(map[string]string)
	var walk func(ino Ino, prefix string)
	walk = func(ino Ino, prefix string) {
		for _, e := range x.list(ino) {
			path := prefix + e.Name
			a, err := x.tree.GetAttr(e.Ino)
			if err != nil {
				x.rt.Fatal(err)
			}
			switch e.Type {
			case unix.S_IFDIR:
				all[path] = "dir"
				walk(e.Ino, path+"/")
			case unix.S_IFLNK:
				text, _ := x.tree.Readlink(e.Ino)
				if target, ok := rootTarget(strings.TrimSuffix(prefix, "/"), text, ""); ok {
					all[path] = "link " + target
				}
			case unix.S_IFREG:
				all[path] = describeFile(x.raw(e.Ino), a.Mode&0o111 != 0, floorMicros(a.Mtime))
			}
		}
	}
	walk(RootIno, "")
	return all
}

func describeFile(content string, runnable bool, mtime int64) string {
	return fmt.Sprintf("file %q runnable %v mtime %d", content, runnable, mtime)
}

// checkCut checks the law of checkpoints: the parent with all changes applied is the
// tree.
func (x *treeTarget) checkCut(t failer) {
	cut := x.tree.Checkpoint()
	defer cut.Close()
	got := x.withChanges(t, cut)
	if want := x.entries(); !maps.Equal(got, want) {
		t.Fatalf("parent + changes is not the tree: %s\nchanges: %+v", cmp.Diff(want, got), cut.Changes)
	}
}

// withChanges applies the changes of a cut to what the parent holds.
func (x *treeTarget) withChanges(t failer, cut *Cut) map[string]string {
	all := maps.Clone(x.start)
	for _, c := range cut.Changes {
		switch {
		case c.Kind == Deleted, c.Problem != "":
			delete(all, c.Path)
		case c.Dir:
			all[c.Path] = "dir"
		case c.New.IsLink():
			all[c.Path] = "link " + c.New.Target
		default:
			f := x.published(t, &c)
			all[c.Path] = describeFile(x.stored(t, f), f.Runnable, f.ModTime)
		}
	}
	return all
}

// commit publishes everything, as the mount does.
func (x *treeTarget) commit(t failer) {
	cut := x.tree.Checkpoint()
	defer cut.Close()
	dirs, files := make(map[string]bool), make(map[string]manifest.File)
	old := x.tree.Parent().Snapshot()
	for _, d := range old.Dirs {
		dirs[d.Path] = true
	}
	for _, f := range old.Files {
		files[f.Path] = f
	}
	for _, c := range cut.Changes {
		switch {
		case c.Kind == Deleted, c.Problem != "":
			delete(dirs, c.Path)
			delete(files, c.Path)
		case c.Dir:
			dirs[c.Path] = true
		case c.New.IsLink():
			files[c.Path] = c.New
		default:
			files[c.Path] = x.published(t, &c)
		}
	}
	next := &manifest.Snapshot{HashAlg: old.HashAlg, ChunkSize: old.ChunkSize}
	for _, path := range slices.Sorted(maps.Keys(dirs)) {
		next.Dirs = append(next.Dirs, manifest.Dir{Path: path})
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		next.Files = append(next.Files, files[path])
	}
	parent, err := NewBase(next)
	if err != nil {
		t.Fatal(err)
	}
	x.start = x.withChanges(t, cut)
	if err := x.tree.Committed(cut, parent, x.tree.Commits()+1); err != nil {
		t.Fatal(err)
	}
	x.last = parent
	cut.Close()
	if err := x.tree.Shrink(); err != nil {
		t.Fatal(err)
	}
	for _, c := range x.tree.Changes() {
		if c.Problem == "" {
			t.Fatalf("a change is left after a commit: %+v", c)
		}
	}
}

// published returns the entry that a commit would make of a changed file, and puts
// its content into the store.
func (x *treeTarget) published(t failer, c *Change) manifest.File {
	if c.Content == nil {
		return c.New
	}
	var hashes []manifest.Hash
	for _, chunk := range c.Content.Chunks {
		if chunk.Hash == "" {
			p := make([]byte, chunk.Len)
			if _, err := c.Content.ReaderAt(context.Background()).ReadAt(p, chunk.Off); err != nil {
				t.Fatal(err)
			}
			chunk.Hash = x.blobs.put(p)
		}
		hashes = append(hashes, chunk.Hash)
	}
	return c.Content.Resolve(c.New, hashes)
}

// stored returns the content of a manifest entry.
func (x *treeTarget) stored(t failer, f manifest.File) string {
	var content []byte
	for _, b := range f.Blobs(testChunk) {
		content = append(content, x.blobs[b.Hash]...)
	}
	if int64(len(content)) != f.Size {
		t.Fatalf("%s: %d bytes in blobs, size %d", f.Path, len(content), f.Size)
	}
	return string(content)
}
