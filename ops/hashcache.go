package ops

import "github.com/snapfs/snapfs/manifest"

// FileRange names the part of a file that a remembered hash covers. Start is 0 and
// End is -1 for the hash of a whole file; otherwise End is exclusive.
type FileRange struct {
	Path       string
	Start, End int64 // bytes
}

// HashCache remembers the hashes of files between runs. Implementations are safe
// for concurrent use. A cache is a hint: its failures are never failures of the
// operation that uses it.
type HashCache interface {
	// Lookup returns the hash remembered for r when it was stored with the same
	// modification time, in microseconds since the epoch.
	Lookup(r FileRange, modTime int64) (manifest.Hash, bool)
	// Store remembers the hash of r as of modTime.
	Store(r FileRange, modTime int64, h manifest.Hash)
}
