package fs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
)

func appendUint(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendInt(b []byte, vs ...int64) []byte {
	for _, v := range vs {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

var errBadOp = errors.New("malformed operation")

// opReader decodes ops. After the first malformed field every further one is zero,
// and err is set.
type opReader struct {
	b   []byte
	err error

	// The most frequent ops, kept to save memory: most of a log is made of them.
	create opCreate
	change opAttr
	entry  opEntry
}

func (r *opReader) fail() { r.b, r.err = nil, errBadOp }

func (r *opReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *opReader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *opReader) string() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *opReader) bool() bool {
	if len(r.b) == 0 {
		r.fail()
		return false
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v != 0
}

func (r *opReader) ino() Ino    { return Ino(r.uint()) }
func (r *opReader) u32() uint32 { return uint32(r.uint()) }

func (r *opReader) attr() opAttr {
	return opAttr{
		ino: r.ino(), mode: r.u32(), uid: r.u32(), gid: r.u32(),
		atime: r.int(), mtime: r.int(), ctime: r.int(),
	}
}

// count reads a number of elements that take at least one byte each.
func (r *opReader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *opReader) content() *opContent {
	o := &opContent{ino: r.ino(), row: r.u32(), data: r.bool(), size: r.int(), limit: r.int()}
	for range r.count() {
		o.written = append(o.written, extent.Range{Off: r.int(), End: r.int()})
	}
	return o
}

func (r *opReader) hashes() *opHashes {
	o := &opHashes{ino: r.ino()}
	for range r.count() {
		o.hashes = append(o.hashes, manifest.Hash(r.string()))
	}
	return o
}

func (r *opReader) stored() *opStored {
	o := &opStored{ino: r.ino(), size: r.int(), mtime: r.int(), chunk: r.int()}
	n := r.uint()
	if n > uint64(len(r.b)/16) {
		r.fail()
		return o
	}
	o.hashes = make([][16]byte, n)
	for i := range o.hashes {
		copy(o.hashes[i][:], r.b[i*16:])
	}
	r.b = r.b[n*16:]
	return o
}

// next returns the next op, which is valid until the next call.
func (r *opReader) next() op {
	tag := r.b[0]
	r.b = r.b[1:]
	switch tag {
	case tagCreate:
		r.create = opCreate{opAttr: r.attr(), rdev: r.u32(), text: r.string()}
		return &r.create
	case tagBase:
		return &opBase{ino: r.ino(), home: r.bool(), moved: r.bool()}
	case tagAttr:
		r.change = r.attr()
		return &r.change
	case tagEntry:
		r.entry = opEntry{parent: r.ino(), name: r.string(), ino: r.ino(), when: r.int()}
		return &r.entry
	case tagXattr:
		return &opXattr{ino: r.ino(), name: r.string(), remove: r.bool(), value: []byte(r.string()), when: r.int()}
	case tagExtent:
		return &opExtent{ino: r.ino(), r: extent.Range{Off: r.int(), End: r.int()}}
	case tagTruncate:
		return &opTruncate{ino: r.ino(), limit: r.int()}
	case tagData:
		return &opData{ino: r.ino()}
	case tagContent:
		return r.content()
	case tagHashes:
		return r.hashes()
	case tagDirty:
		return &opDirty{ino: r.ino(), chunk: int(r.u32())}
	case tagCommit:
		return &opCommit{seq: int(r.u32())}
	case tagState:
		return &opState{next: r.ino(), clean: r.bool(), boot: r.string()}
	case tagStored:
		return r.stored()
	}
	r.err = fmt.Errorf("unknown operation %d: this overlay was written by a newer snapfs", tag)
	return nil
}

// each calls fn for every op of one log record.
func (r *opReader) each(payload []byte, fn func(op)) error {
	r.b, r.err = payload, nil
	for len(r.b) > 0 {
		o := r.next()
		if r.err != nil {
			return r.err
		}
		fn(o)
	}
	return nil
}
