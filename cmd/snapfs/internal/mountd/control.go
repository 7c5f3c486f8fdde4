package mountd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// Info describes a mount to those who look for it. It lies beside the control socket.
type Info struct {
	MountPoint string    `json:"mountpoint"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	Overlay    string    `json:"overlay,omitempty"`
	Manifests  []string  `json:"manifests"`
	Store      string    `json:"store"`
	Log        string    `json:"log,omitempty"`
	Metrics    string    `json:"metrics,omitempty"` // where they are served
}

// names returns the paths of the control socket and the description of the mount at
// a mount point.
func names(mountPoint string) (socket, info string, err error) {
	dir, err := dirs.Runtime()
	if err != nil {
		return "", "", err
	}
	id := string(manifest.Sum([]byte(mountPoint)))[:16]
	return filepath.Join(dir, id+".sock"), filepath.Join(dir, id+".json"), nil
}

// UnmountRequest is what umount asks for.
type UnmountRequest struct {
	NoCommit bool   `json:"no_commit,omitempty"`
	Lazy     bool   `json:"lazy,omitempty"`
	DiffOut  string `json:"diff_out,omitempty"`
}

// Unmounted is the outcome of unmounting.
type Unmounted struct {
	Type    string     `json:"type"` // always "umount"
	Commit  *Published `json:"commit,omitempty"`
	Kept    string     `json:"kept_overlay,omitempty"` // directory with changes that were not committed
	Changes int        `json:"uncommitted_changes"`
	Pending bool       `json:"pending,omitempty"` // detached; the rest happens when the last process lets go
}

// handler answers the command line.
func (d *daemon) handler() http.Handler {
	mux := http.NewServeMux()
	handle(mux, "/v1/status", func(context.Context, struct{}) (*Status, error) { return d.status(), nil })
	handle(mux, "/v1/config", func(context.Context, struct{}) (*Config, error) { return &d.session.Config, nil })
	handle(mux, "/v1/commit", d.commit)
	handle(mux, "/v1/layer", d.layer)
	handle(mux, "/v1/umount", d.umount)
	return mux
}

// handle answers one kind of request in JSON. A failed one has status 500 and the
// JSON form of the error.
func handle[Req, Resp any](mux *http.ServeMux, path string, fn func(context.Context, Req) (Resp, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var req Req
		var body any
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req)
		if err == nil {
			body, err = fn(r.Context(), req)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			body = failure.Classify(err).JSON()
		}
		_ = json.NewEncoder(w).Encode(body) // a client that has gone needs no answer
	})
}

// listen opens the control socket. Only the same user, or root, gets an answer.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := unix.Umask(0o177) // the socket must never be open to others, not even for a moment
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return &peerListener{l.(*net.UnixListener)}, nil
}

// peerListener drops connections of other users.
type peerListener struct{ *net.UnixListener }

func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(conn); err == nil && (uid == 0 || uid == uint32(os.Geteuid())) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

func peer(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, cerr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// Client talks to the process behind a mount.
type Client struct {
	Info Info
	http http.Client
}

// Find returns a client for the mount at mountPoint, which is absolute.
func Find(mountPoint string) (*Client, error) {
	socket, info, err := names(mountPoint)
	if err != nil {
		return nil, err
	}
	c, err := open(socket, info)
	if err == nil {
		return c, nil
	}
	e := &failure.Error{
		Code: failure.NotFound, Path: mountPoint, Message: "no snapfs mount at " + mountPoint,
		Hint: "`snapfs status` lists the mounts of this user", Err: err,
	}
	if m, ok, err := MountAt(mountPoint); err == nil && ok && m.Type == FSType {
		e.Message = "the process of the snapfs mount at " + mountPoint + " cannot be reached"
		e.Hint = "it has died, or belongs to another user, or was started with another XDG_RUNTIME_DIR; " +
			"`umount " + mountPoint + "` ends it, and what has changed is committed or kept"
	}
	return nil, e
}

func open(socket, info string) (*Client, error) {
	b, err := os.ReadFile(info)
	if err != nil {
		return nil, err
	}
	c := &Client{}
	if err := json.Unmarshal(b, &c.Info); err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	c.http.Transport = &http.Transport{DialContext: dial, DisableKeepAlives: true}
	conn, err := dial(context.Background(), "", "")
	if err != nil {
		return nil, err // its process is gone
	}
	return c, conn.Close()
}

// All returns clients for every living mount of this user.
func All() ([]*Client, error) {
	dir, err := dirs.Runtime()
	if err != nil {
		return nil, err
	}
	infos, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var list []*Client
	for _, info := range infos {
		if c, err := open(strings.TrimSuffix(info, ".json")+".sock", info); err == nil {
			list = append(list, c)
		}
	}
	return list, nil
}

// call sends one request and decodes the answer into resp.
func (c *Client) call(ctx context.Context, path string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://snapfs"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r, err := c.http.Do(hr)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return c.gone(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		var e failure.JSON
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			return fmt.Errorf("unreadable answer from pid %d: %w", c.Info.PID, err)
		}
		return failure.FromJSON(e)
	}
	if err := json.NewDecoder(r.Body).Decode(resp); err != nil {
		return c.gone(err)
	}
	return nil
}

// gone is the error of a request that was not answered.
func (c *Client) gone(err error) error {
	return &failure.Error{
		Code: failure.Failed, Err: errors.Join(errGone, err),
		Message: fmt.Sprintf("the process of the mount (pid %d) ended before it answered", c.Info.PID),
		Hint:    "its log " + c.Info.Log + " says why; nothing was published, and the changes are in " + c.Info.Overlay,
	}
}

// Died reports whether the process of the mount has ended. A process that was killed
// a moment ago may still take connections, so it is given a moment.
func (c *Client) Died(ctx context.Context) bool {
	for range 20 {
		if err := unix.Kill(c.Info.PID, 0); errors.Is(err, unix.ESRCH) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(100 * time.Millisecond):
		}
	}
	return false
}

// Status asks for the state of the mount.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	return &s, c.call(ctx, "/v1/status", struct{}{}, &s)
}

// ReadingConfig asks for what a session needs that reads what the mount reads, through
// the same cache.
func (c *Client) ReadingConfig(ctx context.Context) (Config, error) {
	var cfg Config
	if err := c.call(ctx, "/v1/config", struct{}{}, &cfg); err != nil {
		return cfg, err
	}
	return Config{
		Manifests: cfg.Manifests, Store: cfg.Store, S3: cfg.S3, CacheDir: cfg.CacheDir, CacheSize: cfg.CacheSize,
		Reading: cfg.Reading, ReadOnly: true,
	}, nil
}

// Commit asks for a commit. Writes that are still in the page cache as mapped pages
// are handed to the mount first.
func (c *Client) Commit(ctx context.Context, opts PublishOptions) (*Published, error) {
	if err := c.checkOutput(opts.Output); err != nil {
		return nil, err
	}
	after, err := c.aftermathOf()
	if err != nil {
		return nil, err
	}
	if err := syncMount(c.Info.MountPoint); err != nil {
		return nil, err
	}
	var p Published
	err = c.call(ctx, "/v1/commit", opts, &p)
	if errors.Is(err, errGone) {
		if done, e := after.published(opts); done != nil || e != nil {
			return done, e
		}
	}
	return &p, err
}

func syncMount(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	return nil
}

// Unmount asks the process to unmount, commit and end.
func (c *Client) Unmount(ctx context.Context, req UnmountRequest) (*Unmounted, error) {
	if err := c.checkOutput(req.DiffOut); err != nil {
		return nil, err
	}
	after, err := c.aftermathOf()
	if err != nil {
		return nil, err
	}
	var u Unmounted
	err = c.call(ctx, "/v1/umount", req, &u)
	if errors.Is(err, errGone) {
		// The mount is gone with its process; what was published last is all there is to tell.
		if done, e := after.published(PublishOptions{Output: req.DiffOut}); done != nil && e == nil {
			return &Unmounted{Type: "umount", Commit: done, Kept: c.Info.Overlay}, nil
		}
	}
	return &u, err
}
