// Package cache holds what snapfs remembers locally: the bytes of blobs (Blobs), the
// hashes of files (HashCache) and the objects known to exist in a bucket
// (CheckCache).
//
// # How one read goes
//
// Blobs.ReadBlobAt looks for the bytes in this order, and the first place that has
// them answers:
//
//  1. the local file of the blob: a complete one, the stored blocks of a partial
//     one, or the file of a directory store on the same file system, used in place;
//  2. memory: whole small blobs, and the blocks that found no room on the disk;
//  3. a flight: the one transfer of these bytes that is under way in this process;
//  4. the same transfer in another process that shares the directory, whose blocks
//     appear in the partial file one by one;
//  5. a new flight: one ranged request to the store.
//
// A flight is detached from the reader that started it. Readers wait for exactly the
// bytes they need and are woken as those land; a reader that is cancelled leaves at
// once, and only when the last one has left is the transfer given up.
//
// # What is fetched ahead
//
// In a large blob, each sequential reader has a window ahead of it that doubles as it goes
// on (streams). One that jumps about gets single blocks, until it has touched one in 32 of a
// region of 256 MiB: then the region is fetched in large requests, in the background
// (regions). What lies outside of a blob only the caller knows: it says by Prefetch what
// comes next, such as the next file of a directory or the next chunk of a large file. All
// of this takes at most half of the memory for transfers, and is dropped when there is no
// room.
//
// # What is verified
//
// A blob of at most WholeBlob bytes is fetched whole, and no byte of it is served
// before its hash was found right: when it arrives, and again when this process first
// opens the cached file.
//
// A larger blob is fetched by ranges of blocks. Its bytes are served as they land.
// Each stored block carries a checksum, so that damage on the local disk is noticed
// and the block fetched again. When the last block is there the hash of the whole is
// checked, and only then are the bytes of the last piece handed out: who has read all of
// a blob has read the right bytes, or got an error. A blob that fails is dropped, and
// from then on it counts as suspect: it is fetched once more and served only after
// its hash was found right, and when that fails too reads fail with
// blobstore.ErrMismatch. If nothing had been served before, the retry is invisible.
//
// A large file of a directory store used in place is verified when all of its blocks
// have been read, with the same rule for the last piece. Complete large files in the
// cache carry an extended attribute that says in which boot of the machine they were
// verified; without it (after a power loss, or put there by another tool) they are
// verified before the first byte is served.
//
// What a mount has written and committed is adopted: copied from the overlay into the
// directory, and verified, so that it is not fetched back.
//
// # Layout of the directory
//
//	<hash>.xxh128              a complete, verified blob, mode 0444, installed by rename
//	<hash>.xxh128.<size>.part  blocks of a large blob, then one checksum per block
//	<hash>.xxh128.<nonce>.tmp  a small blob being written
//	<hash>.xxh128.joined       the blobs of one large file, one after the other, so that the
//	                           kernel can read it directly; <hash> is that of their list,
//	                           which is recorded in an attribute of the file
//	.snapfs                    bytes in use, and the locks between processes
//
// The complete files make the directory a FileSystemDataCache (spec/caches.md §2)
// which every tool can read.
//
// # Decisions
//
//   - A partial file marks a stored block by its checksum, not by a bit. A lost or
//     damaged mark, or a marked block that never reached the disk, both show as a
//     checksum that does not fit, and cost one fetch. Nothing needs an fsync.
//   - Blocks are stored under a shared lock, and completed or evicted under an
//     exclusive one; the end of a partial file's life always changes its length, so
//     that other processes read short, never zeros.
//   - Two processes fetch a block once: a flight locks the blocks that it fetches, byte
//     for byte of their place in the partial file, and who finds them locked waits for
//     them to be stored. A process that is stuck is not waited for longer than 10 s.
//   - What is in use is counted when it is reserved, before it is written, in books
//     that all processes share, and each eviction begins by listing the directory: a
//     count that is wrong, because a process was killed, is too high rather than too
//     low, and does not stay.
//   - When the directory has no room, or cannot be written, reads go on through memory.
//     Large blobs cannot be verified as a whole then.
//   - A store repeats a request a few times; a transfer goes on for as long as somebody
//     waits for it, from the last byte that has arrived. Each reader has its own patience
//     (Options.IOTimeout), so that who comes late to an outage waits as long as who came
//     first. Pauses end at 2 s: a reader is served soon after the store is back. What does
//     not pass, like a blob that is missing, fails at once.
//   - A request that takes three times as long as 95 in 100 of its size have lately is sent
//     a second time, one in 20 at most.
//   - Recency is the access time, set by this package and not by the kernel, so that it
//     works on file systems mounted noatime and is shared by all processes.
//   - A large file is many blobs, and the kernel can only be lent one file. So they are
//     joined in the background as they become local, from half of them on; shared with
//     their files where the file system can, else copied, and the files of the blobs are
//     then the first to be evicted. The joined file carries the hashes of its blobs in an
//     attribute, by which it can be verified when they are gone.
//   - Memory holds what the local disk does not: a block on the disk is in the kernel's
//     page cache, and a second copy of it would serve nobody.
package cache
