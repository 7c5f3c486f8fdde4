package manifest

import (
	"fmt"
	"io"
	"slices"

	"github.com/snapfs/snapfs/manifest/internal/canonjson"
)

// EncodeV2023 writes m as canonical v2023 text, the format of AWS Deadline Cloud.
// The format holds hashed regular files only: links are replaced by copies of what
// they lead to, and everything else is dropped. V2023Losses tells beforehand what
// that will be.
//
// The chunk size must be WholeFile and every file must have a hash. Like
// EncodeV2025, EncodeV2023 refuses manifests that could not be read again.
func EncodeV2023[K Kind](w io.Writer, m *Manifest[Rel, K]) error {
	if _, err := m.check(); err != nil {
		return err
	}
	if m.ChunkSize != WholeFile {
		return invalidf("v2023 format requires fileChunkSizeBytes=-1, got %d", m.ChunkSize)
	}
	flat, _, err := flatten(m)
	if err != nil {
		return err
	}
	for i := range flat {
		if flat[i].Hash == "" {
			return invalidf("File '%s' is missing a hash", flat[i].Path)
		}
	}
	out := canonjson.NewWriter(w)
	out.Raw(`{"hashAlg":"xxh128","manifestVersion":"` + v2023Version + `","paths":[`)
	for i, f := range inOrder(flat) {
		if i > 0 {
			out.Raw(`,`)
		}
		out.Raw(`{"hash":`)
		out.String(string(f.Hash))
		out.Raw(`,"mtime":`)
		out.Int(max(0, f.ModTime))
		out.Raw(`,"path":`)
		out.String(f.Path)
		out.Raw(`,"size":`)
		out.Int(f.Size)
		out.Raw(`}`)
	}
	out.Raw(`],"totalSize":`)
	out.Int(totalSize(flat))
	out.Raw(`}`)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// Losses says what a v2023 text leaves out of a manifest.
type Losses struct {
	Dirs          int      // explicit directories without a file below them
	Deletions     int      // deleted files and directories
	Runnable      int      // files that lose their execute bit
	ReplacedLinks int      // links that become copies of what they lead to
	DroppedLinks  []string // paths of links that are broken, circular or lead to nothing but empty directories
	ParentHash    bool     // the hash of the parent manifest
}

// Any reports whether anything is lost.
func (l Losses) Any() bool {
	return l.Dirs+l.Deletions+l.Runnable+l.ReplacedLinks+len(l.DroppedLinks) > 0 || l.ParentHash
}

// V2023Losses returns what EncodeV2023 would leave out of m.
func V2023Losses[K Kind](m *Manifest[Rel, K]) (Losses, error) {
	flat, lost, err := flatten(m)
	if err != nil {
		return Losses{}, err
	}
	lost.ParentHash = m.ParentHash != ""
	for i := range m.Files {
		if m.Files[i].Deleted {
			lost.Deletions++
		}
	}
	for i := range flat {
		if flat[i].Runnable {
			lost.Runnable++
		}
	}
	index := NewLinks(flat, nil)
	for i := range m.Dirs {
		switch d := &m.Dirs[i]; {
		case d.Deleted:
			lost.Deletions++
		case !index.isDir(d.Path):
			lost.Dirs++
		}
	}
	return lost, nil
}

// flatten returns the live regular files of m with all links replaced, and what
// became of the links.
func flatten[K Kind](m *Manifest[Rel, K]) (flat []File, lost Losses, err error) {
	if !slices.ContainsFunc(m.Files, func(f File) bool { return !f.IsRegular() }) {
		return m.Files, lost, nil
	}
	c := NewCopier(NewLinks(m.Files, m.Dirs), nil)
	c.Files = make([]File, 0, len(m.Files))
	for i := range m.Files {
		f := &m.Files[i]
		if !f.IsLink() {
			c.Files = append(c.Files, *f)
			continue
		}
		before := len(c.Files)
		if _, err := c.Replace(f.Path, f.Target); err != nil {
			return nil, lost, err
		}
		if len(c.Files) > before {
			lost.ReplacedLinks++
		} else {
			lost.DroppedLinks = append(lost.DroppedLinks, f.Path)
		}
	}
	for _, f := range c.Files {
		if f.IsRegular() {
			flat = append(flat, f)
		}
	}
	return flat, lost, nil
}
