package inspect

import "github.com/snapfs/snapfs/manifest"

// Summary says what a manifest is and holds, in the form of
// `snapfs manifest show --json`.
type Summary struct {
	Type     string             `json:"type"` // always "manifest"
	Name     string             `json:"manifest"`
	Kind     string             `json:"kind"`   // snapshot, diff, abs-snapshot or abs-diff
	Format   manifest.Format    `json:"format"` // v2025 or v2023
	Hash     manifest.Hash      `json:"manifest_hash"`
	TextSize int64              `json:"manifest_bytes"`
	HashAlg  manifest.Algorithm `json:"hash_algorithm"`

	ChunkSize  int64         `json:"chunk_size"` // bytes, or -1 for files that are never cut
	ParentHash manifest.Hash `json:"parent_hash,omitempty"`
	Root       string        `json:"root,omitempty"` // deepest directory above all of it; absolute kinds only

	Files        int `json:"files"` // live regular ones
	Links        int `json:"links"`
	Dirs         int `json:"dirs"`
	DeletedFiles int `json:"deleted_files"`
	DeletedDirs  int `json:"deleted_dirs"`
	Runnable     int `json:"runnable"`
	Unhashed     int `json:"unhashed"` // files without the hash of their content

	Bytes     int64 `json:"bytes"`      // sizes of the files
	Blobs     int   `json:"blobs"`      // distinct contents
	BlobBytes int64 `json:"blob_bytes"` // sizes of the distinct contents

	Warnings []string `json:"warnings"`
}

// Summarize describes the document that was read from name.
func Summarize(name string, doc *manifest.Document) Summary {
	c := Of(doc.Manifest)
	s := Summary{
		Type: "manifest", Name: name, Kind: manifest.KindOf(doc.Manifest), Format: doc.Format,
		Hash: doc.Hash, TextSize: doc.Size, HashAlg: c.HashAlg, ChunkSize: c.ChunkSize,
		ParentHash: c.ParentHash, Bytes: doc.Manifest.TotalSize(), Warnings: doc.Warnings(),
	}
	if s.Warnings == nil {
		s.Warnings = []string{}
	}
	if doc.Manifest.IsAbs() {
		s.Root = commonRoot(doc.Manifest)
	}
	s.countDirs(c)
	s.countFiles(c)
	return s
}

func commonRoot(m manifest.Any) (root string) {
	switch m := m.(type) {
	case *manifest.AbsSnapshot:
		root, _ = m.CommonRoot()
	case *manifest.AbsSnapshotDiff:
		root, _ = m.CommonRoot()
	}
	return root
}

func (s *Summary) countDirs(c Contents) {
	for _, d := range c.Dirs {
		if d.Deleted {
			s.DeletedDirs++
		} else {
			s.Dirs++
		}
	}
}

func (s *Summary) countFiles(c Contents) {
	seen := make(map[manifest.Hash]bool, len(c.Files))
	for i := range c.Files {
		f := &c.Files[i]
		switch {
		case f.Deleted:
			s.DeletedFiles++
			continue
		case f.IsLink():
			s.Links++
			continue
		}
		s.Files++
		if f.Runnable {
			s.Runnable++
		}
		if !f.IsHashed() {
			s.Unhashed++
		}
		for _, b := range f.Blobs(c.ChunkSize) {
			if !seen[b.Hash] {
				seen[b.Hash] = true
				s.Blobs++
				s.BlobBytes += b.Size
			}
		}
	}
}
