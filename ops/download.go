package ops

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops/internal/confine"
)

// ErrUnsafe means that an entry would have been written through a symbolic link that
// no one expects there, or outside of the directory that was named.
var ErrUnsafe = confine.ErrUnsafe

// defaultDownloads is how many blobs, or ranges of blobs, are fetched at once unless
// the caller says otherwise (spec/types.md §1).
const defaultDownloads = 10

// DownloadOptions are the choices of Download and DownloadTo. The zero value works.
type DownloadOptions struct {
	// Cache remembers the hashes of files on disk between runs; nil means none.
	Cache HashCache
	// Conflict says what happens to files and links that exist already.
	Conflict ConflictPolicy
	// KeepDeleted leaves alone what a diff says is deleted.
	KeepDeleted bool
	// Symlinks is ExcludeAll to create no links. All other policies create them, as
	// in the reference.
	Symlinks SymlinkPolicy

	// Root is the directory that confines Download: links on the way to it are
	// followed, links below it never, and nothing outside of it is touched. It must
	// exist. "" means "/". DownloadTo ignores it.
	Root string
	// RelativeLinks makes Download write links with relative texts, so that the tree
	// may be moved. DownloadTo always does.
	RelativeLinks bool
	// AllowEscapingLinks lets Download create links that lead out of Root.
	AllowEscapingLinks bool

	// Workers is how many blobs are fetched at once; 0 means 10.
	Workers int
	// MaxMemory bounds the memory for contents, in bytes; 0 means 64 MiB.
	MaxMemory int64
	// Progress, when not nil, is kept up to date.
	Progress *Progress
}

// ConflictPolicy says what happens to files and links that exist already.
type ConflictPolicy uint8

const (
	// Overwrite replaces them. It is the default.
	Overwrite ConflictPolicy = iota
	// Skip keeps what is there.
	Skip
	// CreateCopy keeps what is there and writes "name (1).ext" beside it.
	CreateCopy
)

// String returns the name of the policy as the command line spells it.
func (p ConflictPolicy) String() string {
	switch p {
	case Overwrite:
		return "overwrite"
	case Skip:
		return "skip"
	case CreateCopy:
		return "create-copy"
	}
	return fmt.Sprintf("ConflictPolicy(%d)", uint8(p))
}

// ParseConflictPolicy returns the policy of the given name.
func ParseConflictPolicy(name string) (ConflictPolicy, error) {
	for p := Overwrite; p <= CreateCopy; p++ {
		if p.String() == strings.ReplaceAll(name, "_", "-") {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%w: unknown conflict policy %q (one of overwrite, skip, create-copy)", manifest.ErrInvalid, name)
}

// DownloadStats says what Download did.
type DownloadStats struct {
	TotalFiles, TotalBytes           int64 // regular files of the manifest
	DownloadedFiles, DownloadedBytes int64
	SkippedFiles, SkippedBytes       int64 // kept, because they are right already or by policy
	Links                            int64 // created or right already
	CreatedDirs                      int64
	DeletedFiles, DeletedDirs        int64
	KeptDirs                         int64 // deleted by the diff, but not empty
	Elapsed                          time.Duration
	Rate                             float64 // bytes per second over the last 12 s
	unit                             string
}

// Message returns a closing line for people, such as
// "Downloaded 12.3 MB (42 files) in 0.53s (23.21 MB/s)".
func (s DownloadStats) Message() string {
	return message("Downloaded", s.TotalBytes, s.TotalFiles, s.unit, s.Elapsed, s.Rate)
}

// Download brings the files, directories and links of m into existence at their
// absolute paths, with contents from src (spec/ops.md §4). The result is m with the
// modification times that the files have on disk, and with the paths that CreateCopy
// chose (G-16).
//
// Deletions come first, then directories, then files, then links, then the times of
// directories. Nothing is written through a symbolic link, and nothing is followed
// out of opts.Root (G-30). A file appears under its name only when its content is
// complete and verified, however it was fetched (G-22), and has its time and
// runnable bit (G-02); until then it has no name, so that nothing is left of it when
// the process dies (G-12), or if it is large that of a part, which the next run takes up.
//
// A file that is on disk with the right content is not fetched: when opts.Cache
// knows its hash, or else when its size and time are those of the entry and its
// content hashes to what the entry says. So a second run resumes an interrupted one.
//
// Manifests record no times of directories. A directory gets the time of the newest
// file in it, or of the newest file at all, as in a mount: every directory below
// opts.Root of a snapshot, or else those that were created here.
//
// What fails is reported together, as *Failures, with a result in which the entries
// concerned are as they were; a deleted directory that is not empty is kept and is
// no failure.
func Download[K manifest.Kind](ctx context.Context, m *manifest.Manifest[manifest.Abs, K], src blobstore.Store, opts DownloadOptions) (*manifest.Manifest[manifest.Abs, K], DownloadStats, error) {
	root := "/"
	if opts.Root != "" {
		abs, err := filepath.Abs(opts.Root)
		if err != nil {
			return nil, DownloadStats{}, err
		}
		root = abs
	}
	if err := checkDownload(m); err != nil {
		return nil, DownloadStats{}, err
	}
	d, err := newDownload(m.IsDiff(), src, opts, root)
	if err != nil {
		return nil, DownloadStats{}, err
	}
	defer d.root.Close()
	d.chunk, d.confined = m.ChunkSize, root != "/"
	if err := d.relativise(m.Files, m.Dirs); err != nil {
		return nil, DownloadStats{}, err
	}
	err = d.run(ctx)
	out := *m
	out.Files = slices.Clone(m.Files)
	for i := range out.Files {
		d.report(i, &out.Files[i], joinPath(root, d.files[i].Path))
	}
	return &out, d.stats(), err
}

// DownloadTo is Download of a relative manifest into the directory dir, which is
// created when it does not exist, and which confines everything. Links get relative
// texts, so that the tree may be moved and equals the mounted one.
func DownloadTo[K manifest.Kind](ctx context.Context, m *manifest.Manifest[manifest.Rel, K], dir string, src blobstore.Store, opts DownloadOptions) (*manifest.Manifest[manifest.Rel, K], DownloadStats, error) {
	if err := checkDownload(m); err != nil {
		return nil, DownloadStats{}, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, DownloadStats{}, err
	}
	opts.RelativeLinks = true
	d, err := newDownload(m.IsDiff(), src, opts, dir)
	if err != nil {
		return nil, DownloadStats{}, err
	}
	defer d.root.Close()
	d.chunk, d.confined = m.ChunkSize, true
	d.files, d.dirs = slices.Clone(m.Files), m.Dirs
	err = d.run(ctx)
	out := *m
	out.Files = slices.Clone(m.Files)
	for i := range out.Files {
		d.report(i, &out.Files[i], d.files[i].Path)
	}
	return &out, d.stats(), err
}

// checkDownload refuses manifests that must not touch a disk.
func checkDownload[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K]) error {
	if err := m.Validate(); err != nil {
		return err
	}
	if err := m.CheckSafe(); err != nil {
		return err
	}
	for i := range m.Files {
		f := &m.Files[i]
		if !f.IsRegular() {
			continue
		}
		if !f.IsHashed() {
			return fmt.Errorf("%w: %s has no hash, so that its content cannot be found", manifest.ErrInvalid, printable(f.Path))
		}
		for _, b := range f.Blobs(m.ChunkSize) {
			if !b.Hash.IsXXH128() {
				return fmt.Errorf("%w: %s has the hash %q, which is not 32 hexadecimal digits", manifest.ErrInvalid, printable(f.Path), string(b.Hash))
			}
		}
	}
	return nil
}

// report copies what was found out about file i into its entry.
func (d *download) report(i int, f *manifest.File, path string) {
	if f.IsRegular() || f.IsLink() {
		f.Path, f.ModTime = path, d.files[i].ModTime
	}
}

// relativise takes over entries with absolute paths, relative to the root.
func (d *download) relativise(files []manifest.File, dirs []manifest.Dir) error {
	root := d.root.Path()
	d.files = slices.Clone(files)
	for i := range d.files {
		rel, ok := manifest.Within(d.files[i].Path, root)
		if !ok {
			return fmt.Errorf("%w: %s is not below %s", ErrUnsafe, printable(d.files[i].Path), root)
		}
		d.files[i].Path = rel
	}
	implied := impliedByTargets(files, dirs)
	for _, dir := range dirs {
		rel, ok := manifest.Within(dir.Path, root)
		// Directories outside of the root lead to it, or are named because of links
		// that lead to them. They exist, or are not ours to make (G-06).
		if ok && !implied[dir.Path] {
			d.dirs = append(d.dirs, manifest.Dir{Path: rel, Deleted: dir.Deleted})
		}
	}
	return nil
}

// impliedByTargets returns the directories that are only named because a link leads
// into them: they lie outside of what holds all files and links (G-06).
func impliedByTargets(files []manifest.File, dirs []manifest.Dir) map[string]bool {
	targets, needed := map[string]bool{}, map[string]bool{}
	common, some := "", false
	for i := range files {
		f := &files[i]
		if f.Deleted {
			continue
		}
		parent := path.Dir(f.Path)
		mark(needed, parent)
		if !some {
			common, some = parent, true
		} else {
			common, _ = manifest.CommonDir(common, parent)
		}
		if f.IsLink() {
			mark(targets, path.Dir(f.Target))
		}
	}
	if len(targets) == 0 {
		return nil
	}
	for _, d := range dirs {
		if !d.Deleted && (!targets[d.Path] || isBelow(d.Path, common)) {
			mark(needed, d.Path)
		}
	}
	for dir := range needed {
		delete(targets, dir)
	}
	return targets
}

// mark adds dir and every directory above it to set.
func mark(set map[string]bool, dir string) {
	for !set[dir] {
		set[dir] = true
		dir = path.Dir(dir)
	}
}
