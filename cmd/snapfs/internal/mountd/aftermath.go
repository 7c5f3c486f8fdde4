package mountd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
)

// errGone is part of the error of a request during which the process of the mount ended.
var errGone = errors.New("the process of the mount ended before it answered")

// aftermath tells what a commit has come to whose process died before it answered. The
// overlay knows: a diff that counts as published is kept there, and later commits build
// on it.
type aftermath struct {
	overlay string
	base    string   // the first manifest of the mount
	before  []string // diffs kept before the commit
}

// aftermathOf notes what has been published before a commit is asked for.
func (c *Client) aftermathOf() (*aftermath, error) {
	a := &aftermath{overlay: c.Info.Overlay, base: c.Info.Manifests[0]}
	if a.overlay == "" {
		return a, nil // a read-only mount publishes nothing
	}
	var err error
	a.before, err = fs.OverlayCommits(a.overlay)
	return a, err
}

// published returns what was published since, nil when that is nothing. What was new and
// what was changed cannot be told apart any more; both count as modified.
func (a *aftermath) published(opts PublishOptions) (*Published, error) {
	if a.overlay == "" {
		return nil, nil
	}
	now, err := fs.OverlayCommits(a.overlay)
	if err != nil || len(now) == 0 || slices.Contains(a.before, now[len(now)-1]) {
		return nil, err
	}
	kept := now[len(now)-1]
	text, err := os.ReadFile(kept)
	if err != nil {
		return nil, err
	}
	diff, err := manifest.DecodeAs[manifest.Rel, manifest.Diff](strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	done := &Published{Type: "commit", Problems: []Problem{}, ParentHash: diff.ParentHash, Recovered: true}
	for i := range diff.Files {
		done.count(diff.Files[i].Deleted)
	}
	for _, d := range diff.Dirs {
		done.count(d.Deleted)
	}
	done.Manifest, done.Hash = a.place(kept, text, opts)
	if opts.Inline && done.Hash == manifest.Sum(text) {
		done.Text = string(text)
	}
	return done, nil
}

func (p *Published) count(deleted bool) {
	if deleted {
		p.Deleted++
	} else {
		p.Modified++
	}
}

// place returns where the manifest was delivered, and its hash. When nobody knows it is
// the copy in the overlay.
func (a *aftermath) place(kept string, text []byte, opts PublishOptions) (string, manifest.Hash) {
	hash := manifest.Sum(text)
	plain := !opts.Full && (opts.Format == "" || opts.Format == manifest.V2025)
	if opts.Output != "" {
		if plain {
			return opts.Output, hash
		}
		delivered, err := os.ReadFile(opts.Output)
		if err != nil {
			return opts.Output, "" // it is in a bucket
		}
		return opts.Output, manifest.Sum(delivered)
	}
	if !plain {
		return kept, hash
	}
	for _, path := range a.candidates(hash) {
		if delivered, err := os.ReadFile(path); err == nil && manifest.Sum(delivered) == hash {
			return path, hash
		}
	}
	return kept, hash
}

// candidates are the files that a commit without a named output may have written.
func (a *aftermath) candidates(hash manifest.Hash) []string {
	name := strings.TrimSuffix(filepath.Base(a.base), ".json") + ".diff-"
	places := []string{filepath.Dir(a.base)}
	var list []string
	if diffs, err := dirs.Diffs(); err == nil {
		places = append(places, diffs)
		list = append(list, filepath.Join(diffs, inlineName(hash)))
	}
	for _, dir := range places {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), name) {
				list = append(list, filepath.Join(dir, e.Name()))
			}
		}
	}
	return list
}
