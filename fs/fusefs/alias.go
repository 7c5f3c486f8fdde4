package fusefs

import (
	"sync"
	"sync/atomic"

	"github.com/snapfs/snapfs/fs"
)

// firstAlias is above every inode number of a tree.
const firstAlias = uint64(1) << 63

// aliases gives inodes a second number in the protocol. Normally the kernel knows an
// inode by its number in the tree. When its content begins to change while the kernel
// reads the old content directly from a cache, which must not change, the name gets a
// new number, and with it a new inode of the kernel; the readers keep the old one, and
// the old content. To stat, both are one.
type aliases struct {
	some atomic.Bool // false as long as there never was one

	mu      sync.Mutex
	next    uint64
	numbers map[uint64]*alias
	current map[fs.Ino]*alias // by which names are to be known
}

// alias is one further number.
type alias struct {
	number  uint64
	ino     fs.Ino
	lookups uint64 // references of the kernel
}

// ino returns the inode that a number of the protocol means.
func (a *aliases) ino(number uint64) fs.Ino {
	if number < firstAlias {
		return fs.Ino(number)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if x := a.numbers[number]; x != nil {
		return x.ino
	}
	return 0 // no inode
}

// enter returns the number by which the kernel is to know an inode that is handed out
// to it.
func (a *aliases) enter(ino fs.Ino) uint64 {
	if !a.some.Load() {
		return uint64(ino)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.current[ino]
	if x == nil {
		return uint64(ino)
	}
	x.lookups++
	return x.number
}

// isOld reports whether the names of an inode are known by another number than this one.
// Nothing may be opened by an old number: who has looked a name up before must look again.
func (a *aliases) isOld(number uint64) bool {
	if !a.some.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if x := a.numbers[number]; x != nil {
		return a.current[x.ino] != x
	}
	return a.current[fs.Ino(number)] != nil
}

// has reports whether an inode has more than one number.
func (a *aliases) has(ino fs.Ino) bool {
	if !a.some.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current[ino] != nil
}

// replace gives the names of the inode a new number, unless they have another one than
// this already: however many find out at the same time that it has to be replaced, they
// must all come to the same new one.
func (a *aliases) replace(number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ino := fs.Ino(number)
	if x := a.numbers[number]; x != nil {
		ino = x.ino
	}
	if x := a.current[ino]; x != nil && x.number != number {
		return
	}
	if a.numbers == nil {
		a.numbers, a.current, a.next = make(map[uint64]*alias), make(map[fs.Ino]*alias), firstAlias
	}
	x := &alias{number: a.next, ino: ino}
	a.next++
	a.numbers[x.number], a.current[ino] = x, x
	a.some.Store(true)
}

// all returns every number of an inode.
func (a *aliases) all(ino fs.Ino) []uint64 {
	list := []uint64{uint64(ino)}
	a.mu.Lock()
	defer a.mu.Unlock()
	for number, x := range a.numbers {
		if x.ino == ino {
			list = append(list, number)
		}
	}
	return list
}

// forget drops n references to a number and returns its inode.
func (a *aliases) forget(number, n uint64) fs.Ino {
	if number < firstAlias {
		return fs.Ino(number)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.numbers[number]
	if x == nil {
		return 0
	}
	// The current number stays: the kernel also forgets it when it has looked up whether
	// a name still has the old one, just before it asks for the new one.
	if x.lookups -= min(n, x.lookups); x.lookups == 0 && a.current[x.ino] != x {
		delete(a.numbers, number)
	}
	return x.ino
}
