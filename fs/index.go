package fs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

// A prepared index is a Base as it lies in memory, so that it can be mapped instead of
// being made of a manifest again: a header, then the rows, the hashes and the names.
// Numbers are in the order of bytes of the machine; a file of another machine, or of
// another version, does not match the header and is not used.
const (
	indexMagic  = "snapfsi1"
	indexHeader = 4096 // so that what follows is aligned
)

// ErrNoIndex means that a file is no prepared index, or not one of this machine and
// version, or is damaged.
var ErrNoIndex = errors.New("no usable index")

// indexHead is the header.
type indexHead struct {
	Magic                      [8]byte
	RowSize                    uint64 // in this order of bytes
	Rows, Hashes, Names        uint64 // how many rows, hashes, and bytes of names
	ChunkSize, Bytes, NumFiles int64
	Sum                        [16]byte // XXH3-128 of the whole file with zeros here
}

// parts returns the memory of the base in the order in which it is stored.
func (b *Base) parts() [][]byte {
	return [][]byte{bytesOf(b.rows), bytesOf(b.hashes), unsafe.Slice(unsafe.StringData(b.names), len(b.names))}
}

// bytesOf returns the memory of a slice of values without pointers.
func bytesOf[T any](s []T) []byte {
	var x T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(x)))
}

// WriteIndex writes the prepared index of b, which OpenIndex reads.
func (b *Base) WriteIndex(w io.Writer) error {
	h := indexHead{
		RowSize: uint64(unsafe.Sizeof(row{})), Rows: uint64(len(b.rows)), Hashes: uint64(len(b.hashes)), Names: uint64(len(b.names)),
		ChunkSize: b.chunkSize, Bytes: b.bytes, NumFiles: int64(b.files),
	}
	copy(h.Magic[:], indexMagic)
	h.Sum = h.sum(b.parts()...)
	page := h.page()
	for _, p := range append([][]byte{page}, b.parts()...) {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// page returns the header as it lies in the file.
func (h *indexHead) page() []byte {
	page := make([]byte, indexHeader)
	_, _ = binary.Encode(page, binary.NativeEndian, h) // there is room
	return page
}

// sum returns the checksum of the file that has the header and the parts.
func (h *indexHead) sum(parts ...[]byte) [16]byte {
	blank := *h
	blank.Sum = [16]byte{}
	sum := xxh3.New128()
	for _, p := range append([][]byte{blank.page()}, parts...) {
		_, _ = sum.Write(p) // never fails
	}
	return sum.Sum128().Bytes()
}

// OpenIndex maps a prepared index into memory, where it stays as long as the process
// lives. Whoever can write to the file can make the process misbehave, so it must be a
// file that nobody else can write to. Errors wrap ErrNoIndex unless the file cannot be
// read.
func OpenIndex(f *os.File) (*Base, error) {
	page := make([]byte, indexHeader)
	if _, err := f.ReadAt(page, 0); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s is too short", ErrNoIndex, f.Name())
	} else if err != nil {
		return nil, err
	}
	var h indexHead
	if _, err := binary.Decode(page, binary.NativeEndian, &h); err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if string(h.Magic[:]) != indexMagic || h.RowSize != uint64(unsafe.Sizeof(row{})) || !h.fits(st.Size()) {
		return nil, fmt.Errorf("%w: %s is of another version or machine", ErrNoIndex, f.Name())
	}
	all, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap "+f.Name(), err)
	}
	if h.sum(all[indexHeader:]) != h.Sum || !bytes.Equal(all[:indexHeader], h.page()) {
		_ = unix.Munmap(all)
		return nil, fmt.Errorf("%w: %s is damaged", ErrNoIndex, f.Name())
	}
	return h.base(all[indexHeader:]), nil
}

// fits reports whether a file of the given size holds what the header says.
func (h *indexHead) fits(size int64) bool {
	const most = 1 << 40 // so that nothing overflows
	if h.Rows < 2 || h.Rows > most || h.Hashes > most || h.Names > most {
		return false
	}
	return uint64(size) == indexHeader+h.Rows*h.RowSize+h.Hashes*16+h.Names
}

func (h *indexHead) base(p []byte) *Base {
	rows := p[:h.Rows*h.RowSize]
	hashes := p[len(rows):][:h.Hashes*16]
	names := p[len(rows)+len(hashes):]
	return &Base{
		rows:      unsafe.Slice((*row)(unsafe.Pointer(unsafe.SliceData(rows))), h.Rows),
		hashes:    unsafe.Slice((*[16]byte)(unsafe.Pointer(unsafe.SliceData(hashes))), h.Hashes),
		names:     unsafe.String(unsafe.SliceData(names), len(names)),
		chunkSize: h.ChunkSize, bytes: h.Bytes, files: int(h.NumFiles),
	}
}
