package docs

import (
	"bytes"
	"fmt"
	"io"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
)

// Encode returns the canonical text of m. Format is "v2025", the default, or "v2023",
// which only relative manifests of hashed files have.
func Encode(m manifest.Any, format manifest.Format) ([]byte, error) {
	var b bytes.Buffer
	if err := EncodeTo(&b, m, format); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// EncodeTo is Encode that writes the text. When m has no such text, nothing is
// written.
func EncodeTo(w io.Writer, m manifest.Any, format manifest.Format) error {
	switch format {
	case "", manifest.V2025:
		return manifest.EncodeV2025(w, m)
	case manifest.V2023:
		switch m := m.(type) {
		case *manifest.Snapshot:
			return encodeV2023(w, m)
		case *manifest.SnapshotDiff:
			return encodeV2023(w, m)
		}
		return &failure.Error{
			Code: failure.Usage, Message: "the v2023 format cannot hold absolute paths",
			Hint: "make the manifest relative with `snapfs subtree` first",
		}
	}
	return &failure.Error{Code: failure.Usage, Message: fmt.Sprintf("unknown manifest format %q; there are v2025 and v2023", format)}
}

// encodeV2023 encodes m. The format has no chunks, so that the chunk size of a
// manifest whose files all lie below it does not matter.
func encodeV2023[K manifest.Kind](w io.Writer, m *manifest.Manifest[manifest.Rel, K]) error {
	for i := range m.Files {
		f := &m.Files[i]
		var reason, hint string
		switch {
		case len(f.Chunks) > 0:
			reason, hint = "is cut into chunks", "hash the files again with --chunk-size whole"
		case f.IsRegular() && !f.IsHashed():
			reason, hint = "has no hash", "hash and upload the files first: snapfs upload MANIFEST -o HASHED"
		default:
			continue
		}
		return &failure.Error{
			Code: failure.Usage, Path: f.Path, Message: fmt.Sprintf("the v2023 format cannot hold %s, which %s", f.Path, reason), Hint: hint,
		}
	}
	whole := *m
	whole.ChunkSize = manifest.WholeFile
	return manifest.EncodeV2023(w, &whole)
}

// Losses says in words what the text of m in the given format leaves out.
func Losses(m manifest.Any, format manifest.Format) ([]string, error) {
	if format != manifest.V2023 {
		return nil, nil
	}
	var lost manifest.Losses
	var err error
	switch m := m.(type) {
	case *manifest.Snapshot:
		lost, err = manifest.V2023Losses(m)
	case *manifest.SnapshotDiff:
		lost, err = manifest.V2023Losses(m)
	}
	if err != nil {
		return nil, err
	}
	var list []string
	for _, l := range []struct {
		n    int
		what string
	}{
		{lost.Dirs, "empty directories"},
		{lost.Deletions, "deletions"},
		{lost.Runnable, "execute bits"},
		{lost.ReplacedLinks, "symbolic links, which become copies"},
		{len(lost.DroppedLinks), "symbolic links that lead to no file, which are dropped"},
	} {
		if l.n > 0 {
			list = append(list, fmt.Sprintf("%s (%d)", l.what, l.n))
		}
	}
	if lost.ParentHash {
		list = append(list, "the hash of the parent")
	}
	return list, nil
}
