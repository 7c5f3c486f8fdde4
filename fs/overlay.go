package fs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"github.com/snapfs/snapfs/fs/internal/wal"
	"golang.org/x/sys/unix"
)

// Names inside an overlay directory. See fs/README.md.
const (
	lockFile   = "lock"
	metaFile   = "overlay.json"
	logFile    = "log"
	dataDir    = "data"
	commitsDir = "commits"
)

const overlayVersion = 1

// Errors of opening an overlay.
var (
	// ErrInUse means that another process has the overlay open.
	ErrInUse = errors.New("overlay is in use by another mount")
	// ErrOtherBase means that the overlay was made on another base.
	ErrOtherBase = errors.New("overlay belongs to another base")
	// ErrDamaged means that the overlay cannot be read back.
	ErrDamaged = errors.New("overlay is damaged")
)

// OverlayInfo describes an overlay that is not necessarily open.
type OverlayInfo struct {
	Version    int       `json:"version"`
	BaseID     string    `json:"baseId"`               // names the base: an overlay made on another one is refused
	Manifests  []string  `json:"manifests,omitempty"`  // what was mounted: the base, then the diffs
	Store      string    `json:"store,omitempty"`      // where the contents lie
	MountPoint string    `json:"mountPoint,omitempty"` // where it was mounted last
	Created    time.Time `json:"created"`

	// Settings is whatever else the program that opened the overlay needs to open it
	// again. Package fs does not look into it.
	Settings json.RawMessage `json:"settings,omitempty"`
}

// ReadOverlayInfo describes the overlay in dir. A directory that holds none yet
// yields an error that matches os.ErrNotExist.
func ReadOverlayInfo(dir string) (OverlayInfo, error) {
	var info OverlayInfo
	b, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return info, fmt.Errorf("%w: %s: %v", ErrDamaged, filepath.Join(dir, metaFile), err)
	}
	if info.Version != overlayVersion {
		return info, fmt.Errorf("%w: %s has version %d, this snapfs knows version %d", ErrDamaged, dir, info.Version, overlayVersion)
	}
	return info, nil
}

// WriteOverlayInfo makes dir an overlay, or changes the description of one.
func WriteOverlayInfo(dir string, info OverlayInfo) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info.Version = overlayVersion
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, metaFile), append(b, '\n'), 0o600)
}

// OverlayInUse reports whether a process has the overlay in dir open.
func OverlayInUse(dir string) bool {
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetFlag(os.O_RDONLY))
	ok, err := lock.TryRLock()
	if ok {
		lock.Unlock()
	}
	return err == nil && !ok
}

// RemoveOverlay deletes the overlay in dir, and dir itself when nothing else is in
// it. It refuses one that is in use. Everything that was not committed is lost.
func RemoveOverlay(dir string) error {
	ov, err := lockOverlay(dir)
	if err != nil {
		return err
	}
	defer ov.lock.Unlock()
	// The description goes first: without it, what a crash leaves is no overlay.
	for _, name := range []string{metaFile, logFile, dataDir, commitsDir, lockFile} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// OverlayCommits returns the paths of the diff manifests that were published from
// the overlay in dir, in order. Base and commits together are the parent of the
// next one.
func OverlayCommits(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, commitsDir, "*.json"))
	if err != nil {
		return nil, err
	}
	return paths, nil // Glob sorts, and names have a fixed width
}

// CommitPath returns where diff number seq of the overlay in dir is kept.
func CommitPath(dir string, seq int) string {
	return filepath.Join(dir, commitsDir, fmt.Sprintf("%06d.json", seq))
}

// overlay is the directory on local disk that holds what has changed.
type overlay struct {
	dir    string
	lock   *flock.Flock
	log    *wal.Log
	dataFD *os.File // the data directory

	newData atomic.Bool // data files were made since the data directory was synced

	mu      sync.Mutex
	garbage []Ino // data files to remove once the log says so durably
	wake    chan struct{}
	done    chan struct{}
	closing chan struct{}
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
	if err := t.checkInfo(dir); err != nil {
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
	if err := t.recover(); err != nil {
		ov.dataFD.Close()
		return err
	}
	go ov.collectGarbage()
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
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock overlay %s: %w", dir, err)
	case !ok:
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return ov, nil
}

// checkInfo refuses an overlay of another base, and describes it anew otherwise.
func (t *Tree) checkInfo(dir string) error {
	want := t.opts.Info
	want.MountPoint = t.opts.MountPoint
	info, err := ReadOverlayInfo(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		want.Created = time.Now().UTC()
		return WriteOverlayInfo(dir, want)
	case err != nil:
		return err
	case info.BaseID != want.BaseID:
		return fmt.Errorf("%w: %s was made on base %s, not on %s; mount that base, or choose another overlay directory",
			ErrOtherBase, dir, info.BaseID, want.BaseID)
	}
	want.Created = info.Created
	return WriteOverlayInfo(dir, want)
}

// recover reads the log and brings the state of the data files in.
func (t *Tree) recover() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clean := false
	log, _, err := wal.Open(filepath.Join(t.ov.dir, logFile), func(payload []byte) error {
		ops, err := decodeOps(payload)
		if err != nil {
			return err
		}
		for _, o := range ops {
			o.apply(t)
			s, ok := o.(*opState)
			clean = ok && s.clean
		}
		return nil
	})
	var corrupt *wal.CorruptError
	if errors.As(err, &corrupt) {
		return fmt.Errorf("%w: %v; nothing was changed: the written contents lie in %s, keep a copy of %s before you repair it",
			ErrDamaged, corrupt, filepath.Join(t.ov.dir, dataDir), t.ov.dir)
	}
	if err != nil {
		return fmt.Errorf("open overlay log: %w", err)
	}
	t.ov.log = log
	t.dropUnlinked()
	if clean {
		return nil
	}
	return t.adoptData()
}

// dropUnlinked forgets the inodes that had no name when the last process ended.
func (t *Tree) dropUnlinked() {
	for ino, n := range t.nodes {
		if len(n.links) == 0 && ino != RootIno {
			delete(t.nodes, ino)
		}
	}
}

// adoptData takes size and modification time of written files from their data
// files, which is where writes leave them, and removes data files that nobody
// refers to: those of deleted files, and of writes that were never acknowledged.
func (t *Tree) adoptData() error {
	names, err := readNames(filepath.Join(t.ov.dir, dataDir))
	if err != nil {
		return err
	}
	found := make(map[Ino]bool, len(names))
	for _, name := range names {
		ino, err := strconv.ParseUint(name, 16, 64)
		if err != nil {
			continue // not ours: leave it alone
		}
		n := t.nodes[Ino(ino)]
		if n == nil || n.file == nil || !n.file.data {
			if err := os.Remove(filepath.Join(t.ov.dir, dataDir, name)); err != nil {
				return err
			}
			continue
		}
		found[Ino(ino)] = true
		if err := n.adopt(t.ov.dataPath(n.ino)); err != nil {
			return err
		}
	}
	for ino, n := range t.nodes {
		if n.file != nil && n.file.data && !found[ino] {
			return fmt.Errorf("%w: the content of %s is missing: no file %s", ErrDamaged, t.path(ino), t.ov.dataPath(ino))
		}
	}
	return nil
}

func (n *node) adopt(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	n.size = st.Size
	n.mtime = st.Mtim.Nano()
	n.ctime = max(n.ctime, st.Mtim.Nano())
	if n.file.limit > n.size { // a truncation that was cut off before it was logged
		n.file.limit = n.size
		n.file.written.Clip(n.size)
	}
	return nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (o *overlay) dataPath(ino Ino) string {
	return filepath.Join(o.dir, dataDir, strconv.FormatUint(uint64(ino), 16))
}

func (o *overlay) append(ops ...op) error {
	var b []byte
	for _, x := range ops {
		b = x.append(b)
	}
	err := o.log.Append(b)
	if errors.Is(err, unix.ENOSPC) && o.collect() {
		err = o.log.Append(b)
	}
	return err
}

// sync makes everything durable that the log and the data directory name.
func (o *overlay) sync() error {
	if o.newData.Swap(false) {
		if err := o.dataFD.Sync(); err != nil {
			o.newData.Store(true)
			return err
		}
	}
	return o.log.Sync()
}

// discard removes a data file as soon as it is durably unreferenced: were it
// removed at once, a power loss could bring the name back without the content.
func (o *overlay) discard(ino Ino) {
	o.mu.Lock()
	o.garbage = append(o.garbage, ino)
	o.mu.Unlock()
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

func (o *overlay) collectGarbage() {
	defer close(o.done)
	for {
		select {
		case <-o.closing:
			o.collect()
			return
		case <-o.wake:
		}
		select {
		case <-o.closing:
		case <-time.After(garbageDelay):
		}
		o.collect()
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
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropUnlinked()
	err := t.compact(true)
	if errors.Is(err, unix.ENOSPC) {
		err = t.ov.log.Sync() // the long log is as good, only slower to read
	}
	err = errors.Join(err, t.ov.log.Close(), t.ov.dataFD.Close(), t.ov.lock.Unlock())
	t.ov = nil
	return err
}

// compact replaces the log by the shortest one that yields the same state. It needs
// t.mu held for writing.
func (t *Tree) compact(clean bool) error {
	return t.ov.log.Rewrite(func(add func([]byte) error) error {
		put := func(ops ...op) error {
			var b []byte
			for _, o := range ops {
				b = o.append(b)
			}
			return add(b)
		}
		if err := put(&opState{next: t.nextIno}, &opCommit{seq: t.commits}); err != nil {
			return err
		}
		for _, n := range t.nodes {
			if len(n.links) > 0 || n.ino == RootIno {
				if err := put(n.state()...); err != nil {
					return err
				}
			}
		}
		for ino, n := range t.nodes {
			if err := putNames(ino, n, put); err != nil {
				return err
			}
		}
		return put(&opState{next: t.nextIno, clean: clean})
	})
}

// putNames writes the names of a directory.
func putNames(ino Ino, n *node, put func(...op) error) error {
	if n.dir == nil || (len(n.links) == 0 && ino != RootIno) {
		return nil
	}
	for name, child := range n.dir.names {
		if err := put(&opEntry{parent: ino, name: name, ino: child}); err != nil {
			return err
		}
	}
	return nil
}

// state returns the ops that make the node what it is, but for its names.
func (n *node) state() []op {
	n.mu.Lock()
	defer n.mu.Unlock()
	attr := n.attrOp(n.ctime)
	var ops []op
	if n.ino >= firstOverlayIno {
		ops = append(ops, &opCreate{opAttr: *attr, rdev: n.rdev, text: n.text})
	} else {
		ops = append(ops, attr)
	}
	if f := n.file; f != nil {
		ops = append(ops, &opContent{
			ino: n.ino, row: f.row, data: f.data, size: n.size, limit: f.limit, written: f.written.Ranges(),
		})
		if f.hashes != nil {
			ops = append(ops, &opHashes{ino: n.ino, hashes: f.hashes})
		}
	}
	for name, value := range n.xattrs {
		ops = append(ops, &opXattr{ino: n.ino, name: name, value: value, when: n.ctime})
	}
	return ops
}

// OverlayDir returns the directory of the overlay, "" for a read-only tree.
func (t *Tree) OverlayDir() string {
	if t.ov == nil {
		return ""
	}
	return t.ov.dir
}
