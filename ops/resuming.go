package ops

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops/internal/confine"
)

// resumeMin is the size from which a file is worth resuming: it has a name while it is
// written, and the ranges that a killed process has written are not fetched again.
const resumeMin = rangeSize

// content identifies what a file is to hold, and how.
func (w *writing) content() string { return contentOf(w.file(), w.blobs) }

func contentOf(f *manifest.File, blobs []manifest.Blob) string {
	text := fmt.Sprint(f.Size, f.Runnable)
	for _, b := range blobs {
		text += " " + string(b.Hash)
	}
	return text
}

// create makes the file that is written to.
func (w *writing) create(perm uint32) (*confine.Temp, error) {
	if w.file().Size < resumeMin {
		return w.dir.CreateTemp(perm)
	}
	return w.dir.Resume(path.Base(w.file().Path), w.content(), perm)
}

// written returns how much of a run of the file an earlier process has left. The last
// step of a copy may have been cut short.
func (w *writing) written(off, n int64) int64 {
	have := w.temp.Written(off, n)
	if have < n {
		have -= have % copyStride
	}
	return have
}

// adopt counts n bytes as there already.
func (w *writing) adopt(n int64) {
	w.had.Add(n)
	w.d.tally.skip(0, n)
}

// uncount takes back what was counted of a file that came to nothing.
func (w *writing) uncount() {
	w.count(-w.got.Load())
	w.adopt(-w.had.Load())
}

// abandon closes a file that is not complete. What was written is kept if the same run,
// started again, can go on with it.
func (w *writing) abandon(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, blobstore.ErrUnavailable) {
		w.temp.Keep()
	} else {
		w.temp.Discard()
	}
}

// partsOf returns how much space files being resumed take already.
func (d *download) partsOf(work []item) (total int64) {
	for _, it := range work {
		f := &d.files[it.i]
		if f.Size < resumeMin {
			continue
		}
		if dir, err := d.root.Dir(path.Dir(f.Path)); err == nil {
			total += min(f.Size, dir.PartSize(path.Base(f.Path), contentOf(f, f.Blobs(d.chunk))))
			dir.Close()
		}
	}
	return total
}
