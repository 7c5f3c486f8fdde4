package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/snapfs/snapfs/fs/internal/wal"
	"golang.org/x/sys/unix"
)

// Names inside an overlay directory. See fs/README.md.
const (
	lockFile   = "lock"
	metaFile   = "overlay.json"
	goneFile   = "overlay.gone" // what metaFile becomes when the overlay is deleted
	logFile    = "log"
	dataDir    = "data"
	commitsDir = "commits"
	keptDir    = "manifests"
)

// Errors of opening an overlay.
var (
	// ErrInUse means that another process has the overlay open.
	ErrInUse = errors.New("overlay is in use by another mount")
	// ErrOtherBase means that the overlay was made on another base.
	ErrOtherBase = errors.New("overlay belongs to another base")
	// ErrDamaged means that the overlay cannot be read back.
	ErrDamaged = errors.New("overlay is damaged")
)

// overlay is the directory on local disk that holds what has changed.
type overlay struct {
	dir    string
	lock   *flock.Flock
	log    *wal.Log
	dataFD *os.File // the data directory

	created atomic.Int64 // data files that were made
	dirMu   sync.Mutex
	synced  atomic.Int64 // how many of them have a durable name; written under dirMu

	mu      sync.Mutex
	garbage []Ino // data files to remove once the log says so durably

	settled   []*node      // files whose data files may not be needed any more; guarded by mu
	shrinking sync.Mutex   // held by Shrink
	dropping  atomic.Int64 // not 0 while the log may say less of data files than is true

	beforeChange func() // see Options

	compactAt atomic.Int64  // size of the log at which to think of compaction
	perNode   atomic.Int64  // bytes of a compact log for each node
	wake      chan struct{} // tells the janitor that there is work
	closing   chan struct{}
	done      chan struct{}
}

// garbageDelay is how long space of deleted files stays taken at most.
const garbageDelay = 2 * time.Second

func (t *Tree) openOverlay(dir string) (err error) {
	ov, err := lockOverlay(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			ov.lock.Unlock()
		}
	}()
	if err := finishRemoval(dir); err != nil {
		return err
	}
	info, err := t.checkInfo(dir)
	if err != nil {
		return err
	}
	for _, sub := range []string{dataDir, commitsDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	if ov.dataFD, err = os.Open(filepath.Join(dir, dataDir)); err != nil {
		return err
	}
	t.ov = ov
	if err = t.recover(); err == nil {
		err = redescribe(dir, info)
	}
	ov.beforeChange = t.opts.BeforeChange
	if err != nil {
		ov.dataFD.Close()
		return err
	}
	go t.keepTidy()
	return nil
}

// redescribe notes where an overlay is mounted now. A full disk does not keep
// anybody from their data.
func redescribe(dir string, info OverlayInfo) error {
	old, err := ReadOverlayInfo(dir)
	if err != nil {
		return err
	}
	if info.Version = old.Version; reflect.DeepEqual(old, info) {
		return nil
	}
	if err := WriteOverlayInfo(dir, info); !isFull(err) {
		return err
	}
	return nil
}

func lockOverlay(dir string) (*overlay, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make overlay directory: %w", err)
	}
	ov := &overlay{
		dir:     dir,
		lock:    flock.New(filepath.Join(dir, lockFile)),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		closing: make(chan struct{}),
	}
	ok, err := ov.lock.TryLock()
	for try := 0; err == nil && !ok && try < 5; try++ {
		time.Sleep(5 * time.Millisecond) // somebody may just be looking: OverlayInUse
		ok, err = ov.lock.TryLock()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock overlay %s: %w", dir, err)
	case !ok:
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return ov, nil
}

// checkInfo refuses an overlay of another base, and returns the new description.
func (t *Tree) checkInfo(dir string) (OverlayInfo, error) {
	want := t.opts.Info
	want.MountPoint = t.opts.MountPoint
	info, err := ReadOverlayInfo(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Lstat(filepath.Join(dir, logFile)); err == nil {
			return want, fmt.Errorf("%w: %s is missing, so its base is unknown; restore it, or discard the overlay",
				ErrDamaged, filepath.Join(dir, metaFile))
		}
		want.Created = time.Now().UTC()
		// Before the log: an overlay without a description is refused.
		return want, WriteOverlayInfo(dir, want)
	case err != nil:
		return want, err
	case info.BaseID != want.BaseID:
		return want, fmt.Errorf("%w: %s was made on base %s, not on %s; mount that base, or choose another overlay directory",
			ErrOtherBase, dir, info.BaseID, want.BaseID)
	}
	want.Created = info.Created
	return want, nil
}

func (o *overlay) dataPath(ino Ino) string {
	return filepath.Join(o.dir, dataDir, strconv.FormatUint(uint64(ino), 16))
}

// append adds one record to the log.
func (o *overlay) append(ops ...op) error {
	if o.beforeChange != nil {
		o.beforeChange()
	}
	var b []byte
	urgent := true
	for _, x := range ops {
		b = x.append(b)
		urgent = urgent && frees(x)
	}
	err := o.makeRoom(func() error { return o.log.Append(b, urgent) })
	if o.log.Size() >= o.compactAt.Load() {
		o.wakeJanitor()
	}
	return err
}

// frees reports whether an op must not fail on a full disk, because it gives space
// back or leads there.
func frees(x op) bool {
	switch x := x.(type) {
	case *opEntry:
		return x.ino == 0
	case *opTruncate, *opState:
		return true
	}
	return false
}

// makeRoom calls do, and once more when the disk is full but deleted files still
// take space.
func (o *overlay) makeRoom(do func() error) error {
	err := do()
	if isFull(err) && o.collect() {
		err = do()
	}
	return err
}

// leaving is how long a write to a full disk waits for files that were deleted a
// moment ago: the kernel tells of the last use of a file some time after the deletion
// has returned to the program.
const leaving = 300 * time.Millisecond

// awaitRoom is makeRoom that waits for deleted files. Nobody may hold Tree.mu.
func (o *overlay) awaitRoom(do func() error) error {
	err := o.makeRoom(do)
	for end := time.Now().Add(leaving); isFull(err) && time.Now().Before(end); {
		time.Sleep(leaving / 20)
		if o.collect() {
			err = do()
		}
	}
	return err
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// sync makes the log and the names of the data files durable.
func (o *overlay) sync() error { return both(o.log.Sync, o.syncNames) }

// isSynced reports whether sync has nothing to do.
func (o *overlay) isSynced() bool {
	return o.synced.Load() >= o.created.Load() && o.log.IsSynced()
}

// both runs two flushes at the same time: most file systems make one of them.
func both(a, b func() error) error {
	done := make(chan error, 1)
	go func() { done <- a() }()
	return errors.Join(b(), <-done)
}

// syncNames makes the names of all data files durable. Goroutines that call it at
// the same time share one flush of the disk.
func (o *overlay) syncNames() error {
	want := o.created.Load()
	o.dirMu.Lock()
	defer o.dirMu.Unlock()
	if o.synced.Load() >= want {
		return nil
	}
	now := o.created.Load()
	if err := o.dataFD.Sync(); err != nil {
		return err
	}
	o.synced.Store(now)
	return nil
}

// discard removes a data file as soon as it is durably unreferenced: were it
// removed at once, a power loss could bring the name back without the content.
func (o *overlay) discard(ino Ino) {
	o.mu.Lock()
	o.garbage = append(o.garbage, ino)
	o.mu.Unlock()
	o.wakeJanitor()
}

func (o *overlay) wakeJanitor() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// collect removes the discarded data files now, and reports whether there were any.
func (o *overlay) collect() bool {
	o.mu.Lock()
	list := o.garbage
	o.garbage = nil
	o.mu.Unlock()
	if len(list) == 0 {
		return false
	}
	if err := o.log.Sync(); err != nil {
		o.mu.Lock()
		o.garbage = append(o.garbage, list...)
		o.mu.Unlock()
		return false
	}
	for _, ino := range list {
		os.Remove(o.dataPath(ino)) // what cannot be removed is found again at the next recovery
	}
	return true
}

// keepTidy removes discarded data files and compacts the log, until the overlay is
// closed.
func (t *Tree) keepTidy() {
	ov := t.ov
	defer close(ov.done)
	var due <-chan time.Time
	for {
		select {
		case <-ov.closing:
			ov.collect()
			return
		case <-due:
			ov.collect()
			due = nil
			// Failing is no loss: the space stays taken until the next commit.
			_ = t.Shrink()
		case <-ov.wake:
			if due == nil {
				due = time.After(garbageDelay)
			}
			// Failing is no loss: the long log is as good, and waits for the next time.
			_ = t.compactIfLong()
		}
	}
}

// Sync makes every change durable that was acknowledged before the call.
func (t *Tree) Sync() error {
	if t.ov == nil {
		return nil
	}
	if err := unix.Syncfs(int(t.ov.dataFD.Fd())); err != nil {
		return err
	}
	return t.ov.sync()
}

// SyncNames makes every change of names and attributes durable that was acknowledged
// before the call.
func (t *Tree) SyncNames() error {
	if t.ov == nil {
		return nil
	}
	return t.ov.sync()
}

// Close writes a compact log and releases the overlay. The tree must not be used
// any more. Whatever was changed stays in the overlay directory.
func (t *Tree) Close() error {
	if t.ov == nil {
		return nil
	}
	close(t.ov.closing)
	<-t.ov.done
	err := t.compact(true)
	if isFull(err) {
		err = t.ov.log.Sync() // the long log is as good, only slower to read
	}
	err = errors.Join(err, t.ov.log.Close(), t.ov.dataFD.Close(), t.ov.lock.Unlock())
	t.ov = nil
	return err
}

// OverlayDir returns the directory of the overlay, "" for a read-only tree.
func (t *Tree) OverlayDir() string {
	if t.ov == nil {
		return ""
	}
	return t.ov.dir
}
