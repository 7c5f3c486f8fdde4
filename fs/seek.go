package fs

import (
	"errors"
	"os"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"golang.org/x/sys/unix"
)

// Seek finds the next data or hole at or after off, for SEEK_DATA and SEEK_HOLE.
// Base content counts as data. ENXIO means there is none.
func (f *File) Seek(off int64, whence int) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	n := f.current()
	if n == nil {
		return seekDense(off, f.t.base.rows[f.ino].size, whence)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	if off < 0 || off >= n.size {
		return 0, unix.ENXIO
	}
	if !n.file.data {
		return seekDense(off, n.size, whence)
	}
	file, err := f.t.dataFile(n)
	if err != nil {
		return 0, err
	}
	for _, p := range f.t.pieces(n, extent.Range{Off: off, End: n.size}) {
		pos, ok, err := seekPiece(file, p, whence)
		if ok || err != nil {
			return pos, err
		}
	}
	if whence == unix.SEEK_HOLE {
		return n.size, nil
	}
	return 0, unix.ENXIO
}

// seekPiece looks for data or a hole in one run of content.
func seekPiece(file *os.File, p piece, whence int) (int64, bool, error) {
	if p.blob.Hash != "" {
		return p.Off, whence == unix.SEEK_DATA, nil
	}
	pos, err := unix.Seek(int(file.Fd()), p.Off, whence)
	if errors.Is(err, unix.ENXIO) {
		return p.Off, whence == unix.SEEK_HOLE, nil
	}
	return pos, err == nil && pos < p.End, err
}

func seekDense(off, size int64, whence int) (int64, error) {
	switch {
	case off < 0 || off >= size:
		return 0, unix.ENXIO
	case whence == unix.SEEK_HOLE:
		return size, nil
	}
	return off, nil
}
