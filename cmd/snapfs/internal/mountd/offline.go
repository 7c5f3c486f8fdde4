package mountd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/fs"
)

// Recoverable describes an overlay that no mount uses.
type Recoverable struct {
	Type       string         `json:"type"` // always "overlay"
	Overlay    string         `json:"overlay"`
	MountPoint string         `json:"mountpoint"` // where it was mounted last
	Manifests  []string       `json:"manifests"`
	Store      string         `json:"store"`
	Created    time.Time      `json:"created"`
	Changes    []ChangeStatus `json:"changes,omitempty"` // only when a single overlay is shown
}

func recoverable(dir string, info fs.OverlayInfo) Recoverable {
	return Recoverable{
		Type: "overlay", Overlay: dir, MountPoint: info.MountPoint, Manifests: info.Manifests,
		Store: info.Store, Created: info.Created,
	}
}

// Overlays lists the overlays below dir that no process uses. A directory that does
// not exist holds none.
func Overlays(dir string) ([]Recoverable, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Recoverable
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := fs.ReadOverlayInfo(path)
		if err != nil || fs.OverlayInUse(path) {
			continue // something else, or a living mount
		}
		list = append(list, recoverable(path, info))
	}
	return list, nil
}

// openOffline opens the overlay in dir with the configuration it was last used with.
func openOffline(ctx context.Context, dir string, io *docs.IO, log zerolog.Logger) (*Session, error) {
	cfg, err := ConfigOf(dir)
	if err != nil {
		return nil, err
	}
	io.S3 = cfg.S3
	return OpenSession(ctx, cfg, io, log)
}

// ShowOverlay says what the overlay in dir holds.
func ShowOverlay(ctx context.Context, dir string, io *docs.IO, log zerolog.Logger) (*Recoverable, error) {
	s, err := openOffline(ctx, dir, io, log)
	if err != nil {
		return nil, err
	}
	info, err := fs.ReadOverlayInfo(dir)
	shown := recoverable(dir, info)
	shown.Changes = Summarize(s.Tree.Changes())
	return &shown, errors.Join(err, s.Close())
}

// CommitOverlay publishes the changes in an overlay that no mount uses. When nothing
// is left in it, it is removed.
func CommitOverlay(ctx context.Context, dir string, opts PublishOptions, io *docs.IO, log zerolog.Logger) (*Published, error) {
	s, err := openOffline(ctx, dir, io, log)
	if err != nil {
		return nil, err
	}
	var done *Published
	if opts.Output == "" && !opts.Inline {
		opts.Output, err = s.DiffPath(time.Now())
	}
	if err == nil {
		done, err = s.Publish(ctx, opts)
	}
	rest := s.changes()
	if err := errors.Join(err, s.Close()); err != nil || rest > 0 {
		return done, err
	}
	return done, s.discardOverlay()
}

// DiscardOverlay deletes the overlay in dir, and with it every change that was not
// committed.
func DiscardOverlay(dir string) error {
	if _, err := ConfigOf(dir); err != nil && !errors.Is(err, fs.ErrDamaged) {
		return err // above all, this is no overlay
	}
	if err := fs.RemoveOverlay(dir); err != nil {
		return fmt.Errorf("delete overlay: %w", err)
	}
	return nil
}
