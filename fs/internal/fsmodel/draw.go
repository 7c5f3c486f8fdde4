package fsmodel

import (
	"bytes"
	"path"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// weights says how often each kind of operation is drawn.
var weights = map[Kind]int{
	Mkdir: 3, Rmdir: 3, Unlink: 4, Rename: 8, Link: 3, Symlink: 2, Mkfifo: 1, Chmod: 2, Utimens: 2, SetXattr: 2, DelXattr: 1,
	Truncate: 3, Open: 9, Tmpfile: 1, Close: 2, Read: 4, Write: 9, Append: 3, Ftruncate: 4, Fallocate: 5, Fsync: 1,
	Fstat: 2, Fchmod: 1, Flink: 1,
}

// kinds lists each kind as often as its weight says.
func kinds() []Kind {
	var list []Kind
	for _, k := range []Kind{
		Close, Fstat, Read, Fsync, Mkdir, Unlink, Rmdir, Rename, Open, Write, Append, Truncate, Ftruncate, Fallocate,
		Link, Symlink, Chmod, Utimens, SetXattr, DelXattr, Mkfifo, Tmpfile, Fchmod, Flink,
	} {
		for range weights[k] {
			list = append(list, k)
		}
	}
	return list
}

// draw draws an operation.
func (m *Machine) draw(t *rapid.T) Op {
	op := Op{Kind: pick(t, m.kinds)}
	if op.usesSlot() {
		op.Slot = m.slot(t, op.Kind)
	}
	switch op.Kind {
	case Mkdir, Mkfifo:
		op.Path, op.Mode = m.newPath(t), pick(t, m.Modes)
	case Symlink:
		op.Path, op.To = m.newPath(t), pick(t, linkTexts)
	case Rmdir:
		op.Path = m.oldPath(t, m.dirs)
	case Unlink:
		op.Path = m.oldPath(t, m.files)
	case Rename:
		op.Path, op.To = m.oldPath(t, m.all), m.newPath(t)
		op.Flags = pick(t, []int{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_EXCHANGE})
		if op.Flags == unix.RENAME_EXCHANGE || uniform(t, 4) == 0 {
			op.To = m.oldPath(t, m.all)
		}
	case Link:
		op.Path, op.To = m.oldPath(t, m.files), m.newPath(t)
	case Flink:
		op.To = m.newPath(t)
	case Tmpfile:
		op.Path, op.Mode = m.oldPath(t, m.dirs), pick(t, m.Modes)
	case Open:
		m.drawOpen(t, &op)
	case Chmod:
		op.Path, op.Mode = m.oldPath(t, m.all), pick(t, m.Modes)
	case Fchmod:
		op.Mode = pick(t, m.Modes)
	case Utimens, SetXattr, DelXattr, Truncate:
		m.drawChange(t, &op)
	default:
		m.drawContent(t, &op)
	}
	return op
}

func (m *Machine) drawOpen(t *rapid.T, op *Op) {
	op.Mode = pick(t, m.Modes)
	op.Flags = pick(t, []int{unix.O_RDWR, unix.O_RDWR, unix.O_RDWR, unix.O_RDONLY, unix.O_WRONLY})
	op.Flags |= pick(t, []int{
		0, 0, 0, unix.O_CREAT, unix.O_CREAT, unix.O_CREAT | unix.O_EXCL, unix.O_CREAT | unix.O_TRUNC, unix.O_TRUNC,
	})
	if op.Flags&unix.O_ACCMODE == unix.O_RDONLY {
		op.Flags &^= unix.O_TRUNC
	}
	if op.Path = m.oldPath(t, m.files); op.Flags&unix.O_CREAT != 0 && uniform(t, 2) == 0 {
		op.Path = m.newPath(t)
	}
}

func (m *Machine) drawChange(t *rapid.T, op *Op) {
	op.Path = m.oldPath(t, m.all)
	switch op.Kind {
	case Truncate:
		op.Path, op.Len = m.oldPath(t, m.files), m.length(t)
	case Utimens:
		op.Off = pick(t, []int64{0, 1, 999_999_999, 1e18 + 1001, -1})
	case SetXattr:
		op.Data = m.data(t, 20)
		op.Flags = pick(t, []int{0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE})
		op.Name = pick(t, xattrNames)
	case DelXattr:
		op.Name = pick(t, xattrNames)
	}
}

var xattrNames = []string{"user.x", "user.yy"}

func (m *Machine) drawContent(t *rapid.T, op *Op) {
	switch op.Kind {
	case Append:
		op.Data = m.data(t, m.Unit*2)
	case Write:
		op.Off, op.Data = m.length(t), m.data(t, m.Unit*3)
	case Read:
		op.Off, op.Len = m.length(t), m.length(t)
	case Ftruncate:
		op.Len = m.length(t)
	case Fallocate:
		const keep = unix.FALLOC_FL_KEEP_SIZE
		op.Off, op.Len = m.length(t), m.length(t)
		op.Flags = pick(t, []int{
			0, keep, unix.FALLOC_FL_PUNCH_HOLE | keep, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | keep,
		})
	}
}

// uniform draws a number below n. The numbers of rapid itself are mostly small.
func uniform(t *rapid.T, n int) int {
	v := 0
	for limit := 1; limit < n; limit *= 2 {
		v *= 2
		if rapid.Bool().Draw(t, "bit") {
			v++
		}
	}
	return v % n
}

func pick[T any](t *rapid.T, list []T) T { return list[uniform(t, len(list))] }

// linkTexts lead nowhere, so that no path resolves through a link.
var linkTexts = []string{"nowhere", "../nowhere/x", "/nowhere"}

var names = []string{"a", "b", "c", "d"}

// newPath draws a name in a directory that exists, or seldom one below a file.
func (m *Machine) newPath(t *rapid.T) string {
	dirs := append([]string{""}, m.dirs...)
	if uniform(t, 16) == 0 {
		dirs = append(dirs, m.all...)
	}
	return path.Join(pick(t, dirs), pick(t, names))
}

// oldPath draws a path from a list, seldom another one.
func (m *Machine) oldPath(t *rapid.T, list []string) string {
	if len(list) == 0 || uniform(t, 8) == 0 {
		list = append([]string{"a", "b/c"}, m.all...)
	}
	return pick(t, list)
}

// slot draws a slot that is in use, or for Open and Tmpfile any.
func (m *Machine) slot(t *rapid.T, kind Kind) int {
	if kind != Open && kind != Tmpfile && len(m.open) > 0 {
		return pick(t, m.open)
	}
	return uniform(t, Slots)
}

// length draws an offset or a length: a multiple of the unit, or next to one.
func (m *Machine) length(t *rapid.T) int64 {
	n := int64(uniform(t, int(m.MaxUnits)+1)) * m.Unit
	return max(n+pick(t, []int64{0, -1, 1, m.Unit / 2}), 0)
}

// data draws at least one byte and at most n; each string of them is one letter,
// so that logs are short and mixtures are seen.
func (m *Machine) data(t *rapid.T, n int64) []byte {
	letter := 'A' + byte(uniform(t, 26))
	return bytes.Repeat([]byte{letter}, 1+uniform(t, int(n)))
}
