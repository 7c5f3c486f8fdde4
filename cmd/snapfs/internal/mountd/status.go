package mountd

import (
	"context"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/snapfs/snapfs/fs"
)

// Status is the state of a mount.
type Status struct {
	Type string `json:"type"` // always "mount"
	Info
	ReadOnly bool   `json:"read_only"`
	BaseID   string `json:"base_id"`
	Entries  int    `json:"base_entries"`
	Bytes    int64  `json:"base_bytes"`
	DiffOut  string `json:"diff_out,omitempty"`
	Keep     bool   `json:"keep_on_unmount"`
	Commits  int    `json:"commits"`

	FetchedBytes  int64 `json:"fetched_bytes"` // read from the store
	Requests      int64 `json:"fetch_requests"`
	UploadedBlobs int64 `json:"uploaded_blobs"`
	UploadedBytes int64 `json:"uploaded_bytes"`
	CacheHits     Hits  `json:"cache_hits"`
	CachedBytes   int64 `json:"cached_bytes"`
	Mismatches    int64 `json:"verification_failures"`

	Passthrough Passthrough `json:"passthrough"`

	CredentialsExpire *time.Time `json:"credentials_expire,omitempty"`

	Figures

	Changes []ChangeStatus `json:"changes"`
}

// Passthrough says whether the kernel reads and writes local files directly.
type Passthrough struct {
	Active bool   `json:"active"`
	Why    string `json:"reason,omitempty"` // it is not, or only partly
	Opens  uint64 `json:"opens"`            // files that were opened so
}

// Hits counts reads by what answered them.
type Hits struct {
	Memory    int64 `json:"memory"`
	Disk      int64 `json:"disk"`
	StoreFile int64 `json:"store_file"`
	Fetched   int64 `json:"fetched"`
}

// ChangeStatus is one line of status.
type ChangeStatus struct {
	Kind    string `json:"kind"` // A, M, D, R or T
	Path    string `json:"path"`
	From    string `json:"from,omitempty"` // R: the old path
	Dir     bool   `json:"dir,omitempty"`
	Problem string `json:"problem,omitempty"` // why it cannot be committed
}

func (d *daemon) status() *Status {
	s := d.session
	c := s.Cache.Stats()
	up := s.Traffic.Totals()
	st := &Status{
		Type: "mount", Info: d.info, ReadOnly: s.Tree.ReadOnly(), BaseID: s.BaseID,
		Entries: s.Tree.Base().Entries(), Bytes: s.Tree.Base().Bytes(),
		DiffOut: s.Config.DiffOut, Keep: s.Config.Keep, Commits: s.Tree.Commits(),
		FetchedBytes: c.FetchedBytes, Requests: c.Requests, CachedBytes: c.CachedBytes, Mismatches: c.Mismatches,
		UploadedBlobs: up.Puts, UploadedBytes: up.BytesPut, CacheHits: hits(c),
		Passthrough: Passthrough(d.server.Passthrough()), Changes: Summarize(s.Tree.Changes()),
	}
	st.CredentialsExpire, st.Figures = d.credentialsExpire(), d.figures(c)
	return st
}

// credentialsExpire returns when the credentials of the store end, nil when nobody knows.
func (d *daemon) credentialsExpire() *time.Time {
	e, ok := blobstore.As[stores.Expirer](d.session.Store)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if at, ok := e.CredentialsExpire(ctx); ok {
		return &at
	}
	return nil
}

func hits(c cache.Stats) Hits {
	return Hits{Memory: c.MemoryHits, Disk: c.DiskHits, StoreFile: c.StoreFileHits, Fetched: c.Fetches}
}

// Summarize turns changes into lines for people: a move is one line, whatever lies
// below the directory that moved. Files of which only the time has changed are none.
func Summarize(changes []fs.Change) []ChangeStatus {
	deleted := make(map[string]bool)
	for i := range changes {
		if changes[i].Kind == fs.Deleted {
			deleted[changes[i].Path] = true
		}
	}
	moved := make(map[string]bool) // old paths that a move accounts for
	for i := range changes {
		if c := &changes[i]; c.Kind == fs.Added && c.From != "" && deleted[c.From] {
			moved[c.From] = true
		}
	}
	list := []ChangeStatus{}
	for i := range changes {
		c := &changes[i]
		line := ChangeStatus{Kind: string(c.Kind), Path: c.Path, Dir: c.Dir, Problem: c.Problem}
		switch {
		case c.TimeOnly:
			continue
		case c.Kind == fs.Deleted && (moved[c.Path] || replaced(changes, i)):
			continue
		case c.Kind == fs.Added && moved[c.From]:
			if c.Inherited && c.Content == nil && c.Problem == "" {
				continue
			}
			if !c.Inherited {
				line.Kind, line.From = string(fs.Renamed), c.From
			} else {
				line.Kind = string(fs.Modified)
			}
		}
		list = append(list, line)
	}
	return list
}

// replaced reports whether the deletion at i is the first half of a change of type,
// which the next line tells.
func replaced(changes []fs.Change, i int) bool {
	for j := i + 1; j < len(changes) && changes[j].Path == changes[i].Path; j++ {
		if changes[j].Kind == fs.TypeChanged {
			return true
		}
	}
	return false
}
