// Package fusefs serves a mounted tree (package fs) to the kernel through FUSE.
//
// It uses the raw protocol, in which the kernel names inodes by number: those
// numbers are the inode numbers of the tree, so that neither package keeps anything
// in memory for entries that nobody has changed.
//
// The tree changes only through this mount, so the kernel may cache names,
// attributes, link texts, directory listings and file contents for as long as it
// likes: timeouts are infinite and caches are kept across opens.
//
// # Passthrough
//
// Where the kernel offers it (Linux 6.9) and lets us (CAP_SYS_ADMIN), an open file whose
// bytes all lie in one local file is served by that file: the kernel reads and writes it
// without asking. That is a file of the overlay that nothing of the base shows through,
// or, for reading only, a complete and verified file of the cache or the store. These
// are the rules that keep it correct:
//
//   - All open files of one inode are served alike, since the kernel refuses a mixture:
//     the first open decides, until the last one is closed. An open that brings
//     passthrough drops the page cache of the inode, so nothing in it gets out of date.
//   - A stored file is never written to. Whoever opens an inode for writing, or truncates
//     it, while a stored file is read for it, gets a new inode of the kernel under the
//     same inode number (see aliases): the old readers keep the old content, as they do
//     on overlayfs, and everybody else sees the new one. If nobody reads it, or only
//     through us, the inode stays the same, and readers see what is written.
//   - The attributes of an inode that somebody may write to directly are cached for a
//     moment only; the tree takes them from the file.
//   - Small stored files are not worth it: the page cache of the mount keeps them across
//     opens.
package fusefs
