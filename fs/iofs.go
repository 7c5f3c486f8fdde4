package fs

import (
	"context"
	"io"
	iofs "io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// maxLinksFollowed is how many symbolic links one path may lead through.
const maxLinksFollowed = 40

// FS returns the tree as an io/fs.FS, for programs that read it without a mount. It
// shows changes of the tree as they happen. Symbolic links are followed inside the
// tree; those that lead out of it do not exist. Files are io.ReaderAt and io.Seeker,
// and end where they ended when they were opened. What waits for the store ends with
// ctx.
func (t *Tree) FS(ctx context.Context) iofs.FS { return treeFS{t, ctx} }

type treeFS struct {
	t   *Tree
	ctx context.Context // a view lives as long as the work that it was made for
}

var (
	_ iofs.StatFS     = treeFS{}
	_ iofs.ReadDirFS  = treeFS{}
	_ iofs.ReadLinkFS = treeFS{}
)

// Open opens a file or a directory.
func (f treeFS) Open(name string) (iofs.File, error) {
	a, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	info := fileInfo{path.Base(name), a}
	if a.Type() == unix.S_IFDIR {
		d, err := f.t.OpenDir(a.Ino)
		if err != nil {
			return nil, &iofs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openDir{dir: d, info: info}, nil
	}
	file, err := f.t.Open(a.Ino, unix.O_RDONLY)
	if err != nil {
		return nil, &iofs.PathError{Op: "open", Path: name, Err: err}
	}
	r := fileReader{file, f.ctx}
	return &openFile{SectionReader: io.NewSectionReader(r, 0, a.Size), file: file, name: name}, nil
}

// Stat describes what a path leads to.
func (f treeFS) Stat(name string) (iofs.FileInfo, error) { return f.stat("stat", name, true) }

// Lstat describes a path, and does not follow it when it is a symbolic link.
func (f treeFS) Lstat(name string) (iofs.FileInfo, error) { return f.stat("lstat", name, false) }

func (f treeFS) stat(op, name string, follow bool) (iofs.FileInfo, error) {
	a, err := f.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return fileInfo{path.Base(name), a}, nil
}

// ReadLink returns the text of a symbolic link.
func (f treeFS) ReadLink(name string) (string, error) {
	a, err := f.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	text, err := f.t.Readlink(a.Ino)
	if err != nil {
		return "", &iofs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return text, nil
}

// ReadDir lists a directory, sorted by name.
func (f treeFS) ReadDir(name string) ([]iofs.DirEntry, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	d, ok := file.(iofs.ReadDirFile)
	if !ok {
		return nil, &iofs.PathError{Op: "readdir", Path: name, Err: unix.ENOTDIR}
	}
	return d.ReadDir(-1)
}

// find returns the attributes of what a path leads to.
func (f treeFS) find(op, name string, follow bool) (Attr, error) {
	if !iofs.ValidPath(name) {
		return Attr{}, &iofs.PathError{Op: op, Path: name, Err: iofs.ErrInvalid}
	}
	a, err := f.t.resolve(name, follow)
	if err != nil {
		return Attr{}, &iofs.PathError{Op: op, Path: name, Err: err}
	}
	return a, nil
}

// resolve walks a path, following the symbolic links on it and, when asked to, the
// one at its end.
func (t *Tree) resolve(name string, follow bool) (Attr, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	at := []Ino{RootIno} // where the walk is, and the directories above
	rest := components(path.Clean(name))
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "." || part == "" {
			continue
		}
		ino, err := t.step(at, part)
		switch {
		case err != nil:
			return Attr{}, err
		case ino == 0:
			at = at[:len(at)-1]
			continue
		case t.typeOf(ino) != unix.S_IFLNK || (len(rest) == 0 && !follow):
			at = append(at, ino)
			continue
		}
		text := t.linkText(ino)
		if hops++; hops > maxLinksFollowed {
			return Attr{}, unix.ELOOP
		} else if path.IsAbs(text) {
			return Attr{}, unix.ENOENT
		}
		rest = append(components(text), rest...)
	}
	return t.attr(at[len(at)-1])
}

// step returns the inode that one part of a path leads to from the last of at, and 0
// for the way back up. It needs t.mu.
func (t *Tree) step(at []Ino, part string) (Ino, error) {
	dir := at[len(at)-1]
	if err := t.checkDir(dir); err != nil {
		return 0, err
	}
	if part == ".." {
		if len(at) == 1 {
			return 0, unix.ENOENT // out of the tree
		}
		return 0, nil
	}
	ino := t.child(dir, part)
	if ino == 0 {
		return 0, unix.ENOENT
	}
	return ino, nil
}

// fileInfo is Attr as an io/fs.FileInfo. Sys returns the Attr.
type fileInfo struct {
	name string
	a    Attr
}

func (i fileInfo) Name() string        { return i.name }
func (i fileInfo) Size() int64         { return i.a.Size }
func (i fileInfo) ModTime() time.Time  { return time.Unix(0, i.a.Mtime) }
func (i fileInfo) IsDir() bool         { return i.a.Type() == unix.S_IFDIR }
func (i fileInfo) Sys() any            { return i.a }
func (i fileInfo) Mode() iofs.FileMode { return fileMode(i.a.Mode) }

func fileMode(mode uint32) iofs.FileMode {
	m := iofs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= iofs.ModeDir
	case unix.S_IFLNK:
		m |= iofs.ModeSymlink
	case unix.S_IFIFO:
		m |= iofs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= iofs.ModeSocket
	case unix.S_IFCHR:
		m |= iofs.ModeDevice | iofs.ModeCharDevice
	case unix.S_IFBLK:
		m |= iofs.ModeDevice
	}
	if mode&unix.S_ISUID != 0 {
		m |= iofs.ModeSetuid
	}
	if mode&unix.S_ISGID != 0 {
		m |= iofs.ModeSetgid
	}
	if mode&unix.S_ISVTX != 0 {
		m |= iofs.ModeSticky
	}
	return m
}

// openFile is a File as an io/fs.File.
type openFile struct {
	*io.SectionReader
	file *File
	name string
}

func (f *openFile) Stat() (iofs.FileInfo, error) {
	a, err := f.file.t.GetAttr(f.file.Ino())
	return fileInfo{path.Base(f.name), a}, err
}

func (f *openFile) Close() error {
	if f.file == nil {
		return iofs.ErrClosed
	}
	f.file.Close()
	f.file = nil
	return nil
}

// openDir is a Dir as an io/fs.ReadDirFile.
type openDir struct {
	dir  *Dir
	info fileInfo
	next int
}

func (d *openDir) Stat() (iofs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error                 { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &iofs.PathError{Op: "read", Path: d.info.name, Err: unix.EISDIR}
}

// ReadDir returns the next n entries, or all of them when n is not positive.
func (d *openDir) ReadDir(n int) ([]iofs.DirEntry, error) {
	list := []iofs.DirEntry{}
	for n <= 0 || len(list) < n {
		e, a, ok := d.dir.entry(d.next, false)
		if !ok {
			break
		}
		d.next++
		if e.Ino != 0 { // not removed meanwhile
			list = append(list, iofs.FileInfoToDirEntry(fileInfo{e.Name, a}))
		}
	}
	if n > 0 && len(list) == 0 {
		return nil, io.EOF
	}
	return list, nil
}
