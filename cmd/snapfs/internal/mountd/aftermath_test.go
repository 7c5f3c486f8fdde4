package mountd

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
)

// dyingMount is a client of a process that does work, and ends without an answer.
func dyingMount(t *testing.T, work func()) *Client {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	c := &Client{Info: Info{MountPoint: "/proc", PID: os.Getpid(), Overlay: filepath.Join(dir, "overlay"), Manifests: []string{filepath.Join(dir, "base.json")}}}
	if err := os.MkdirAll(filepath.Dir(fs.CommitPath(c.Info.Overlay, 1)), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		work()
		panic(http.ErrAbortHandler) // closes the connection
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	c.http.Transport = &http.Transport{DisableKeepAlives: true, Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", socket) }}
	return c
}

// diffText is a diff with a change and a deletion.
func diffText(t *testing.T) []byte {
	t.Helper()
	text, err := docs.Encode(&manifest.SnapshotDiff{
		HashAlg: manifest.XXH128, ChunkSize: manifest.DefaultChunkSize, ParentHash: manifest.Sum([]byte("parent")),
		Files: []manifest.File{{Path: "a", Size: 1, Hash: manifest.Sum([]byte("a"))}, {Path: "b", Deleted: true}},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A commit whose process died behind the publication has succeeded, wherever the
// manifest went.
func TestCommitOutlivesProcess(t *testing.T) {
	text := diffText(t)
	for _, tc := range []struct {
		name   string
		opts   PublishOptions
		target func(c *Client) string // where the process had written the manifest
	}{
		{"a named file", PublishOptions{Output: "named.json"}, func(c *Client) string { return filepath.Join(filepath.Dir(c.Info.Overlay), "named.json") }},
		{"beside the base", PublishOptions{}, func(c *Client) string {
			return filepath.Join(filepath.Dir(c.Info.Overlay), "base.diff-20260101T000000.000Z.json")
		}},
		{"nowhere else", PublishOptions{}, func(c *Client) string { return fs.CommitPath(c.Info.Overlay, 1) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c *Client
			c = dyingMount(t, func() {
				write(t, tc.target(c), text)
				write(t, fs.CommitPath(c.Info.Overlay, 1), text)
			})
			if tc.opts.Output != "" {
				tc.opts.Output = tc.target(c)
			}
			got, err := c.Commit(t.Context(), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			want := &Published{
				Type: "commit", Manifest: tc.target(c), Hash: manifest.Sum(text), ParentHash: manifest.Sum([]byte("parent")),
				Modified: 1, Deleted: 1, Problems: []Problem{}, Recovered: true,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A commit whose process died before has failed, although earlier ones are kept.
func TestCommitDiesWithProcess(t *testing.T) {
	var c *Client
	c = dyingMount(t, func() { write(t, fs.CommitPath(c.Info.Overlay, 2)+".pending", diffText(t)) })
	write(t, fs.CommitPath(c.Info.Overlay, 1), diffText(t))
	_, err := c.Commit(t.Context(), PublishOptions{Output: filepath.Join(filepath.Dir(c.Info.Overlay), "d.json")})
	if e := failure.Classify(err); e == nil || e.Code != failure.Failed {
		t.Errorf("got %v", err)
	}
}
