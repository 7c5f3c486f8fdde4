// Package content reads and checks the contents that manifests name, in the store
// that holds them.
package content

import (
	"context"
	"fmt"
	"io"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
)

// holdBack is how many bytes of a content are written only after all of it was found
// right. A smaller content is verified before its first byte is written.
const holdBack = 8 << 20

// Write writes the content of a hashed file to w. What it writes is verified: a
// content that is larger than 8 MiB is written as it comes, but for the last 8 MiB,
// so that who has got all of it has got the right bytes.
func Write(ctx context.Context, w io.Writer, store blobstore.Store, f *manifest.File, chunkSize int64) error {
	if !f.IsHashed() {
		return unhashed(f.Path)
	}
	for _, blob := range f.Blobs(chunkSize) {
		if err := writeBlob(ctx, w, store, blob); err != nil {
			return naming(blob.Hash, f.Path, err)
		}
	}
	return nil
}

func writeBlob(ctx context.Context, w io.Writer, store blobstore.Store, blob manifest.Blob) error {
	key, err := blobstore.KeyOf(string(blob.Hash), string(manifest.XXH128))
	if err != nil {
		return err
	}
	body, err := store.Open(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	hasher := manifest.NewHasher()
	var size int64
	pending := make([]byte, 0, min(holdBack, max(blob.Size, 0)))
	chunk := make([]byte, 1<<20)
	for {
		n, err := body.Read(chunk)
		hasher.Write(chunk[:n])
		size += int64(n)
		if over := len(pending) + n - holdBack; over > 0 && size <= blob.Size {
			if _, err := w.Write(pending[:over]); err != nil {
				return err
			}
			pending = append(pending[:0], pending[over:]...)
		}
		pending = append(pending, chunk[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if size > blob.Size {
			return fmt.Errorf("%w: it is larger than %d bytes", blobstore.ErrMismatch, blob.Size)
		}
	}
	if size != blob.Size || hasher.Hash() != blob.Hash {
		return fmt.Errorf("%w: %d bytes of %d, hash %s", blobstore.ErrMismatch, size, blob.Size, hasher.Hash())
	}
	_, err = w.Write(pending)
	return err
}

// naming adds to an error which content it is about, and which file needs it.
func naming(hash manifest.Hash, path string, err error) error {
	e := *failure.Classify(err)
	e.Message = fmt.Sprintf("%s: content %s: %s", path, hash, e.Message)
	e.Path, e.Key = path, string(hash)+"."+string(manifest.XXH128)
	return &e
}

func unhashed(path string) error {
	return &failure.Error{
		Code: failure.Invalid, Path: path, Message: path + " has no hash, so that its content cannot be found in a store",
		Hint: "hash and upload the files first: snapfs upload MANIFEST -o HASHED",
	}
}
