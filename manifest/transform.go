package manifest

import "slices"

// Clone returns a copy of m that shares no list of entries with it. The lists of
// chunk hashes are shared, because nothing ever changes one in place.
func (m *Manifest[P, K]) Clone() *Manifest[P, K] {
	c := *m
	c.Files, c.Dirs = slices.Clone(m.Files), slices.Clone(m.Dirs)
	return &c
}

// ClearHashes returns a copy of m in which no live regular file has a hash.
func (m *Manifest[P, K]) ClearHashes() *Manifest[P, K] {
	c := m.Clone()
	for i := range c.Files {
		if f := &c.Files[i]; f.IsRegular() {
			f.Hash, f.Chunks = "", nil
		}
	}
	return c
}

// CommonRoot returns the deepest directory that contains every live file, link and
// empty directory of m (spec/types.md §4.2). It reports false when there is nothing
// to contain, or when it is spread over several drives.
func (m *Manifest[P, K]) CommonRoot() (root string, ok bool) {
	live := *m
	live.Files = slices.DeleteFunc(slices.Clone(m.Files), func(f File) bool { return f.Deleted })
	live.Dirs = slices.DeleteFunc(slices.Clone(m.Dirs), func(d Dir) bool { return d.Deleted })
	var homes []string
	for i := range live.Files {
		homes = append(homes, Parent(live.Files[i].Path))
	}
	links := NewLinks(live.Files, live.Dirs)
	for i := range live.Dirs {
		if files, dirs := links.below(live.Dirs[i].Path); len(files)+len(dirs) == 0 {
			homes = append(homes, live.Dirs[i].Path)
		}
	}
	if len(homes) == 0 {
		return "", false
	}
	root = homes[0]
	for _, dir := range homes[1:] {
		if root, ok = CommonDir(root, dir); !ok {
			return "", false
		}
	}
	return root, true
}

// CommonDir returns the deepest directory that is, or is above, both a and b. Both
// must be normalised. It reports false when there is none: on different drives, or
// when one of them is relative and the other is not.
func CommonDir(a, b string) (dir string, ok bool) {
	for a != b {
		if len(a) < len(b) {
			a, b = b, a
		}
		switch {
		case !isRoot(a):
			a = Parent(a)
		case !isRoot(b): // "C:/" is longer than "b"
			b = Parent(b)
		default:
			return "", false
		}
	}
	return a, true
}
