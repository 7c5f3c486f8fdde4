// Package fs is the mounted tree: a POSIX file system made of an immutable base and
// a writable overlay. It knows no kernel and no network; package fs/fusefs serves
// it through FUSE.
//
// # Base
//
// A Base is the index of a snapshot: one fixed-width row for each entry, and one
// arena for all names. The inode number of a base entry is its row, so that a
// mounted tree of a million entries that nobody has touched costs no memory beyond
// the index.
//
// # Overlay
//
// Whatever has been touched has a node. A node of a base entry keeps the inode
// number of its row (copy-up does not change the identity of a file); a node that
// was created has a number of its own, which is never used again. A directory node
// holds only the names that differ from the base: a name that maps to an inode, or
// to a whiteout that hides the base entry. Renaming a base directory of a million
// files therefore adds one name and one whiteout.
//
// The content of a file node is the base content up to a limit, overlaid by the
// ranges (extents) that were written since, which lie at their own offsets in a
// sparse data file. Copy-up is O(1); what was not written stays in the store. The
// size and modification time of the data file are those of the node, so writes need
// no metadata of their own to survive a crash.
//
// # Durability
//
// Every change of metadata is a record of operations. It is appended to a
// checksummed log before it is acknowledged, and then applied to memory by the same
// code that replays the log after a crash. See fs/README.md for the formats.
//
// # Locks
//
// Tree.mu guards the namespace (nodes, names, links); node.mu guards the attributes
// and the content map of one node; node.io is held while content changes, which may
// take as long as the disk likes. The order is Tree.mu before node.mu and node.io
// before node.mu; Tree.mu and node.io are never held together, nor two locks of the
// same kind, and none is held while the store is asked for content.
package fs
