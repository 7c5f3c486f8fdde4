// Package verbs applies the operations of package ops, which are typed by the kind of
// the manifest, to manifests whose kind is known only at run time.
package verbs

import (
	"context"
	"errors"
	"fmt"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// Filter is ops.Filter.
func Filter(m manifest.Any, keep func(ops.Entry) bool) manifest.Any {
	switch m := m.(type) {
	case *manifest.Snapshot:
		return ops.Filter(m, keep)
	case *manifest.SnapshotDiff:
		return ops.Filter(m, keep)
	case *manifest.AbsSnapshot:
		return ops.Filter(m, keep)
	case *manifest.AbsSnapshotDiff:
		return ops.Filter(m, keep)
	}
	return m
}

// Subtree is ops.Subtree.
func Subtree(m manifest.Any, root string, links ops.SymlinkPolicy) (manifest.Any, error) {
	switch m := m.(type) {
	case *manifest.Snapshot:
		return erase(ops.Subtree(m, root, links))
	case *manifest.SnapshotDiff:
		return erase(ops.Subtree(m, root, links))
	case *manifest.AbsSnapshot:
		return erase(ops.Subtree(m, root, links))
	case *manifest.AbsSnapshotDiff:
		return erase(ops.Subtree(m, root, links))
	}
	return nil, unknown(m)
}

// Join is ops.Join when the prefix is absolute, and ops.JoinRel otherwise.
func Join(m manifest.Any, prefix string) (manifest.Any, error) {
	abs := manifest.IsAbsPath(prefix)
	switch m := m.(type) {
	case *manifest.Snapshot:
		if abs {
			return erase(ops.Join(m, prefix))
		}
		return erase(ops.JoinRel(m, prefix))
	case *manifest.SnapshotDiff:
		if abs {
			return erase(ops.Join(m, prefix))
		}
		return erase(ops.JoinRel(m, prefix))
	}
	return nil, &failure.Error{
		Code: failure.Usage, Message: fmt.Sprintf("only a relative manifest can be joined to a prefix; this one is of kind %s", manifest.KindOf(m)),
		Hint: "make it relative with: snapfs subtree MANIFEST PATH",
	}
}

// Partition is ops.Partition.
func Partition(m manifest.Any, opts ops.PartitionOptions) ([]ops.Part, error) {
	switch m := m.(type) {
	case *manifest.Snapshot:
		return ops.Partition(m, opts)
	case *manifest.AbsSnapshot:
		return ops.Partition(m, opts)
	}
	return nil, &failure.Error{
		Code: failure.Usage, Message: "a diff cannot be partitioned", Hint: "compose it with its base first: snapfs compose BASE DIFF",
	}
}

// Hash is ops.Hash.
func Hash(ctx context.Context, m manifest.Any, opts ops.HashOptions) (manifest.Any, ops.HashStats, error) {
	switch m := m.(type) {
	case *manifest.AbsSnapshot:
		out, stats, err := ops.Hash(ctx, m, opts)
		return result(out), stats, hashError(err)
	case *manifest.AbsSnapshotDiff:
		out, stats, err := ops.Hash(ctx, m, opts)
		return result(out), stats, hashError(err)
	}
	return nil, ops.HashStats{}, notAbsolute("hashed")
}

// HashUpload is ops.HashUpload.
func HashUpload(ctx context.Context, m manifest.Any, dst blobstore.Store, opts ops.UploadOptions) (manifest.Any, ops.UploadStats, error) {
	switch m := m.(type) {
	case *manifest.AbsSnapshot:
		out, stats, err := ops.HashUpload(ctx, m, dst, opts)
		return result(out), stats, hashError(err)
	case *manifest.AbsSnapshotDiff:
		out, stats, err := ops.HashUpload(ctx, m, dst, opts)
		return result(out), stats, hashError(err)
	}
	return nil, ops.UploadStats{}, notAbsolute("uploaded")
}

// hashError says what to do about a manifest that cannot be hashed as a whole.
func hashError(err error) error {
	var several *ops.Failures
	if !errors.Is(err, manifest.ErrInvalid) || errors.As(err, &several) {
		return err
	}
	e := *failure.Classify(err)
	e.Code, e.Hint = failure.Usage, "start from a manifest without hashes, as snapfs collect makes it"
	return &e
}

func notAbsolute(verb string) error {
	return &failure.Error{
		Code: failure.Usage, Message: "only an absolute manifest says which files to read; a relative one cannot be " + verb,
		Hint: "make it absolute with: snapfs join MANIFEST /PREFIX",
	}
}

// result forgets the kind of a manifest; a nil pointer becomes nil.
func result[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K]) manifest.Any {
	if m == nil {
		return nil
	}
	return any(m).(manifest.Any)
}

func erase[P manifest.PathStyle, K manifest.Kind](m *manifest.Manifest[P, K], err error) (manifest.Any, error) {
	return result(m), err
}

// unknown is the error for a manifest that is none of the four kinds, nil included.
func unknown(m manifest.Any) error { return fmt.Errorf("%T is no manifest", m) }
