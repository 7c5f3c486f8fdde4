package cache

import (
	"io"
	"os"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// Adopt takes a copy of the content of a blob that lies in a local file from offset off
// on, so that it need not be fetched. The content is verified. Nothing happens when the
// blob is there already, when the limits leave no room, or when the store is read in
// place. It moves the offset of the file.
func (b *Blobs) Adopt(blob manifest.Blob, f *os.File, off int64) {
	if b.files != nil || !blob.Hash.IsXXH128() || b.ctx.Err() != nil {
		return
	}
	key := blobstore.Key(string(blob.Hash) + "." + string(manifest.XXH128))
	if _, err := os.Lstat(b.dir.blobPath(key)); err == nil {
		return
	}
	err := b.space.write(charge(blob.Size), func() error { return b.dir.adopt(key, blob, f, off) })
	if err != nil {
		b.diskError(err)
	}
}

// adopt installs a complete blob from a range of f. File systems that can share the
// blocks; on the others the kernel copies.
func (d *dir) adopt(key blobstore.Key, blob manifest.Blob, f *os.File, off int64) error {
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	temp, err := os.OpenFile(d.tempPath(key), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer temp.Close()
	_, err = io.CopyN(temp, f, blob.Size)
	if err == nil {
		err = checkFile(temp, blob)
	}
	if err == nil {
		err = setVerified(temp)
	}
	if err == nil {
		err = os.Rename(temp.Name(), d.blobPath(key))
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}
