package manifest

import (
	"bytes"
	"strconv"
	"strings"
)

// expander resolves the "$N/" references of names (spec/formats.md §3.6).
type expander struct {
	dirs  []string // paths of the directories so far, not normalised
	arena arena
	room  int64 // bytes of paths that may still be built
}

func newExpander(dirs int, textSize int64) expander {
	return expander{dirs: make([]string, 0, dirs), room: pathRoom(textSize)}
}

// pathRoom returns how many bytes of paths a text of the given size may make: a short
// text must not fill the memory.
func pathRoom(textSize int64) int64 { return 64<<20 + 16*textSize }

// addDir resolves the name of the next directory.
func (e *expander) addDir(name string) (path string, err error) {
	if path, err = e.expand(name); err == nil {
		e.dirs = append(e.dirs, path)
	}
	return path, err
}

func (e *expander) expand(name string) (string, error) {
	ref, rest, slash := strings.Cut(name, "/")
	if !slash || ref == "" || len(ref) == 2 && hasDrive(ref) {
		return name, nil // no reference: G-01 for drives
	}
	if ref[0] != '$' {
		return "", invalidf("Invalid path format '%s': paths with '/' must use $N/ reference", name)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(ref[1:], "+"), 10, 64)
	if err != nil || strings.HasPrefix(ref, "$++") {
		return "", invalidf("Invalid directory reference '%s': expected $N/component format", name)
	}
	if n >= uint64(len(e.dirs)) {
		return "", invalidf("Invalid directory reference '%s': index %d not found", name, n)
	}
	return e.join(&e.arena, e.dirs[n], []byte(rest))
}

// join returns dir + "/" + name, unless that is too long.
func (e *expander) join(a *arena, dir string, name []byte) (string, error) {
	size := len(dir) + 1 + len(name)
	if size > MaxPathLen {
		return "", invalidf("path of '%s' in '%s' is longer than %d bytes", name, dir, MaxPathLen)
	}
	if e.room -= int64(size); e.room < 0 {
		return "", invalidf("paths are too long for the size of the text")
	}
	return a.join(dir, name), nil
}

// normalTarget brings the target of a link into normal form, but only where that
// cannot change what it means: ".." behind another link is not lexical. CheckSafe
// refuses what is left.
func normalTarget(target string) string {
	if strings.Contains(target, "..") {
		return target
	}
	return NormalizePath(target)
}

// resolveAll replaces the names of all entries by their paths, as far as that was not
// done while they were read.
func (d *decoder) resolveAll() error {
	e := newExpander(len(d.dirs.dirs), d.scan.Offset())
	for i := range d.dirs.dirs {
		path, err := e.addDir(d.dirs.dirs[i].Path)
		if err != nil {
			return err
		}
		d.dirs.dirs[i].Path = NormalizePath(path)
	}
	if d.dirs.broken != nil {
		return d.dirs.broken
	}
	if d.names.stale {
		return invalidf("dirs occurs again behind the files that refer to it")
	}
	files := d.files.files
	for i := min(d.names.files, len(files)); i < len(files); i++ {
		f := &files[i]
		if i > d.names.files || !d.names.half {
			path, err := e.expand(f.Path)
			if err != nil {
				return err
			}
			f.Path = NormalizePath(path)
		}
		if f.Target != "" {
			target, err := e.expand(f.Target)
			if err != nil {
				return err
			}
			f.Target = normalTarget(target)
		}
	}
	return d.files.broken
}

// resolver resolves the names of files as they are read, when the directories that
// they refer to stand before them. It stops at the first name that it cannot resolve:
// that one and all later ones stay as written until the text is read.
type resolver struct {
	expander
	paths arena
	on    bool
	good  []bool // by directory: it is live, safe and in normal form
	plain bool   // the path resolved last is safe and in normal form, and all that is above it is in the list

	files int  // how many files are resolved, valid when it is not on
	half  bool // so is the path of the next one, but not its target
	refs  bool // directories were needed for that
	stale bool // directories came again after that
}

// begin prepares to resolve the names of an array of files.
func (r *resolver) begin(list dirList, textSize int64) {
	*r = resolver{on: list.broken == nil, expander: newExpander(len(list.dirs), textSize)}
	for i := range list.dirs {
		path, err := r.addDir(list.dirs[i].Path)
		if err != nil {
			r.on = false
			return
		}
		normal, err := checkSafeText("path", path)
		r.good = append(r.good, normal && err == nil && !list.dirs[i].Deleted && !isRoot(path))
	}
}

// end notes that n files were read.
func (r *resolver) end(n int) {
	if r.on {
		r.stop(n, false)
	}
}

// stop gives up at file n. Its path may be resolved already.
func (r *resolver) stop(n int, half bool) {
	r.on, r.plain, r.files, r.half = false, false, n, half
}

// dirsChanged notes that there is another list of directories than before.
func (r *resolver) dirsChanged() { r.stale = r.stale || r.refs }

// resolve returns the path that a name stands for, not always in normal form.
func (r *resolver) resolve(name []byte) (path string, err error) {
	if r.plain = plainName(name); r.plain {
		return r.paths.bytes(name), nil
	}
	if dir, base, ok := reference(name); ok && dir < len(r.good) {
		r.plain = r.good[dir] && plainName(base)
		path, err = r.join(&r.paths, r.dirs[dir], base)
	} else {
		path, err = r.expand(string(name))
	}
	r.refs = r.refs || err == nil && bytes.IndexByte(name, '/') > 0
	return path, err
}

// plainName reports whether name is a safe component of a path, and no drive.
func plainName(name []byte) bool {
	for _, c := range name {
		if c == '/' || c == 0 {
			return false
		}
	}
	return len(name) > 0 && len(name) <= MaxNameLen && string(name) != "." && string(name) != ".." &&
		(len(name) < 2 || name[1] != ':')
}

// reference splits a name of the usual form, "$N/base".
func reference(name []byte) (dir int, base []byte, ok bool) {
	if len(name) == 0 || name[0] != '$' {
		return 0, nil, false
	}
	for i, c := range name[1:min(len(name), 10)] {
		switch {
		case '0' <= c && c <= '9':
			dir = dir*10 + int(c-'0')
		case c == '/' && i > 0:
			return dir, name[i+2:], true
		default:
			return 0, nil, false
		}
	}
	return 0, nil, false
}
