package mountd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// loadBase composes the manifests and indexes the result.
func (s *Session) loadBase(ctx context.Context) (*fs.Base, error) {
	if base := s.openPrepared(ctx); base != nil {
		return base, nil
	}
	if len(s.sources) == 1 {
		if base, err := s.visitBase(ctx, s.sources[0]); base != nil || err != nil {
			return base, err
		}
	}
	snapshot, ids, err := s.compose(ctx, s.sources)
	if err != nil {
		return nil, err
	}
	s.BaseID, s.hashes = identity(ids), ids
	if len(ids) == 1 {
		s.parentHash = manifest.Hash(ids[0])
	}
	return index(s.Config.Manifests[0], snapshot)
}

// visitBase indexes a single manifest as it is read, which takes a third of the memory.
// It returns nil when the manifest has to be in memory, or to tell what is wrong with it.
func (s *Session) visitBase(ctx context.Context, name string) (*fs.Base, error) {
	if name == "-" {
		return nil, nil // it could not be read again
	}
	builder := fs.NewBaseBuilder()
	doc, err := s.IO.Visit(ctx, name, builder)
	var bad *fs.BaseError
	switch {
	case errors.Is(err, manifest.ErrInvalid), errors.As(err, &bad):
		return nil, nil
	case err != nil:
		return nil, err
	}
	m, err := asBase(name, doc)
	if err != nil {
		return nil, err
	}
	base, err := builder.Base(m.ChunkSize)
	if err != nil {
		return nil, nil
	}
	s.warn(name, doc)
	s.BaseID, s.parentHash, s.hashes = string(doc.Hash), doc.Hash, []string{string(doc.Hash)}
	return base, nil
}

// warn logs what is odd about a manifest.
func (s *Session) warn(name string, doc *manifest.Document) {
	for _, w := range doc.Warnings() {
		s.warned = true
		s.Log.Warn().Str("manifest", name).Msg(w)
	}
}

// index is fs.NewBase with an error that says which manifest is at fault.
func index(name string, m *manifest.Snapshot) (*fs.Base, error) {
	base, err := fs.NewBase(m)
	var bad *fs.BaseError
	if errors.As(err, &bad) {
		return nil, &failure.Error{
			Code: failure.Invalid, Message: fmt.Sprintf("%s cannot be mounted: %v", name, bad), Path: bad.Path, Err: err,
		}
	}
	return base, err
}

// compose returns the snapshot that a base and its diffs make, and the hash of each.
func (s *Session) compose(ctx context.Context, names []string) (*manifest.Snapshot, []string, error) {
	var base *manifest.Snapshot
	var diffs []*manifest.SnapshotDiff
	var ids []string
	for i, name := range names {
		doc, err := s.IO.Read(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		s.warn(name, doc)
		ids = append(ids, string(doc.Hash))
		if i == 0 {
			if base, err = asBase(name, doc); err != nil {
				return nil, nil, err
			}
			continue
		}
		diff, err := manifest.As[manifest.Rel, manifest.Diff](doc)
		if err != nil {
			return nil, nil, failure.Named(name, err)
		}
		diffs = append(diffs, diff)
	}
	if len(diffs) == 0 {
		return base, ids, nil
	}
	composed, err := ops.Compose(base, diffs...)
	if err != nil {
		return nil, nil, fmt.Errorf("compose %s: %w", strings.Join(names, ", "), err)
	}
	return composed, ids, nil
}

func asBase(name string, doc *manifest.Document) (*manifest.Snapshot, error) {
	base, err := manifest.As[manifest.Rel, manifest.Full](doc)
	if err == nil {
		return base, nil
	}
	e := failure.Classify(failure.Named(name, err))
	switch {
	case doc.Manifest.IsDiff():
		e.Hint = "name the snapshot that the diff belongs to first, and give the diff with --diff"
	case doc.Manifest.IsAbs():
		e.Hint = "make it relative first: snapfs subtree " + name + " PATH -o relative.json"
	}
	return nil, e
}

// loadParent returns the index of the base with the diffs that the overlay has
// committed before, nil when there are none.
func (s *Session) loadParent(ctx context.Context) (*fs.Base, error) {
	commits, err := fs.OverlayCommits(s.Config.Overlay)
	if err != nil || len(commits) == 0 {
		return nil, err
	}
	info, err := fs.ReadOverlayInfo(s.Config.Overlay)
	if err != nil || info.BaseID != s.BaseID {
		return nil, nil // fs.New says what is wrong with it
	}
	parent, _, err := s.compose(ctx, slices.Concat(s.sources, commits))
	if err != nil {
		return nil, err
	}
	s.parentHash = ""
	return index(s.Config.Manifests[0], parent)
}
