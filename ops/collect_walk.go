package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// statBatch is how many entries of one directory are looked at by one goroutine.
const statBatch = 1024

var (
	errVanished = errors.New("it vanished while the tree was being listed")
	errSpecial  = errors.New("it is a fifo, socket or device")
	errTooLong  = fmt.Errorf("%w: the path is longer than %d bytes, which no manifest may hold", manifest.ErrInvalid, manifest.MaxPathLen)
)

// walked is what lies at and below one directory, links apart.
type walked struct {
	files []manifest.File
	dirs  []manifest.Dir
	links []foundLink
}

// walk lists the directory real and everything below it, without following links,
// under the manifest path path. Entries come out in byte order of their paths.
func (c *collector) walk(ctx context.Context, path, real string) walked {
	w := &walker{c: c, ctx: ctx}
	w.group.SetLimit(max(8, 2*runtime.GOMAXPROCS(0)))
	top := &branch{path: path, real: real}
	w.visit(top, 0)
	_ = w.group.Wait() // failures are collected, visit returns none
	var out walked
	top.flatten(&out)
	return out
}

// walker lists one tree with a bounded number of goroutines. A goroutine that finds
// no free slot for a directory visits it itself, so that nothing ever waits.
type walker struct {
	c     *collector
	ctx   context.Context
	group errgroup.Group
}

// branch is one directory of the tree being walked.
type branch struct {
	path, real string
	gone       bool
	files      []manifest.File
	links      []foundLink
	kids       []*branch
}

// visit lists one directory, then those below it.
func (w *walker) visit(b *branch, openFlags int) {
	if w.ctx.Err() != nil {
		return
	}
	if err := w.list(b, openFlags); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			b.gone = true
			w.c.skip(b.path, errVanished)
			return
		}
		w.c.fails.add(w.ctx, b.path, err)
		return
	}
	for _, kid := range b.kids {
		if !w.group.TryGo(func() error { w.visit(kid, unix.O_NOFOLLOW); return nil }) {
			w.visit(kid, unix.O_NOFOLLOW)
		}
	}
}

// list reads one directory and the status of what it holds. The directory is closed
// again before anything below it is opened.
func (w *walker) list(b *branch, openFlags int) error {
	dir, err := openFile(b.real, unix.O_RDONLY|unix.O_DIRECTORY|openFlags)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	parts := slices.Collect(slices.Chunk(entries, statBatch))
	results := make([]branch, len(parts))
	var wait sync.WaitGroup
	for i, part := range parts {
		wait.Add(1)
		read := func() error {
			defer wait.Done()
			w.readEntries(int(dir.Fd()), b, part, &results[i])
			return nil
		}
		if len(parts) == 1 || !w.group.TryGo(read) {
			_ = read()
		}
	}
	wait.Wait()
	for i := range results {
		b.files = append(b.files, results[i].files...)
		b.links = append(b.links, results[i].links...)
		b.kids = append(b.kids, results[i].kids...)
	}
	return nil
}

// readEntries sorts some entries of the directory b into out.
func (w *walker) readEntries(dirfd int, b *branch, entries []fs.DirEntry, out *branch) {
	c := w.c
	var bytes int64
	for _, e := range entries {
		if w.ctx.Err() != nil {
			return
		}
		name := e.Name()
		path := joinPath(b.path, name)
		real := path
		if b.path != b.real {
			real = joinPath(b.real, name)
		}
		switch {
		case c.opts.Exclude != nil && c.opts.Exclude(path, e.IsDir()):
		case !utf8.ValidString(name):
			c.fails.add(w.ctx, path, errNotUTF8)
		case len(path) > manifest.MaxPathLen:
			c.fails.add(w.ctx, path, errTooLong)
		case e.IsDir():
			out.kids = append(out.kids, &branch{path: path, real: real})
		case e.Type()&fs.ModeSymlink != 0:
			w.readLink(dirfd, name, foundLink{path: path, real: real}, out)
		case !e.Type().IsRegular():
			c.skip(path, errSpecial)
		default:
			var st unix.Stat_t
			err := ignoringEINTR(func() error { return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
			switch {
			case errors.Is(err, unix.ENOENT), err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG:
				c.skip(path, errVanished)
			case err != nil:
				c.fails.add(w.ctx, path, &os.PathError{Op: "lstat", Path: path, Err: err})
			case c.opts.Readable && !mayRead(dirfd, name, &st):
				c.fails.add(w.ctx, path, &os.PathError{Op: "open", Path: path, Err: unix.EACCES})
			default:
				out.files = append(out.files, fileEntry(path, &st))
				bytes += st.Size
			}
		}
	}
	c.tally.expect(int64(len(out.files)), bytes)
}

// mayRead reports whether this process may read a file. The kernel is asked only about
// files whose mode leaves that open.
func mayRead(dirfd int, name string, st *unix.Stat_t) bool {
	uid := uint32(os.Geteuid())
	if uid == 0 || st.Uid == uid && st.Mode&0o400 != 0 || st.Uid != uid && st.Mode&0o044 == 0o044 {
		return true
	}
	return unix.Faccessat(dirfd, name, unix.R_OK, unix.AT_EACCESS) == nil
}

func (w *walker) readLink(dirfd int, name string, l foundLink, out *branch) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dirfd, name, buf)
	l.target = string(buf[:max(n, 0)])
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		w.c.skip(l.path, errVanished)
	case err != nil:
		w.c.fails.add(w.ctx, l.path, &os.PathError{Op: "readlink", Path: l.path, Err: err})
	case !utf8.ValidString(l.target):
		w.c.fails.add(w.ctx, l.path, errNotUTF8)
	default:
		out.links = append(out.links, l)
	}
}

// flatten appends b and what is below it to out, in byte order of the paths of the
// files: a directory sorts as if its name ended in "/".
func (b *branch) flatten(out *walked) {
	if b.gone {
		return
	}
	out.dirs = append(out.dirs, manifest.Dir{Path: b.path})
	out.links = append(out.links, b.links...)
	files := b.files
	for _, kid := range b.kids {
		n, _ := slices.BinarySearchFunc(files, kid.path+"/", func(f manifest.File, path string) int {
			return strings.Compare(f.Path, path)
		})
		out.files = append(out.files, files[:n]...)
		files = files[n:]
		kid.flatten(out)
	}
	out.files = append(out.files, files...)
}

func joinPath(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}
