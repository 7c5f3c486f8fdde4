package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// partsAttr holds what a joined file consists of: the size of all blobs but the last, in
// 8 bytes, and the hash of each, in 16.
const partsAttr = "user.snapfs.parts"

// maxParts is how many bytes the kernel lets an attribute have.
const maxParts = 64 << 10

// recordParts records the blobs of a joined file in it. That may fail, as ext4 takes about
// 4 KB only: whoever verifies the file then has nothing to verify it by.
func recordParts(f *os.File, blobs []manifest.Blob) {
	record := binary.LittleEndian.AppendUint64(nil, uint64(blobs[0].Size))
	for _, x := range blobs {
		d := digestOf(x.Hash)
		record = append(record, d[:]...)
	}
	_ = unix.Fsetxattr(int(f.Fd()), partsAttr, record, 0)
}

// partsOf returns the blobs of the joined file with the given key and size, and reports
// false when they are not recorded. The key is the hash of their list, so that a record
// which is damaged is none.
func partsOf(f *os.File, key blobstore.Key, size int64) ([]manifest.Blob, bool) {
	record := make([]byte, maxParts)
	n, err := unix.Fgetxattr(int(f.Fd()), partsAttr, record)
	if err != nil || n < 8 {
		return nil, false
	}
	step, digests := int64(binary.LittleEndian.Uint64(record)), record[8:n]
	var blobs []manifest.Blob
	for ; len(digests) >= len(digest{}) && size > 0; digests = digests[len(digest{}):] {
		x := manifest.Blob{Hash: manifest.Hash(digest(digests[:len(digest{})]).key().Hash()), Size: min(step, size)}
		size -= x.Size
		blobs = append(blobs, x)
	}
	is, _ := joinedKey(blobs)
	return blobs, is == key
}

// verifyJoined verifies a joined file part by part, and removes it when one is damaged, or
// when it does not say what its parts are.
func (s *space) verifyJoined(ctx context.Context, key blobstore.Key, v *Verified) error {
	path := s.dir.joinedPath(key)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // evicted
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	parts, intact := partsOf(f, key, st.Size())
	if !intact {
		s.removeJoined(path, st.Size())
		return nil
	}
	at := int64(0)
	for _, x := range parts {
		sum, n, err := readSum(ctx, io.NewSectionReader(f, at, x.Size))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.Blobs++
		v.Bytes += n
		at += x.Size
		if err != nil || sum != x.Hash {
			v.Damaged = append(v.Damaged, digestOf(x.Hash).key())
			intact = false
		}
	}
	if !intact {
		s.removeJoined(path, st.Size())
	}
	return nil
}

// removeJoined removes the joined file at path, of the given size: it can be made again.
func (s *space) removeJoined(path string, size int64) {
	scans := s.ledger.now().scans
	if os.Remove(path) == nil {
		s.ledger.free(charge(size), scans)
	}
}
