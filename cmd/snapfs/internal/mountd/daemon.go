package mountd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/fs/fusefs"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// daemon is the process behind one mount.
type daemon struct {
	session *Session
	server  *fusefs.Server
	info    Info

	publishing sync.Mutex     // one commit at a time
	answers    sync.WaitGroup // requests whose clients still wait for the end

	mu       sync.Mutex
	request  UnmountRequest // how to end
	result   *Unmounted
	resultE  error
	finished chan struct{} // closed when result or resultE is set
}

// lazyPatience is how long a lazy unmount waits for the last user of the mount before
// it answers that the end is yet to come.
const lazyPatience = 2 * time.Second

// Run mounts, calls ready once the mount answers, serves until it is unmounted by
// whatever means, and then commits or keeps the changes. It takes over the handling
// of signals.
func Run(ctx context.Context, session *Session, logPath string, ready func(Info) error) error {
	d := &daemon{session: session, finished: make(chan struct{})}
	if err := raiseFileLimit(); err != nil {
		session.Log.Warn().Err(err).Msg("cannot raise the limit of open files")
	}
	server, err := fusefs.Mount(session.Tree, session.Config.MountPoint, fusefs.MountOptions{
		AllowOther: session.Config.AllowOther, ReadOnly: session.Config.ReadOnly,
		FSName: "snapfs#" + session.BaseID[:12], Options: session.Config.Options, Log: session.Log,
		Ask: session.Config.Ask, Stacked: session.stacked(),
	})
	if err != nil {
		return errors.Join(explainMount(err), session.abandon())
	}
	d.server = server
	drop := func(h manifest.Hash) { server.DropContent(session.Tree.Holders(h)) }
	session.drop.Store(&drop)
	d.info = Info{
		MountPoint: server.Dir(), PID: os.Getpid(), Started: time.Now().UTC(), Overlay: session.Tree.OverlayDir(),
		Manifests: session.Config.Manifests, Store: session.Config.Store, Log: logPath,
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve()
	}()
	stop, err := d.control()
	if err == nil {
		err = ready(d.info)
	}
	if err != nil {
		return errors.Join(err, server.UnmountLazy(), session.Close())
	}
	go session.prepare()
	go session.save(served)
	if !session.Tree.ReadOnly() {
		session.keeping.Go(session.keepDurably)
	}
	last, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	go d.watchSignals(ctx, served, abort)
	<-served
	err = d.finish(last)
	d.answers.Wait()
	stop()
	return err
}

// stacked reports whether contents lie on overlayfs, as in many containers.
func (s *Session) stacked() bool {
	for _, dir := range []string{s.Tree.OverlayDir(), s.Cache.Dir()} {
		var st unix.Statfs_t
		if dir != "" && unix.Statfs(dir, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
			return true
		}
	}
	return false
}

func raiseFileLimit() error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	lim.Cur = lim.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
}

// explainMount adds what a user can do about a mount that was refused.
func explainMount(err error) error {
	e := *failure.Classify(err)
	switch {
	case strings.Contains(e.Message, "/dev/fuse") && strings.Contains(strings.ToLower(e.Message), "permission denied"):
		e.Code = failure.Permission
		e.Hint = "this user may not open /dev/fuse: as root, run chmod 666 /dev/fuse, which is its usual mode"
	case strings.Contains(e.Message, "/dev/fuse"):
		e.Code = failure.Usage
		e.Hint = "load the kernel module (modprobe fuse); in a container, pass the device (--device /dev/fuse --cap-add SYS_ADMIN)"
	case strings.Contains(e.Message, "user_allow_other"):
		e.Code = failure.Usage
		e.Hint = "add the line user_allow_other to /etc/fuse.conf, or mount without allow_other"
	case errors.Is(err, unix.EINVAL), strings.Contains(e.Message, "unknown option"):
		e.Code = failure.Usage
		e.Hint = "see mount(8) and mount.fuse3(8) for the options that exist"
	case strings.Contains(e.Message, "no write access to mountpoint"), strings.Contains(e.Message, "failed to access mountpoint"):
		e.Code = failure.Permission
		e.Hint = "choose a mount point that belongs to this user, or mount as root"
	case strings.Contains(e.Message, "fusermount3 is not installed"):
		e.Code = failure.Usage
		e.Hint = "install the package fuse3, or mount as root"
	}
	return &e
}

// control opens the control socket and describes the mount beside it. The returned
// function takes both away.
func (d *daemon) control() (stop func(), err error) {
	socket, info, err := names(d.info.MountPoint)
	if err != nil {
		return nil, err
	}
	l, err := listen(socket)
	if err != nil {
		return nil, err
	}
	endMetrics, err := d.serveMetrics()
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	text, err := json.Marshal(d.info)
	if err == nil {
		err = renameio.WriteFile(info, text, 0o600)
	}
	if err != nil {
		endMetrics()
		_ = l.Close()
		return nil, err
	}
	srv := &http.Server{Handler: d.handler(), ReadHeaderTimeout: 10 * time.Second}
	go d.serveControl(srv, l)
	return func() {
		endMetrics()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			d.session.Log.Warn().Err(err).Msg("a client of the control socket does not let go")
		}
		os.Remove(info) // the socket goes with the listener
	}, nil
}

func (d *daemon) serveControl(srv *http.Server, l net.Listener) {
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		d.session.Log.Error().Err(err).Msg("control socket")
	}
}

// commit answers the control socket. A client that goes away ends the commit.
func (d *daemon) commit(ctx context.Context, opts PublishOptions) (*Published, error) {
	if d.session.Tree.ReadOnly() {
		return nil, &failure.Error{Code: failure.Usage, Message: "the mount is read-only: there is nothing to commit"}
	}
	if opts.Output == "" && !opts.Inline {
		path, err := d.session.DiffPath(time.Now())
		if err != nil {
			return nil, err
		}
		opts.Output = path
	}
	d.publishing.Lock()
	defer d.publishing.Unlock()
	done, err := d.session.Publish(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := d.session.Tree.Shrink(); err != nil {
		d.session.Log.Warn().Err(err).Msg("what was committed stays in the overlay, too")
	}
	return done, nil
}

// umount answers the control socket: it unmounts, and waits for what finish does.
func (d *daemon) umount(ctx context.Context, req UnmountRequest) (*Unmounted, error) {
	d.answers.Add(1)
	defer d.answers.Done()
	d.mu.Lock()
	d.request = req
	d.mu.Unlock()
	detach := d.server.Unmount
	if req.Lazy {
		detach = d.server.UnmountLazy
	}
	if err := detach(); err != nil {
		if errors.Is(err, unix.EBUSY) {
			return nil, d.busy()
		}
		return nil, err
	}
	var patience <-chan time.Time
	if req.Lazy {
		patience = time.After(lazyPatience)
	}
	select {
	case <-d.finished:
		return d.result, d.resultE
	case <-patience:
		return &Unmounted{Type: "umount", Pending: true, Kept: d.info.Overlay}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// busy says who holds the mount.
func (d *daemon) busy() error {
	d.mu.Lock()
	d.request = UnmountRequest{} // an unmount by others later on does what mount was told
	d.mu.Unlock()
	msg := d.info.MountPoint + " is in use"
	for _, h := range Holders(d.info.MountPoint) {
		msg += "\n  " + h.String()
	}
	for _, m := range below(d.info.MountPoint) {
		msg += "\n  mounted on " + m
	}
	return &failure.Error{
		Code: failure.Busy, Path: d.info.MountPoint, Message: msg,
		Hint: "end those processes, or use --lazy to detach now and finish when they end",
	}
}

// finish runs when the kernel is gone: it commits or keeps the changes. Nothing is
// ever thrown away that was not published.
func (d *daemon) finish(ctx context.Context) error {
	d.mu.Lock()
	req := d.request
	d.mu.Unlock()
	d.session.endTracing()
	result, err := d.end(ctx, req)
	d.result, d.resultE = result, err
	close(d.finished)
	if err != nil {
		d.session.Log.Error().Err(err).Str("overlay", d.info.Overlay).Msg("the changes are kept in the overlay")
	}
	return err
}

func (d *daemon) end(ctx context.Context, req UnmountRequest) (*Unmounted, error) {
	s := d.session
	out := &Unmounted{Type: "umount"}
	if s.Tree.ReadOnly() {
		return out, s.Close()
	}
	keep := s.Config.Keep || req.NoCommit
	var err error
	if !keep {
		out.Commit, err = d.publishRest(ctx, req)
	}
	out.Changes = s.changes()
	if out.Changes > 0 || keep && s.unpublishable() {
		out.Kept = s.Config.Overlay
	}
	err = errors.Join(err, s.Close())
	if err != nil {
		e := *failure.Classify(err)
		if errors.Is(err, context.Canceled) {
			e.Message, e.Hint = "a signal has stopped the commit", ""
		}
		e.Message += fmt.Sprintf("\nthe changes are kept in %s", s.Config.Overlay)
		goOn := "`snapfs commit --overlay " + s.Config.Overlay + "` goes on"
		if e.Hint == "" {
			e.Hint = goOn
		} else {
			e.Hint += "; then " + goOn
		}
		return out, &e
	}
	if out.Kept != "" {
		return out, nil
	}
	return out, s.discardOverlay()
}

// publishRest commits what is left at the end.
func (d *daemon) publishRest(ctx context.Context, req UnmountRequest) (*Published, error) {
	s := d.session
	if req.DiffOut != "" {
		s.Config.DiffOut = req.DiffOut
	}
	path, err := s.DiffPath(time.Now())
	if err != nil {
		return nil, err
	}
	d.publishing.Lock()
	defer d.publishing.Unlock()
	asked := s.Config.DiffOut != ""
	if asked {
		old, err := keepOld(path)
		if err != nil {
			return nil, err
		}
		if old != "" {
			s.Log.Warn().Str("kept", old).Msg("--diff-out existed before")
		}
	}
	return s.Publish(ctx, PublishOptions{Output: path, Force: asked})
}
