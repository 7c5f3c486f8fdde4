package fs

import "golang.org/x/sys/unix"

// holes returns how many bytes of a regular file take no space, negative when more is
// allocated than the file is long. It needs t.mu, and takes n.mu.
func (t *Tree) holes(n *node) int64 {
	if n.file == nil {
		return 0
	}
	n.mu.Lock()
	f := n.file
	size, shining := n.size, f.limit-f.written.Bytes() // what shows through of the base counts as stored
	data, open := f.data, f.f
	var st unix.Stat_t
	var err error
	if data && open != nil {
		err = unix.Fstat(int(open.Fd()), &st)
	}
	n.mu.Unlock()
	if data && open == nil {
		err = unix.Stat(t.ov.dataPath(n.ino), &st)
	}
	if err != nil {
		return 0
	}
	return size - shining - st.Blocks*512
}
