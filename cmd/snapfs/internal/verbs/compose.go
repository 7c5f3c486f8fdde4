package verbs

import (
	"errors"
	"fmt"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// Named is a document with the name that the command line gave it.
type Named struct {
	Name string
	*manifest.Document
}

// Compose applies diffs to a base, in order: to a snapshot, which gives a snapshot,
// or to a diff, which gives a diff.
func Compose(base Named, diffs []Named) (manifest.Any, error) {
	switch m := base.Manifest.(type) {
	case *manifest.Snapshot:
		return onto(m, diffs)
	case *manifest.AbsSnapshot:
		return onto(m, diffs)
	case *manifest.SnapshotDiff:
		return merge(m, diffs)
	case *manifest.AbsSnapshotDiff:
		return merge(m, diffs)
	}
	return nil, unknown(base.Manifest)
}

func onto[P manifest.PathStyle](base *manifest.Manifest[P, manifest.Full], named []Named) (manifest.Any, error) {
	diffs, err := all[P, manifest.Diff](named)
	if err != nil {
		return nil, err
	}
	return composed(ops.Compose(base, diffs...))
}

func merge[P manifest.PathStyle](first *manifest.Manifest[P, manifest.Diff], named []Named) (manifest.Any, error) {
	rest, err := all[P, manifest.Diff](named)
	if err != nil {
		return nil, err
	}
	return composed(ops.ComposeDiffs(first, rest...))
}

func composed[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K], err error) (manifest.Any, error) {
	if errors.Is(err, manifest.ErrInvalid) {
		e := *failure.Classify(err)
		e.Hint = "diffs can be applied to what they were made for only, and with its chunk size"
		return nil, &e
	}
	return erase(m, err)
}

// all returns the manifests of documents that must be diffs of one style.
func all[P manifest.PathStyle, K manifest.Kind](named []Named) ([]*manifest.Manifest[P, K], error) {
	list := make([]*manifest.Manifest[P, K], len(named))
	for i, n := range named {
		m, err := manifest.As[P, K](n.Document)
		if err != nil {
			e := *failure.Classify(failure.Named(n.Name, err))
			e.Code, e.Hint = failure.Usage, "behind the first manifest come diffs, with paths of the same style; snapfs diff A B -o DIFF makes them"
			return nil, &e
		}
		list[i] = m
	}
	return list, nil
}

// Comparable returns an error unless the documents are snapshots with paths of one
// style, so that they can be compared.
func Comparable(list ...Named) error {
	for _, n := range list {
		if n.Manifest.IsDiff() {
			return &failure.Error{
				Code: failure.Usage, Path: n.Name, Message: n.Name + " is a diff already; only snapshots can be compared",
				Hint: "compose it with its base first: snapfs compose BASE " + n.Name,
			}
		}
		if n.Manifest.IsAbs() != list[0].Manifest.IsAbs() {
			return &failure.Error{
				Code:    failure.Usage,
				Message: fmt.Sprintf("%s and %s cannot be compared: the paths of one are absolute, of the other relative", list[0].Name, n.Name),
				Hint:    "make both relative with: snapfs subtree MANIFEST PATH",
			}
		}
	}
	return nil
}

// Diff is ops.Diff of documents that are Comparable.
func Diff(parent, current Named, opts ops.DiffOptions) (manifest.Any, error) {
	out, err := diff(parent.Manifest, current, opts)
	if errors.Is(err, manifest.ErrInvalid) {
		e := *failure.Classify(err)
		e.Hint = "compare manifests that were hashed alike, or compare sizes and times only with --ignore-hashes"
		return nil, &e
	}
	return out, err
}

func diff(parent manifest.Any, current Named, opts ops.DiffOptions) (manifest.Any, error) {
	switch p := parent.(type) {
	case *manifest.Snapshot:
		c, err := manifest.As[manifest.Rel, manifest.Full](current.Document)
		if err != nil {
			return nil, failure.Named(current.Name, err)
		}
		return erase(ops.Diff(p, c, opts))
	case *manifest.AbsSnapshot:
		c, err := manifest.As[manifest.Abs, manifest.Full](current.Document)
		if err != nil {
			return nil, failure.Named(current.Name, err)
		}
		return erase(ops.Diff(p, c, opts))
	}
	return nil, unknown(parent)
}
