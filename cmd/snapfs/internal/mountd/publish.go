package mountd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"golang.org/x/sync/errgroup"
)

// PublishOptions say what a commit writes.
type PublishOptions struct {
	Output    string          `json:"output,omitempty"` // file, or s3:// URL
	Inline    bool            `json:"inline,omitempty"` // return the text, and leave it in a file for the client to delete
	Format    manifest.Format `json:"format,omitempty"` // "" for v2025
	Full      bool            `json:"full,omitempty"`   // write the composed snapshot instead of the diff
	KeepMtime bool            `json:"keep_mtime,omitempty"`
	Force     bool            `json:"force,omitempty"` // write the diff even when it is empty

	// Include and Exclude are globs that choose which changes are published
	// (spec/ops.md §7); the others stay in the overlay.
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`

	// ParentHash is what the diff names as its parent: "" or "auto" for the hash of
	// the parent manifest, "none", or a hash.
	ParentHash string `json:"parent_hash,omitempty"`
}

// Published is the outcome of a commit.
type Published struct {
	Type          string        `json:"type"`               // always "commit"
	Manifest      string        `json:"manifest,omitempty"` // where the diff was written, "" when there was nothing to write
	Text          string        `json:"text,omitempty"`     // of the manifest, when it was asked for
	Hash          manifest.Hash `json:"manifest_hash,omitempty"`
	ParentHash    manifest.Hash `json:"parent_hash,omitempty"`
	Added         int           `json:"added"`
	Modified      int           `json:"modified"`
	Deleted       int           `json:"deleted"`
	HashedBytes   int64         `json:"hashed_bytes"`
	UploadedBlobs int64         `json:"uploaded_blobs"`
	UploadedBytes int64         `json:"uploaded_bytes"`
	Problems      []Problem     `json:"problems"`          // entries that were left out
	Dropped       []string      `json:"dropped,omitempty"` // what the format cannot hold, in words
	Seconds       float64       `json:"seconds"`
	Recovered     bool          `json:"recovered,omitempty"` // the process died behind the commit; see aftermath
}

// Problem is an entry that could not be published.
type Problem struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// settleAttempts is how often a file that is written while it is hashed is tried.
const settleAttempts = 5

// Publish writes what has changed since the last commit: contents first, then the
// manifest, then the note in the overlay that it is done. Until the last step nothing
// of the overlay changes, so that whatever fails can be repeated.
func (s *Session) Publish(ctx context.Context, opts PublishOptions) (*Published, error) {
	start := time.Now()
	if err := opts.check(); err != nil {
		return nil, err
	}
	keep, err := ops.NewGlobFilter(opts.Include, opts.Exclude)
	if err != nil {
		return nil, err
	}
	cut := s.Tree.Checkpoint()
	defer cut.Close()
	cut.Changes = slices.DeleteFunc(cut.Changes, func(c fs.Change) bool { return !keep.Match(c.Path) })
	p := &publication{
		s: s, cut: cut, opts: opts, up: ops.NewUploader(s.Store, 0),
		out: &Published{Type: "commit", Problems: []Problem{}},
	}
	if err := p.upload(ctx); err != nil {
		return nil, fmt.Errorf("upload changed contents: %w", err)
	}
	diff := p.diff()
	nothing := len(diff.Files)+len(diff.Dirs) == 0 && !opts.Force && !opts.Full && !opts.Inline
	// What was hashed is read from the store from now on, even if all of it was there before.
	if !nothing || p.hashed {
		if err := p.up.Sync(ctx); err != nil {
			return nil, err
		}
	}
	if nothing {
		p.out.Seconds = time.Since(start).Seconds()
		return p.out, s.Tree.Settled(cut)
	}
	if err := p.write(ctx, diff); err != nil {
		return nil, err
	}
	p.out.Seconds = time.Since(start).Seconds()
	return p.out, nil
}

// check refuses options that mean nothing, before anything is uploaded.
func (o *PublishOptions) check() error {
	switch o.Format {
	case "", manifest.V2025, manifest.V2023:
	default:
		return &failure.Error{Code: failure.Usage, Message: fmt.Sprintf("unknown manifest format %q; there are v2025 and v2023", o.Format)}
	}
	switch o.ParentHash {
	case "", "auto", "none":
		return nil
	}
	if _, err := manifest.ParseHash(o.ParentHash); err != nil {
		return &failure.Error{Code: failure.Usage, Message: "--parent-hash is auto, none or a hash: " + err.Error()}
	}
	return nil
}

// publication is one run of Publish.
type publication struct {
	s    *Session
	cut  *fs.Cut
	opts PublishOptions
	up   *ops.Uploader

	mu     sync.Mutex // guards the rest while uploading
	out    *Published
	hashed bool // some content was
}

// upload completes the hashes of all changed files.
func (p *publication) upload(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * runtime.GOMAXPROCS(0))
	for i := range p.cut.Changes {
		if c := &p.cut.Changes[i]; c.Content != nil && c.Problem == "" {
			g.Go(func() error { return p.settle(ctx, c) })
		}
	}
	return g.Wait()
}

// settle hashes and uploads a file, again when it was written meanwhile. A file that
// never settles becomes a problem: it is not published torn.
func (p *publication) settle(ctx context.Context, c *fs.Change) error {
	for attempt := range settleAttempts {
		if attempt > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(attempt) * 50 * time.Millisecond):
			}
			c.Content, c.New = c.Content.Again(c.Path)
		}
		hashes, err := p.uploadChunks(ctx, c.Content)
		if err != nil && !errors.Is(err, ops.ErrChanged) {
			return fmt.Errorf("%s: %w", c.Path, err)
		}
		if err == nil && !c.Content.Changed() {
			c.New = c.Content.Resolve(c.New, hashes)
			return nil
		}
	}
	c.Problem = "it keeps changing while it is read"
	return nil
}

func (p *publication) uploadChunks(ctx context.Context, content *fs.Content) ([]manifest.Hash, error) {
	hashes := make([]manifest.Hash, len(content.Chunks))
	r := content.ReaderAt(ctx)
	for i, chunk := range content.Chunks {
		if hashes[i] = chunk.Hash; chunk.Hash != "" {
			continue
		}
		done, err := p.up.Upload(ctx, io.ReaderAt(r), chunk.Off, chunk.Len)
		if err != nil {
			return nil, err
		}
		hashes[i] = done.Blob.Hash
		p.mu.Lock()
		p.hashed = true
		p.out.HashedBytes += chunk.Len
		if done.Stored {
			p.out.UploadedBlobs++
			p.out.UploadedBytes += chunk.Len
		}
		p.mu.Unlock()
	}
	return hashes, nil
}

// diff makes the manifest of the changes. Files that were touched and are the same
// as before do not appear.
func (p *publication) diff() *manifest.SnapshotDiff {
	d := &manifest.SnapshotDiff{HashAlg: manifest.XXH128, ChunkSize: p.s.Tree.Base().ChunkSize()}
	for i := range p.cut.Changes {
		c := &p.cut.Changes[i]
		switch {
		case c.Problem != "":
			p.out.Problems = append(p.out.Problems, Problem{c.Path, c.Problem})
		case c.Kind == fs.Deleted:
			p.out.Deleted++
			if c.Dir {
				d.Dirs = append(d.Dirs, manifest.Dir{Path: c.Path, Deleted: true})
			} else {
				d.Files = append(d.Files, manifest.File{Path: c.Path, Deleted: true})
			}
		case c.Dir:
			p.out.Added++
			d.Dirs = append(d.Dirs, manifest.Dir{Path: c.Path})
		case c.Old.Path != "" && p.same(c):
		default:
			if c.Old.Path != "" {
				p.out.Modified++
			} else {
				p.out.Added++
			}
			d.Files = append(d.Files, c.New)
		}
	}
	return d
}

func (p *publication) same(c *fs.Change) bool {
	return fs.SameContent(&c.Old, &c.New) && (!p.opts.KeepMtime || c.Old.ModTime == c.New.ModTime)
}

// write publishes the diff, and then remembers that it was.
func (p *publication) write(ctx context.Context, diff *manifest.SnapshotDiff) error {
	s := p.s
	parent := s.Tree.Parent().Snapshot()
	if err := s.hashParent(parent); err != nil {
		return err
	}
	switch p.opts.ParentHash {
	case "", "auto":
		diff.ParentHash = s.parentHash
	case "none":
	default:
		diff.ParentHash = manifest.Hash(p.opts.ParentHash)
	}
	composed, err := ops.Compose(parent, diff)
	if err != nil {
		return fmt.Errorf("apply the changes to their parent: %w", err)
	}
	next, err := fs.NewBase(composed)
	if err != nil {
		return fmt.Errorf("apply the changes to their parent: %w", err)
	}
	text, err := docs.Encode(diff, "")
	if err != nil {
		return err
	}
	if err := p.record(text, func() error { return p.deliver(ctx, diff, composed) }, next); err != nil {
		return err
	}
	p.out.ParentHash = diff.ParentHash
	s.parentHash = ""
	return nil
}

// hashParent finds out what a diff names as its parent.
func (s *Session) hashParent(parent *manifest.Snapshot) error {
	if s.parentHash != "" {
		return nil
	}
	text, err := docs.Encode(parent, "")
	if err == nil {
		s.parentHash = manifest.Sum(text)
	}
	return err
}

// nextCommit returns the number of the next diff that the overlay keeps.
func (s *Session) nextCommit() (int, error) {
	earlier, err := fs.OverlayCommits(s.Config.Overlay)
	return max(s.Tree.Commits(), len(earlier)) + 1, err
}

// record keeps the text of the diff in the overlay, where it counts as published only
// once it was delivered: after a crash before that, the same changes are published
// again. After a crash behind it, they are in the parent, or are published twice.
func (p *publication) record(text []byte, deliver func() error, next *fs.Base) error {
	s := p.s
	seq, err := s.nextCommit()
	if err != nil {
		return err
	}
	kept := fs.CommitPath(s.Config.Overlay, seq)
	pending := kept + ".pending"
	if err := docs.WriteFile(pending, text); err != nil {
		return err
	}
	if err := deliver(); err != nil {
		return errors.Join(err, os.Remove(pending))
	}
	if err := docs.Rename(pending, kept); err != nil {
		return err
	}
	if err := s.Tree.Committed(p.cut, next, seq); err != nil {
		return fmt.Errorf("note the commit in the overlay: %w", err)
	}
	return nil
}

// deliver writes the manifest where the user wants it.
func (p *publication) deliver(ctx context.Context, diff *manifest.SnapshotDiff, composed *manifest.Snapshot) error {
	var m manifest.Any = diff
	if p.opts.Full {
		m = composed
	}
	text, err := docs.Encode(m, p.opts.Format)
	if err != nil {
		return err
	}
	if p.out.Dropped, err = docs.Losses(m, p.opts.Format); err != nil {
		return err
	}
	p.out.Hash = manifest.Sum(text)
	if p.opts.Inline {
		p.out.Text = string(text)
		p.out.Manifest, err = p.s.saveInline(text)
		return err
	}
	p.out.Manifest = p.opts.Output
	return p.s.IO.Write(ctx, p.opts.Output, text)
}

// saveInline keeps the text of a manifest that goes to the client. It counts as
// published, so it must not be lost with the client.
func (s *Session) saveInline(text []byte) (path string, err error) {
	dir, err := dirs.Diffs()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(dir, inlineName(manifest.Sum(text)))
	return path, docs.WriteFile(path, text)
}

func inlineName(hash manifest.Hash) string { return "inline-" + string(hash) + ".json" }

// DiffPath returns where a commit without a named output goes: the place chosen at
// mount time, or else beside the base manifest, with the time in the name. Beside a base
// that the mount hides nothing can be written, nor in a directory that is gone.
func (s *Session) DiffPath(now time.Time) (string, error) {
	if s.Config.DiffOut != "" {
		return s.Config.DiffOut, nil
	}
	base := s.Config.Manifests[0]
	dir := filepath.Dir(base)
	fromStdin, _ := dirs.Manifests() // "" without HOME: then there is no such directory either
	if isObject(base) || s.Config.hidden || dir == fromStdin || isMissing(dir) {
		var err error
		if dir, err = dirs.Diffs(); err != nil {
			return "", err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
	}
	name := strings.TrimSuffix(filepath.Base(base), ".json")
	return filepath.Join(dir, name+".diff-"+now.UTC().Format("20060102T150405.000Z")+".json"), nil
}

// keepOld moves a file out of the way of a manifest, so that no earlier diff is lost
// when two sessions are told the same --diff-out.
func keepOld(path string) (string, error) {
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return "", nil // nothing there, or nothing that writing would replace
	}
	for i := 1; i < 1000; i++ {
		old := fmt.Sprintf("%s.%d.bak", path, i)
		if _, err := os.Lstat(old); errors.Is(err, os.ErrNotExist) {
			return old, os.Rename(path, old)
		}
	}
	return "", &failure.Error{
		Code: failure.Conflict, Path: path, Message: path + " exists, and so do 999 older copies of it",
		Hint: "remove some of them, or choose another --diff-out",
	}
}
