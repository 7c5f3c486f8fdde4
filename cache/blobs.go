package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// WholeBlob is the size, in bytes, up to which a blob is fetched whole and verified
// before the first of its bytes is served.
const WholeBlob int64 = 8 << 20

// Defaults of Options.
const (
	DefaultRequests  = 64
	DefaultIOTimeout = 5 * time.Minute
)

// maxIdle is how many blobs that nobody reads are kept open.
const maxIdle = 512

// ErrClosed means that the cache was closed.
var ErrClosed = errors.New("blob cache is closed")

// Options configures Blobs. Only Dir is required.
type Options struct {
	// Dir is the directory of the cache. It is created with mode 0700; one that
	// belongs to another user or is writable by everybody is refused.
	Dir string
	// MaxBytes limits what the blobs in Dir occupy, over all processes; 0: no limit.
	MaxBytes int64
	// MinFree is how many bytes of the file system of Dir are left free; 0: 1 GiB, or 5 %
	// of a file system below 20 GiB. Below 0 all may be used.
	MinFree int64
	// MaxMemory limits the memory for contents, in bytes; 0: DefaultMaxMemory(). Half of
	// it serves transfers under way, and half of that read-ahead; the rest holds what
	// finds no room on the disk. Transfers need 16 MiB, whatever it says.
	MaxMemory int64
	// Requests limits the requests to the store in flight; 0: DefaultRequests.
	Requests int
	// IOTimeout is how long a reader waits for the store without seeing progress before
	// it gets ErrTimeout; 0: DefaultIOTimeout. Until then whatever may pass is tried again:
	// errors of the server, broken connections, credentials that have expired.
	IOTimeout time.Duration
	// Strict holds back the bytes of large blobs too until their hash was verified.
	Strict bool
	// CopyLocal copies the blobs of a directory store into the cache even when both
	// are on one file system. By default such blobs are read in place.
	CopyLocal bool
	// OnProblem is called for what an operator should know and no read reports: a
	// content that does not match its hash (*WrongContent), a cache directory that cannot be
	// written. It is called from any goroutine and must not call the cache.
	OnProblem func(error)
}

// Blobs reads blobs of a store through memory and a directory. All methods may be
// called by any number of goroutines, and any number of processes may share the
// directory.
type Blobs struct {
	store     blobstore.Store
	files     blobstore.Files // of the store, when it is used in place
	opts      Options
	dir       *dir
	space     *space
	fetch     *fetcher
	memory    *ristretto.Cache[string, []byte]
	residents *residents
	suspects  suspects
	places    places
	joints    joints
	buffers   sync.Pool     // of *[blockSize]byte
	patience  time.Duration // with another process that fetches the same blocks
	stats     counters

	ctx    context.Context // of the flights; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // references to entries

	mu      sync.Mutex
	closed  bool
	entries map[manifest.Blob]*entry
	idle    idleList
}

// Open opens the cache in opts.Dir for the blobs of store. It reads no blob and does
// not wait for the directory to be listed.
func Open(store blobstore.Store, opts Options) (*Blobs, error) {
	opts = opts.withDefaults()
	d, err := openDir(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("open blob cache: %w", err)
	}
	books, err := openLedger(d)
	if err != nil {
		return nil, fmt.Errorf("open blob cache: %w", err)
	}
	memory, err := ristretto.NewCache(&ristretto.Config[string, []byte]{
		NumCounters: max(1024, 10*opts.MaxMemory/(64<<10)), MaxCost: opts.MaxMemory / 4, BufferItems: 64,
	})
	if err != nil {
		books.f.Close()
		return nil, fmt.Errorf("open blob cache: %w", err)
	}
	b := &Blobs{
		store: store, opts: opts, dir: d, memory: memory, patience: lockPatience,
		residents: &residents{max: opts.MaxMemory / 4},
		entries:   map[manifest.Blob]*entry{},
		buffers:   sync.Pool{New: func() any { return new([blockSize]byte) }},
	}
	if !opts.CopyLocal {
		b.files = filesOn(store, d.dev)
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.fetch = newFetcher(store, opts, &b.stats)
	b.space = &space{dir: d, ledger: books, max: opts.MaxBytes, minFree: opts.minFree(), stats: &b.stats, release: b.dropIdle}
	b.work.Add(1)
	go func() {
		defer b.work.Done()
		b.space.start()
	}()
	return b, nil
}

func (o Options) withDefaults() Options {
	if o.MaxMemory <= 0 {
		o.MaxMemory = DefaultMaxMemory()
	}
	if o.Requests <= 0 {
		o.Requests = DefaultRequests
	}
	if o.IOTimeout <= 0 {
		o.IOTimeout = DefaultIOTimeout
	}
	return o
}

// minFree returns MinFree, or what stands for 0.
func (o Options) minFree() int64 {
	var st unix.Statfs_t
	if o.MinFree != 0 || unix.Statfs(o.Dir, &st) != nil {
		return o.MinFree
	}
	return min(1<<30, int64(st.Blocks)*st.Bsize/20)
}

// DefaultMaxMemory returns a tenth of the memory of the machine, but at most 512 MiB.
func DefaultMaxMemory() int64 {
	const most = 512 << 20
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return most
	}
	return int64(min(info.Totalram*uint64(info.Unit)/10, most))
}

// flightBytes returns how much memory transfers under way may take.
func (o Options) flightBytes() int64 { return max(o.MaxMemory/2, 2*maxFetch) }

// filesOn returns the files of a directory store that is on device dev, or nil.
func filesOn(store blobstore.Store, dev uint64) blobstore.Files {
	files, ok := blobstore.As[blobstore.Files](store)
	if !ok {
		return nil
	}
	path, err := files.Path("00000000000000000000000000000000.xxh128")
	if err != nil {
		return nil
	}
	var st unix.Stat_t
	if unix.Stat(filepath.Dir(path), &st) != nil || st.Dev != dev {
		return nil
	}
	return files
}

// ReadBlobAt reads len(p) bytes of the blob from offset off on, with the semantics of
// io.ReaderAt: it returns fewer bytes only with an error, which is io.EOF at the end
// of the blob and never for a transfer that broke off. Errors wrap those of package
// blobstore; content that is wrong in the store is blobstore.ErrMismatch. When ctx ends,
// ReadBlobAt returns its error at once and the transfer goes on for other readers.
func (b *Blobs) ReadBlobAt(ctx context.Context, blob manifest.Blob, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read blob %s: negative offset %d", blob.Hash, off)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	e, err := b.acquire(blob)
	if err != nil {
		return 0, err
	}
	defer b.release(e)
	b.stats.reads.Add(1)
	want := int(max(min(int64(len(p)), blob.Size-off), 0))
	n := 0
	if want > 0 {
		n, err = e.readAt(ctx, p[:want], off)
		b.stats.served.Add(int64(n))
	}
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return n, err
	case err != nil:
		return n, fmt.Errorf("read blob %s at %d: %w", blob.Hash, off+int64(n), err)
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

// Prefetch asks for n bytes of the blob from off on to be fetched soon. It returns at
// once, and does nothing when there is no budget for it.
func (b *Blobs) Prefetch(_ context.Context, blob manifest.Blob, off, n int64) {
	off = max(off, 0)
	n = min(n, blob.Size-off)
	if n <= 0 {
		return
	}
	e, err := b.acquire(blob)
	if err != nil {
		return
	}
	go func() {
		defer b.release(e)
		e.prefetch(off, n)
	}()
}

// Fetch returns when n bytes of the blob from off on are in the cache, fetching what is
// missing. What lies outside of the blob is ignored. A whole blob is verified, as by
// Ensure.
func (b *Blobs) Fetch(ctx context.Context, blob manifest.Blob, off, n int64) error {
	off = max(off, 0)
	n = min(n, blob.Size-off)
	if off == 0 && n == blob.Size {
		return b.Ensure(ctx, blob)
	}
	if n <= 0 {
		return nil
	}
	e, err := b.acquire(blob)
	if err != nil {
		return err
	}
	defer b.release(e)
	if err := e.fetch(ctx, off, n); err != nil {
		return fmt.Errorf("fetch blob %s at %d: %w", blob.Hash, off, err)
	}
	return nil
}

// Ensure returns when the whole blob is local and was verified, fetching what is
// missing.
func (b *Blobs) Ensure(ctx context.Context, blob manifest.Blob) error {
	e, err := b.acquire(blob)
	if err != nil {
		return err
	}
	defer b.release(e)
	if err := e.ensure(ctx); err != nil {
		return fmt.Errorf("fetch blob %s: %w", blob.Hash, err)
	}
	return nil
}

// File opens the blob read-only when it is a complete, verified local file: one of the
// cache, or of the store when that is used in place. The caller closes it. The file
// is not evicted while it is open.
func (b *Blobs) File(blob manifest.Blob) (*os.File, bool) {
	e, err := b.acquire(blob)
	if err != nil {
		return nil, false
	}
	defer b.release(e)
	return e.open()
}

// Dir returns the directory of the cache.
func (b *Blobs) Dir() string { return b.dir.path }

// Close gives up the transfers under way and waits for the readers to return. What
// is in the directory stays.
func (b *Blobs) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.work.Wait()
	b.dropJoints()
	for _, e := range b.entries {
		e.close()
	}
	b.entries = nil
	b.memory.Close()
	return b.space.ledger.f.Close()
}

// newHandle returns the way to read the blob.
func (b *Blobs) newHandle(e *entry) handle {
	key := blobstore.Key(string(e.blob.Hash) + "." + string(manifest.XXH128))
	if e.blob.Size <= WholeBlob {
		return &small{b: b, e: e, blob: e.blob, key: key}
	}
	if f, ok := b.openInPlace(key); ok {
		return newPlaced(b, e, f)
	}
	return newLarge(b, e, key)
}

// openInPlace opens the blob in the store, when the store is used in place and has it.
func (b *Blobs) openInPlace(key blobstore.Key) (*os.File, bool) {
	if b.files == nil {
		return nil, false
	}
	path, err := b.files.Path(key)
	if err != nil {
		return nil, false
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, false
	}
	return f, true
}

// WrongContent is the error that OnProblem is called with when a content was found
// wrong, wherever it lay. Bytes of a large blob may have been served before.
type WrongContent struct {
	Hash manifest.Hash // that the blob should have
	Err  error         // wraps blobstore.ErrMismatch
}

// Error implements error.
func (w *WrongContent) Error() string { return w.Err.Error() }

// Unwrap returns what was found.
func (w *WrongContent) Unwrap() error { return w.Err }

// mismatch notes that the content of a blob was found wrong.
func (b *Blobs) mismatch(hash manifest.Hash, err error) {
	b.stats.mismatches.Add(1)
	b.problem(&WrongContent{hash, err})
}

// diskError notes that the cache directory could not be written.
func (b *Blobs) diskError(err error) {
	if b.ctx.Err() != nil || errors.Is(err, errNoRoom) || errors.Is(err, errGone) {
		return // closing, or as configured
	}
	b.stats.diskErrors.Add(1)
	if b.space.firstTrouble() {
		b.problem(fmt.Errorf("cache directory %s cannot be used, reads go on without it: %w", b.dir.path, err))
	}
}

func (b *Blobs) problem(err error) {
	if b.opts.OnProblem != nil {
		b.opts.OnProblem(err)
	}
}

// countHit counts a read from a local file.
func (b *Blobs) countHit(inPlace bool) {
	if inPlace {
		b.stats.storeFileHits.Add(1)
	} else {
		b.stats.diskHits.Add(1)
	}
}

// flightError returns what a reader gets to see of the error of a flight. A flight
// is cancelled only without readers or when the cache is closed.
func (b *Blobs) flightError(err error) error {
	if err != nil && b.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}
