package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/urfave/cli/v2"
)

func (p *program) mountCommand() *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "mount a manifest as a read-write directory",
		ArgsUsage: "[MANIFEST] DIR",
		Description: "Composes MANIFEST, a relative snapshot, with the diffs given, and shows the result at DIR.\n" +
			"Contents are fetched from the store when they are read. Changes go to an overlay on local\n" +
			"disk; `snapfs commit`, or unmounting, publishes them as a diff manifest.\n" +
			"With --overlay alone, and no MANIFEST, what that overlay was made from is mounted again.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: "diff", Usage: "diff `MANIFEST` to apply, in order (repeatable)"},
			&cli.StringFlag{Name: "cache-dir", Usage: "where fetched contents are kept (default: one for all mounts of this user)"},
			&cli.StringFlag{Name: "cache-size", Usage: "limit of the cache, like 50GiB (default: none)"},
			&cli.StringFlag{Name: "overlay", Usage: "`DIR` for what changes (default: one of its own)"},
			&cli.BoolFlag{Name: "read-only", Usage: "refuse every change"},
			&cli.BoolFlag{Name: "foreground", Aliases: []string{"f"}, Usage: "stay in the foreground, log to stderr"},
			&cli.StringFlag{Name: "diff-out", Usage: "where unmounting writes the diff `MANIFEST` (default: beside the base)"},
			&cli.StringFlag{Name: "on-unmount", Value: "commit", Usage: "what unmounting does with changes: commit or keep"},
			&cli.DurationFlag{Name: "stop-timeout", Value: mountd.StopTimeout, Usage: "how long SIGTERM and SIGINT wait for a busy mount before they detach it; 0s: not at all"},
			&cli.StringSliceFlag{Name: "options", Aliases: []string{"o"}, Usage: "mount options: ro, allow_other, noexec, … (repeatable)"},
			&cli.StringFlag{Name: "passthrough", Value: "auto", Usage: "auto lets the kernel use local files directly where it can, off never does"},
			&cli.StringFlag{Name: "uid", Usage: "owner of the entries (default: this user)"},
			&cli.StringFlag{Name: "gid", Usage: "group of the entries (default: that of this user)"},
			&cli.StringFlag{Name: "umask", Value: "022", Usage: "permission bits that entries lack, octal"},
			metricsFlag(), readyFlag(),
		}, readingFlags(), storeFlags()),
		Action: p.mount,
	}
}

func (p *program) mount(c *cli.Context) error {
	reporter, inBackground := mountd.NewReporter()
	cfg, err := p.mountConfig(c, inBackground)
	if err != nil {
		return reporter.Done(err)
	}
	ready := &readiness{}
	if !inBackground {
		if ready, err = readinessOf(c); err != nil {
			return err
		}
		if !c.Bool("foreground") {
			return p.mountInBackground(c.Context, cfg, ready)
		}
	}
	log := p.logger(inBackground)
	session, err := mountd.OpenSession(c.Context, cfg, p.docs(c), log)
	if err != nil {
		return reporter.Done(err)
	}
	resumed, err := session.Resumed()
	replay := func() {}
	if err == nil {
		replay, err = traced(session)
	}
	if err != nil {
		return reporter.Done(errors.Join(err, session.Close()))
	}
	err = mountd.Run(c.Context, session, reporter.LogPath, func(info mountd.Info) error {
		started := mountd.Started{Info: info, Resumed: resumed}
		replay()
		if !inBackground {
			p.resumed(&started)
			p.note("mounted on %s; Ctrl-C unmounts", info.MountPoint)
			return errors.Join(p.streamed(mounted{"mounted", started}), ready.tell(mounted{"mounted", started}))
		}
		// Whatever is mounted where the user was must not be busy because of us.
		return errors.Join(os.Chdir("/"), reporter.Ready(started))
	})
	return reporter.Done(err)
}

// traced begins to record a trace, if that is wanted, and returns what starts to replay
// one.
func traced(s *mountd.Session) (replay func(), err error) {
	if path := s.Config.Reading.Trace; path != "" {
		s.Record(path)
	}
	path := s.Config.Reading.Replay
	if path == "" {
		return func() {}, nil
	}
	touches, err := mountd.ReadTrace(path)
	return func() { s.Replay(touches) }, err
}

// resumed tells people that they go on with what they had changed before.
func (p *program) resumed(m *mountd.Started) {
	if r := m.Resumed; r != nil {
		p.note("resumed %s kept from the mount of %s in %s", count(r.Changes, "change"), r.Since.Local().Format(time.DateTime), shown(m.Overlay))
	}
}

// streamed writes v to stdout at once, under --json only: the command goes on.
func (p *program) streamed(v any) error {
	if !p.json {
		return nil
	}
	return errors.Join(p.emit(v), p.flush())
}

// mounted is the result of mount.
type mounted struct {
	Type string `json:"type"` // always "mounted"
	mountd.Started
}

func (p *program) mountInBackground(ctx context.Context, cfg mountd.Config, ready *readiness) error {
	started, err := mountd.Background(ctx, cfg.MountPoint)
	if err != nil {
		return err
	}
	v := mounted{"mounted", started}
	if err := ready.tell(v); err != nil {
		return err
	}
	return p.result(v, func() error {
		p.resumed(&started)
		p.note("mounted on %s (pid %d)", started.MountPoint, started.PID)
		return nil
	})
}

// logger logs to stderr, which in the background is the log file.
func (p *program) logger(background bool) zerolog.Logger {
	if background {
		return zerolog.New(p.stderr).With().Timestamp().Logger()
	}
	w := zerolog.ConsoleWriter{Out: p.stderr, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != ""}
	return zerolog.New(w).With().Timestamp().Logger()
}

func (p *program) mountConfig(c *cli.Context, quiet bool) (mountd.Config, error) {
	var cfg mountd.Config
	overlay, err := absoluteDir(c.String("overlay"))
	if err != nil {
		return cfg, err
	}
	least := 2
	if overlay != "" && len(c.StringSlice("diff")) == 0 {
		least = 1
	}
	list, err := args(c, least, 2)
	if err != nil {
		return cfg, err
	}
	cfg = mountd.Config{
		Store: c.String("store"), S3: s3Of(c), CacheDir: c.String("cache-dir"),
		Overlay: overlay, ReadOnly: c.Bool("read-only"), DiffOut: c.String("diff-out"),
	}
	if len(list) == 1 {
		err = cfg.Resume()
	} else {
		cfg.Manifests, err = absoluteManifests(slices.Concat(list[:1], c.StringSlice("diff")))
	}
	if err != nil {
		return cfg, err
	}
	if cfg.CacheSize, err = sizeFlag(c, "cache-size"); err != nil {
		return cfg, err
	}
	if cfg.Reading, err = readingOf(c); err != nil {
		return cfg, err
	}
	if cfg.Metrics, err = mountd.ParseMetricsAddress(c.String("metrics")); err != nil {
		return cfg, err
	}
	cfg.Ask = cfg.Reading.Trace != "" // what the kernel reads by itself nobody could record
	if cfg.StopTimeout = c.Duration("stop-timeout"); cfg.StopTimeout < 0 {
		return cfg, usage("--stop-timeout: %s is negative", cfg.StopTimeout)
	}
	switch v := c.String("on-unmount"); v {
	case "commit":
	case "keep":
		cfg.Keep = true
	default:
		return cfg, usage("--on-unmount is commit or keep, not %q", v)
	}
	switch v := c.String("passthrough"); v {
	case "auto":
	case "off":
		cfg.Ask = true
	default:
		return cfg, usage("--passthrough is auto or off, not %q", v)
	}
	if err := owners(c, &cfg); err != nil {
		return cfg, err
	}
	options(c, &cfg)
	for _, dir := range []*string{&cfg.CacheDir, &cfg.DiffOut} {
		if *dir, err = absoluteDir(*dir); err != nil {
			return cfg, err
		}
	}
	if cfg.ReadOnly && (cfg.Overlay != "" || cfg.DiffOut != "") {
		return cfg, usage("a read-only mount has neither --overlay nor --diff-out")
	}
	var warning string
	cfg.MountPoint, warning, err = mountd.PrepareMountPoint(list[len(list)-1])
	if warning != "" && !quiet {
		p.warn("%s", warning)
	}
	if err != nil {
		return cfg, err
	}
	return cfg, cfg.CheckPlaces()
}

// absoluteDir makes the name of a directory mean the same wherever it is used. "" and
// URLs stay as they are.
func absoluteDir(name string) (string, error) {
	if name == "" || strings.Contains(name, "://") {
		return name, nil
	}
	return filepath.Abs(name)
}

// absoluteManifests makes names mean the same wherever they are used.
func absoluteManifests(names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, name := range names {
		if name == "-" || strings.Contains(name, "://") {
			out[i] = name
			continue
		}
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		out[i] = abs
	}
	return out, nil
}

func owners(c *cli.Context, cfg *mountd.Config) error {
	for _, f := range []struct {
		name  string
		deflt uint32
		base  int
		dst   *uint32
	}{
		{"uid", uint32(os.Geteuid()), 10, &cfg.UID},
		{"gid", uint32(os.Getegid()), 10, &cfg.GID},
		{"umask", 0o022, 8, &cfg.Umask},
	} {
		*f.dst = f.deflt
		text := c.String(f.name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, f.base, 32)
		if err != nil || (f.name == "umask" && n > 0o777) {
			return usage("--%s: %q is not a valid number", f.name, text)
		}
		*f.dst = uint32(n)
	}
	return nil
}

// options takes the mount options that concern us out of those for the kernel.
func options(c *cli.Context, cfg *mountd.Config) {
	for _, list := range c.StringSlice("options") {
		for o := range strings.SplitSeq(list, ",") {
			switch o {
			case "", "rw", "defaults", "default_permissions", "nosuid", "nodev", "auto", "noauto", "user", "_netdev", "nofail":
			case "ro":
				cfg.ReadOnly = true
			case "allow_other":
				cfg.AllowOther = true
			default:
				cfg.Options = append(cfg.Options, o)
			}
		}
	}
}
