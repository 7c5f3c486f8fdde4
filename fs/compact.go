package fs

import (
	"slices"

	"github.com/snapfs/snapfs/fs/internal/wal"
)

const (
	// compactMin is the size that a log may always have, in bytes.
	compactMin = 4 << 20
	// compactFactor is how many times longer than the state a log may become.
	compactFactor = 2
	// nodeBytes is what a node takes in a compact log, until one has been written.
	nodeBytes = 100
	// compactBatch is the size of a record of a compact log, and how many bytes are
	// encoded before writers get their turn.
	compactBatch = 32 << 10
	// contentExtents is how many ranges of a file one op holds.
	contentExtents = 1000
)

// compactIfLong compacts the log when it has outgrown the state.
func (t *Tree) compactIfLong() error {
	ov := t.ov
	if ov.log.Size() < ov.compactAt.Load() {
		return nil
	}
	if ov.log.Size() >= t.longLog() {
		if err := t.compact(false); err != nil {
			ov.compactAt.Store(ov.log.Size() + compactMin)
			return err
		}
	}
	ov.compactAt.Store(max(t.longLog(), ov.log.Size()+compactMin/4))
	return nil
}

// longLog returns the size at which the log is too long for the state.
func (t *Tree) longLog() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return compactMin + compactFactor*t.ov.perNode.Load()*int64(len(t.nodes))
}

// compact replaces the log by the shortest one that yields the same state. The tree
// may be used meanwhile: what is logged after the beginning is kept, and replaying
// it over a state that knows of it already does no harm. Nodes that are made or
// changed meanwhile may or may not be part of what is written here, each by itself.
//
// A clean log is written when nobody uses the tree any more.
func (t *Tree) compact(clean bool) error {
	t.mu.RLock() // so that no record is logged but not yet applied
	w := stateWriter{t: t, r: t.ov.log.StartRewrite()}
	err := w.write(clean)
	nodes := int64(len(t.nodes))
	t.mu.RUnlock()
	if err != nil {
		w.r.Abandon()
		return err
	}
	if err := w.r.Finish(!clean); err != nil {
		return err
	}
	if nodes > 0 {
		t.ov.perNode.Store(max(w.bytes/nodes, 1))
	}
	return nil
}

// stateWriter writes the state of a tree. It needs Tree.mu held for reading, and
// lets go of it now and then so that nobody waits long.
type stateWriter struct {
	t     *Tree
	r     *wal.Rewriter
	bytes int64
	buf   []byte // the next record
}

func (w *stateWriter) write(clean bool) error {
	err := w.put(w.t.stateOp(false), &opCommit{seq: w.t.commits})
	if err == nil {
		err = w.nodes()
	}
	if err == nil {
		err = w.names()
	}
	if err == nil {
		err = w.put(w.t.stateOp(clean))
	}
	if err == nil {
		err = w.flush()
	}
	return err
}

func (w *stateWriter) nodes() error {
	for _, n := range w.t.nodes {
		if len(n.links) == 0 {
			continue
		}
		if n.ino < firstOverlayIno {
			moved := n.dir != nil && n.dir.moved
			if err := w.put(&opBase{ino: n.ino, home: w.t.isHome(n), moved: moved}); err != nil {
				return err
			}
		}
		n.mu.Lock()
		ops := n.state()
		n.mu.Unlock()
		if err := w.put(ops...); err != nil {
			return err
		}
	}
	return nil
}

func (w *stateWriter) names() error {
	for _, n := range w.t.nodes {
		if n.dir == nil || len(n.links) == 0 {
			continue
		}
		for name, child := range n.dir.names {
			if err := w.put(&opEntry{parent: n.ino, name: name, ino: child}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *stateWriter) put(ops ...op) error {
	for _, o := range ops {
		w.buf = o.append(w.buf)
	}
	if len(w.buf) < compactBatch {
		return nil
	}
	return w.flush()
}

// flush writes what was put, while others may use the tree.
func (w *stateWriter) flush() error {
	w.t.mu.RUnlock()
	defer w.t.mu.RLock()
	err := w.r.Add(w.buf)
	w.bytes += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// state returns the ops that make the node what it is, but for its names. They share
// nothing with the node that may change. It needs n.mu.
func (n *node) state() []op {
	attr := n.attrOp(n.ctime)
	var ops []op
	if n.ino >= firstOverlayIno {
		ops = append(ops, &opCreate{opAttr: *attr, rdev: n.rdev, text: n.text})
	} else {
		ops = append(ops, attr)
	}
	if f := n.file; f != nil {
		if f.src != nil {
			ops = append(ops, f.src.op(n.ino, n.mtime))
		}
		written := f.written.Ranges()
		first := written[:min(len(written), contentExtents)]
		ops = append(ops, &opContent{
			ino: n.ino, row: f.row, data: f.data, size: n.size, limit: f.limit, written: slices.Clone(first),
		})
		for _, r := range written[len(first):] {
			ops = append(ops, &opExtent{ino: n.ino, r: r})
		}
		if f.hashes != nil {
			ops = append(ops, &opHashes{ino: n.ino, hashes: slices.Clone(f.hashes)})
		}
	}
	for name, value := range n.xattrs {
		ops = append(ops, &opXattr{ino: n.ino, name: name, value: value, when: n.ctime})
	}
	return ops
}
