package integration

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// scrape returns the metrics of a mount by their names with labels.
func scrape(t *testing.T, client *http.Client, url string) map[string]float64 {
	t.Helper()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("status %d, %v, %v", r.StatusCode, r.Header, err)
	}
	line := regexp.MustCompile(`^[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? \S+$`)
	found := map[string]float64{}
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSuffix(l, "\n")
		if strings.HasPrefix(l, "# ") {
			continue
		}
		name, value, _ := strings.Cut(l, " ")
		if i := strings.Index(l, "} "); i > 0 {
			name, value = l[:i+1], l[i+2:]
		}
		x, err := strconv.ParseFloat(value, 64)
		if !line.MatchString(l) || err != nil {
			t.Errorf("no line of the format: %q", l)
		}
		found[name] = x
	}
	return found
}

// Metrics can be had on the loopback interface and on a socket, nowhere else, and say the
// same as the status.
func TestMetrics(t *testing.T) {
	w := small(t)
	for _, bad := range []string{"0.0.0.0:0", ":9464", "192.0.2.1:80", "there"} {
		w.fails(2, []string{"--metrics"}, "mount", "a.json", "mnt", "--metrics", bad)
	}
	var started struct{ Metrics string }
	w.decode(w.ok("mount", "a.json", "mnt", "--json", "--metrics", "127.0.0.1:0", "--passthrough", "off"), &started)
	w.mkdir("mnt2")
	port := strings.TrimSuffix(strings.TrimPrefix(started.Metrics, "http://"), "/metrics")
	w.fails(11, []string{"address already in use"}, "mount", "a.json", "mnt2", "--metrics", port)
	content := w.read("mnt/good")
	w.write("mnt/new", "1234")
	_, _ = unix.Getxattr(w.path("mnt/good"), "user.missing", nil)
	m := scrape(t, http.DefaultClient, started.Metrics)
	var status struct {
		FetchedBytes float64 `json:"fetched_bytes"`
		Served       float64 `json:"served_bytes"`
		Operations   []struct {
			Operation, Errno string
			Count            float64
		}
	}
	w.decode(w.ok("status", "mnt", "--json"), &status)
	if m["snapfs_served_bytes_total"] != float64(len(content)) || status.Served != float64(len(content)) || m["snapfs_fetched_bytes_total"] != status.FetchedBytes {
		t.Errorf("after %d bytes the metrics say %v, the status %+v", len(content), m, status)
	}
	if m["snapfs_overlay_nodes"] < 1 || m["snapfs_start_time_seconds"] < 1e9 {
		t.Errorf("overlay and start: %v", m)
	}
	for _, name := range []string{
		`snapfs_fuse_latency_seconds_count{operation="read",errno="OK"}`,
		`snapfs_fuse_latency_seconds_count{operation="write",errno="OK"}`,
		`snapfs_fuse_latency_seconds_count{operation="getxattr",errno="ENODATA"}`,
	} {
		if m[name] < 1 {
			t.Errorf("%s is %v", name, m[name])
		}
	}
	counted := map[string]float64{}
	for _, o := range status.Operations {
		counted[o.Operation+" "+o.Errno] = o.Count
	}
	if counted["read OK"] < 1 || counted["write OK"] < 1 {
		t.Errorf("the status counts %v", counted)
	}
	w.ok("umount", "mnt")
	socket := w.path("metrics.sock")
	w.ok("mount", "a.json", "mnt", "--metrics", "unix:"+socket)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	if m := scrape(t, client, "http://snapfs/metrics"); m["snapfs_memory_limit_bytes"] <= 0 {
		t.Errorf("by the socket: %v", m)
	}
	if fi, err := os.Stat(socket); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", fi, err)
	}
	w.fails(11, []string{"another process serves"}, "mount", "a.json", "mnt2", "--metrics", socket)
	w.ok("umount", "mnt")
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is left behind")
	}
	w.write("precious", "1")
	w.fails(8, []string{"precious"}, "mount", "a.json", "mnt2", "--metrics", w.path("precious"))
}
