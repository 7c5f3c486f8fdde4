package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops/internal/confine"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// download is the state of one Download. All its paths are relative to the root.
type download struct {
	opts     DownloadOptions
	root     *confine.Root
	confined bool // the root was named by the caller
	isDiff   bool
	chunk    int64
	files    []manifest.File // a copy; times, and paths where they change, are results
	dirs     []manifest.Dir

	fetch *fetcher
	tally *tally
	fails failureList
	group errgroup.Group
	stop  context.CancelCauseFunc
	rows  rowBuffer

	made map[string]bool // directories created in this run

	links, deletedFiles, deletedDirs, keptDirs atomic.Int64
}

func newDownload(isDiff bool, src blobstore.Store, opts DownloadOptions, root string) (*download, error) {
	r, err := confine.Open(root)
	if err != nil {
		return nil, err
	}
	workers := positive(opts.Workers, defaultDownloads)
	d := &download{
		opts: opts, root: r, isDiff: isDiff,
		fetch: newFetcher(src, newBuffers(workers, opts.MaxMemory)),
		tally: newTally(opts.Progress),
		made:  map[string]bool{},
	}
	d.group.SetLimit(workers)
	return d, nil
}

func (d *download) stats() DownloadStats {
	counts, elapsed, rate := d.tally.finish()
	unit := "files"
	if d.chunk > 0 {
		unit = "chunks"
	}
	return DownloadStats{
		TotalFiles: counts.TotalFiles, TotalBytes: counts.TotalBytes,
		DownloadedFiles: counts.DoneFiles, DownloadedBytes: counts.DoneBytes,
		SkippedFiles: counts.SkippedFiles, SkippedBytes: counts.SkippedBytes,
		Links: d.links.Load(), CreatedDirs: int64(len(d.made)),
		DeletedFiles: d.deletedFiles.Load(), DeletedDirs: d.deletedDirs.Load(), KeptDirs: d.keptDirs.Load(),
		Elapsed: elapsed, Rate: rate, unit: unit,
	}
}

// run goes through the phases.
func (d *download) run(parent context.Context) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	d.stop = stop
	for i := range d.files {
		if d.files[i].IsRegular() {
			d.tally.expect(1, d.files[i].Size)
		}
	}
	if !d.opts.KeepDeleted {
		d.removeFiles(ctx)
		d.removeDirs(ctx)
	}
	d.makeDirs(ctx)
	work := d.classify(ctx)
	if err := d.checkSpace(work); err != nil {
		return err
	}
	d.writeFiles(ctx, work)
	if d.opts.Symlinks != ExcludeAll {
		d.makeLinks(ctx)
	}
	d.setTimes(ctx)
	d.rows.flush(d.opts.Cache)
	return d.fails.outcome(parent)
}

// fail records that the entry at rel could not be handled, and ends the run when the
// others would fail for the same reason.
func (d *download) fail(ctx context.Context, rel string, err error) {
	d.fails.add(ctx, d.root.Join(rel), err)
	if isFatal(err) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) {
		d.stop(err)
	}
}

// isGone reports whether err says that there is nothing to delete at a path.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// removeFiles deletes the files and links that a diff says are deleted. What is
// there is judged without following links (G-13); a directory is none of them.
func (d *download) removeFiles(ctx context.Context) {
	for i := range d.files {
		f := &d.files[i]
		if !f.Deleted || ctx.Err() != nil {
			continue
		}
		dir, err := d.root.Dir(path.Dir(f.Path))
		if err == nil {
			var info confine.Info
			if info, err = dir.Lstat(path.Base(f.Path)); err == nil && !info.IsDir() {
				if err = dir.Remove(path.Base(f.Path)); err == nil {
					d.deletedFiles.Add(1)
				}
			}
			dir.Close()
		}
		if err != nil && !isGone(err) {
			d.fail(ctx, f.Path, err)
		}
	}
}

// removeDirs deletes the directories that a diff says are deleted, the deepest
// first. One that is not empty is kept.
func (d *download) removeDirs(ctx context.Context) {
	var doomed []string
	for _, dir := range d.dirs {
		if dir.Deleted {
			doomed = append(doomed, dir.Path)
		}
	}
	slices.SortFunc(doomed, func(a, b string) int { return strings.Compare(b, a) })
	for _, rel := range doomed {
		if ctx.Err() != nil {
			return
		}
		dir, err := d.root.Dir(path.Dir(rel))
		if err == nil {
			err = dir.RemoveDir(path.Base(rel))
			dir.Close()
		}
		switch {
		case err == nil:
			d.deletedDirs.Add(1)
		case errors.Is(err, unix.ENOTEMPTY):
			d.keptDirs.Add(1)
		case !isGone(err):
			d.fail(ctx, rel, err)
		}
	}
}

// makeDirs creates the directories of the manifest and those that files and links
// need.
func (d *download) makeDirs(ctx context.Context) {
	for _, rel := range d.wantedDirs() {
		if ctx.Err() != nil {
			return
		}
		dir, created, err := d.root.MakeDir(rel)
		if err != nil {
			d.fail(ctx, rel, err)
			continue
		}
		dir.Close()
		if created {
			d.made[rel] = true
		}
	}
}

// wantedDirs returns the directories that must exist, sorted, without the root. A
// directory of a diff below which nothing lives and something was deleted is only
// there because the format names the parents of deleted entries (G-05).
func (d *download) wantedDirs() []string {
	wanted, emptied := map[string]bool{}, map[string]bool{}
	for i := range d.files {
		switch f := &d.files[i]; {
		case f.Deleted:
			mark(emptied, path.Dir(f.Path))
		case f.IsRegular() || d.opts.Symlinks != ExcludeAll:
			mark(wanted, path.Dir(f.Path))
		}
	}
	for _, dir := range d.dirs {
		if dir.Deleted {
			mark(emptied, path.Dir(dir.Path))
		}
	}
	for _, dir := range d.dirs {
		if !dir.Deleted && !emptied[dir.Path] {
			mark(wanted, dir.Path)
		}
	}
	delete(wanted, ".")
	list := make([]string, 0, len(wanted))
	for rel := range wanted {
		list = append(list, rel)
	}
	slices.Sort(list)
	return list
}

// makeLinks creates the symbolic links, after everything that could be written
// through them.
func (d *download) makeLinks(ctx context.Context) {
	for i := range d.files {
		f := &d.files[i]
		if !f.IsLink() || ctx.Err() != nil {
			continue
		}
		text, err := d.linkText(f)
		if err == nil {
			err = d.makeLink(f, text)
		}
		if err != nil {
			d.fail(ctx, f.Path, err)
		}
	}
}

// linkText returns what to write into a link. Targets of absolute manifests are
// absolute, those of relative ones relative to the root.
func (d *download) linkText(f *manifest.File) (string, error) {
	target := f.Target
	if path.IsAbs(target) {
		rel, inside := manifest.Within(target, d.root.Path())
		switch {
		case target == d.root.Path():
			rel = "."
		case !inside && !d.opts.AllowEscapingLinks:
			return "", fmt.Errorf("%w: the link leads to %s", ErrUnsafe, printable(target))
		}
		if !d.opts.RelativeLinks || rel == "" {
			return target, nil
		}
		target = rel
	}
	return filepath.Rel(path.Dir(f.Path), target)
}

func (d *download) makeLink(f *manifest.File, text string) error {
	dir, err := d.root.Dir(path.Dir(f.Path))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(f.Path)
	if now, err := dir.Readlink(name); err == nil && now == text {
		d.links.Add(1)
		return nil
	}
	place := placing{
		create:  func(name string) error { return dir.Symlink(text, name) },
		replace: func(name string) error { return dir.ReplaceSymlink(text, name) },
	}
	at, err := place.do(name, d.opts.Conflict)
	if err != nil {
		return err
	}
	if at != "" {
		d.links.Add(1)
		f.Path = path.Join(path.Dir(f.Path), at)
	}
	return nil
}

// setTimes gives directories and links their times (see Download).
func (d *download) setTimes(ctx context.Context) {
	newest, inDir := int64(0), map[string]int64{}
	for i := range d.files {
		if f := &d.files[i]; f.IsRegular() {
			newest = max(newest, f.ModTime)
			dir := path.Dir(f.Path)
			inDir[dir] = max(inDir[dir], f.ModTime)
		}
	}
	for i := range d.files {
		if f := &d.files[i]; f.IsLink() && d.opts.Symlinks != ExcludeAll {
			d.setTime(ctx, f.Path, cmp.Or(inDir[path.Dir(f.Path)], newest))
		}
	}
	if newest == 0 {
		return
	}
	for _, rel := range d.wantedDirs() {
		if d.made[rel] || d.confined && !d.isDiff {
			d.setTime(ctx, rel, cmp.Or(inDir[rel], newest))
		}
	}
}

func (d *download) setTime(ctx context.Context, rel string, micros int64) {
	if ctx.Err() != nil {
		return
	}
	dir, err := d.root.Dir(path.Dir(rel))
	if err == nil {
		err = dir.SetModTime(path.Base(rel), micros)
		dir.Close()
	}
	if err != nil && !isGone(err) {
		d.fail(ctx, rel, err)
	}
}

// checkSpace fails when the files to write cannot fit, counting what they replace.
func (d *download) checkSpace(work []item) error {
	var need int64
	for _, it := range work {
		need += d.files[it.i].Size - it.info.Size
	}
	if need <= 0 || d.fetch.shares(d.root.Path()) {
		return nil
	}
	free, err := d.root.Free()
	if err != nil {
		return err
	}
	if need > free && need-d.partsOf(work) > free {
		return fmt.Errorf("%s: %w: %s are needed and %s are free", d.root.Path(), unix.ENOSPC,
			HumanSize(uint64(need)), HumanSize(uint64(max(free, 0))))
	}
	return nil
}
