// Package compare tells two trees apart, path by path, as people read it.
//
// It differs from ops.Diff, which makes a manifest: directories count whether they
// are listed or only implied by what lies below them, and a path whose type changed
// is one line.
package compare

import (
	"cmp"
	"slices"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/manifest"
)

// Kinds of changes.
const (
	Added       = "A"
	Modified    = "M"
	Deleted     = "D"
	TypeChanged = "T" // a file became a link, a link a directory, …
)

// Change is one path that differs, in the form of `snapfs diff --json`.
type Change struct {
	Type    string   `json:"type"`   // always "change"
	Change  string   `json:"change"` // Added, Modified, Deleted or TypeChanged
	Entry   string   `json:"entry"`  // type of the entry: file, link or dir; of a deletion the old one
	Path    string   `json:"path"`
	Size    int64    `json:"size"`              // bytes, after the change
	OldSize int64    `json:"old_size"`          // bytes, before it
	Differs []string `json:"differs,omitempty"` // of a modification: size, mtime, content, runnable, target
}

// IsDir reports whether the entry is a directory.
func (c *Change) IsDir() bool { return c.Entry == inspect.TypeDir }

// Summary counts changes, in the form of `snapfs diff --stat --json`.
type Summary struct {
	Type         string `json:"type"` // always "diff"
	Added        int    `json:"added"`
	Modified     int    `json:"modified"`
	Deleted      int    `json:"deleted"`
	TypeChanged  int    `json:"type_changed"`
	AddedBytes   int64  `json:"added_bytes"`   // sizes of new and changed files, after
	DeletedBytes int64  `json:"deleted_bytes"` // sizes of changed and deleted files, before
}

// Any reports whether anything differs.
func (s Summary) Any() bool { return s.Added+s.Modified+s.Deleted+s.TypeChanged > 0 }

// Summarize counts changes.
func Summarize(changes []Change) Summary {
	s := Summary{Type: "diff"}
	for i := range changes {
		c := &changes[i]
		switch c.Change {
		case Added:
			s.Added++
		case Modified:
			s.Modified++
		case Deleted:
			s.Deleted++
		case TypeChanged:
			s.TypeChanged++
		}
		s.AddedBytes += c.Size
		s.DeletedBytes += c.OldSize
	}
	return s
}

// Options say what counts as a difference.
type Options struct {
	IgnoreHashes   bool // compare sizes and times, whatever the hashes say
	IgnoreTimes    bool // compare contents, whatever the times say
	IgnoreRunnable bool
}

// Trees returns what differs from before to after, sorted by path. Two contents whose
// hashes cannot be compared, because one was not hashed or was cut into other chunks,
// are told apart by size and time.
func Trees(before, after inspect.Contents, opts Options) []Change {
	var changes []Change
	sameChunks := before.ChunkSize == after.ChunkSize
	old, now := newWalk(before), newWalk(after)
	o, n := old.next(), now.next()
	for o.exists() || n.exists() {
		was, is := &o, &n
		switch order := compareNodes(was, is); {
		case order < 0:
			is = nil
		case order > 0:
			was = nil
		}
		if c, ok := pair(was, is, sameChunks, opts); ok {
			changes = append(changes, c)
		}
		if was != nil {
			o = old.next()
		}
		if is != nil {
			n = now.next()
		}
	}
	return changes
}

func pair(o, n *node, sameChunks bool, opts Options) (Change, bool) {
	c := Change{Type: "change", OldSize: o.size(), Size: n.size(), Path: cmp.Or(o.name(), n.name())}
	switch {
	case o == nil:
		c.Change, c.Entry = Added, n.kind()
	case n == nil:
		c.Change, c.Entry = Deleted, o.kind()
	case o.kind() != n.kind():
		c.Change, c.Entry = TypeChanged, n.kind()
	default:
		c.Change, c.Entry = Modified, n.kind()
		if n.file != nil {
			c.Differs = differs(o.file, n.file, sameChunks, opts)
		}
		return c, len(c.Differs) > 0
	}
	return c, true
}

func (n *node) name() string {
	if n == nil {
		return ""
	}
	return n.path
}

func (n *node) size() int64 {
	if n == nil || n.file == nil || n.file.IsLink() {
		return 0
	}
	return n.file.Size
}

func (n *node) kind() string {
	switch {
	case n.file == nil:
		return inspect.TypeDir
	case n.file.IsLink():
		return inspect.TypeLink
	}
	return inspect.TypeFile
}

// differs names what is different about two files, or two links.
func differs(o, n *manifest.File, sameChunks bool, opts Options) (names []string) {
	if n.IsLink() {
		if o.Target != n.Target {
			names = append(names, "target")
		}
		return names
	}
	if o.Size != n.Size {
		names = append(names, "size")
	}
	equal, known := sameContent(o, n, sameChunks)
	if !opts.IgnoreHashes && known && !equal {
		names = append(names, "content")
	}
	if o.ModTime != n.ModTime && (!opts.IgnoreTimes || !known) {
		names = append(names, "mtime")
	}
	if o.Runnable != n.Runnable && !opts.IgnoreRunnable {
		names = append(names, "runnable")
	}
	return names
}

// sameContent compares the hashes, where they can be compared.
func sameContent(o, n *manifest.File, sameChunks bool) (equal, known bool) {
	switch {
	case !o.IsHashed() || !n.IsHashed():
		return false, false
	case o.Hash != "" && n.Hash != "":
		return o.Hash == n.Hash, true
	case sameChunks && o.Hash == "" && n.Hash == "":
		return slices.Equal(o.Chunks, n.Chunks), true
	}
	return false, false
}
