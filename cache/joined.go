package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

const (
	joinedSuffix = ".joined"
	// joinStep is how many bytes are copied before the end of the cache is looked for.
	joinStep = 32 << 20
	// joinPause is the time for which nothing is tried after a file could not be joined.
	joinPause = time.Minute
)

// joints makes one file of the chunks of a large file, so that it can be lent. That is
// work for the background: whoever wants the file now reads the chunks.
type joints struct {
	turn sync.Mutex // one file at a time

	mu    sync.Mutex
	busy  map[blobstore.Key]bool
	until time.Time // nothing is tried before
}

// Lend opens, read-only, a local file that consists of the given blobs one after the
// other, all of them verified, and reports false when there is none. When it could be
// made of local blobs, that begins now. The caller closes the file, which is not evicted
// while it is open.
func (b *Blobs) Lend(blobs []manifest.Blob) (*os.File, bool) {
	switch len(blobs) {
	case 0:
		return nil, false
	case 1:
		return b.File(blobs[0])
	}
	key, size := joinedKey(blobs)
	if f, ok := b.openJoined(key, size); ok {
		return f, true
	}
	b.startJoin(key, size, blobs)
	return nil, false
}

// joinedKey returns what names the file that consists of the blobs, and its size.
func joinedKey(blobs []manifest.Blob) (blobstore.Key, int64) {
	var list strings.Builder
	var size int64
	for _, x := range blobs {
		fmt.Fprintf(&list, "%s %d\n", x.Hash, x.Size)
		size += x.Size
	}
	return blobstore.Key(string(manifest.Sum([]byte(list.String()))) + "." + string(manifest.XXH128)), size
}

func (b *Blobs) joinedPath(key blobstore.Key) string {
	return filepath.Join(b.dir.path, string(key)+joinedSuffix)
}

// openJoined opens a joined file. One of an earlier boot may have lost data with the
// power, and is removed: it can be made again.
func (b *Blobs) openJoined(key blobstore.Key, size int64) (*os.File, bool) {
	path := b.joinedPath(key)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, false
	}
	st, err := f.Stat()
	if err == nil && st.Size() == size && isVerified(f) && markInUse(f) {
		touch(f)
		return f, true
	}
	f.Close()
	if err == nil && os.Remove(path) == nil {
		b.space.ledger.free(charge(size), b.space.ledger.now().scans)
	}
	return nil, false
}

// startJoin makes the joined file in the background, if all blobs are local and nobody
// is at it.
func (b *Blobs) startJoin(key blobstore.Key, size int64, blobs []manifest.Blob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.joints.mu.Lock()
	defer b.joints.mu.Unlock()
	if b.closed || b.joints.busy[key] || time.Now().Before(b.joints.until) {
		return
	}
	if b.joints.busy == nil {
		b.joints.busy = map[blobstore.Key]bool{}
	}
	b.joints.busy[key] = true
	b.work.Add(1)
	go func() {
		defer b.work.Done()
		b.joints.turn.Lock()
		err := b.join(key, size, blobs)
		b.joints.turn.Unlock()
		b.joints.mu.Lock()
		delete(b.joints.busy, key)
		if err != nil && !errors.Is(err, errIncomplete) {
			b.joints.until = time.Now().Add(joinPause)
		}
		b.joints.mu.Unlock()
	}()
}

// join makes the joined file of local blobs. What fails costs speed only: the blobs are
// as good.
func (b *Blobs) join(key blobstore.Key, size int64, blobs []manifest.Blob) error {
	parts, err := b.parts(blobs)
	defer func() {
		for _, f := range parts {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	temp := b.dir.tempPath(key)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = b.space.write(charge(size), func() error { return b.fillJoined(f, parts, blobs) })
	if err == nil {
		err = setVerified(f)
	}
	if err == nil && !isVerified(f) {
		err = errors.ErrUnsupported // the mark is what tells a joined file from half of one
	}
	if err == nil {
		err = os.Rename(temp, b.joinedPath(key))
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	for _, p := range parts {
		b.retire(p)
	}
	return nil
}

// parts opens all blobs, or returns errIncomplete.
func (b *Blobs) parts(blobs []manifest.Blob) ([]*os.File, error) {
	var parts []*os.File
	for _, x := range blobs {
		f, ok := b.File(x)
		if !ok {
			return parts, errIncomplete
		}
		parts = append(parts, f)
	}
	return parts, nil
}

// fillJoined puts the parts one behind the other. Where the file system can share their
// bytes, they are. Otherwise they are copied, but not those of a store that is used in
// place: whoever keeps the store beside the cache does not want everything twice.
func (b *Blobs) fillJoined(dst *os.File, parts []*os.File, blobs []manifest.Blob) error {
	at := int64(0)
	for i, src := range parts {
		n := blobs[i].Size
		err := unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
			Src_fd: int64(src.Fd()), Src_length: uint64(n), Dest_offset: uint64(at),
		})
		if err != nil && filepath.Dir(src.Name()) != b.dir.path {
			return err
		}
		if err != nil {
			err = copyAt(b.ctx, dst, src, at, n)
		}
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// copyAt copies the first n bytes of src to dst from at on, within the kernel.
func copyAt(ctx context.Context, dst, src *os.File, at, n int64) error {
	from := int64(0)
	for from < n {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := at + from
		m, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(min(n-from, joinStep)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("copy_file_range", err)
		case m == 0:
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// retire makes a file of the cache the first to be evicted: its bytes are now in another
// file.
func (b *Blobs) retire(f *os.File) {
	if filepath.Dir(f.Name()) != b.dir.path {
		return
	}
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()),
		[]unix.Timespec{{Sec: 1}, {Nsec: unix.UTIME_OMIT}}, 0)
}
