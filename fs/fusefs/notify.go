package fusefs

import "github.com/snapfs/snapfs/fs"

// Invalidate makes the kernel look names up again, and list their directories anew. It is
// for changes that do not come through the mount, and must not be called while a request
// is answered that may hold a lock of the kernel. Who has a file open keeps it.
func (s *Server) Invalidate(names []fs.Name) {
	dirs := make(map[fs.Ino]bool)
	for _, n := range names {
		// What fails here was not remembered.
		_ = s.fuse.EntryNotify(uint64(n.Dir), n.Name)
		dirs[n.Dir] = true
	}
	for dir := range dirs {
		_ = s.fuse.InodeNotify(uint64(dir), 0, 0)
	}
}

// DropContent makes the kernel forget what it has cached of the content of files, because
// it has turned out to be wrong. It waits for readers that are at it, and must not be
// called while a request is answered.
func (s *Server) DropContent(inos []fs.Ino) {
	for _, ino := range inos {
		for _, number := range s.fs.aliases.all(ino) {
			_ = s.fuse.InodeNotify(number, 0, 0) // what fails here was not remembered
		}
	}
}
