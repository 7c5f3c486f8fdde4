package blobstore

import "fmt"

// Span returns how many bytes the range (off, n) of a blob of the given size has,
// where n < 0 means to the end. A range that is not wholly inside the blob is
// ErrRange; an empty one at the very end is inside.
func Span(size, off, n int64) (int64, error) {
	if off < 0 || off > size || n > size-off {
		return 0, fmt.Errorf("%w: offset %d, length %d, blob of %d bytes", ErrRange, off, n, size)
	}
	if n < 0 {
		return size - off, nil
	}
	return n, nil
}
