package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
)

// piece is one run of the content of a file and where its bytes come from.
type piece struct {
	extent.Range
	blob    manifest.Blob // base content: blob and offset in it
	blobOff int64
	data    bool // the data file
}

// pieces cuts the part of r that lies inside the file into runs. It needs n.mu.
func (t *Tree) pieces(n *node, r extent.Range) []piece {
	var list []piece
	f := n.file
	below, _ := t.below(f)
	r.End = min(r.End, n.size)
	if shown := (extent.Range{Off: r.Off, End: min(r.End, f.limit)}); shown.Len() > 0 {
		f.written.Split(shown, func(p extent.Range, inside bool) {
			if inside {
				list = append(list, piece{Range: p, data: true})
			} else {
				list = below.pieces(list, p)
			}
		})
		r.Off = shown.End
	}
	if r.Len() > 0 {
		list = append(list, piece{Range: r, data: f.data})
	}
	return list
}

// readNode fills p from the content of n at off, and returns how many bytes lie
// before the end of the file. The store is asked without any lock held, so the map
// is looked at again afterwards: bytes that were read before a truncation must not
// come back behind it.
func (t *Tree) readNode(ctx context.Context, n *node, p []byte, off int64) (int, error) {
	r := extent.Range{Off: off, End: off + int64(len(p))}
	for {
		n.mu.Lock()
		n.catchUp()
		list := t.pieces(n, r)
		var file *os.File
		var err error
		if n.file.data {
			file, err = t.dataFile(n)
		}
		n.mu.Unlock()
		if err != nil {
			return 0, err
		}
		total, base, err := t.readPieces(ctx, file, list, p, off)
		if err != nil || !base {
			return total, err
		}
		n.mu.Lock()
		again := t.pieces(n, r)
		n.mu.Unlock()
		if slices.Equal(list, again) {
			return total, nil
		}
	}
}

// readPieces also reports whether any of the bytes came from the base.
func (t *Tree) readPieces(ctx context.Context, file *os.File, list []piece, p []byte, off int64) (total int, base bool, err error) {
	for _, x := range list {
		dst := p[x.Off-off : x.End-off]
		switch {
		case x.data:
			if err := readData(file, dst, x.Off); err != nil {
				return 0, base, err
			}
		case x.blob.Hash != "":
			base = true
			if err := t.readBlob(ctx, x.blob, dst, x.blobOff); err != nil {
				return 0, base, err
			}
		default:
			clear(dst)
		}
		total += len(dst)
	}
	return total, base, nil
}

// readData reads from a data file. What it lacks was cut off by a truncation that
// ran at the same time: zeros, which the kernel cuts off too.
func readData(f *os.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if err == io.EOF {
		clear(p[n:])
		return nil
	}
	return err
}

func (t *Tree) readBlob(ctx context.Context, b manifest.Blob, p []byte, off int64) error {
	n, err := t.blobs.ReadBlobAt(ctx, b, p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: blob %s: %w", errStore, b.Hash, err)
}

// readRow is readNode for a base file without a node.
func (t *Tree) readRow(ctx context.Context, row uint32, p []byte, off int64) (int, error) {
	s := t.base.stored(row)
	r := extent.Range{Off: off, End: min(off+int64(len(p)), s.size)}
	if r.Len() <= 0 {
		return 0, nil
	}
	total, _, err := t.readPieces(ctx, nil, s.pieces(nil, r), p, off)
	return total, err
}
