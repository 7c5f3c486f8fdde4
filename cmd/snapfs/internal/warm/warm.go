// Package warm fetches contents into the cache before anybody reads them.
package warm

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/trace"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"golang.org/x/sync/errgroup"
)

// workers is how many ranges are fetched at once.
const workers = 16

// Cache is where contents are fetched to.
type Cache interface {
	// Fetch returns when n bytes of blob from off on are in the cache.
	Fetch(ctx context.Context, blob manifest.Blob, off, n int64) error
}

// Range is a part of a file.
type Range struct {
	File   manifest.File
	Off, N int64
}

// Whole returns the ranges that are all of some files.
func Whole(files []manifest.File) []Range {
	var list []Range
	for _, f := range files {
		if f.IsRegular() && f.Size > 0 {
			list = append(list, Range{File: f, N: f.Size})
		}
	}
	return list
}

// Traced returns the ranges that a trace names, in its order, as far as the files that
// it names exist; missing is how many do not. What the files are too short for is left
// out.
func Traced(touches []trace.Touch, file func(path string) (manifest.File, bool)) (list []Range, missing int) {
	absent := map[string]bool{}
	for _, t := range touches {
		f, ok := file(t.Path)
		if !ok {
			absent[t.Path] = true
			continue
		}
		if n := min(t.Length, f.Size-t.Offset); n > 0 {
			list = append(list, Range{File: f, Off: t.Offset, N: n})
		}
	}
	return list, len(absent)
}

// Progress counts what is done. It may be read meanwhile.
type Progress struct{ ranges, bytes, doneRanges, doneBytes atomic.Int64 }

// Expect counts the ranges that there are to fetch.
func (p *Progress) Expect(list []Range) {
	p.ranges.Add(int64(len(list)))
	for i := range list {
		p.bytes.Add(list[i].N)
	}
}

// Counts returns the state for a display.
func (p *Progress) Counts() ops.Counts {
	return ops.Counts{
		TotalFiles: p.ranges.Load(), TotalBytes: p.bytes.Load(), DoneFiles: p.doneRanges.Load(), DoneBytes: p.doneBytes.Load(),
	}
}

// Run fetches ranges of files that have the given chunk size, about in their order. What
// the cache has already costs nothing, so that an interrupted run goes on where it
// stopped. Ranges that cannot be fetched do not keep it from the others: the error is
// then a *ops.Failures.
func Run(ctx context.Context, cache Cache, chunk int64, list []Range, p *Progress) error {
	p.Expect(list)
	var mu sync.Mutex
	var failed []ops.Failure
	group := new(errgroup.Group)
	group.SetLimit(workers)
	for i := range list {
		if ctx.Err() != nil {
			break
		}
		r := &list[i]
		group.Go(func() error {
			err := r.fetch(ctx, cache, chunk, &p.doneBytes)
			p.doneRanges.Add(1)
			if err != nil && ctx.Err() == nil {
				mu.Lock()
				failed = append(failed, ops.Failure{Path: r.File.Path, Err: err})
				mu.Unlock()
			}
			return nil
		})
	}
	_ = group.Wait() // failures are collected
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(failed) > 0 {
		return &ops.Failures{List: failed}
	}
	return nil
}

// fetch fetches the parts of the blobs that r touches.
func (r *Range) fetch(ctx context.Context, cache Cache, chunk int64, done *atomic.Int64) error {
	at := int64(0) // of the blob in the file
	for _, b := range r.File.Blobs(chunk) {
		from, to := max(r.Off, at), min(r.Off+r.N, at+b.Size)
		if from < to {
			if err := cache.Fetch(ctx, b, from-at, to-from); err != nil {
				return err
			}
			done.Add(to - from)
		}
		at += b.Size
	}
	return nil
}
