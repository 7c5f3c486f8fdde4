package manifest

import (
	"slices"
	"sort"
	"strings"
)

const (
	// maxHops is how many entries a chain of links may visit.
	maxHops = 64
	// maxCopied bounds the memory that a Copier takes: links to directories that
	// hold links to directories can multiply without end.
	maxCopied = 2 << 30
	// entrySize is about what an entry takes in memory besides its path.
	entrySize = 100
)

// Links finds out where the symbolic links of a manifest lead. Only the manifest is
// consulted, never a file system.
type Links struct {
	files []*File // by path
	dirs  []*Dir  // by path, without roots
}

// NewLinks returns the Links of the manifest with the given entries, which must not
// change as long as the Links are used.
func NewLinks(files []File, dirs []Dir) *Links {
	l := &Links{files: make([]*File, len(files)), dirs: make([]*Dir, 0, len(dirs))}
	for i := range files {
		l.files[i] = &files[i]
	}
	for i := range dirs {
		if !isRoot(dirs[i].Path) {
			l.dirs = append(l.dirs, &dirs[i])
		}
	}
	slices.SortFunc(l.files, func(a, b *File) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(l.dirs, func(a, b *Dir) int { return strings.Compare(a.Path, b.Path) })
	return l
}

func (l *Links) searchFiles(path string) int {
	return sort.Search(len(l.files), func(i int) bool { return l.files[i].Path >= path })
}

func (l *Links) searchDirs(path string) int {
	return sort.Search(len(l.dirs), func(i int) bool { return l.dirs[i].Path >= path })
}

func (l *Links) file(path string) *File {
	if i := l.searchFiles(path); i < len(l.files) && l.files[i].Path == path {
		return l.files[i]
	}
	return nil
}

// below returns the entries strictly below dir.
func (l *Links) below(dir string) ([]*File, []*Dir) {
	if dir == "." {
		return l.files, l.dirs
	}
	from := strings.TrimSuffix(dir, "/") + "/"
	to := from[:len(from)-1] + "0" // "0" is the successor of "/"
	return l.files[l.searchFiles(from):l.searchFiles(to)], l.dirs[l.searchDirs(from):l.searchDirs(to)]
}

// isDir reports whether path is a directory: a root, listed as one, or holding
// something.
func (l *Links) isDir(path string) bool {
	if isRoot(path) {
		return true
	}
	if i := l.searchDirs(path); i < len(l.dirs) && l.dirs[i].Path == path && !l.dirs[i].Deleted {
		return true
	}
	files, dirs := l.below(path)
	return len(files)+len(dirs) > 0
}

// Follow returns where a link with the given target leads in the end. That is
// either a file, possibly a deleted one, or a directory, whose path is returned.
// It reports false when a chain of links is broken, circular or longer than 64
// entries. Links to directories are followed in the middle of a path, too.
func (l *Links) Follow(target string) (file *File, dir string, ok bool) {
	path := NormalizePath(target)
	for range maxHops {
		f := l.file(path)
		switch {
		case f != nil && !f.IsLink():
			return f, "", true
		case f != nil:
			path = NormalizePath(f.Target)
			continue
		case l.isDir(path):
			return nil, path, true
		}
		if path, ok = l.throughParent(path); !ok {
			return nil, "", false
		}
	}
	return nil, "", false
}

// throughParent replaces the nearest ancestor of path that is a link by the target
// of that link.
func (l *Links) throughParent(path string) (string, bool) {
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if f := l.file(path[:i]); f != nil {
			return NormalizePath(f.Target + path[i:]), f.IsLink()
		}
	}
	return "", false
}

// Copier replaces links by copies of what they lead to, and collects the copies.
type Copier struct {
	links *Links
	keep  func(target string) (string, bool)
	trail []expansion
	room  int // bytes of copies that may still be made

	Files []File
	Dirs  []Dir
}

// expansion is a directory that is being copied.
type expansion struct{ from, to string }

// NewCopier returns a Copier of the entries behind links.
//
// Copied directories may hold links in their turn. Where keep accepts a target and
// returns a new one, such a link stays a link. Links into the directory that is
// being copied stay links, too, into the copy. All others are replaced like the
// first. When keep is nil, every link is replaced.
func NewCopier(links *Links, keep func(target string) (string, bool)) *Copier {
	return &Copier{links: links, keep: keep, room: maxCopied}
}

// Replace collects what takes the place of a link with the given target, at the
// given path. It reports false when that is nothing: see Links.Follow, and a
// directory that contains the link itself is copied only once.
func (c *Copier) Replace(path, target string) (bool, error) {
	file, dir, ok := c.links.Follow(target)
	switch {
	case !ok:
		return false, nil
	case file != nil:
		return true, c.addFile(*file, path)
	}
	for _, e := range c.trail {
		if _, inside := Within(e.from, dir); inside || e.from == dir {
			return false, nil
		}
	}
	c.trail = append(c.trail, expansion{from: dir, to: path})
	err := c.copyDir(dir, path)
	c.trail = c.trail[:len(c.trail)-1]
	return true, err
}

// take accounts for an entry that is about to be copied.
func (c *Copier) take(path string) error {
	if len(path) > MaxPathLen {
		return invalidf("replacing links by copies gives paths longer than %d bytes: %.60q…", MaxPathLen, path)
	}
	if c.room -= len(path) + entrySize; c.room < 0 {
		return invalidf("replacing links by copies gives more than %d MiB of entries: exclude links instead", maxCopied>>20)
	}
	return nil
}

func (c *Copier) addFile(f File, path string) error {
	if err := c.take(path); err != nil {
		return err
	}
	f.Path = path
	c.Files = append(c.Files, f)
	return nil
}

func (c *Copier) addDir(path string, deleted bool) error {
	if err := c.take(path); err != nil {
		return err
	}
	c.Dirs = append(c.Dirs, Dir{Path: path, Deleted: deleted})
	return nil
}

func (c *Copier) copyDir(from, to string) error {
	if err := c.addDir(to, false); err != nil {
		return err
	}
	files, dirs := c.links.below(from)
	for _, d := range dirs {
		rest, _ := Within(d.Path, from)
		if err := c.addDir(to+"/"+rest, d.Deleted); err != nil {
			return err
		}
	}
	for _, f := range files {
		rest, _ := Within(f.Path, from)
		if err := c.copyFile(f, to+"/"+rest); err != nil {
			return err
		}
	}
	return nil
}

func (c *Copier) copyFile(f *File, to string) error {
	if !f.IsLink() {
		return c.addFile(*f, to)
	}
	if target, ok := c.keepTarget(NormalizePath(f.Target)); ok {
		link := *f
		link.Target = target
		return c.addFile(link, to)
	}
	_, err := c.Replace(to, f.Target)
	return err
}

// keepTarget returns the target of a link that stays a link in the copy.
func (c *Copier) keepTarget(target string) (string, bool) {
	if c.keep == nil {
		return "", false
	}
	if kept, ok := c.keep(target); ok {
		return kept, true
	}
	for i := len(c.trail) - 1; i >= 0; i-- {
		e := c.trail[i]
		if target == e.from {
			return e.to, true
		}
		if rest, ok := Within(target, e.from); ok {
			return e.to + "/" + rest, true
		}
	}
	return "", false
}
