package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/snapfs/snapfs/fs/internal/wal"
	"golang.org/x/sys/unix"
)

// recover reads the log and brings the state of the data files in.
func (t *Tree) recover() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	path := filepath.Join(t.ov.dir, logFile)
	fi, err := os.Lstat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if fresh {
		err = t.checkFresh()
	}
	if err != nil {
		return err
	}
	if !fresh {
		t.nodes = make(map[Ino]*node, fi.Size()/nodeBytes)
	}
	var last opState
	apply := func(o op) {
		o.apply(t)
		if s, ok := o.(*opState); ok {
			last = *s
		} else {
			last.clean = false
		}
	}
	var r opReader
	t.ov.log, err = wal.Open(path, func(payload []byte) error {
		fresh = false
		return r.each(payload, apply)
	})
	var corrupt *wal.CorruptError
	if errors.As(err, &corrupt) {
		return fmt.Errorf("%w: %v; nothing was changed: the written contents lie in %s, keep a copy of %s before you repair it",
			ErrDamaged, corrupt, filepath.Join(t.ov.dir, dataDir), t.ov.dir)
	}
	if err != nil {
		return fmt.Errorf("open overlay log: %w", err)
	}
	if err := t.settle(fresh, last); err != nil {
		return errors.Join(err, t.ov.log.Close())
	}
	return nil
}

// checkFresh refuses to start a log beside written contents that it would not know.
func (t *Tree) checkFresh() error {
	names, err := readNames(filepath.Join(t.ov.dir, dataDir))
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := strconv.ParseUint(name, 16, 64); err == nil {
			return fmt.Errorf("%w: %s is missing, but written contents lie in %s; restore the log, or move the directory away",
				ErrDamaged, filepath.Join(t.ov.dir, logFile), filepath.Join(t.ov.dir, dataDir))
		}
	}
	return nil
}

// settle completes the state that the log has left, last being its last opState.
func (t *Tree) settle(fresh bool, last opState) error {
	t.ov.perNode.Store(nodeBytes)
	dirs, written := t.dropUnlinked()
	t.countSubdirs(dirs)
	now := t.stateOp(false)
	if !fresh && !last.clean {
		if err := t.adoptData(written, last.boot != now.boot); err != nil {
			return err
		}
	}
	// From here on writes to data files may leave no other record.
	return t.log(now)
}

// dropUnlinked forgets the inodes that had no name when the last process ended, notes
// which of the others Shrink is to look at, and returns the directories and the files
// with written content among them.
func (t *Tree) dropUnlinked() (dirs, written []*node) {
	for ino, n := range t.nodes {
		switch {
		case len(n.links) == 0:
			delete(t.nodes, ino)
		case n.dir != nil:
			dirs = append(dirs, n)
		case n.file != nil && n.file.data:
			written = append(written, n)
			if t.settled(n) {
				t.ov.settled = append(t.ov.settled, n)
			}
		}
	}
	return dirs, written
}

// countSubdirs counts the child directories of every directory afresh: the records
// of a compacted log come in no particular order.
func (t *Tree) countSubdirs(dirs []*node) {
	for _, n := range dirs {
		n.dir.subdirs = 0
		if n.dir.row == 0 {
			continue
		}
		n.dir.subdirs = t.base.subdirs(n.dir.row)
		for name := range n.dir.names {
			if t.base.isDir(t.base.child(n.dir.row, name)) {
				n.dir.subdirs-- // it is hidden
			}
		}
	}
	for _, n := range dirs {
		if n.ino == RootIno {
			continue
		}
		l := n.links[0]
		if p := t.nodes[l.parent]; p != nil && p.dir.names[l.name] == n.ino {
			p.dir.subdirs++ // otherwise it is at home, and counted
		}
	}
}

// adoptData takes size and modification time of written files from their data
// files, which is where writes leave them, and removes data files that nobody
// refers to: those of deleted files, and of writes that were never acknowledged.
//
// When the system has been started anew, and so may have lost power, what was never
// synced may be lost in any order, and data files may be shorter than the log says,
// or absent.
func (t *Tree) adoptData(written []*node, rebooted bool) error {
	found, orphans, err := t.listData()
	if err != nil {
		return err
	}
	for _, n := range written {
		if !found[n.ino] && !rebooted {
			return fmt.Errorf("%w: the content of %s is missing: no file %s", ErrDamaged, t.path(n.ino), t.ov.dataPath(n.ino))
		}
	}
	for _, n := range written {
		if found[n.ino] {
			err = t.adopt(n, rebooted)
		} else {
			err = t.forgetData(n)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range orphans {
		if err := os.Remove(filepath.Join(t.ov.dir, dataDir, name)); err != nil {
			return err
		}
	}
	return nil
}

// listData returns which inodes have the data file that they should have, and the
// names of those data files that nobody refers to.
func (t *Tree) listData() (found map[Ino]bool, orphans []string, err error) {
	names, err := readNames(filepath.Join(t.ov.dir, dataDir))
	found = make(map[Ino]bool, len(names))
	for _, name := range names {
		ino, err := strconv.ParseUint(name, 16, 64)
		if err != nil {
			continue // not ours: leave it alone
		}
		if n := t.nodes[Ino(ino)]; n != nil && n.file != nil && n.file.data {
			found[Ino(ino)] = true
		} else {
			orphans = append(orphans, name)
		}
	}
	return found, orphans, err
}

func (t *Tree) adopt(n *node, rebooted bool) error {
	path := t.ov.dataPath(n.ino)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%w: the content of %s is missing: %s is no file", ErrDamaged, t.path(n.ino), path)
	}
	n.size = st.Size
	n.mtime = st.Mtim.Nano()
	n.ctime = max(n.ctime, st.Mtim.Nano())
	switch {
	case n.file.limit <= n.size:
		return nil
	case rebooted: // it was made shortly before, and has not got its size
		n.size = n.file.limit
		return os.Truncate(path, n.size)
	}
	// A truncation whose record is missing. It must not be forgotten again: the file
	// may grow before the next crash, and what was cut off would come back.
	return t.logNode(n, &opTruncate{ino: n.ino, limit: n.size})
}

// forgetData takes back the writes to a file that were never synced.
func (t *Tree) forgetData(n *node) error {
	return t.logNode(n, &opContent{ino: n.ino, row: n.file.row, size: n.file.limit, limit: n.file.limit})
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
