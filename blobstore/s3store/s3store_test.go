package s3store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/blobstore/s3store"
	"github.com/snapfs/snapfs/blobstore/storetest"
	"github.com/snapfs/snapfs/integration/s3server"
)

const mib = 1 << 20

// configFor returns the configuration of a store in the bucket of server, and puts
// its credentials into the environment.
func configFor(t testing.TB, server *s3server.Server, prefix string) s3store.Config {
	t.Helper()
	s3server.Setenv(t, server.Env())
	l, err := blobstore.ParseURL(server.URL(prefix))
	if err != nil {
		t.Fatal(err)
	}
	c := s3store.FromLocation(l)
	c.MaxAttempts = 3
	c.MaxBackoff = 100 * time.Millisecond
	return c
}

func open(t testing.TB, c s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inParts makes c put and copy in the smallest parts that S3 takes.
func inParts(c s3store.Config) s3store.Config {
	c.PartSize, c.CopyPartSize = 1, 1
	c.MultipartThreshold, c.CopyThreshold = 1, 1
	return c
}

func wantNoUploads(t *testing.T, s *s3store.Store) {
	t.Helper()
	if n, err := s.Uploads(t.Context()); n != 0 || err != nil {
		t.Errorf("%d unfinished uploads, %v; want none", n, err)
	}
}

func TestContract(t *testing.T) {
	server := s3server.Start(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) blobstore.Store {
		return open(t, configFor(t, server, fmt.Sprintf("Data/%d", n.Add(1))))
	})
}

func TestContractInParts(t *testing.T) {
	server := s3server.Start(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) blobstore.Store {
		return open(t, inParts(configFor(t, server, fmt.Sprintf("Data/%d", n.Add(1)))))
	})
	wantNoUploads(t, open(t, configFor(t, server, "")))
}

// spec/gaps.md G-41: no slash before the key when there is no prefix, and copies
// from keys with characters that mean something in a URL.
func TestObjectKeys(t *testing.T) {
	server := s3server.Start(t)
	p := storetest.Bytes(100)
	name := string(storetest.Key(p))
	plain := open(t, configFor(t, server, ""))
	storetest.Put(t, plain, p)
	if _, err := os.Stat(filepath.Join(server.BucketDir(), name)); err != nil {
		t.Errorf("without a prefix: %v", err)
	}
	c := configFor(t, server, "")
	for _, prefix := range []string{"Data", "farm 1/100%/a+b", "größe/~x&y=z"} {
		c.Prefix = prefix
		odd := open(t, c)
		if err := odd.CopyFrom(t.Context(), plain, storetest.Key(p)); err != nil {
			t.Errorf("copy to prefix %q: %v", prefix, err)
		}
		if _, err := os.Stat(filepath.Join(server.BucketDir(), prefix, name)); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
		c.Prefix = prefix + "/copy"
		if err := open(t, c).CopyFrom(t.Context(), odd, storetest.Key(p)); err != nil {
			t.Errorf("copy from prefix %q: %v", prefix, err)
		}
	}
}

func TestLargeBlob(t *testing.T) {
	server := s3server.Start(t)
	s := open(t, configFor(t, server, "Data"))
	p := storetest.Bytes(70 * mib)
	key := storetest.Put(t, s, p)
	for _, r := range []struct{ off, n int64 }{{0, -1}, {0, 10}, {32*mib - 5, 10}, {70*mib - 1, 1}, {70 * mib, -1}, {1, 64 * mib}} {
		want := p[r.off:]
		if r.n >= 0 {
			want = want[:r.n]
		}
		got, err := storetest.Get(t.Context(), s, key, r.off, r.n)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("range %+v: %d bytes, %v; want %d", r, len(got), err, len(want))
		}
	}
	wantNoUploads(t, s)

	other := configFor(t, server, "Copy")
	other.CopyThreshold, other.CopyPartSize = 64*mib, 32*mib
	copied := open(t, other)
	if err := copied.CopyFrom(t.Context(), s, key); err != nil {
		t.Fatalf("CopyFrom in parts: %v", err)
	}
	if got, err := storetest.Get(t.Context(), copied, key, 0, -1); err != nil || !bytes.Equal(got, p) {
		t.Errorf("the copy has %d bytes, %v", len(got), err)
	}
}

// changing is a file that is overwritten after so many bytes of it have been read.
type changing struct {
	p     []byte
	after int64
	read  atomic.Int64
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	if c.read.Load() >= c.after {
		off++
	}
	n, err := bytes.NewReader(c.p).ReadAt(p, off)
	c.read.Add(int64(n))
	return n, err
}

// spec/gaps.md G-11: what changes between the pass that hashes and the one that
// sends is not stored, and nothing of it stays.
func TestBlobChangesDuringPut(t *testing.T) {
	server := s3server.Start(t)
	for name, c := range map[string]s3store.Config{
		"in parts": inParts(configFor(t, server, "Data")),
		"at once":  configFor(t, server, "Data"),
	} {
		s := open(t, c)
		p := storetest.Bytes(12 * mib)
		// Over HTTP, the SDK signs the bytes: that is the first of two passes.
		body := io.NewSectionReader(&changing{p: append(p, 0), after: 12 * mib}, 0, 12*mib)
		if err := s.Put(t.Context(), storetest.Key(p), body); !errors.Is(err, blobstore.ErrMismatch) {
			t.Errorf("%s: Put = %v, want ErrMismatch", name, err)
		}
		if _, err := s.Stat(t.Context(), storetest.Key(p)); !errors.Is(err, blobstore.ErrNotFound) {
			t.Errorf("%s: Stat = %v, want ErrNotFound", name, err)
		}
		wantNoUploads(t, s)
	}
}

func TestObjects(t *testing.T) {
	server := s3server.Start(t)
	s := open(t, configFor(t, server, "Data"))
	const key = "Manifests/farm/job 1/x_input"
	if _, _, err := s.GetObject(t.Context(), key); !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("GetObject of nothing = %v, want ErrNotFound", err)
	}
	for _, want := range []string{"first", "", "the second is longer"} {
		if err := s.PutObject(t.Context(), key, []byte(want)); err != nil {
			t.Fatal(err)
		}
		r, size, err := s.GetObject(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want || size != int64(len(want)) {
			t.Errorf("GetObject = %q of %d bytes, %v; want %q", got, size, err, want)
		}
		r.Close()
	}
	if got, err := os.ReadFile(filepath.Join(server.BucketDir(), key)); err != nil || string(got) != "the second is longer" {
		t.Errorf("the object holds %q, %v", got, err)
	}
}

func TestCopyFromElsewhereIsUnsupported(t *testing.T) {
	server := s3server.Start(t)
	s := open(t, configFor(t, server, "Data"))
	_, c := newProxy(t, server)
	for name, src := range map[string]blobstore.Store{"memory": memstore.New(), "another endpoint": open(t, c)} {
		if err := s.CopyFrom(t.Context(), src, storetest.Key(nil)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("CopyFrom %s = %v, want ErrUnsupported", name, err)
		}
	}
}

func TestOpenRefusesBadConfiguration(t *testing.T) {
	s3server.Setenv(t, map[string]string{"AWS_CONFIG_FILE": os.DevNull, "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": ""})
	for name, c := range map[string]struct {
		config s3store.Config
		want   string
	}{
		"no bucket":          {s3store.Config{}, "no bucket"},
		"no region":          {s3store.Config{Bucket: "bkt"}, "AWS_REGION"},
		"unknown encryption": {s3store.Config{Bucket: "bkt", SSE: "rot13"}, "there are AES256"},
		"key without KMS":    {s3store.Config{Bucket: "bkt", SSE: "AES256", KMSKeyID: "k"}, "needs the encryption aws:kms"},
		"no such profile":    {s3store.Config{Bucket: "bkt", Profile: "nobody", Region: "eu-1"}, "nobody"},
		"no such CA bundle":  {s3store.Config{Bucket: "bkt", CABundle: "/nowhere.pem", Region: "eu-1"}, "/nowhere.pem"},
		"profile, unsigned":  {s3store.Config{Bucket: "bkt", Profile: "p", NoSignRequest: true}, "not signed"},
	} {
		if _, err := s3store.Open(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Open = %v, want an error that says %q", name, err, c.want)
		}
	}
}

func TestLocationLeadsBack(t *testing.T) {
	const in = "s3://bkt/Data?endpoint=http%3A%2F%2F127.0.0.1%3A1&owner=123456789012&path-style=1&region=eu-1"
	l, err := blobstore.ParseURL(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := open(t, s3store.FromLocation(l)).Location(); got != in {
		t.Errorf("Location = %s, want %s", got, in)
	}
}
