package dirstore

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// blobMode is the mode of blobs: nobody changes them, and everybody whom the directory
// lets in may read them.
const blobMode = 0o444

// draft is a blob being written. It has no name before it is complete, so that nothing is
// left of it when the process dies, and giving it one is the only change that the
// directory sees. Where the file system cannot do that it is a file in tempDir.
type draft struct {
	s    *Store
	fd   int
	name string   // path in tempDir, or "" for a file without a name
	file *os.File // that file
}

// newDraft returns an empty draft. It must be closed, also after it was placed.
func (s *Store) newDraft() (*draft, error) {
	if !s.byName.Load() {
		fd, err := retry(func() (int, error) {
			return unix.Open(s.root, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, blobMode)
		})
		if err == nil {
			return &draft{s: s, fd: fd}, nil
		}
		if !isAny(err, unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL) {
			return nil, err
		}
		s.byName.Store(true)
	}
	f, err := s.createTemp()
	if err != nil {
		return nil, err
	}
	return &draft{s: s, fd: int(f.Fd()), name: f.Name(), file: f}, nil
}

// Write implements io.Writer.
func (d *draft) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := retry(func() (int, error) { return unix.Write(d.fd, p[done:]) })
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

// ReadAt implements io.ReaderAt.
func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n, err := retry(func() (int, error) { return unix.Pread(d.fd, p[done:], off+int64(done)) })
		switch {
		case err != nil:
			return done, err
		case n == 0:
			return done, io.EOF
		}
		done += n
	}
	return len(p), nil
}

// close releases the draft, and discards it when it was not placed.
func (d *draft) close() {
	if d.name != "" {
		_ = os.Remove(d.name)
	}
	if d.file != nil {
		d.file.Close()
		return
	}
	_ = unix.Close(d.fd)
}

// place makes the draft, of the given size, the blob at path. A blob of that size that
// somebody else has put there meanwhile is as good; anything else is replaced.
func (d *draft) place(path string, size int64) error {
	if err := d.protect(); err != nil {
		return err
	}
	if d.name != "" {
		return d.rename(path)
	}
	err := d.link(path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if fi, e := os.Lstat(path); e == nil && fi.Mode().IsRegular() && fi.Size() == size {
		return nil
	}
	if err := d.giveName(); err != nil {
		return err
	}
	return d.rename(path)
}

func (d *draft) rename(path string) error {
	err := os.Rename(d.name, path)
	if err == nil {
		d.name = ""
	}
	return err
}

// protect gives the draft the mode of a blob, whatever the umask is. Files without a
// name were created with that mode: where the first has it, all have it.
func (d *draft) protect() error {
	if d.name == "" {
		if d.s.exactMode.Load() {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Fstat(d.fd, &st); err == nil && st.Mode&0o777 == blobMode {
			d.s.exactMode.Store(true)
			return nil
		}
	}
	_, err := retry(func() (int, error) { return 0, unix.Fchmod(d.fd, blobMode) })
	return err
}

// link gives the draft a name that nothing has yet.
func (d *draft) link(path string) error {
	if !d.s.byProc.Load() {
		_, err := retry(func() (int, error) {
			return 0, unix.Linkat(d.fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH)
		})
		if !isAny(err, unix.ENOENT, unix.EPERM) { // what those without the privilege get
			return err
		}
		d.s.byProc.Store(true)
	}
	self := "/proc/self/fd/" + strconv.Itoa(d.fd)
	_, err := retry(func() (int, error) {
		return 0, unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	return err
}

// giveName puts the draft into tempDir, from where it can replace what has its name. It
// is locked, as temporary files are.
func (d *draft) giveName() error {
	dir := filepath.Join(d.s.root, tempDir)
	if err := d.s.makeTempDir(dir); err != nil {
		return err
	}
	_ = unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB)
	prefix := d.s.temp
	if prefix == "" {
		prefix = "put-"
	}
	for range maxClashes {
		name := filepath.Join(dir, prefix+strconv.FormatUint(rand.Uint64(), 36))
		err := d.link(name)
		if err == nil {
			d.name = name
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return &fs.PathError{Op: "create a temporary file in", Path: dir, Err: fs.ErrExist}
}

// retry calls fn until it is not interrupted by a signal.
func retry(fn func() (int, error)) (int, error) {
	for {
		n, err := fn()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func isAny(err error, codes ...unix.Errno) bool {
	for _, code := range codes {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
