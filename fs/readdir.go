package fs

import (
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Dirent is one entry of a directory listing.
type Dirent struct {
	Name string
	Ino  Ino
	Type uint32 // type bits of the mode
}

// Dir is an open directory. Listing it shows the names that were there when it was
// opened or last rewound: positions stay valid whatever happens to the directory.
type Dir struct {
	t   *Tree
	ino Ino

	mu     sync.Mutex
	listed bool
	names  []dirName // of a directory with changes
	first  uint32    // rows of a directory without
	end    uint32
}

type dirName struct {
	name string
	ino  Ino
}

// OpenDir opens a directory for listing.
func (t *Tree) OpenDir(ino Ino) (*Dir, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if err := t.checkDir(ino); err != nil {
		return nil, err
	}
	return &Dir{t: t, ino: ino}, nil
}

// Ino returns the inode number of the directory.
func (d *Dir) Ino() Ino { return d.ino }

// Untouched reports whether the directory lists exactly what it lists in the base.
func (d *Dir) Untouched() bool {
	d.t.mu.RLock()
	defer d.t.mu.RUnlock()
	n := d.t.nodes[d.ino]
	return n == nil || (len(n.dir.names) == 0 && n.dir.row != 0)
}

// Len returns about how many entries the directory has.
func (d *Dir) Len() int {
	d.t.mu.RLock()
	defer d.t.mu.RUnlock()
	n, row := d.t.nodes[d.ino], uint32(d.ino)
	count := 0
	if n != nil {
		row, count = n.dir.row, len(n.dir.names)
	}
	if row != 0 {
		first, end := d.t.base.children(row)
		count += int(end - first)
	}
	return count
}

// Rewind makes the next Entry see the directory as it is now.
func (d *Dir) Rewind() {
	d.mu.Lock()
	d.listed = false
	d.mu.Unlock()
}

// Entry returns entry number i, "." and ".." excluded. The answer is false behind
// the last one. An entry that has been removed since the listing began has Ino 0;
// one that has been replaced is the new one.
func (d *Dir) Entry(i int) (Dirent, bool) {
	e, _, ok := d.entry(i, false)
	return e, ok
}

// EntryAttr is Entry with the attributes of the entry, a reference to which is
// counted.
func (d *Dir) EntryAttr(i int) (Dirent, Attr, bool) { return d.entry(i, true) }

func (d *Dir) entry(i int, plus bool) (Dirent, Attr, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.listed {
		d.list()
	}
	d.t.mu.RLock()
	defer d.t.mu.RUnlock()
	var e Dirent
	switch {
	case i < len(d.names):
		e.Name, e.Ino = d.names[i].name, d.names[i].ino
	case uint32(i) < d.end-d.first:
		r := d.first + uint32(i)
		e.Name, e.Ino = d.t.base.name(r), Ino(r)
	default:
		return Dirent{}, Attr{}, false
	}
	if d.t.nodes[d.ino] != nil { // else it lists what the base does
		e.Ino = d.t.child(d.ino, e.Name)
	}
	if e.Ino == 0 {
		return e, Attr{}, true
	}
	var a Attr
	var err error
	if plus {
		a, err = d.t.refer(e.Ino)
	} else {
		a, err = d.t.attr(e.Ino)
	}
	if err != nil {
		e.Ino = 0
		return e, Attr{}, true
	}
	e.Type = a.Type()
	return e, a, true
}

// list takes down the names of the directory. It needs d.mu.
func (d *Dir) list() {
	d.listed = true
	d.names, d.first, d.end = nil, 0, 0
	d.t.mu.RLock()
	n := d.t.nodes[d.ino]
	switch {
	case n == nil:
		d.first, d.end = d.t.base.children(uint32(d.ino))
	case len(n.dir.names) == 0 && n.dir.row != 0:
		d.first, d.end = d.t.base.children(n.dir.row)
	default:
		d.names = d.t.names(n)
	}
	d.t.mu.RUnlock()
	slices.SortFunc(d.names, byName) // which takes its time in a large directory
}

func byName(a, b dirName) int { return strings.Compare(a.name, b.name) }

// names returns the entries of a directory node, in no order. It needs t.mu.
func (t *Tree) names(n *node) []dirName {
	list := make([]dirName, 0, len(n.dir.names))
	if n.dir.row != 0 {
		first, end := t.base.children(n.dir.row)
		list = slices.Grow(list, int(end-first))
		for r := first; r < end; r++ {
			name := t.base.name(r)
			if _, changed := n.dir.names[name]; !changed {
				list = append(list, dirName{name, Ino(r)})
			}
		}
	}
	for name, ino := range n.dir.names {
		if ino != 0 {
			list = append(list, dirName{name, ino})
		}
	}
	return list
}

// Statfs describes the file system that the overlay lies on; a read-only tree
// describes its base.
type Statfs struct {
	BlockSize           int64
	Blocks, Free, Avail uint64 // in blocks
	Files, FreeFiles    uint64
}

// Statfs returns what df shows.
func (t *Tree) Statfs() (Statfs, error) {
	t.mu.RLock()
	entries := uint64(t.base.Entries() + len(t.nodes))
	t.mu.RUnlock()
	const block = 4096
	used := uint64(t.base.Bytes()+block-1) / block
	if t.ov == nil {
		return Statfs{BlockSize: block, Blocks: used, Files: entries}, nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(t.ov.dataFD.Fd()), &st); err != nil {
		return Statfs{}, err
	}
	return Statfs{
		BlockSize: st.Bsize, Blocks: st.Blocks, Free: st.Bfree, Avail: st.Bavail,
		Files: max(st.Files, entries), FreeFiles: st.Ffree,
	}, nil
}
