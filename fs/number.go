package fs

import (
	"slices"
	"strings"
	"unsafe"
)

// Base returns the index of all entries, given the size that files are cut at. The
// builder must not be used any more.
func (b *BaseBuilder) Base(chunkSize int64) (*Base, error) {
	out := &Base{
		rows: make([]row, 2, len(b.rows)), hashes: b.hashes, chunkSize: chunkSize,
		names: unsafe.String(unsafe.SliceData(b.names), len(b.names)), // never written again
	}
	in := &Base{rows: b.rows, names: out.names}
	if err := in.checkChunks(len(b.hashes), chunkSize); err != nil {
		return nil, err
	}
	if err := out.number(in); err != nil {
		return nil, err
	}
	for i := range out.rows {
		if r := &out.rows[i]; r.kind == rowFile {
			out.bytes += r.size
			out.files++
		}
	}
	out.setDirTimes()
	return out, nil
}

// checkChunks makes sure that every file, of rows in the order in which they came, has as
// many hashes as it has chunks.
func (b *Base) checkChunks(hashes int, chunkSize int64) error {
	end := int64(hashes) // of the hashes of this file
	for r := len(b.rows) - 1; r > 0; r-- {
		x := &b.rows[r]
		if x.kind != rowFile {
			continue
		}
		n := end - int64(x.first)
		end = int64(x.first)
		if x.chunked && (chunkSize <= 0 || n != (x.size+chunkSize-1)/chunkSize) {
			return refuse(b.path(uint32(r)), "%d chunks of %d bytes do not make a file of %d bytes", n, chunkSize, x.size)
		}
	}
	return nil
}

// number gives b the rows of in, breadth first and sorted by name.
func (b *Base) number(in *Base) error {
	b.rows[RootIno] = in.rows[RootIno]
	children := in.group()
	type dir struct{ from, to uint32 } // rows in in and in b
	queue := []dir{{uint32(RootIno), uint32(RootIno)}}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		x := &in.rows[d.from]
		list := children[x.first:][:uint32(x.size)]
		if err := in.sort(list); err != nil {
			return err
		}
		b.rows[d.to].first = uint32(len(b.rows))
		for _, r := range list {
			if in.rows[r].kind == rowDir {
				queue = append(queue, dir{r, uint32(len(b.rows))})
			}
			b.rows = append(b.rows, in.rows[r])
			b.rows[len(b.rows)-1].parent = d.to
		}
	}
	return nil
}

// group returns all rows but the root, those of one directory together and otherwise in
// order. The row of a directory then says where its children begin.
func (b *Base) group() []uint32 {
	at := uint32(0)
	for i := range b.rows {
		if r := &b.rows[i]; i > 0 && r.kind == rowDir {
			r.first = at
			at += uint32(r.size)
		}
	}
	grouped := make([]uint32, at)
	next := make([]uint32, len(b.rows))
	for r := uint32(RootIno) + 1; r < uint32(len(b.rows)); r++ {
		parent := b.rows[r].parent
		grouped[b.rows[parent].first+next[parent]] = r
		next[parent]++
	}
	return grouped
}

// sort sorts rows of one directory by name, and refuses equal names.
func (b *Base) sort(list []uint32) error {
	byName := func(x, y uint32) int { return strings.Compare(b.name(x), b.name(y)) }
	if !slices.IsSortedFunc(list, byName) {
		slices.SortFunc(list, byName)
	}
	for i := 1; i < len(list); i++ {
		if x, y := list[i-1], list[i]; b.name(x) == b.name(y) {
			if b.rows[x].kind == rowDir || b.rows[y].kind == rowDir {
				return refuse(b.path(x), "is a file or link, and other entries lie below it")
			}
			return refuse(b.path(x), "listed twice")
		}
	}
	return nil
}

// setDirTimes gives directories and links, whose times manifests do not record, a
// time that is the same at every mount: the newest of the files in the directory,
// or else the newest of all files.
func (b *Base) setDirTimes() {
	var newest int64
	for i := range b.rows {
		if r := &b.rows[i]; r.kind == rowFile {
			newest = max(newest, r.mtime)
			d := &b.rows[r.parent]
			d.mtime = max(d.mtime, r.mtime)
		}
	}
	for i := range b.rows {
		if r := &b.rows[i]; r.kind == rowDir && r.mtime == 0 {
			r.mtime = newest
		}
	}
	for i := range b.rows {
		if r := &b.rows[i]; r.kind == rowLink {
			r.mtime = b.rows[r.parent].mtime
		}
	}
}
