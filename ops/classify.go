package ops

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops/internal/confine"
)

// item is a file to be written.
type item struct {
	i     int          // index of the file
	info  confine.Info // of what exists at its path, or zero
	probe bool         // what exists may well be the right content
}

// classify finds out which files have to be written, in the order of their
// directories, and settles the others.
func (d *download) classify(ctx context.Context) []item {
	byDir := map[string][]int{}
	for i := range d.files {
		if d.files[i].IsRegular() {
			dir := path.Dir(d.files[i].Path)
			byDir[dir] = append(byDir[dir], i)
		}
	}
	dirs := make([]string, 0, len(byDir))
	for dir := range byDir {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	parts := make([][]item, len(dirs))
	for k, dir := range dirs {
		if ctx.Err() != nil {
			break
		}
		if d.made[dir] { // nothing is there
			for _, i := range byDir[dir] {
				parts[k] = append(parts[k], item{i: i})
			}
			continue
		}
		d.group.Go(func() error {
			for batch := range slices.Chunk(byDir[dir], lookupBatch) {
				parts[k] = append(parts[k], d.classifyDir(ctx, dir, batch)...)
			}
			return nil
		})
	}
	_ = d.group.Wait() // failures are collected
	return slices.Concat(parts...)
}

// classifyDir is classify for files of one directory.
func (d *download) classifyDir(ctx context.Context, rel string, batch []int) []item {
	dir, err := d.root.Dir(rel)
	if err != nil {
		for _, i := range batch {
			d.fail(ctx, d.files[i].Path, err)
		}
		return nil
	}
	defer dir.Close()
	items := make([]item, 0, len(batch))
	for _, i := range batch {
		info, err := dir.Find(path.Base(d.files[i].Path))
		if err != nil {
			d.fail(ctx, d.files[i].Path, err)
			continue
		}
		items = append(items, item{i: i, info: info})
	}
	known := d.known(items)
	work := items[:0]
	for k, it := range items {
		f := &d.files[it.i]
		switch {
		case known[k]:
			d.settle(ctx, dir, it)
		case it.info.Exists() && d.opts.Conflict == Skip:
			d.settle(ctx, dir, it)
		default:
			it.probe = it.info.IsRegular() && it.info.Size == f.Size && it.info.MicroMod == f.ModTime
			work = append(work, it)
		}
	}
	return work
}

// known reports for each item whether the cache knows that what exists has the right
// content.
func (d *download) known(items []item) []bool {
	known := make([]bool, len(items))
	if d.opts.Cache == nil {
		return known
	}
	var rows []HashRow
	for _, it := range items {
		if f := &d.files[it.i]; it.info.IsRegular() && it.info.Size == f.Size {
			rows = d.appendRows(rows, f, it.info.MicroMod)
		}
	}
	if len(rows) == 0 {
		return known
	}
	want := slices.Clone(rows)
	for k := range rows {
		rows[k].Hash = ""
	}
	d.opts.Cache.Lookup(rows)
	for k, it := range items {
		f := &d.files[it.i]
		if !it.info.IsRegular() || it.info.Size != f.Size {
			continue
		}
		n := max(1, len(f.Chunks))
		known[k] = slices.Equal(rows[:n], want[:n])
		rows, want = rows[n:], want[n:]
	}
	return known
}

// appendRows appends the rows that say that f is on disk, with the given time.
func (d *download) appendRows(rows []HashRow, f *manifest.File, modTime int64) []HashRow {
	at := HashRow{Path: d.root.Join(f.Path), End: -1, ModTime: modTime, Hash: f.Hash}
	if f.Hash != "" {
		return append(rows, at)
	}
	for k, h := range f.Chunks {
		at.Start, at.Hash = int64(k)*d.chunk, h
		at.End = min(at.Start+d.chunk, f.Size)
		rows = append(rows, at)
	}
	return rows
}

// settle accounts for a file that stays as it is, except that its runnable bit is
// put right where the policy is to make files what the manifest says.
func (d *download) settle(ctx context.Context, dir *confine.Dir, it item) {
	f := &d.files[it.i]
	if d.opts.Conflict == Overwrite && it.info.IsRegular() && it.info.IsRunnable() != f.Runnable {
		if err := setRunnable(dir, path.Base(f.Path), f.Runnable); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.fail(ctx, f.Path, err)
			return
		}
	}
	f.ModTime = it.info.MicroMod
	d.tally.skip(1, f.Size)
}

// setRunnable lets everybody execute a file who may read it, or nobody (G-02).
func setRunnable(dir *confine.Dir, name string, runnable bool) error {
	file, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	mode := info.Mode().Perm() &^ 0o111
	if runnable {
		mode |= mode & 0o444 >> 2
	}
	return file.Chmod(mode)
}
