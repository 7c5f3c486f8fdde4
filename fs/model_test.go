package fs

import (
	"context"
	"errors"
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
			Unit: testChunk, MaxUnits: 5, Modes: []uint32{0o644, 0o755, 0o600, 0o777, 0o2755},
		})
		again := func(what string, do func()) func(*rapid.T) {
			return func(t *rapid.T) { t.Log(what); m.CloseAll(); do() }
		}
		t.Repeat(map[string]func(*rapid.T){
			"1 step": m.Step, "2 step": m.Step, "3 step": m.Step, "4 step": m.Step,
			"5 compact": func(t *rapid.T) { t.Log("compact"); tree.compact() },
			"6 crash":   again("crash", tree.crash),
			"7 reopen":  again("reopen", tree.reopen),
			"":          func(t *rapid.T) { m.Compare(t); tree.checkCut(t) },
		})
	})
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
	"a/a/a=0123456789abcdefghijklmno", "a/a/b=12345678", "a/b=123456789", "a/c->nowhere", "b/c/b=", "c=01234567abcdefgh", "b/a/",
}

// treeTarget runs operations on a Tree as the kernel would: it walks paths, checks
// what the kernel checks, and holds a reference to every file that is open.
type treeTarget struct {
	fixture
	rt    *rapid.T
	slots [fsmodel.Slots]slot
	start map[string]string // what the base holds; see entries
}

// slot is a file as the kernel has it open.
type slot struct {
	*File
	access int  // O_RDONLY, O_WRONLY or O_RDWR
	tmp    bool // it has never had a name
}

func newTreeTarget(t *rapid.T, dir string) *treeTarget {
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

func (x *treeTarget) owner() Owner { return Owner{x.uid, x.gid} }

func (x *treeTarget) Do(op fsmodel.Op) fsmodel.Result {
	text, err := x.do(op)
	if err != nil {
		return fsmodel.Result{Errno: Errno(err)}
	}
	return fsmodel.Result{Text: text}
}

func (x *treeTarget) do(op fsmodel.Op) (string, error) {
	switch op.Kind {
	case fsmodel.Open:
		x.closeSlot(op.Slot)
		return "", x.open(op)
	case fsmodel.Tmpfile:
		x.closeSlot(op.Slot)
		return "", x.tmpfile(op)
	case fsmodel.Close:
		return "", x.closeSlot(op.Slot)
	case fsmodel.Read, fsmodel.Write, fsmodel.Append, fsmodel.Ftruncate, fsmodel.Fallocate, fsmodel.Fsync,
		fsmodel.Fstat, fsmodel.Fchmod, fsmodel.Flink:
		if f := &x.slots[op.Slot]; f.File != nil {
			return x.doFile(op, f)
		}
		return "", unix.EBADF
	case fsmodel.Mkdir, fsmodel.Symlink, fsmodel.Mkfifo:
		return "", x.make(op)
	case fsmodel.Unlink, fsmodel.Rmdir:
		dir, name, err := x.parentOf(op.Path)
		if err != nil {
			return "", err
		}
		if op.Kind == fsmodel.Rmdir {
			return "", x.tree.Rmdir(dir, name)
		}
		return "", x.tree.Unlink(dir, name)
	case fsmodel.Rename:
		return "", x.renameOp(op)
	case fsmodel.Link:
		return "", x.link(op)
	}
	return "", x.change(op)
}

func (x *treeTarget) make(op fsmodel.Op) error {
	dir, name, err := x.parentOf(op.Path)
	if err != nil {
		return err
	}
	var a Attr
	switch op.Kind {
	case fsmodel.Mkdir:
		// The kernel keeps the set-group-ID bit from mkdir.
		a, err = x.tree.Mkdir(dir, name, op.Mode&0o1777, x.owner())
	case fsmodel.Symlink:
		a, err = x.tree.Symlink(dir, name, op.To, x.owner())
	case fsmodel.Mkfifo:
		a, err = x.tree.Mknod(dir, name, unix.S_IFIFO|op.Mode, 0, x.owner())
	}
	if err == nil {
		x.tree.Forget(a.Ino, 1)
	}
	return err
}

func (x *treeTarget) open(op fsmodel.Op) error {
	dir, name, err := x.parentOf(op.Path)
	if err != nil {
		return err
	}
	a, err := x.tree.Lookup(dir, name)
	if errors.Is(err, unix.ENOENT) && op.Flags&unix.O_CREAT != 0 {
		f, _, err := x.tree.Create(dir, name, op.Mode, x.owner())
		if err == nil {
			x.slots[op.Slot] = slot{File: f, access: op.Flags & unix.O_ACCMODE}
		}
		return err
	}
	if err != nil {
		return err
	}
	f, err := x.openFound(op, a)
	if err != nil {
		x.tree.Forget(a.Ino, 1)
		return err
	}
	x.slots[op.Slot] = slot{File: f, access: op.Flags & unix.O_ACCMODE}
	return nil
}

func (x *treeTarget) openFound(op fsmodel.Op, a Attr) (*File, error) {
	switch {
	case a.Type() == unix.S_IFIFO:
		return nil, unix.ENXIO
	case op.Flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL:
		return nil, unix.EEXIST
	}
	return x.tree.Open(a.Ino, uint32(op.Flags))
}

func (x *treeTarget) tmpfile(op fsmodel.Op) error {
	dir, err := x.walk(op.Path)
	switch {
	case err != nil:
		return err
	case dir.Type() == unix.S_IFLNK:
		return unix.ENOTDIR
	}
	f, _, err := x.tree.Tmpfile(dir.Ino, op.Mode, x.owner())
	if err == nil {
		x.slots[op.Slot] = slot{File: f, access: unix.O_RDWR, tmp: true}
	}
	return err
}

func (x *treeTarget) renameOp(op fsmodel.Op) error {
	from, oldName, err := x.parentOf(op.Path)
	if err != nil {
		return err
	}
	to, newName, err := x.parentOf(op.To)
	if err != nil {
		return err
	}
	// A path below itself: the kernel refuses both ways before it asks us.
	if strings.HasPrefix(op.Path, op.To+"/") && op.Flags == 0 {
		if _, err := x.walk(op.Path); err != nil {
			return err
		}
		return unix.ENOTEMPTY
	}
	return x.tree.Rename(from, oldName, to, newName, uint32(op.Flags))
}

func (x *treeTarget) link(op fsmodel.Op) error {
	a, err := x.walk(op.Path)
	if err != nil {
		return err
	}
	dir, name, err := x.parentOf(op.To)
	if err != nil {
		return err
	}
	return x.linkTo(a.Ino, dir, name)
}

func (x *treeTarget) linkTo(ino, dir Ino, name string) error {
	_, err := x.tree.Link(ino, dir, name)
	if err == nil {
		x.tree.Forget(ino, 1)
	}
	return err
}

// change does what changes an inode found by path.
func (x *treeTarget) change(op fsmodel.Op) error {
	a, err := x.walk(op.Path)
	if err != nil {
		return err
	}
	var s SetAttr
	switch op.Kind {
	case fsmodel.Chmod:
		if a.Type() == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		s.Mode = &op.Mode
	case fsmodel.Utimens:
		s.Atime, s.Mtime = &op.Off, &op.Off
	case fsmodel.Truncate:
		switch a.Type() {
		case unix.S_IFLNK:
			return unix.ENOENT
		case unix.S_IFDIR:
			return unix.EISDIR
		case unix.S_IFIFO:
			return unix.EINVAL
		}
		s.Size = &op.Len
	default:
		return x.xattr(op, a)
	}
	_, err = x.tree.SetAttr(a.Ino, s)
	return err
}

func (x *treeTarget) xattr(op fsmodel.Op, a Attr) error {
	switch {
	case a.Type() == unix.S_IFREG || a.Type() == unix.S_IFDIR:
	case op.Kind == fsmodel.DelXattr || op.Kind == fsmodel.SetXattr:
		return unix.EPERM
	}
	if op.Kind == fsmodel.SetXattr {
		return x.tree.SetXattr(a.Ino, op.Name, op.Data, uint32(op.Flags))
	}
	return x.tree.RemoveXattr(a.Ino, op.Name)
}

func (x *treeTarget) doFile(op fsmodel.Op, f *slot) (string, error) {
	readOnly := f.access == unix.O_RDONLY
	switch op.Kind {
	case fsmodel.Read:
		return x.read(op, f)
	case fsmodel.Write, fsmodel.Append:
		if readOnly {
			return "", unix.EBADF
		}
		return x.write(op, f)
	case fsmodel.Ftruncate:
		if readOnly {
			return "", unix.EINVAL
		}
		_, err := x.tree.SetAttr(f.Ino(), SetAttr{Size: &op.Len})
		return "", err
	case fsmodel.Fallocate:
		switch {
		case op.Len == 0:
			return "", unix.EINVAL
		case readOnly:
			return "", unix.EBADF
		}
		return "", f.Allocate(uint32(op.Flags), op.Off, op.Len)
	case fsmodel.Fsync:
		return "", f.Sync()
	case fsmodel.Fchmod:
		_, err := x.tree.SetAttr(f.Ino(), SetAttr{Mode: &op.Mode})
		return "", err
	case fsmodel.Fstat:
		a, err := x.tree.GetAttr(f.Ino())
		return fmt.Sprintf("mode %o nlink %d size %d mtime %s", a.Mode, a.Nlink, a.Size, fsmodel.Time(a.Mtime)), err
	}
	return "", x.flink(op, f)
}

func (x *treeTarget) read(op fsmodel.Op, f *slot) (string, error) {
	if f.access == unix.O_WRONLY {
		return "", unix.EBADF
	}
	buf := make([]byte, op.Len)
	n, err := f.ReadAt(context.Background(), buf, op.Off)
	return fsmodel.Summary(buf[:n]), err
}

func (x *treeTarget) write(op fsmodel.Op, f *slot) (string, error) {
	off := op.Off
	if op.Kind == fsmodel.Append {
		a, err := x.tree.GetAttr(f.Ino())
		if err != nil {
			return "", err
		}
		off = a.Size
	}
	n, err := f.WriteAt(op.Data, off)
	return fmt.Sprint(n), err
}

func (x *treeTarget) flink(op fsmodel.Op, f *slot) error {
	dir, name, err := x.parentOf(op.To)
	if err != nil {
		return err
	}
	if a, err := x.tree.Lookup(dir, name); err == nil {
		x.tree.Forget(a.Ino, 1)
		return unix.EEXIST
	}
	if a, err := x.tree.GetAttr(f.Ino()); err == nil && a.Nlink == 0 && !f.tmp {
		return unix.ENOENT // the kernel gives no new name to a deleted file
	}
	f.tmp = false
	return x.linkTo(f.Ino(), dir, name)
}

// Dump lists the tree as fsmodel.OS does.
func (x *treeTarget) Dump() ([]string, error) {
	var lines []string
	first := make(map[Ino]string)
	var walk func(ino Ino, prefix string) error
	walk = func(ino Ino, prefix string) error {
		for _, e := range x.list(ino) {
			line, err := x.line(e, prefix+e.Name, first)
			if err != nil {
				return fmt.Errorf("%s: %w", prefix+e.Name, err)
			}
			lines = append(lines, line)
			if e.Type != unix.S_IFDIR {
				continue
			}
			if err := walk(e.Ino, prefix+e.Name+"/"); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk(RootIno, "")
	slices.Sort(lines)
	return lines, err
}

func (x *treeTarget) line(e Dirent, path string, first map[Ino]string) (string, error) {
	a, err := x.tree.GetAttr(e.Ino)
	if err != nil {
		return "", err
	}
	l := fsmodel.Line{Path: path, Mode: a.Mode, Nlink: a.Nlink, Size: a.Size, Mtime: a.Mtime}
	if a.Nlink > 1 && e.Type != unix.S_IFDIR {
		if _, ok := first[e.Ino]; !ok {
			first[e.Ino] = path
		}
		l.Same = first[e.Ino]
	}
	switch e.Type {
	case unix.S_IFLNK:
		l.Content, err = x.tree.Readlink(e.Ino)
	case unix.S_IFREG:
		l.Content = fsmodel.Summary([]byte(x.raw(e.Ino)))
	}
	if err != nil {
		return "", err
	}
	names, err := x.tree.ListXattr(e.Ino)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if name == HashXattr {
			continue
		}
		v, err := x.tree.GetXattr(e.Ino, name)
		if err != nil {
			return "", err
		}
		l.Xattrs = append(l.Xattrs, name+"="+string(v))
	}
	return l.String(), nil
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

// checkCut checks the law of checkpoints: the base with all changes applied is the
// tree.
func (x *treeTarget) checkCut(t *rapid.T) {
	got := maps.Clone(x.start)
	cut := x.tree.Checkpoint()
	defer cut.Close()
	for _, c := range cut.Changes {
		switch {
		case c.Kind == Deleted:
			delete(got, c.Path)
		case c.Problem != "":
			delete(got, c.Path)
		case c.Dir:
			got[c.Path] = "dir"
		case c.New.IsLink():
			got[c.Path] = "link " + c.New.Target
		default:
			got[c.Path] = describeFile(x.published(t, &c), c.New.Runnable, c.New.ModTime)
		}
	}
	if want := x.entries(); !maps.Equal(got, want) {
		t.Fatalf("base + changes is not the tree: %s\nchanges: %+v", cmp.Diff(want, got), cut.Changes)
	}
}

// published returns the content that a commit would make of a change.
func (x *treeTarget) published(t *rapid.T, c *Change) string {
	f := c.New
	if c.Content != nil {
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
		f = c.Content.Resolve(f, hashes)
	}
	var content []byte
	for _, b := range f.Blobs(testChunk) {
		content = append(content, x.blobs[b.Hash]...)
	}
	if int64(len(content)) != f.Size {
		t.Fatalf("%s: %d bytes in blobs, size %d", c.Path, len(content), f.Size)
	}
	return string(content)
}
