package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	// maxJoints is how many files are being joined at most.
	maxJoints = 64
	// joinPause is the time for which nothing is tried after a file could not be joined.
	joinPause = time.Minute
)

// errJoined means that a joined file is complete.
var errJoined = errors.New("joined")

// joints makes one file of the chunks of a large file, so that it can be lent. That is
// work for the background, one chunk after the other as they arrive: whoever wants the
// file now reads the chunks.
type joints struct {
	turn sync.Mutex // one chunk at a time

	mu    sync.Mutex
	jobs  map[blobstore.Key]*joint // files that were asked for and are not made yet
	until time.Time                // nothing is tried before
}

// joint is a joined file that is being made.
type joint struct {
	key     blobstore.Key
	size    int64
	blobs   []manifest.Blob
	running bool // both guarded by joints.mu
	again   bool // there is more to do for who is running

	f    *os.File // nil before the first part; the rest belongs to who is running
	done []bool   // by blob
}

// Lend opens, read-only, a local file that consists of the given blobs one after the
// other, all of them verified, and reports false when there is none. One of several blobs
// is made as they become local. The caller closes the file, which is not evicted while it
// is open.
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
	b.wantJoined(key, size, blobs)
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

func (d *dir) joinedPath(key blobstore.Key) string { return d.blobPath(key) + joinedSuffix }

// openJoined opens a joined file. One of an earlier boot may have lost data with the
// power, and is removed: it can be made again.
func (b *Blobs) openJoined(key blobstore.Key, size int64) (*os.File, bool) {
	path := b.dir.joinedPath(key)
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
	if err == nil {
		b.space.removeJoined(path, st.Size())
	}
	return nil, false
}

// wantJoined notes that a joined file is wanted.
func (b *Blobs) wantJoined(key blobstore.Key, size int64, blobs []manifest.Blob) {
	if b.opts.MaxBytes > 0 && size > b.opts.MaxBytes/2 {
		return // there would be no room for anything else
	}
	b.joints.mu.Lock()
	j := b.joints.jobs[key]
	if j == nil && b.joints.room() {
		if b.joints.jobs == nil {
			b.joints.jobs = map[blobstore.Key]*joint{}
		}
		j = &joint{key: key, size: size, blobs: blobs, done: make([]bool, len(blobs))}
		b.joints.jobs[key] = j
	}
	b.joints.mu.Unlock()
	if j != nil {
		b.advance(j)
	}
}

// room makes room for another job, and reports whether there is any. It needs mu.
func (t *joints) room() bool {
	if len(t.jobs) < maxJoints {
		return true
	}
	for key, j := range t.jobs {
		if !j.running && j.f == nil { // nothing has come of it so far
			delete(t.jobs, key)
			return true
		}
	}
	return false
}

// nowLocal lets the joined files that want the blob go on: it is local now.
func (b *Blobs) nowLocal(blob manifest.Blob) {
	b.joints.mu.Lock()
	var list []*joint
	for _, j := range b.joints.jobs {
		if slices.Contains(j.blobs, blob) {
			list = append(list, j)
		}
	}
	b.joints.mu.Unlock()
	for _, j := range list {
		b.advance(j)
	}
}

// advance has the parts of a joined file that are local put into it, in the background.
func (b *Blobs) advance(j *joint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.joints.mu.Lock()
	defer b.joints.mu.Unlock()
	if j.again = j.running; b.closed || j.running || time.Now().Before(b.joints.until) {
		return
	}
	j.running = true
	b.work.Add(1)
	go func() {
		defer b.work.Done()
		for more := true; more; {
			err := b.join(j)
			b.joints.mu.Lock()
			if more = j.again && err == nil; !more {
				j.running = false
			}
			if j.again = false; err != nil {
				delete(b.joints.jobs, j.key)
				if !errors.Is(err, errJoined) {
					b.joints.until = time.Now().Add(joinPause)
				}
			}
			b.joints.mu.Unlock()
		}
	}()
}

// join puts the parts that are local into a joined file, and returns errJoined when it is
// complete. What fails costs speed only: the blobs are as good.
func (b *Blobs) join(j *joint) error {
	b.joints.turn.Lock()
	defer b.joints.turn.Unlock()
	parts, missing := b.parts(j)
	defer closeAll(parts)
	if 2*missing > len(j.blobs) {
		return nil // who knows whether all of the file will be read
	}
	err := b.addParts(j, parts)
	if err == nil && missing > 0 {
		return nil
	}
	if err == nil {
		err = b.finishJoined(j)
	}
	if err != nil {
		b.dropJoint(j)
		return err
	}
	return errJoined
}

// parts opens the blobs that are to be put into a joined file, by their number, and
// counts those that are not local.
func (b *Blobs) parts(j *joint) (parts map[int]*os.File, missing int) {
	parts = map[int]*os.File{}
	for i, x := range j.blobs {
		if j.done[i] {
			continue
		}
		if f, ok := b.File(x); ok {
			parts[i] = f
		} else {
			missing++
		}
	}
	return parts, missing
}

func closeAll(files map[int]*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// addParts puts parts into a joined file.
func (b *Blobs) addParts(j *joint, parts map[int]*os.File) error {
	if j.f == nil {
		f, err := os.OpenFile(b.dir.tempPath(j.key), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		j.f = f
	}
	at := int64(0)
	for i, x := range j.blobs {
		if src := parts[i]; src != nil {
			if err := b.space.write(charge(x.Size), func() error { return b.addPart(j.f, src, at, x.Size) }); err != nil {
				return err
			}
			j.done[i] = true
		}
		at += x.Size
	}
	return nil
}

// finishJoined makes a joined file available. Its blobs are the first to be evicted from
// now on.
func (b *Blobs) finishJoined(j *joint) error {
	recordParts(j.f, j.blobs)
	if err := setVerified(j.f); err != nil {
		return err
	}
	if !isVerified(j.f) {
		return errors.ErrUnsupported // the mark is what tells a joined file from half of one
	}
	if err := os.Rename(j.f.Name(), b.dir.joinedPath(j.key)); err != nil {
		return err
	}
	j.f.Close()
	for _, x := range j.blobs {
		if f, ok := b.File(x); ok {
			b.retire(f)
			f.Close()
		}
	}
	return nil
}

// dropJoint gives up a joined file.
func (b *Blobs) dropJoint(j *joint) {
	if j.f == nil {
		return
	}
	scans := b.space.ledger.now().scans
	j.f.Close()
	if os.Remove(j.f.Name()) == nil {
		for i, x := range j.blobs {
			if j.done[i] {
				b.space.ledger.free(charge(x.Size), scans)
			}
		}
	}
	j.f = nil
}

// dropJoints gives up all joined files that are not complete. Nobody may be at them.
func (b *Blobs) dropJoints() {
	for _, j := range b.joints.jobs {
		b.dropJoint(j)
	}
}

// addPart puts one part at its place. Where the file system can share its bytes, they
// are. Otherwise they are copied, but not those of a store that is used in place: whoever
// keeps the store beside the cache does not want everything twice.
func (b *Blobs) addPart(dst, src *os.File, at, n int64) error {
	err := unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
		Src_fd: int64(src.Fd()), Src_length: uint64(n), Dest_offset: uint64(at),
	})
	if err != nil && filepath.Dir(src.Name()) == b.dir.path {
		err = copyAt(b.ctx, dst, src, at, n)
	}
	return err
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
