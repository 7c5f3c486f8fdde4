package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// CollectOptions are the choices of Collect. The zero value works.
type CollectOptions struct {
	// Filenames are files and links to list besides the directories. Each must
	// exist; a dangling link exists. What is neither file nor link is refused.
	Filenames []string
	// OptionalFilenames are as Filenames, but what does not exist, or is neither
	// file nor link, is passed over.
	OptionalFilenames []string
	// Symlinks says what becomes of symbolic links.
	Symlinks SymlinkPolicy
	// ChunkSize becomes the chunk size of the manifest, in bytes. 0 means
	// manifest.DefaultChunkSize; manifest.WholeFile disables chunking.
	ChunkSize int64
	// Exclude, when not nil, is asked for every path found by walking. Where it
	// returns true the entry is left out and a directory is not entered. It is
	// called by several goroutines at once.
	Exclude func(path string, isDir bool) bool
	// Skipped, when not nil, is told of every path that is left out although
	// nobody asked for it: special files, dangling links that cannot be collapsed,
	// files that vanish. Calls do not overlap.
	Skipped func(path string, reason error)
	// Readable makes files that this user may not read fail the call, as directories
	// do, for those who want their contents next. Only files found by walking are
	// looked at.
	Readable bool
	// Collapsed, when not nil, is told of every link that leads out of what was named,
	// by its text to an absolute target, and that is replaced by what lies there.
	// Calls do not overlap.
	Collapsed func(link, target string)
	// Progress, when not nil, counts the regular files found, as totals.
	Progress *Progress
}

// Collect lists directories with everything below them, and single files, as an
// absolute snapshot without hashes (spec/ops.md §1). Paths are made absolute and
// normalised lexically. A root that is a symbolic link is taken as the directory it
// leads to, under its own path. Files and directories are each sorted by path, so
// that equal trees give equal manifests.
//
// Times before 1970 become 0, because neither wire format can hold them (G-33).
//
// A path that cannot be listed, for instance because its name is not UTF-8 (G-21)
// or a directory is not readable, fails the whole call; the error is then a
// *Failures that names all of them. Entries that vanish meanwhile are passed over.
// Named paths that do not exist match io/fs.ErrNotExist, and ones of the wrong type
// manifest.ErrInvalid.
func Collect(ctx context.Context, roots []string, opts CollectOptions) (*manifest.AbsSnapshot, error) {
	chunk := cmp.Or(opts.ChunkSize, manifest.DefaultChunkSize)
	if chunk < 0 && chunk != manifest.WholeFile {
		return nil, fmt.Errorf("%w: invalid chunk size %d: must be positive, or -1 for whole files", manifest.ErrInvalid, chunk)
	}
	if int(opts.Symlinks) >= len(symlinkPolicyNames()) {
		return nil, fmt.Errorf("%w: unknown symlink policy %d", manifest.ErrInvalid, opts.Symlinks)
	}
	c := &collector{opts: opts, named: map[string]nameKind{}, tally: newTally(opts.Progress)}
	if err := c.gather(ctx, roots); err != nil {
		return nil, err
	}
	c.applyPolicy(ctx)
	if err := c.fails.outcome(ctx); err != nil {
		return nil, err
	}
	return &manifest.AbsSnapshot{
		HashAlg:   manifest.XXH128,
		ChunkSize: chunk,
		Files:     sortedUnique(c.files, func(f manifest.File) string { return f.Path }),
		Dirs:      sortedUnique(c.dirs, func(d manifest.Dir) string { return d.Path }),
	}, nil
}

// nameKind says how the caller named a path.
type nameKind uint8

const (
	namedFile nameKind = 1 + iota // through Filenames or OptionalFilenames
	namedRoot
)

// collector is the state of one Collect.
type collector struct {
	opts  CollectOptions
	named map[string]nameKind // what the caller named, absolute
	fails failureList
	tally *tally
	quiet sync.Mutex // serialises opts.Skipped

	files []manifest.File
	dirs  []manifest.Dir
	links []foundLink // not yet treated by the policy
}

// foundLink is a symbolic link met on the way.
type foundLink struct {
	path   string // in the manifest
	real   string // in the file system
	target string // text of the link
}

// gather walks the roots and adds the named files.
func (c *collector) gather(ctx context.Context, roots []string) error {
	abs, err := c.checkRoots(roots)
	if err != nil {
		return err
	}
	for _, root := range abs {
		c.addWalked(c.walk(ctx, root, root))
	}
	for _, name := range c.opts.Filenames {
		if err := c.addNamed(name, false); err != nil {
			return err
		}
	}
	for _, name := range c.opts.OptionalFilenames {
		if err := c.addNamed(name, true); err != nil {
			return err
		}
	}
	return nil
}

// checkRoots returns the absolute paths of the roots, each once, after making sure
// that they are directories.
func (c *collector) checkRoots(roots []string) ([]string, error) {
	var abs []string
	for _, root := range roots {
		path, err := absPath(root)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, &notFoundError{path}
		case err != nil:
			return nil, err
		case !info.IsDir():
			return nil, fmt.Errorf("%w: not a directory: %s", manifest.ErrInvalid, printable(path))
		}
		if c.named[path] != namedRoot {
			c.named[path] = namedRoot
			abs = append(abs, path)
		}
	}
	return abs, nil
}

// addNamed adds a single file or link that the caller named.
func (c *collector) addNamed(name string, optional bool) error {
	path, err := absPath(name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := lstat(path, &st); err != nil {
		switch {
		case optional:
			return nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return &notFoundError{path}
		}
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c.addFile(fileEntry(path, &st))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		c.links = append(c.links, foundLink{path: path, real: path, target: target})
	default:
		reason := fmt.Errorf("%w: %s is %s; only files and links can be named", manifest.ErrInvalid, printable(path), typeName(st.Mode))
		if !optional {
			return reason
		}
		c.skip(path, reason)
		return nil
	}
	if c.named[path] == 0 {
		c.named[path] = namedFile
	}
	return nil
}

func (c *collector) addFile(f manifest.File) {
	c.files = append(c.files, f)
	c.tally.expect(1, f.Size)
}

func (c *collector) addWalked(w walked) {
	c.files = append(c.files, w.files...)
	c.dirs = append(c.dirs, w.dirs...)
	c.links = append(c.links, w.links...)
}

// skip tells the caller that path is left out.
func (c *collector) skip(path string, reason error) {
	if c.opts.Skipped == nil {
		return
	}
	c.quiet.Lock()
	defer c.quiet.Unlock()
	c.opts.Skipped(path, reason)
}

// absPath returns path absolute and lexically normalised (G-07).
func absPath(path string) (string, error) {
	switch {
	case path == "":
		return "", fmt.Errorf("%w: path must not be empty", manifest.ErrInvalid)
	case !utf8.ValidString(path):
		return "", fmt.Errorf("%s: %w", printable(path), errNotUTF8)
	}
	return filepath.Abs(path)
}

var errNotUTF8 = fmt.Errorf("%w: the name is not valid UTF-8, which manifests require; rename or exclude it", manifest.ErrInvalid)

// fileEntry describes the regular file with the given status.
func fileEntry(path string, st *unix.Stat_t) manifest.File {
	return manifest.File{
		Path:     path,
		Size:     st.Size,
		ModTime:  modTime(st),
		Runnable: st.Mode&0o111 != 0,
	}
}

// modTime returns the modification time in microseconds since the epoch, 0 for any
// before it.
func modTime(st *unix.Stat_t) int64 {
	return max(0, st.Mtim.Sec*1_000_000+st.Mtim.Nsec/1000)
}

func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a regular file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a fifo"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

// sortedUnique sorts list by path and keeps the first of equal ones.
func sortedUnique[T any](list []T, path func(T) string) []T {
	byPath := func(a, b T) int { return strings.Compare(path(a), path(b)) }
	if !slices.IsSortedFunc(list, byPath) {
		slices.SortStableFunc(list, byPath)
	}
	return slices.CompactFunc(list, func(a, b T) bool { return path(a) == path(b) })
}
