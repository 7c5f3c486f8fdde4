package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync/atomic"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// rangedMin is the size from which a blob is fetched in ranges at the same time,
	// and rangeSize the size of those.
	rangedMin = 64 << 20
	rangeSize = 16 << 20
	// cloneMin is the size from which it is worth asking the file system to share
	// blocks instead of copying.
	cloneMin = 1 << 20
)

// fetcher brings blobs from a store into files.
type fetcher struct {
	src     blobstore.Store
	local   blobstore.Files // nil unless the blobs are local files
	bufs    *buffers
	noClone atomic.Bool // the file systems cannot share blocks
}

func newFetcher(src blobstore.Store, bufs *buffers) *fetcher {
	f := &fetcher{src: src, bufs: bufs}
	f.local, _ = blobstore.As[blobstore.Files](src)
	return f
}

// ranged reports whether a blob of the given size is fetched in ranges. Ranges of a
// local file would gain nothing.
func (f *fetcher) ranged(size int64) bool { return f.local == nil && size >= rangedMin }

// shares reports whether files at dir may share the blocks of the blobs, so that
// they need no space of their own.
func (f *fetcher) shares(dir string) bool {
	if f.local == nil {
		return false
	}
	blob, err := f.local.Path(blobstore.Key(fmt.Sprintf("%032x.%s", 0, manifest.XXH128)))
	if err != nil {
		return false
	}
	var here, there unix.Stat_t
	var kind unix.Statfs_t
	if unix.Stat(dir, &here) != nil || unix.Stat(path.Dir(blob), &there) != nil || unix.Statfs(dir, &kind) != nil {
		return false
	}
	return here.Dev == there.Dev && (kind.Type == unix.BTRFS_SUPER_MAGIC || kind.Type == unix.XFS_SUPER_MAGIC)
}

// blob brings a whole blob to out at off, where its first have bytes may lie already,
// and verifies it. It returns how many of those were of use. A blob with wrong content is
// fetched once more, from the start: the transfer may have been at fault.
func (f *fetcher) blob(ctx context.Context, b manifest.Blob, out *os.File, off, have int64) (int64, error) {
	key, _, err := keyOf(b.Hash)
	if err != nil {
		return 0, err
	}
	buf, err := f.bufs.get(ctx)
	if err != nil {
		return 0, err
	}
	defer f.bufs.put(buf)
	for _, have := range []int64{have, 0} {
		var got manifest.Hash
		got, err = f.once(ctx, landing{key: key, size: b.Size, out: out, off: off, have: have}, buf)
		switch {
		case errors.Is(err, blobstore.ErrRange):
			err = tooShort(key, b.Size, err)
		case err != nil:
			return 0, err
		case got == b.Hash:
			return have, nil
		default:
			err = mismatch(key, fmt.Errorf("its content hashes to %s", got))
		}
	}
	return 0, err
}

// landing is a whole blob on its way into a file.
type landing struct {
	key  blobstore.Key
	size int64
	out  *os.File
	off  int64 // in out
	have int64 // bytes from off on that are there
}

// hashed returns a hasher that has seen what is there.
func (l *landing) hashed(ctx context.Context, buf []byte) (*manifest.Hasher, error) {
	h := manifest.NewHasher()
	for at := int64(0); at < l.have; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := buf[:min(int64(len(buf)), l.have-at)]
		if err := readFull(l.out, p, l.off+at); err != nil {
			return nil, err
		}
		_, _ = h.Write(p) // never fails
		at += int64(len(p))
	}
	return h, nil
}

// mismatch is the error of a blob that is not what its key says.
func mismatch(key blobstore.Key, why error) error {
	return fmt.Errorf("hash mismatch: blob %s: %w: %w", key, blobstore.ErrMismatch, why)
}

// tooShort turns the error of asking for more than a blob has into a mismatch, and
// leaves others alone.
func tooShort(key blobstore.Key, size int64, err error) error {
	if errors.Is(err, blobstore.ErrRange) {
		return mismatch(key, fmt.Errorf("it is shorter than %d bytes", size))
	}
	return err
}

// once fetches what is missing of a blob once, and returns the hash of all of it.
func (f *fetcher) once(ctx context.Context, l landing, buf []byte) (manifest.Hash, error) {
	if in := f.open(l.key, l.size); in != nil {
		defer in.Close()
		return f.copyLocal(ctx, in, l, buf)
	}
	h, err := l.hashed(ctx, buf)
	if err != nil {
		return "", err
	}
	err = f.part(ctx, transfer{key: l.key, from: l.have, n: l.size - l.have, out: l.out, off: l.off + l.have}, buf, h)
	return h.Hash(), err
}

// open returns the file of a local blob, or nil when the blob has to come through
// the store.
func (f *fetcher) open(key blobstore.Key, size int64) *os.File {
	if f.local == nil {
		return nil
	}
	at, err := f.local.Path(key)
	if err != nil {
		return nil
	}
	in, err := openFile(at, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil
	}
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != size {
		in.Close()
		return nil
	}
	return in
}

// copyLocal copies a blob that is a file. Where the file system can, the copy shares
// its blocks; what is hashed then is the copy.
func (f *fetcher) copyLocal(ctx context.Context, in *os.File, l landing, buf []byte) (manifest.Hash, error) {
	if l.size >= cloneMin && !f.noClone.Load() {
		err := unix.IoctlFileCloneRange(int(l.out.Fd()), &unix.FileCloneRange{
			Src_fd: int64(in.Fd()), Src_length: uint64(l.size), Dest_offset: uint64(l.off),
		})
		if err == nil {
			return hashSection(ctx, io.NewSectionReader(l.out, l.off, l.size), buf)
		}
		f.noClone.Store(true)
	}
	h, err := l.hashed(ctx, buf)
	if err != nil {
		return "", err
	}
	for at := l.have; at < l.size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		p := buf[:min(int64(len(buf)), copyStride, l.size-at)]
		if _, err := io.ReadFull(io.NewSectionReader(in, at, int64(len(p))), p); err != nil {
			return "", err
		}
		if at == 0 && int64(len(p)) == l.size {
			_, err := l.out.WriteAt(p, l.off)
			return manifest.Sum(p), err
		}
		_, _ = h.Write(p) // never fails
		if _, err := l.out.WriteAt(p, l.off+at); err != nil {
			return "", err
		}
		at += int64(len(p))
	}
	return h.Hash(), nil
}

// transfer is a part of a blob on its way into a file.
type transfer struct {
	key  blobstore.Key
	from int64 // offset in the blob
	n    int64
	out  io.WriterAt
	off  int64 // offset in out
}

// maxResumes is how often a transfer goes on after its stream broke off. Stores
// retry requests themselves, but not streams that fail on the way.
const maxResumes = 4

// brokenStream is an error in the middle of a stream.
type brokenStream struct{ error }

func (b brokenStream) Unwrap() error { return b.error }

// part carries out t by means of buf, and feeds the bytes to sum unless it is nil.
func (f *fetcher) part(ctx context.Context, t transfer, buf []byte, sum *manifest.Hasher) error {
	for resumes := 0; ; resumes++ {
		done, err := f.stream(ctx, t, buf, sum)
		var broken brokenStream
		if err == nil || resumes == maxResumes || ctx.Err() != nil || !errors.As(err, &broken) {
			return err
		}
		t.from, t.off, t.n = t.from+done, t.off+done, t.n-done
	}
}

// ranges fetches a whole blob in ranges, as many at the same time as there are buffers. It
// does not verify the blob.
func (f *fetcher) ranges(parent context.Context, key blobstore.Key, size int64, out io.WriterAt) error {
	group, ctx := errgroup.WithContext(parent)
	group.SetLimit(cap(f.bufs.free))
	for from := int64(0); from < size && ctx.Err() == nil; from += rangeSize {
		group.Go(func() error {
			buf, err := f.bufs.get(ctx)
			if err != nil {
				return err
			}
			defer f.bufs.put(buf)
			return f.part(ctx, transfer{key: key, from: from, n: min(rangeSize, size-from), out: out, off: from}, buf, nil)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return parent.Err()
}

// stream copies what one stream of the store yields. It returns how much that was.
func (f *fetcher) stream(ctx context.Context, t transfer, buf []byte, sum *manifest.Hasher) (done int64, err error) {
	if t.n == 0 {
		return 0, nil
	}
	r, err := f.src.Open(ctx, t.key, t.from, t.n)
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }()
	for done < t.n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		p := buf[:min(int64(len(buf)), copyStride, t.n-done)]
		n, err := io.ReadFull(r, p)
		if _, e := t.out.WriteAt(p[:n], t.off+done); e != nil {
			return done, e
		}
		if sum != nil {
			_, _ = sum.Write(p[:n]) // never fails
		}
		done += int64(n)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return done, brokenStream{fmt.Errorf("fetch blob %s: %w", t.key, err)}
		}
	}
	return done, nil
}
