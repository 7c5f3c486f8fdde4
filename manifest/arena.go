package manifest

import "unsafe"

// arenaBlock is how much memory an arena takes at a time.
const arenaBlock = 256 << 10

// arena copies many small strings into few large blocks, which costs less memory
// and less work for the garbage collector than one allocation each. A block lives
// as long as any string in it.
type arena struct{ block []byte }

// bytes returns b as a string.
func (a *arena) bytes(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	a.reserve(len(b))
	from := len(a.block)
	a.block = append(a.block, b...)
	return unsafe.String(&a.block[from], len(b)) // never written again, but for rewind
}

// join returns dir + "/" + name.
func (a *arena) join(dir string, name []byte) string {
	n := len(dir) + 1 + len(name)
	a.reserve(n)
	from := len(a.block)
	a.block = append(append(append(a.block, dir...), '/'), name...)
	return unsafe.String(&a.block[from], n)
}

// reserve makes space for n more bytes without moving what is there.
func (a *arena) reserve(n int) {
	if cap(a.block)-len(a.block) < n {
		a.block = make([]byte, 0, max(n, arenaBlock))
	}
}

// rewind takes back all strings of the present block: they must not be used any more.
func (a *arena) rewind() { a.block = a.block[:0] }
