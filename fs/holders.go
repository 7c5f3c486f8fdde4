package fs

import (
	"slices"

	"github.com/snapfs/snapfs/manifest"
)

// Holders returns the files in whose stored content a blob occurs. It looks at all of the
// base, since it is needed only when a content has turned out to be wrong.
func (t *Tree) Holders(hash manifest.Hash) []Ino {
	raw := rawHash(hash)
	var list []Ino
	if slices.Contains(t.base.hashes, raw) {
		for r := range t.base.rows {
			if t.base.rows[r].kind != rowFile || r == 0 {
				continue
			}
			if slices.Contains(t.base.stored(uint32(r)).hashes, raw) {
				list = append(list, Ino(r))
			}
		}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for ino, n := range t.nodes {
		if n.file == nil {
			continue
		}
		n.mu.Lock()
		if n.file.src != nil && slices.Contains(n.file.src.hashes, raw) {
			list = append(list, ino)
		}
		n.mu.Unlock()
	}
	return list
}
