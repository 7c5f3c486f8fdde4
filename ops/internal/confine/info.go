package confine

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Info is the status of an entry. The zero value stands for one that does not exist.
type Info struct {
	Mode     uint32
	Size     int64
	MicroMod int64 // modification time in microseconds since the epoch
	Mtim     unix.Timespec
	Dev      uint64
}

// Exists reports whether there was an entry.
func (i Info) Exists() bool { return i.Mode != 0 }

// IsRegular reports whether the entry is a regular file.
func (i Info) IsRegular() bool { return i.Mode&unix.S_IFMT == unix.S_IFREG }

// IsDir reports whether the entry is a directory.
func (i Info) IsDir() bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsLink reports whether the entry is a symbolic link.
func (i Info) IsLink() bool { return i.Mode&unix.S_IFMT == unix.S_IFLNK }

// IsRunnable reports whether anybody may execute the file.
func (i Info) IsRunnable() bool { return i.Mode&0o111 != 0 }

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Mode: st.Mode, Size: st.Size, Dev: st.Dev, Mtim: st.Mtim,
		MicroMod: st.Mtim.Sec*1_000_000 + st.Mtim.Nsec/1000,
	}
}

// Lstat returns the status of name, without following it.
func (d *Dir) Lstat(name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return Info{}, d.fail("lstat", name, err)
	}
	return infoOf(&st), nil
}

// Find is Lstat for which an entry that does not exist is no error.
func (d *Dir) Find(name string) (Info, error) {
	info, err := d.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, nil
	}
	return info, err
}

// Fstat returns the status of an open file.
func Fstat(fd uintptr) (Info, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstat(int(fd), &st) })
	return infoOf(&st), err
}
