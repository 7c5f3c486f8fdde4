package cache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

const (
	partSuffix   = ".part"
	tempSuffix   = ".tmp"
	controlName  = ".snapfs"
	verifiedAttr = "user.snapfs.verified"
	// touchGrain is how old the recorded time of use of a file may get before it is
	// written again.
	touchGrain = time.Minute
)

// dir is the directory of the cache.
type dir struct {
	path  string
	dev   uint64
	mu    sync.Mutex    // held while a file is installed
	nonce atomic.Uint64 // makes the names of temporary files unique in this process
}

// ErrUntrusted means that others could have put files into the directory of a cache.
var ErrUntrusted = errors.New("its contents cannot be trusted")

// openDir creates the directory when it is missing, and refuses one that others could
// have put files into (users.md §5).
func openDir(path string) (*dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return nil, &os.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	case int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s belongs to user %d, not to user %d: %w; choose another directory", path, st.Uid, os.Geteuid(), ErrUntrusted)
	case st.Mode&0o002 != 0:
		return nil, fmt.Errorf("%s is writable by everybody: %w; run chmod 0700 on it or choose another directory", path, ErrUntrusted)
	}
	return &dir{path: path, dev: st.Dev}, nil
}

func (d *dir) blobPath(key blobstore.Key) string { return filepath.Join(d.path, string(key)) }

func (d *dir) partPath(key blobstore.Key, size int64) string {
	return filepath.Join(d.path, string(key)+"."+strconv.FormatInt(size, 10)+partSuffix)
}

func (d *dir) tempPath(key blobstore.Key) string {
	return fmt.Sprintf("%s.%d-%d%s", d.blobPath(key), os.Getpid(), d.nonce.Add(1), tempSuffix)
}

// openBlob opens the complete blob, keeps it from being evicted while it is open, and
// notes the time of its use. An absent blob is fs.ErrNotExist.
func (d *dir) openBlob(key blobstore.Key) (*os.File, error) {
	path := d.blobPath(key)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if !markInUse(f) {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
	}
	touch(f)
	return f, nil
}

// install makes data the complete blob key. One at a time: the kernel lets threads that
// change one directory spin on its lock.
func (d *dir) install(key blobstore.Key, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	temp := d.tempPath(key)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o444)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, d.blobPath(key))
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// remove deletes the complete blob key, whoever uses it.
func (d *dir) remove(key blobstore.Key) error { return os.Remove(d.blobPath(key)) }

// reopen opens the file that f is, read-only, whatever has become of its path.
func reopen(f *os.File, evictable bool) (*os.File, bool) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	g := os.NewFile(uintptr(fd), f.Name())
	if evictable && !markInUse(g) {
		g.Close()
		return nil, false
	}
	return g, true
}

// touch records that f is used now.
func touch(f *os.File) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || time.Since(time.Unix(st.Atim.Unix())) < touchGrain {
		return
	}
	// A failure costs precision of the eviction, nothing else.
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()),
		[]unix.Timespec{unix.NsecToTimespec(time.Now().UnixNano()), {Nsec: unix.UTIME_OMIT}}, 0)
}

// setVerified makes f read-only and records in it that its content was verified in
// this boot of the machine. The record ends with the next change of the file. It may be
// missing where the file system has no attributes: the cost is another verification.
func setVerified(f *os.File) error {
	if m := verifiedMark(f); m != "" {
		_ = f.Chmod(0o600) // attributes need the right to write
		_ = unix.Fsetxattr(int(f.Fd()), verifiedAttr, []byte(m), 0)
	}
	return f.Chmod(0o444)
}

// isVerified reports whether setVerified was called for the content of f since the
// machine was started. After a power loss a file may lack data that was written.
func isVerified(f *os.File) bool {
	m := verifiedMark(f)
	if m == "" {
		return false
	}
	buf := make([]byte, 128)
	n, err := unix.Fgetxattr(int(f.Fd()), verifiedAttr, buf)
	return err == nil && string(buf[:n]) == m
}

// verifiedMark names the state of f and the boot of the machine, or is "" when either
// is unknown.
func verifiedMark(f *os.File) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d", strings.TrimSpace(string(boot)), st.Size(), st.ModTime().UnixNano())
}

// checkFile returns an error that wraps blobstore.ErrMismatch unless f holds exactly
// the content of blob.
func checkFile(f *os.File, blob manifest.Blob) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != blob.Size {
		return fmt.Errorf("%w: %s has %d bytes instead of %d", blobstore.ErrMismatch, f.Name(), st.Size(), blob.Size)
	}
	hash, _, err := manifest.SumReader(io.NewSectionReader(f, 0, blob.Size))
	if err != nil {
		return err
	}
	if hash != blob.Hash {
		return fmt.Errorf("%w: %s has hash %s", blobstore.ErrMismatch, f.Name(), hash)
	}
	return nil
}

// digest is a hash in 16 bytes.
type digest [16]byte

// digestOf returns the hash h, which must be an XXH128, in 16 bytes.
func digestOf(h manifest.Hash) digest {
	var d digest
	_, _ = hex.Decode(d[:], []byte(h))
	return d
}

// digestOfKey returns the hash of a valid key in 16 bytes.
func digestOfKey(key blobstore.Key) digest { return digestOf(manifest.Hash(key.Hash())) }

// key returns the key of the blob with this hash.
func (d digest) key() blobstore.Key {
	return blobstore.Key(hex.EncodeToString(d[:]) + "." + string(manifest.XXH128))
}
