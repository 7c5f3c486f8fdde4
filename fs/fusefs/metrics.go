package fusefs

import (
	"math/bits"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// operation is a kind of request of the kernel.
type operation int

const (
	opLookup operation = iota
	opGetAttr
	opSetAttr
	opMknod
	opMkdir
	opUnlink
	opRmdir
	opRename
	opLink
	opSymlink
	opReadlink
	opOpen
	opCreate
	opTmpfile
	opRead
	opWrite
	opFsync
	opFsyncDir
	opFallocate
	opOpenDir
	opReadDir
	opReadDirPlus
	opStatFs
	opLseek
	opGetXAttr
	opListXAttr
	opSetXAttr
	opRemoveXAttr
	operations
)

func operationNames() [operations]string {
	return [operations]string{
		opLookup: "lookup", opGetAttr: "getattr", opSetAttr: "setattr", opMknod: "mknod", opMkdir: "mkdir",
		opUnlink: "unlink", opRmdir: "rmdir", opRename: "rename", opLink: "link", opSymlink: "symlink",
		opReadlink: "readlink", opOpen: "open", opCreate: "create", opTmpfile: "tmpfile", opRead: "read",
		opWrite: "write", opFsync: "fsync", opFsyncDir: "fsyncdir", opFallocate: "fallocate", opOpenDir: "opendir", opReadDir: "readdir", opReadDirPlus: "readdirplus", opStatFs: "statfs", opLseek: "lseek",
		opGetXAttr: "getxattr", opListXAttr: "listxattr", opSetXAttr: "setxattr", opRemoveXAttr: "removexattr",
	}
}

// errnos is the number of error numbers that are told apart.
const errnos = 134

// buckets is the number of bounds of the latencies: 2, 4, 8, … µs.
const buckets = 24

// LatencyBounds returns the upper bounds of the buckets of OperationStats.
func LatencyBounds() []time.Duration {
	list := make([]time.Duration, buckets)
	for i := range list {
		list[i] = 2 * time.Microsecond << i
	}
	return list
}

// OperationStats says how long requests of one kind with one outcome took.
type OperationStats struct {
	Operation string        // as in "read"
	Errno     syscall.Errno // 0 for success
	Sum       time.Duration
	// Counts are the requests up to each of LatencyBounds, and above the bound before;
	// the last are those above all.
	Counts []int64
}

// latency is OperationStats while it is being counted.
type latency struct {
	counts [buckets + 1]atomic.Int64
	sum    atomic.Int64
}

// metered is a file system that measures its requests. It costs two looks at the clock
// and two additions for each.
type metered struct {
	*FS
	epoch time.Time
	ops   [operations][errnos]atomic.Pointer[latency]
}

func meter(f *FS) *metered { return &metered{FS: f, epoch: time.Now()} }

// now is cheaper than time.Now, which looks at two clocks.
func (m *metered) now() time.Duration { return time.Since(m.epoch) }

// done counts a request that began at start.
func (m *metered) done(op operation, start time.Duration, s fuse.Status) fuse.Status {
	took := m.now() - start
	slot := &m.ops[op][min(max(int(s), 0), errnos-1)]
	l := slot.Load()
	if l == nil {
		slot.CompareAndSwap(nil, new(latency))
		l = slot.Load()
	}
	l.counts[bucket(took)].Add(1)
	l.sum.Add(int64(took))
	return s
}

// bucket returns the index of the first bound that is not below d.
func bucket(d time.Duration) int {
	us := uint64(max(d-1, 0) / (2 * time.Microsecond))
	return min(bits.Len64(us), buckets)
}

// stats returns what was counted so far.
func (m *metered) stats() []OperationStats {
	var list []OperationStats
	for op, name := range operationNames() {
		for errno := range errnos {
			l := m.ops[op][errno].Load()
			if l == nil {
				continue
			}
			s := OperationStats{Operation: name, Errno: syscall.Errno(errno), Sum: time.Duration(l.sum.Load()), Counts: make([]int64, buckets+1)}
			for i := range s.Counts {
				s.Counts[i] = l.counts[i].Load()
			}
			list = append(list, s)
		}
	}
	return list
}

// Operations returns how long the requests of the kernel took, by kind and outcome.
func (s *Server) Operations() []OperationStats { return s.meter.stats() }
