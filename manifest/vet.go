package manifest

// vetting notes, while the entries of a text are read, that nothing is wrong with them
// by themselves. It spares most manifests the passes over all entries that Validate and
// CheckSafe make. It is only ever too strict: then those passes decide, and say what is
// wrong.
type vetting struct {
	files    int  // how many were looked at
	bad      bool // one of them needs the passes
	unsorted bool // one of them is not behind the one before

	last     string // path of the last one
	abs, rel bool   // there are paths or targets of that style
	deleted  bool   // there are deleted ones
	chunked  bool   // there are ones with chunks
	total    int64  // size of all live regular ones
}

// covers reports whether nothing is wrong with the files of m, but perhaps the number of
// their chunks. Then they are sorted, too.
func covers[P PathStyle, K Kind](v *vetting, m *Manifest[P, K]) bool {
	return v.files == len(m.Files) && !v.unsorted && fits(v, m)
}

// fits reports whether the files that were looked at can all be files of m.
func fits[P PathStyle, K Kind](v *vetting, m *Manifest[P, K]) bool {
	styled := !v.abs
	if m.IsAbs() {
		styled = !v.rel
	}
	return !v.bad && styled && (m.IsDiff() || !v.deleted)
}

// file looks at the next file. Plain tells that its path is known to be safe and in
// normal form, and that all that is above it is in the list of directories.
func (v *vetting) file(f *File, plain bool) {
	v.files++
	v.unsorted = v.unsorted || f.Path <= v.last
	v.last = f.Path
	v.bad = v.bad || !plain || !v.content(f)
	v.style(f.Path)
}

func (v *vetting) style(path string) {
	if IsAbsPath(path) {
		v.abs = true
	} else {
		v.rel = true
	}
}

// content reports whether all but the path of f is in order.
func (v *vetting) content(f *File) bool {
	switch {
	case f.Deleted:
		v.deleted = true
		return f.Size == 0 && f.ModTime == 0 && !f.IsHashed() && f.Target == ""
	case f.Target != "":
		v.style(f.Target)
		_, err := checkSafeText("", f.Target)
		return err == nil && !f.IsHashed()
	}
	if f.Size < 0 || v.total+f.Size < 0 || f.Hash != "" && len(f.Chunks) > 0 || !isAlphanumeric(f.Hash) {
		return false
	}
	v.total += f.Size
	for _, h := range f.Chunks {
		v.chunked = true
		if h == "" || !isAlphanumeric(h) {
			return false
		}
	}
	return true
}
