package fusefs

import (
	"io"
	"sync"
)

// inodes holds the state of those inodes of the kernel that have open files.
type inodes struct {
	mu   sync.Mutex
	open map[uint64]*inode
}

// inode is how the open files of one inode are served. The kernel demands the same of
// all of them: either it asks us for every byte and keeps what it got in its page
// cache, or it uses one local file directly (passthrough). So the first open decides,
// until the last one is closed.
type inode struct {
	number uint64
	users  int // of this structure; guarded by inodes.mu

	mu     sync.Mutex
	opens  int       // open files
	direct bool      // they use a local file
	id     int32     // of that file, as the kernel has registered it
	stored string    // fs.File.StoredID of its content; "" when it is one of the overlay
	lent   io.Closer // a stored file, kept open so that it counts as in use
}

// enter returns the state of an inode, with its lock held, until leave.
func (t *inodes) enter(number uint64) *inode {
	t.mu.Lock()
	x := t.open[number]
	if x == nil {
		x = &inode{number: number}
		t.open[number] = x
	}
	x.users++
	t.mu.Unlock()
	x.mu.Lock()
	return x
}

// leave ends what enter began. Each open file keeps the state once more.
func (t *inodes) leave(x *inode) {
	x.mu.Unlock()
	t.drop(x)
}

// keep makes the state outlast leave, for an open file.
func (t *inodes) keep(x *inode) {
	t.mu.Lock()
	x.users++
	t.mu.Unlock()
}

// drop takes one keep back.
func (t *inodes) drop(x *inode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.users--; x.users == 0 {
		delete(t.open, x.number)
	}
}

// readsStored reports whether somebody reads, directly, content that must not change.
func (x *inode) readsStored() bool { return x.opens > 0 && x.direct && x.stored != "" }
