package verbs

import (
	"context"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// Download is ops.DownloadTo for a relative manifest, which needs a directory, and
// ops.Download for an absolute one, which has none ("").
func Download(ctx context.Context, m manifest.Any, dir string, src blobstore.Store, opts ops.DownloadOptions) (manifest.Any, ops.DownloadStats, error) {
	if m.IsAbs() && dir != "" {
		return nil, ops.DownloadStats{}, &failure.Error{
			Code: failure.Usage, Message: "an absolute manifest is downloaded to its own paths, not into a directory",
			Hint: "leave out the directory, or make the manifest relative with: snapfs subtree MANIFEST PATH",
		}
	}
	if !m.IsAbs() && dir == "" {
		return nil, ops.DownloadStats{}, &failure.Error{
			Code: failure.Usage, Message: "a relative manifest needs a directory to be downloaded into",
			Hint: "snapfs download MANIFEST DIR",
		}
	}
	switch m := m.(type) {
	case *manifest.Snapshot:
		out, stats, err := ops.DownloadTo(ctx, m, dir, src, opts)
		return result(out), stats, err
	case *manifest.SnapshotDiff:
		out, stats, err := ops.DownloadTo(ctx, m, dir, src, opts)
		return result(out), stats, err
	case *manifest.AbsSnapshot:
		out, stats, err := ops.Download(ctx, m, src, opts)
		return result(out), stats, err
	case *manifest.AbsSnapshotDiff:
		out, stats, err := ops.Download(ctx, m, src, opts)
		return result(out), stats, err
	}
	return nil, ops.DownloadStats{}, unknown(m)
}
