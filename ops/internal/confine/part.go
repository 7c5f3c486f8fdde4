package confine

import (
	"fmt"
	"hash/fnv"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// A part is a file with a name of its own while it is being written, so that whoever
// writes the same later finds what a process that died has left. Its name tells the
// target apart from others, and the content that it is to have.

// partSuffix ends the names of parts.
const partSuffix = ".part"

func partPrefix(target string) string { return fmt.Sprintf(".snapfs-%016x-", sum(target)) }

func partName(target, content string) string {
	return fmt.Sprintf("%s%016x%s", partPrefix(target), sum(content), partSuffix)
}

func sum(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// Resume is CreateTemp of a part: for the name target, with a content that the string
// content identifies. When an earlier process was at it, the part comes with what was
// written then; see Written. Parts with other contents for the same name are removed. A
// part that another process is writing is left to it, and so is one of another user: the
// result is an ordinary temporary file then.
func (d *Dir) Resume(target, content string, perm uint32) (*Temp, error) {
	const flags = unix.O_CREAT | unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	name := partName(target, content)
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, flags, perm) })
	if err != nil {
		return d.CreateTemp(perm) // which says what is wrong, if it concerns all files
	}
	t := &Temp{File: os.NewFile(uintptr(fd), path.Join(d.Path(), name)), dir: d, name: name, part: true}
	size, mine := t.claim()
	if !mine {
		t.Close()
		return d.CreateTemp(perm)
	}
	t.resumed = size > 0
	if !t.resumed {
		d.dropParts(target, name)
	}
	return t, nil
}

// claim locks a part. It returns false unless it is a file of this user alone, and still
// the one that has the name.
func (t *Temp) claim() (size int64, ok bool) {
	var st, named unix.Stat_t
	if unix.Flock(int(t.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || unix.Fstat(int(t.Fd()), &st) != nil ||
		unix.Fstatat(t.dir.fd, t.name, &named, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0, false
	}
	alone := st.Mode&unix.S_IFMT == unix.S_IFREG && int(st.Uid) == os.Geteuid() && st.Nlink == 1 && st.Mode&0o022 == 0
	return st.Size, alone && st.Ino == named.Ino && st.Dev == named.Dev
}

// dropParts removes the parts for a name that nobody writes, but for one.
func (d *Dir) dropParts(target, keep string) {
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return
	}
	list := os.NewFile(uintptr(fd), d.Path())
	defer list.Close()
	names, _ := list.Readdirnames(-1) // what cannot be listed stays
	for _, name := range names {
		if name == keep || !strings.HasPrefix(name, partPrefix(target)) || !strings.HasSuffix(name, partSuffix) {
			continue
		}
		old, err := d.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(old.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = d.Remove(name)
		}
		old.Close()
	}
}

// Written returns how many bytes from off on, n at most, an earlier process has written.
// Where the file system cannot tell that may be n.
func (t *Temp) Written(off, n int64) int64 {
	if !t.resumed {
		return 0
	}
	hole, err := unix.Seek(int(t.Fd()), off, unix.SEEK_HOLE)
	if err != nil {
		return 0 // the file ends before
	}
	return max(0, min(hole-off, n))
}

// Keep closes a part, and leaves what was written to whoever resumes it. Any other file,
// and a part without content, is discarded.
func (t *Temp) Keep() {
	var st unix.Stat_t
	if !t.part || unix.Fstat(int(t.Fd()), &st) != nil || st.Blocks == 0 {
		t.Discard()
		return
	}
	t.Close()
}

// PartSize returns the space that the part for a name and content takes, 0 when there is
// none.
func (d *Dir) PartSize(target, content string) int64 {
	var st unix.Stat_t
	if unix.Fstatat(d.fd, partName(target, content), &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0
	}
	return st.Blocks * 512
}
