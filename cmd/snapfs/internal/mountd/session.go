package mountd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
)

// Config says what to mount, and how.
type Config struct {
	Manifests []string // the base, then the diffs to apply, in order
	Store     string   // URL; "" for the default store
	S3        stores.S3
	CacheDir  string // "" for the default
	CacheSize int64  // bytes; 0 for no limit
	Reading   Reading
	Metrics   MetricsAddress
	Overlay   string // directory; "" for one of its own
	ReadOnly  bool

	MountPoint string // absolute
	UID, GID   uint32 // owner of base entries
	Umask      uint32
	AllowOther bool
	Options    []string // further mount options
	Ask        bool     // the kernel asks for every byte: no passthrough

	DiffOut string // where unmounting writes the diff; "" for a place beside the base
	Keep    bool   // unmounting keeps the changes in the overlay

	StopTimeout time.Duration // how long a signal waits for a busy mount before it unmounts lazily

	hidden bool     // the mount hides the base, so that nothing can be written beside it
	hashes []string // of the manifests, when an overlay knows them
}

// Session is a tree with what it reads from. It needs no mount.
type Session struct {
	Config  Config
	Tree    *fs.Tree
	Cache   *cache.Blobs
	Store   blobstore.Store
	Traffic *blobstore.Stats // what went to and came from the store
	BaseID  string
	IO      *docs.IO
	Log     zerolog.Logger
	tracing tracing

	drop atomic.Pointer[func(manifest.Hash)] // makes the kernel forget a content, once mounted

	prepared bool // the index of the base came from a file
	warned   bool // something is odd about the manifests, which each mount shall say

	sources []string        // from where the manifests are read: by themselves, or from the copies in the overlay
	hashes  []string        // of their texts
	texts   []io.ReadCloser // of the sources that are files
	keep    func()          // copies them into the overlay, once
	keeping sync.WaitGroup

	parentHash manifest.Hash // of the parent of the next commit, when it is the text of one manifest
}

// OpenSession loads the manifests, opens the store and the cache, and makes or
// recovers the overlay.
func OpenSession(ctx context.Context, cfg Config, io *docs.IO, log zerolog.Logger) (*Session, error) {
	s := &Session{Config: cfg, IO: io, Log: log, Traffic: new(blobstore.Stats)}
	forget, err := s.keepStdin(ctx)
	if err != nil {
		return nil, err
	}
	s.locate()
	base, err := s.loadBase(ctx)
	if err != nil {
		return nil, errors.Join(err, forget())
	}
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	if err := s.openTree(ctx, base); err != nil {
		return nil, errors.Join(err, s.Cache.Close())
	}
	return s, nil
}

func (s *Session) openStore(ctx context.Context) error {
	url, err := stores.Absolute(s.Config.Store)
	if err != nil {
		return err
	}
	if s.Config.Store != "" { // the default one may have to be made
		s.Config.Store = url // which means the same wherever the process goes
	}
	store, err := s.reach(ctx)
	if err != nil {
		return err
	}
	s.Config.Store = url
	s.Store = blobstore.Count(store, s.Traffic)
	if s.Config.CacheDir == "" {
		if s.Config.CacheDir, err = dirs.Cache(); err != nil {
			return err
		}
	}
	s.Cache, err = cache.Open(s.Store, s.cacheOptions())
	if err != nil {
		return fmt.Errorf("open cache %s: %w", s.Config.CacheDir, err)
	}
	return nil
}

// settings is what an overlay remembers so that it can be committed without a mount.
type settings struct {
	S3       stores.S3 `json:"s3"`
	CacheDir string    `json:"cacheDir"`
	DiffOut  string    `json:"diffOut,omitempty"`
}

func (s *Session) openTree(ctx context.Context, base *fs.Base) error {
	opts := fs.Options{
		UID: s.Config.UID, GID: s.Config.GID, Umask: s.Config.Umask, MountPoint: s.Config.MountPoint,
	}
	if s.Config.ReadOnly {
		tree, err := fs.New(base, s.Cache, "", opts)
		s.Tree = tree
		return err
	}
	if err := s.chooseOverlay(); err != nil {
		return err
	}
	extra, err := json.Marshal(settings{S3: s.Config.S3, CacheDir: s.Config.CacheDir, DiffOut: s.Config.DiffOut})
	if err != nil {
		return err
	}
	opts.Info = fs.OverlayInfo{
		BaseID: s.BaseID, Manifests: s.Config.Manifests, Hashes: s.hashes, Store: s.Config.Store, Settings: extra,
	}
	s.openSources()
	s.keep = sync.OnceFunc(s.keepManifests)
	opts.BeforeChange = s.keep
	if opts.Parent, err = s.loadParent(ctx); err != nil {
		return err
	}
	s.Tree, err = fs.New(base, s.Cache, s.Config.Overlay, opts)
	return err
}

// chooseOverlay picks a directory for the base and mount point, so that mounting the
// same again after a crash finds what was not committed.
func (s *Session) chooseOverlay() error {
	if s.Config.Overlay != "" {
		return nil
	}
	all, err := dirs.Overlays()
	if err != nil {
		return err
	}
	where := manifest.Sum([]byte(s.Config.MountPoint))
	s.Config.Overlay = filepath.Join(all, s.BaseID[:12]+"-"+string(where[:12]))
	return nil
}

// changes is the number of changes that a commit would publish, or that cannot be
// published.
func (s *Session) changes() int { return len(Summarize(s.Tree.Changes())) }

// unpublishable reports whether the overlay holds what no commit publishes, like modes
// and extended attributes.
func (s *Session) unpublishable() bool { return s.Tree.HoldsMore() }

// Close releases the overlay, the cache and the store.
func (s *Session) Close() error {
	s.keeping.Wait()
	return errors.Join(s.Tree.Close(), s.Cache.Close())
}

// abandon is Close of a session that came to nothing. An overlay in which nothing was
// ever changed is removed.
func (s *Session) abandon() error {
	untouched := !s.Tree.ReadOnly() && s.Tree.Commits() == 0 && s.Tree.Stats().Nodes == 0
	if err := s.Close(); err != nil || !untouched {
		return err
	}
	return s.discardOverlay()
}

// discardOverlay removes an overlay whose changes have all been published.
func (s *Session) discardOverlay() error {
	return fs.RemoveOverlay(s.Config.Overlay)
}

// ConfigOf returns the configuration with which the overlay in dir was last used.
func ConfigOf(dir string) (Config, error) {
	info, err := fs.ReadOverlayInfo(dir)
	if errors.Is(err, os.ErrNotExist) {
		return Config{}, &failure.Error{Code: failure.NotFound, Path: dir, Message: dir + " holds no overlay", Err: err}
	}
	if err != nil {
		return Config{}, err
	}
	var set settings
	if err := json.Unmarshal(info.Settings, &set); err != nil {
		return Config{}, fmt.Errorf("%w: settings in %s: %v", fs.ErrDamaged, dir, err)
	}
	return Config{
		Manifests: info.Manifests, Store: info.Store, S3: set.S3, CacheDir: set.CacheDir, DiffOut: set.DiffOut,
		Overlay: dir, MountPoint: info.MountPoint, hashes: info.Hashes,
	}, nil
}

// Resume completes a configuration that names an overlay and no manifests with what the
// overlay was made from. What the configuration says already stays.
func (cfg *Config) Resume() error {
	old, err := ConfigOf(cfg.Overlay)
	if err != nil {
		return err
	}
	cfg.Manifests, cfg.hashes = old.Manifests, old.hashes
	if cfg.Store == "" {
		cfg.Store = old.Store
		if cfg.S3 == (stores.S3{}) {
			cfg.S3 = old.S3
		}
	}
	if cfg.DiffOut == "" {
		cfg.DiffOut = old.DiffOut
	}
	if cfg.CacheDir == "" {
		cfg.CacheDir = old.CacheDir
	}
	return nil
}
