package fs

import (
	"encoding/hex"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
)

// stored is content in the store that shows through a file where nobody has written:
// that of a base file, or what a commit has published or a layer has brought.
type stored struct {
	size    int64
	chunk   int64      // where content is cut when it is chunked, in bytes
	hashes  [][16]byte // of the blobs
	chunked bool
}

// stored returns the content of a file row.
func (b *Base) stored(r uint32) stored {
	x := &b.rows[r]
	return stored{size: x.size, chunk: b.chunkSize, hashes: b.hashes[x.first:][:b.blobs(r)], chunked: x.chunked}
}

// blob returns blob i of the content.
func (s *stored) blob(i int) manifest.Blob {
	blob := manifest.Blob{Hash: manifest.Hash(hex.EncodeToString(s.hashes[i][:])), Size: s.size}
	if s.chunked {
		blob.Size = min(s.chunk, s.size-int64(i)*s.chunk)
	}
	return blob
}

// entry fills the hashes of the content into the entry of a manifest.
func (s *stored) entry(f *manifest.File) {
	if !s.chunked {
		f.Hash = s.blob(0).Hash
		return
	}
	f.Chunks = make([]manifest.Hash, len(s.hashes))
	for i := range f.Chunks {
		f.Chunks[i] = s.blob(i).Hash
	}
}

// pieces appends the runs of r in the blobs.
func (s *stored) pieces(list []piece, r extent.Range) []piece {
	chunk := s.size
	if s.chunked {
		chunk = s.chunk
	}
	for r.Len() > 0 {
		i := r.Off / chunk
		end := min(r.End, (i+1)*chunk)
		list = append(list, piece{Range: extent.Range{Off: r.Off, End: end}, blob: s.blob(int(i)), blobOff: r.Off - i*chunk})
		r.Off = end
	}
	return list
}

// below returns what shows through a file, and false when nothing does.
func (t *Tree) below(f *fileState) (stored, bool) {
	switch {
	case f.src != nil:
		return *f.src, true
	case f.row != 0:
		return t.base.stored(f.row), true
	}
	return stored{}, false
}

// opStored makes content of the store show through a file, all of it, in place of what
// did so before and of what was written: there is no data file any more.
type opStored struct {
	ino         Ino
	size, mtime int64
	chunk       int64 // 0 for a single blob
	hashes      [][16]byte
}

func (o *opStored) append(b []byte) []byte {
	b = appendUint(append(b, tagStored), uint64(o.ino))
	b = appendInt(b, o.size, o.mtime, o.chunk)
	b = appendUint(b, uint64(len(o.hashes)))
	for i := range o.hashes {
		b = append(b, o.hashes[i][:]...)
	}
	return b
}

func (o *opStored) apply(t *Tree) { t.applyTo(o.ino, o) }

func (o *opStored) applyNode(n *node) {
	if n.file == nil {
		return
	}
	n.size, n.mtime = o.size, o.mtime
	*n.file = fileState{
		src:   &stored{size: o.size, chunk: o.chunk, hashes: o.hashes, chunked: o.chunk > 0},
		limit: o.size, f: n.file.f, gen: n.file.gen,
	}
}

// op returns the op that makes s show through a file.
func (s *stored) op(ino Ino, mtime int64) *opStored {
	o := &opStored{ino: ino, size: s.size, mtime: mtime, hashes: s.hashes}
	if s.chunked {
		o.chunk = s.chunk
	}
	return o
}
