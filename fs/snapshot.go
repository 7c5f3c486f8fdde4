package fs

import "github.com/snapfs/snapfs/manifest"

// Snapshot returns the manifest of the base. Directories are listed explicitly.
func (b *Base) Snapshot() *manifest.Snapshot {
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: b.chunkSize}
	m.Files = make([]manifest.File, 0, b.files)
	b.walk(uint32(RootIno), "", m)
	return m
}

func (b *Base) walk(dir uint32, path string, m *manifest.Snapshot) {
	first, end := b.children(dir)
	for r := first; r < end; r++ {
		p := join(path, b.name(r))
		if b.rows[r].kind == rowDir {
			m.Dirs = append(m.Dirs, manifest.Dir{Path: p})
			b.walk(r, p, m)
		} else {
			m.Files = append(m.Files, b.file(r, p))
		}
	}
}
