package ops

import "github.com/snapfs/snapfs/manifest"

// HashRow is the remembered hash of a part of a file. It is an alias of a plain
// struct, so that a cache can be written without importing this package.
type HashRow = struct {
	Path       string        // absolute and normalised
	Start, End int64         // bytes, End exclusive; 0 and -1 for the whole file
	ModTime    int64         // of the file, in microseconds since the epoch
	Hash       manifest.Hash // XXH128
}

// HashCache remembers the hashes of files between runs. Implementations are safe
// for concurrent use. A cache is a hint: its failures are never failures of the
// operation that uses it, so that they are not even reported here.
//
// A hash is only stored when a later change of the file is certain to change its
// modification time. A file that was modified within the last tick of the clock
// that stamps files is read after that tick has passed; where files carry whole
// seconds only, hashes of files modified in the last two seconds are not stored.
// (Git solves the same problem by comparing with the time of its index. The schema
// that hash caches share with other tools has no room for such a time.)
type HashCache interface {
	// Lookup sets the Hash of every row whose part of a file is remembered with the
	// same ModTime. It leaves the other rows alone.
	Lookup(rows []HashRow)
	// Store remembers the rows, in place of what was known about the same parts.
	Store(rows []HashRow)
}
