package mountd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/metrics"
)

// MetricsAddress is where metrics are served: on a port of the loopback interface, or on a
// socket of this user.
type MetricsAddress struct {
	Network string // "tcp" or "unix"; "" for nowhere
	Address string // host and port, or absolute path
}

// ParseMetricsAddress reads HOST:PORT, where HOST is the loopback interface, or a path,
// with or without "unix:" before it. Figures tell what a user does: no other machine gets
// them.
func ParseMetricsAddress(text string) (MetricsAddress, error) {
	if text == "" {
		return MetricsAddress{}, nil
	}
	path, isUnix := strings.CutPrefix(text, "unix:")
	if path = strings.TrimPrefix(path, "//"); isUnix || strings.HasPrefix(path, "/") {
		if !strings.HasPrefix(path, "/") {
			return MetricsAddress{}, badMetricsAddress(text, "the path of the socket is not absolute")
		}
		return MetricsAddress{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return MetricsAddress{}, badMetricsAddress(text, "it is neither HOST:PORT nor a path")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return MetricsAddress{}, badMetricsAddress(text, "only this machine may read metrics")
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return MetricsAddress{}, badMetricsAddress(text, "there is no such port")
	}
	return MetricsAddress{"tcp", net.JoinHostPort(host, port)}, nil
}

func badMetricsAddress(text, why string) error {
	return &failure.Error{
		Code: failure.Usage, Message: fmt.Sprintf("--metrics %s: %s", text, why),
		Hint: "give a port of the loopback interface, like 127.0.0.1:9464, or a socket, like unix:/run/user/1000/snapfs.sock",
	}
}

// listen opens the address.
func (a MetricsAddress) listen() (net.Listener, error) {
	if a.Network != "unix" {
		return net.Listen(a.Network, a.Address)
	}
	if fi, err := os.Lstat(a.Address); err == nil && fi.Mode().Type() != os.ModeSocket {
		return nil, &failure.Error{Code: failure.Conflict, Path: a.Address, Message: a.Address + " exists, and is no socket"}
	}
	if conn, err := net.Dial("unix", a.Address); err == nil {
		_ = conn.Close()
		return nil, &failure.Error{Code: failure.Busy, Path: a.Address, Message: "another process serves " + a.Address}
	}
	return listen(a.Address)
}

// serveMetrics serves the metrics, if that is wanted, and notes where. The returned
// function ends it.
func (d *daemon) serveMetrics() (stop func(), err error) {
	at := d.session.Config.Metrics
	if at.Network == "" {
		return func() {}, nil
	}
	l, err := at.listen()
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	d.info.Metrics = "unix:" + at.Address
	if at.Network == "tcp" {
		d.info.Metrics = "http://" + l.Addr().String() + "/metrics"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", metrics.ContentType)
		_ = metrics.Write(w, d.families()) // a client that has gone needs no answer
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.session.Log.Error().Err(err).Msg("metrics")
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			_ = srv.Close()
		}
	}, nil
}
