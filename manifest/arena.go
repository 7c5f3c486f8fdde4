package manifest

import "strings"

// arenaBlock is how much memory an arena takes at a time.
const arenaBlock = 256 << 10

// arena copies many small strings into few large blocks, which costs less memory
// and less work for the garbage collector than one allocation each. A block lives
// as long as any string in it.
type arena struct{ block *strings.Builder }

// room makes space for n more bytes without moving what is there.
func (a *arena) room(n int) *strings.Builder {
	if a.block == nil || a.block.Cap()-a.block.Len() < n {
		a.block = new(strings.Builder)
		a.block.Grow(max(n, arenaBlock))
	}
	return a.block
}

// bytes returns b as a string.
func (a *arena) bytes(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	block := a.room(len(b))
	from := block.Len()
	block.Write(b)
	return block.String()[from:]
}

// join returns dir + "/" + name.
func (a *arena) join(dir, name string) string {
	block := a.room(len(dir) + 1 + len(name))
	from := block.Len()
	block.WriteString(dir)
	block.WriteByte('/')
	block.WriteString(name)
	return block.String()[from:]
}
