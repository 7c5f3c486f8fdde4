package fs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
)

// everyOp has each kind of op, with no field at its zero value.
var everyOp = []op{
	&opCreate{opAttr: opAttr{ino: 1 << 41, mode: 0o100644, uid: 7, gid: 8, atime: -1, mtime: 2, ctime: 3}, rdev: 9, text: "target"},
	&opBase{ino: 5, home: true, moved: true},
	&opAttr{ino: 5, mode: 0o40755, uid: 1<<32 - 1, gid: 8, atime: 1 << 62, mtime: -1 << 62, ctime: 3},
	&opEntry{parent: 1, name: "naïve\xff", ino: 1 << 41, when: 4},
	&opXattr{ino: 5, name: "user.x", remove: true, value: []byte("v"), when: 5},
	&opExtent{ino: 5, r: extent.Range{Off: 3, End: 1 << 50}},
	&opTruncate{ino: 5, limit: 77},
	&opData{ino: 5},
	&opContent{ino: 5, row: 4, data: true, size: 10, limit: 9, written: []extent.Range{{Off: 1, End: 2}, {Off: 4, End: 5}}},
	&opHashes{ino: 5, hashes: []manifest.Hash{manifest.Sum(nil), ""}},
	&opDirty{ino: 5, chunk: 3},
	&opCommit{seq: 12},
	&opState{next: 1<<41 + 1, clean: true, boot: "b"},
	&opStored{ino: 5, size: 10, mtime: -3, chunk: 8, hashes: [][16]byte{{1}, {15: 2}}},
}

var allowOps = cmp.AllowUnexported(opCreate{}, opBase{}, opAttr{}, opEntry{}, opXattr{}, opExtent{}, opTruncate{}, opData{},
	opContent{}, opHashes{}, opDirty{}, opCommit{}, opState{}, opStored{})

func encodeOps(ops []op) (b []byte) {
	for _, o := range ops {
		b = o.append(b)
	}
	return b
}

// decodeOps returns the ops of one log record.
func decodeOps(payload []byte) (ops []op, err error) {
	for len(payload) > 0 {
		r := &opReader{b: payload}
		o := r.next()
		if r.err != nil {
			return nil, r.err
		}
		ops, payload = append(ops, o), r.b
	}
	return ops, nil
}

func TestEveryOpSurvivesTheLog(t *testing.T) {
	got, err := decodeOps(encodeOps(everyOp))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(everyOp, got, allowOps); d != "" {
		t.Fatal(d)
	}
	var tags []int
	for _, o := range everyOp {
		tags = append(tags, int(o.append(nil)[0]))
	}
	slices.Sort(tags)
	for i := range tags {
		if tags[i] != i+1 {
			t.Fatalf("tags in the sample: %v", tags)
		}
	}
	if len(tags) != tagStored {
		t.Fatalf("%d kinds in the sample, there are %d", len(tags), tagStored)
	}
}

func TestCutOpIsAnError(t *testing.T) {
	for _, o := range everyOp {
		whole := o.append(nil)
		for n := 1; n < len(whole); n++ {
			if ops, err := decodeOps(whole[:n]); err == nil {
				t.Errorf("%T cut to %d of %d bytes: %+v", o, n, len(whole), ops[0])
			}
		}
	}
}

// TestReadmeListsEveryOp keeps the description of the format complete.
func TestReadmeListsEveryOp(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range everyOp {
		name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", o), "*fs.op"))
		if row := fmt.Sprintf("\n| %d | %s |", o.append(nil)[0], name); !strings.Contains(string(readme), row) {
			t.Errorf("README.md lacks the row %q", row[1:])
		}
	}
}

// FuzzDecodeOps checks that decoding never fails in another way than with an error,
// and that what it accepts means the same when it is written again.
func FuzzDecodeOps(f *testing.F) {
	f.Add(encodeOps(everyOp))
	for _, o := range everyOp {
		f.Add(o.append(nil))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		ops, err := decodeOps(payload)
		if err != nil {
			return
		}
		canonical := encodeOps(ops)
		again, err := decodeOps(canonical)
		if err != nil {
			t.Fatalf("%x was written as %x, which is refused: %v", payload, canonical, err)
		}
		if b := encodeOps(again); !bytes.Equal(b, canonical) {
			t.Fatalf("%x was written as %x and then as %x", payload, canonical, b)
		}
	})
}
