package fusefs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	fsxOps  = flag.Int("fsx.ops", 1500, "operations of each run of TestFsx")
	fsxSeed = flag.Uint64("fsx.seed", 0, "seed of TestFsx; 0 takes the time")
)

// fsxMax bounds the size of the file: some chunks of the base.
const fsxMax = 5*testChunk + 777

// fsxKind is a way to use a file.
type fsxKind int

const (
	fsxRead fsxKind = iota
	fsxMapRead
	fsxWrite
	fsxMapWrite
	fsxTruncate
	fsxAllocate
	fsxPunch
	fsxZero
	fsxCopy
	fsxReopen
	fsxSync
	fsxForget // the kernel drops its cache
	fsxKinds
)

func (k fsxKind) String() string {
	return [...]string{"read", "mapread", "write", "mapwrite", "truncate", "allocate", "punch", "zero", "copy", "reopen", "sync", "forget"}[k]
}

type fsxOp struct {
	kind    fsxKind
	off, n  int64
	to      int64 // copy: where to
	fill    byte
	handle  int
	replace bool // truncate: by path
}

// fsx checks a file against a buffer in memory.
type fsx struct {
	path    string
	want    []byte
	handles [2]*os.File
}

// TestFsx runs random operations on the content of one file, through two handles
// and mappings, and compares it with a buffer in memory: on files of the base, and on
// new ones, which the kernel uses directly where it can. A run that fails is shortened
// as far as it still fails.
func TestFsx(t *testing.T) {
	for _, way := range []struct {
		name  string
		procs int
		ask   bool // without passthrough
		made  bool // the files are not in the base
	}{
		{"base", 4, false, false},
		{"base, one processor", 1, false, false},
		{"new", 4, false, true},
		{"new, one processor", 1, false, true},
		{"new, without passthrough", 4, true, true},
	} {
		t.Run(way.name, func(t *testing.T) {
			seed := *fsxSeed
			if seed == 0 {
				seed = uint64(time.Now().UnixNano())
			}
			rng := rand.New(rand.NewPCG(seed, 0))
			content := make([]byte, 4*testChunk+99)
			for i := range content {
				content[i] = byte(rng.Uint32())
			}
			m := prepare(t)
			const files = 60
			for i := range files {
				m.addFile(fmt.Sprintf("f%d", i), content)
			}
			m.env = []string{fmt.Sprintf("GOMAXPROCS=%d", way.procs)}
			m.config.Ask = way.ask
			m.start()
			next := 0
			run := func(ops []fsxOp) error {
				name, want := fmt.Sprintf("f%d", next), slices.Clone(content)
				if way.made {
					name, want = "new"+name, nil
					m.write(name, "")
				}
				next++
				x := &fsx{path: m.path(name), want: want}
				return x.run(ops)
			}
			ops := make([]fsxOp, *fsxOps)
			for i := range ops {
				ops[i] = drawFsx(rng)
			}
			if err := run(ops); err != nil {
				ops, err = shorten(ops, err, run, files-1)
				var list strings.Builder
				for _, op := range ops {
					fmt.Fprintf(&list, "%+v\n", op)
				}
				t.Fatalf("seed %d: %v, after\n%s", seed, err, list.String())
			}
		})
	}
}

// shorten leaves operations out as long as the run still fails.
func shorten(ops []fsxOp, err error, run func([]fsxOp) error, tries int) ([]fsxOp, error) {
	for size := len(ops) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(ops) && tries > 0; tries-- {
			fewer := slices.Delete(slices.Clone(ops), i, i+size)
			if e := run(fewer); e != nil {
				ops, err = fewer, e
			} else {
				i += size
			}
		}
	}
	return ops, err
}

func drawFsx(rng *rand.Rand) fsxOp {
	op := fsxOp{kind: fsxKind(rng.IntN(int(fsxKinds))), fill: byte(rng.Uint32()) | 1, handle: rng.IntN(2), replace: rng.IntN(2) == 0}
	op.off = rng.Int64N(fsxMax)
	op.n = 1 + rng.Int64N(min(fsxMax-op.off, []int64{100, 5000, 2 * testChunk}[rng.IntN(3)]))
	op.to = rng.Int64N(fsxMax - op.n + 1)
	if rng.IntN(4) == 0 { // page and chunk borders
		op.off = op.off / 4096 * 4096
	}
	return op
}

func (x *fsx) run(ops []fsxOp) (err error) {
	defer func() {
		for _, f := range x.handles {
			if f != nil {
				f.Close()
			}
		}
	}()
	for i := range x.handles {
		if x.handles[i], err = os.OpenFile(x.path, os.O_RDWR, 0); err != nil {
			return err
		}
	}
	for i, op := range ops {
		if err := x.do(op); err != nil {
			return fmt.Errorf("operation %d, %+v: %w", i, op, err)
		}
		if err := x.checkSize(); err != nil {
			return fmt.Errorf("after operation %d, %+v: %w", i, op, err)
		}
	}
	got, err := os.ReadFile(x.path)
	if err == nil {
		err = compare(got, x.want, 0)
	}
	return err
}

func (x *fsx) checkSize() error {
	fi, err := os.Stat(x.path)
	if err == nil && fi.Size() != int64(len(x.want)) {
		err = fmt.Errorf("the file has %d bytes, want %d", fi.Size(), len(x.want))
	}
	return err
}

func compare(got, want []byte, off int64) error {
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("byte %d is %d, want %d", off+int64(i), got[i], want[i])
		}
	}
	return fmt.Errorf("%d bytes from %d, want %d", len(got), off, len(want))
}

// grow makes the expected content at least n bytes long.
func (x *fsx) grow(n int64) {
	if more := n - int64(len(x.want)); more > 0 {
		x.want = append(x.want, make([]byte, more)...)
	}
}

// clip returns the part of the operation that lies inside the file.
func (x *fsx) clip(op fsxOp) (lo, hi int64) {
	size := int64(len(x.want))
	return min(op.off, size), min(op.off+op.n, size)
}

func (x *fsx) do(op fsxOp) error {
	f := x.handles[op.handle]
	switch op.kind {
	case fsxRead:
		return x.read(f, op)
	case fsxMapRead, fsxMapWrite:
		return x.mapped(f, op)
	case fsxWrite:
		p := bytes.Repeat([]byte{op.fill}, int(op.n))
		if _, err := f.WriteAt(p, op.off); err != nil {
			return err
		}
		x.grow(op.off + op.n)
		copy(x.want[op.off:], p)
	case fsxTruncate:
		x.grow(op.off)
		x.want = x.want[:op.off]
		if op.replace {
			return os.Truncate(x.path, op.off)
		}
		return f.Truncate(op.off)
	case fsxAllocate, fsxPunch, fsxZero:
		return x.allocate(f, op)
	case fsxCopy:
		return x.copy(op)
	case fsxReopen:
		f.Close()
		var err error
		x.handles[op.handle], err = os.OpenFile(x.path, os.O_RDWR, 0)
		return err
	case fsxSync:
		return f.Sync()
	case fsxForget:
		if err := f.Sync(); err != nil { // only clean pages are dropped
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	return nil
}

func (x *fsx) read(f *os.File, op fsxOp) error {
	lo, hi := x.clip(op)
	p := make([]byte, op.n)
	n, err := f.ReadAt(p, op.off)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return compare(p[:n], x.want[lo:hi], op.off)
}

func (x *fsx) mapped(f *os.File, op fsxOp) error {
	lo, hi := x.clip(op)
	if lo >= hi {
		return nil
	}
	start := lo / 4096 * 4096
	prot := unix.PROT_READ
	if op.kind == fsxMapWrite {
		prot |= unix.PROT_WRITE
	}
	p, err := unix.Mmap(int(f.Fd()), start, int(hi-start), prot, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if op.kind == fsxMapRead {
		err = compare(p[lo-start:], x.want[lo:hi], lo)
	} else {
		for i := range p[lo-start:] {
			p[lo-start+int64(i)] = op.fill
		}
		copy(x.want[lo:hi], p[lo-start:])
		if op.replace {
			err = unix.Msync(p, unix.MS_SYNC)
		}
	}
	return errors.Join(err, unix.Munmap(p))
}

func (x *fsx) allocate(f *os.File, op fsxOp) error {
	mode := uint32(0)
	switch op.kind {
	case fsxPunch:
		mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	case fsxZero:
		mode = unix.FALLOC_FL_ZERO_RANGE
		if op.replace {
			mode |= unix.FALLOC_FL_KEEP_SIZE
		}
	}
	if err := unix.Fallocate(int(f.Fd()), mode, op.off, op.n); err != nil {
		return err
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		x.grow(op.off + op.n)
	}
	if lo, hi := x.clip(op); op.kind != fsxAllocate {
		clear(x.want[lo:max(lo, hi)])
	}
	return nil
}

func (x *fsx) copy(op fsxOp) error {
	lo, hi := x.clip(op)
	if lo >= hi || (op.to < hi && lo < op.to+hi-lo) {
		return nil // overlapping ranges are refused
	}
	for n := hi - lo; n > 0; {
		from, to := op.off+(hi-lo-n), op.to+(hi-lo-n)
		done, err := unix.CopyFileRange(int(x.handles[0].Fd()), &from, int(x.handles[1].Fd()), &to, int(n), 0)
		if err != nil {
			return err
		}
		if done == 0 {
			return errors.New("copy_file_range copied nothing")
		}
		n -= int64(done)
	}
	x.grow(op.to + hi - lo)
	copy(x.want[op.to:], slices.Clone(x.want[lo:hi]))
	return nil
}
