// Package fusefs serves a mounted tree (package fs) to the kernel through FUSE.
//
// It uses the raw protocol, in which the kernel names inodes by number: those
// numbers are the inode numbers of the tree, so that neither package keeps anything
// in memory for entries that nobody has changed.
//
// The tree changes only through this mount, so the kernel may cache names,
// attributes, link texts, directory listings and file contents for as long as it
// likes: timeouts are infinite and caches are kept across opens.
package fusefs
