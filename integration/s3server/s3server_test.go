package s3server_test

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/integration/s3server"
)

func TestServerLifetime(t *testing.T) {
	s := s3server.Start(t)
	client := http.Client{Timeout: 200 * time.Millisecond}
	answers := func() bool {
		resp, err := client.Get(s.Endpoint)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}
	if !answers() {
		t.Error("the server does not answer after Start")
	}
	s.Pause()
	if answers() {
		t.Error("the server answers while it is paused")
	}
	s.Resume()
	if s.Stop(); answers() {
		t.Error("the server answers after Stop")
	}
	if s.Restart(); !answers() {
		t.Error("the server does not answer after Restart")
	}
	if fi, err := os.Stat(s.BucketDir()); err != nil || !fi.IsDir() {
		t.Errorf("the bucket is not a directory: %v, %v", fi, err)
	}
}

func TestURLIsALocation(t *testing.T) {
	s := s3server.Start(t)
	got, err := blobstore.ParseURL(s.URL("a/b"))
	want := blobstore.Location{Bucket: s.Bucket, Prefix: "a/b", Endpoint: s.Endpoint, Region: s.Region, PathStyle: true}
	if err != nil || got != want {
		t.Errorf("ParseURL(%q) = %+v, %v; want %+v", s.URL("a/b"), got, err, want)
	}
}
