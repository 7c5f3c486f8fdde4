package mountd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// LayerRequest is what layer add asks for.
type LayerRequest struct {
	// Text is a file with the text of the diff, in the directory of the commits of the
	// overlay. The process of the mount must not read it anywhere else: a diff may lie in
	// the mount itself.
	Text string `json:"text"`
}

// LayerAdded is the outcome of layer add.
type LayerAdded struct {
	Type        string        `json:"type"` // always "layer"
	Manifest    string        `json:"manifest"`
	Hash        manifest.Hash `json:"manifest_hash"`
	Applied     int           `json:"applied"`      // entries that are now as in the layer, and were not before
	OtherParent bool          `json:"other_parent"` // the layer says that it was made of another tree
	Conflicts   []fs.Conflict `json:"conflicts"`    // entries that stay as they are here
}

// AddLayer asks the mount to compose a diff into what it shows. in reads the diff where
// the user has it.
func (c *Client) AddLayer(ctx context.Context, in *docs.IO, diff string) (*LayerAdded, error) {
	if c.Info.Overlay == "" {
		return nil, &failure.Error{Code: failure.Usage, Message: "the mount is read-only: layers cannot be added to it"}
	}
	text, err := in.Open(ctx, diff)
	if err != nil {
		return nil, failure.Named(diff, err)
	}
	defer text.Close()
	f, err := os.CreateTemp(filepath.Dir(fs.CommitPath(c.Info.Overlay, 0)), ".layer-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name()) // there is nothing to remove once it is part of the overlay
	_, err = io.Copy(f, text)
	// Root may add a layer to the mount of another user.
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("hand %s to the mount: %w", diff, err)
	}
	added := LayerAdded{}
	if err := c.call(ctx, "/v1/layer", LayerRequest{Text: f.Name()}, &added); err != nil {
		return nil, err
	}
	added.Manifest = diff
	return &added, nil
}

// layer answers the control socket.
func (d *daemon) layer(ctx context.Context, req LayerRequest) (*LayerAdded, error) {
	if d.session.Tree.ReadOnly() {
		return nil, &failure.Error{Code: failure.Usage, Message: "the mount is read-only: layers cannot be added to it"}
	}
	d.publishing.Lock()
	defer d.publishing.Unlock()
	added, names, err := d.session.addLayer(ctx, req.Text)
	d.server.Invalidate(names)
	return added, err
}

// addLayer composes the diff in a file into the tree, and keeps the file with the commits
// of the overlay: like those it is part of what the next commit is compared with. It
// returns what the kernel must look up again, even when it fails.
func (s *Session) addLayer(ctx context.Context, path string) (*LayerAdded, []fs.Name, error) {
	diff, hash, err := s.readLayer(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	parent := s.Tree.Parent().Snapshot()
	if diff.ParentHash != "" {
		if err := s.hashParent(parent); err != nil {
			return nil, nil, err
		}
	}
	composed, err := ops.Compose(parent, diff)
	if err != nil {
		return nil, nil, fmt.Errorf("apply the layer: %w", err)
	}
	next, err := index("the tree with the layer", composed)
	if err != nil {
		return nil, nil, err
	}
	done, err := s.Tree.AddLayer(diff, next)
	if err != nil {
		return nil, done.Names, fmt.Errorf("add the layer: %w", err)
	}
	added := &LayerAdded{
		Type: "layer", Hash: hash, Applied: done.Applied, Conflicts: done.Conflicts,
		OtherParent: diff.ParentHash != "" && diff.ParentHash != s.parentHash,
	}
	if done.Applied == 0 && len(done.Conflicts) > 0 {
		return nil, nil, refused(done.Conflicts)
	}
	if added.Conflicts == nil {
		added.Conflicts = []fs.Conflict{}
	}
	return added, done.Names, s.keepLayer(path, next)
}

func (s *Session) readLayer(ctx context.Context, path string) (*manifest.SnapshotDiff, manifest.Hash, error) {
	if filepath.Dir(path) != filepath.Dir(fs.CommitPath(s.Config.Overlay, 0)) {
		return nil, "", &failure.Error{Code: failure.Usage, Path: path, Message: path + " does not lie with the commits of the overlay"}
	}
	doc, err := s.IO.Read(ctx, path)
	if err != nil {
		return nil, "", err
	}
	diff, err := manifest.As[manifest.Rel, manifest.Diff](doc)
	if err != nil {
		e := *failure.Classify(err)
		e.Hint = "a layer is a relative diff; make one of two snapshots with: snapfs diff BASE OTHER"
		return nil, "", &e
	}
	return diff, doc.Hash, nil
}

// refused is the error of a layer of which nothing could be applied.
func refused(conflicts []fs.Conflict) error {
	e := &failure.Error{
		Code:    failure.Conflict,
		Message: "nothing of the layer could be applied: every entry of it was changed here",
		Hint:    "commit or undo the changes first",
	}
	for i, c := range conflicts {
		if i < 10 {
			e.Message += fmt.Sprintf("\n  %s: %s", c.Path, c.Reason)
		}
		e.List = append(e.List, failure.Item{Code: failure.Conflict.Name(), Path: c.Path, Message: c.Reason})
	}
	return e
}

// keepLayer makes the layer part of the overlay.
func (s *Session) keepLayer(path string, next *fs.Base) error {
	seq, err := s.nextCommit()
	if err != nil {
		return err
	}
	if err := docs.Rename(path, fs.CommitPath(s.Config.Overlay, seq)); err != nil {
		return err
	}
	s.parentHash = ""
	return s.Tree.Rebase(next, seq)
}
