package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/s3store"
	"github.com/snapfs/snapfs/blobstore/storetest"
	"github.com/snapfs/snapfs/integration/s3server"
)

// everyCall makes every kind of request to s and returns the errors.
func everyCall(ctx context.Context, s *s3store.Store) map[string]error {
	p := []byte("everything")
	key := storetest.Key(p)
	stat := func() error { _, err := s.Stat(ctx, key); return err }
	get := func(n int64) error { _, err := storetest.Get(ctx, s, key, 0, n); return err }
	object := func() error {
		r, _, err := s.GetObject(ctx, "manifest")
		if err == nil {
			err = r.Close()
		}
		return err
	}
	errs := map[string]error{}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"Check", func() error { return s.Check(ctx) }},
		{"Put", func() error { return s.Put(ctx, key, storetest.Body(p)) }},
		{"Stat", stat},
		{"Open", func() error { return get(-1) }},
		{"Open of a range", func() error { return get(1) }},
		{"Open of nothing", func() error { return get(0) }},
		{"CopyFrom", func() error { return s.CopyFrom(ctx, s, key) }},
		{"PutObject", func() error { return s.PutObject(ctx, "manifest", p) }},
		{"GetObject", object},
		{"List", func() error { return s.List(ctx, func(blobstore.Key, blobstore.Info) error { return nil }) }},
		{"Delete", func() error { return s.Delete(ctx, key) }},
	} {
		errs[c.name] = c.call()
	}
	return errs
}

func wantEveryCall(t *testing.T, s *s3store.Store, want error, text string) {
	t.Helper()
	for call, err := range everyCall(t.Context(), s) {
		if !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%s = %v, want %v that says %q", call, err, want, text)
		}
	}
}

func TestMissingBucket(t *testing.T) {
	server := s3server.Start(t)
	c := configFor(t, server, "Data")
	c.Bucket = "no-such-bucket"
	wantEveryCall(t, open(t, c), blobstore.ErrNoStore, "no-such-bucket")
	s := open(t, inParts(c))
	if err := s.Put(t.Context(), storetest.Key(nil), storetest.Body(nil)); !errors.Is(err, blobstore.ErrNoStore) {
		t.Errorf("Put in parts = %v, want ErrNoStore", err)
	}
}

func TestCredentials(t *testing.T) {
	server := s3server.Start(t)
	c := configFor(t, server, "Data")
	t.Run("wrong", func(t *testing.T) {
		s3server.Setenv(t, server.WrongEnv())
		wantEveryCall(t, open(t, c), blobstore.ErrPermission, "403")
	})
	t.Run("none", func(t *testing.T) {
		s3server.Setenv(t, map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
		s := open(t, c)
		wantEveryCall(t, s, blobstore.ErrPermission, "no usable AWS credentials")
		if when, ok := s.CredentialsExpire(t.Context()); ok {
			t.Errorf("credentials that are missing expire at %v", when)
		}
	})
	t.Run("anonymous", func(t *testing.T) {
		c := c
		c.NoSignRequest = true
		wantEveryCall(t, open(t, c), blobstore.ErrPermission, "403")
	})
}

func TestServerIsDown(t *testing.T) {
	server := s3server.Start(t)
	s := open(t, configFor(t, server, "Data"))
	server.Stop()
	start := time.Now()
	wantEveryCall(t, s, blobstore.ErrUnavailable, "connection refused, after 3 attempts")
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("that took %v", d)
	}
	server.Restart()
	for call, err := range everyCall(t.Context(), s) {
		if err != nil {
			t.Errorf("%s after the server is back: %v", call, err)
		}
	}
}

func TestServerHangs(t *testing.T) {
	server := s3server.Start(t)
	c := configFor(t, server, "Data")
	c.StallTimeout = 200 * time.Millisecond
	c.MaxAttempts = 2
	s := open(t, c)
	key := storetest.Put(t, s, []byte("x"))
	server.Pause()
	defer server.Resume()
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, blobstore.ErrUnavailable) {
		t.Errorf("Stat = %v, want ErrUnavailable", err)
	}
	c.StallTimeout = time.Minute
	for call, f := range map[string]func(context.Context, *s3store.Store) error{
		"Stat": func(ctx context.Context, s *s3store.Store) error { _, err := s.Stat(ctx, key); return err },
		"Open": func(ctx context.Context, s *s3store.Store) error { _, err := s.Open(ctx, key, 0, -1); return err },
		"Put":  func(ctx context.Context, s *s3store.Store) error { return s.Put(ctx, key, storetest.Body([]byte("x"))) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		if err := f(ctx, open(t, c)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want context.DeadlineExceeded", call, err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%s ended %v after its context", call, d)
		}
		cancel()
	}
}

// A cancelled upload ends at once, and leaves nothing behind.
func TestCancelledUpload(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	s := open(t, inParts(c))
	blob := storetest.Bytes(20 * mib)
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled time.Time
	p.on(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "2" {
			cancelled = time.Now()
			cancel()
			_, err := io.Copy(io.Discard, r.Body)
			return err != nil
		}
		return false
	})
	if err := s.Put(ctx, storetest.Key(blob), storetest.Body(blob)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want context.Canceled", err)
	}
	if d := time.Since(cancelled); d > 2*time.Second {
		t.Errorf("Put ended %v after its context", d)
	}
	p.on(nil)
	wantNoUploads(t, s)
}

func TestFailedPartAbortsUpload(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	s := open(t, inParts(c))
	blob := storetest.Bytes(20 * mib)
	p.on(func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Query().Get("partNumber") == "3" && refuse(w, r, http.StatusInsufficientStorage, "InsufficientStorage")
	})
	if err := s.Put(t.Context(), storetest.Key(blob), storetest.Body(blob)); !errors.Is(err, blobstore.ErrNoSpace) {
		t.Errorf("Put = %v, want ErrNoSpace", err)
	}
	wantNoUploads(t, s)
}

// The response to the last request of an upload is lost, and the upload is gone when
// it is repeated: the blob is there all the same.
func TestLostCompletion(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	c = inParts(c)
	s, behind := open(t, c), c
	behind.Endpoint = server.Endpoint
	blob := storetest.Bytes(100)
	p.on(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !r.URL.Query().Has("uploadId") {
			return false
		}
		storetest.Put(t, open(t, behind), blob)
		return refuse(w, r, http.StatusNotFound, "NoSuchUpload")
	})
	if err := s.Put(t.Context(), storetest.Key(blob), storetest.Body(blob)); err != nil {
		t.Errorf("Put: %v", err)
	}
}

// The response to a Put is lost, every time: the blob is there all the same.
func TestLostAnswer(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	s, behind := open(t, c), c
	behind.Endpoint = server.Endpoint
	blob := storetest.Bytes(100)
	p.on(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			storetest.Put(t, open(t, behind), blob)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	if err := s.Put(t.Context(), storetest.Key(blob), storetest.Body(blob)); err != nil {
		t.Errorf("Put: %v", err)
	}
	p.on(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	if err := s.Put(t.Context(), storetest.Key(nil), storetest.Body(nil)); !errors.Is(err, blobstore.ErrUnavailable) {
		t.Errorf("Put without any answer = %v, want ErrUnavailable", err)
	}
}

func TestRefusals(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	c.MaxAttempts = 2
	for _, r := range []struct {
		status int
		code   string
		want   error
		text   string
	}{
		{503, "SlowDown", blobstore.ErrUnavailable, "after 2 attempts"},
		{500, "InternalError", blobstore.ErrUnavailable, "after 2 attempts"},
		{403, "ExpiredToken", blobstore.ErrPermission, "request REQ1"},
		{403, "RequestTimeTooSkewed", blobstore.ErrPermission, "the clock of this machine"},
		{403, "InvalidObjectState", blobstore.ErrUnavailable, "must be restored"},
		{403, "QuotaExceeded", blobstore.ErrNoSpace, "said so"},
		{507, "Whatever", blobstore.ErrNoSpace, "HTTP 507"},
		{403, "SomethingNew", blobstore.ErrPermission, "SomethingNew"},
	} {
		p.on(func(w http.ResponseWriter, req *http.Request) bool { return refuse(w, req, r.status, r.code) })
		s := open(t, c) // one that was throttled goes on slowly
		_, err := s.Open(t.Context(), storetest.Key(nil), 0, -1)
		if !errors.Is(err, r.want) || !strings.Contains(err.Error(), r.text) {
			t.Errorf("%d %s became %v, want %v that says %q", r.status, r.code, err, r.want, r.text)
		}
		if strings.Contains(err.Error(), "operation error") {
			t.Errorf("the message is the SDK's: %v", err)
		}
	}
}

func TestTransientErrorsAreRetried(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	s := open(t, c)
	var n atomic.Int64
	p.on(func(w http.ResponseWriter, r *http.Request) bool {
		return n.Add(1)%3 != 0 && refuse(w, r, http.StatusInternalServerError, "InternalError")
	})
	blob := storetest.Bytes(1000)
	key := storetest.Put(t, s, blob)
	if got, err := storetest.Get(t.Context(), s, key, 0, -1); err != nil || !bytes.Equal(got, blob) {
		t.Errorf("Open: %d bytes, %v", len(got), err)
	}
}

// A bucket that changed hands must be noticed by whatever request meets it.
func TestOwnerAndPayerAreSentAlways(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	c.ExpectedBucketOwner, c.RequesterPays = server.AccessKey, true // versitygw's account
	p.on(nil)
	for call, err := range everyCall(t.Context(), open(t, c)) {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	c = inParts(c)
	s := open(t, c)
	c.Prefix = "Copy"
	if err := open(t, c).CopyFrom(t.Context(), s, storetest.Put(t, s, storetest.Bytes(100))); err != nil {
		t.Errorf("CopyFrom: %v", err)
	}
	if err := s.Put(t.Context(), storetest.Key(nil), storetest.Body([]byte("wrong"))); !errors.Is(err, blobstore.ErrMismatch) {
		t.Errorf("Put = %v, want ErrMismatch", err)
	}
	if len(p.seen()) < 15 {
		t.Errorf("only %d requests were seen", len(p.seen()))
	}
	for _, r := range p.seen() {
		if r.Header.Get("X-Amz-Expected-Bucket-Owner") != server.AccessKey || r.Header.Get("X-Amz-Request-Payer") != "requester" {
			t.Errorf("%s %s has not the owner and the payer", r.Method, r.URL)
		}
		if r.Header.Get("X-Amz-Copy-Source") != "" && r.Header.Get("X-Amz-Source-Expected-Bucket-Owner") != server.AccessKey {
			t.Errorf("%s %s has not the owner of the source", r.Method, r.URL)
		}
	}
}

func TestWrongOwner(t *testing.T) {
	c := configFor(t, s3server.Start(t), "Data")
	c.ExpectedBucketOwner = "123456789012"
	wantEveryCall(t, open(t, c), blobstore.ErrPermission, "403")
}

// Where the server does not know conditional writes, it is asked once.
func TestServerWithoutConditionalWrites(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	for name, c := range map[string]s3store.Config{"at once": c, "in parts": inParts(c)} {
		s := open(t, c)
		var refusals int
		p.on(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-None-Match") == "" {
				return false
			}
			refusals++
			return refuse(w, r, http.StatusNotImplemented, "NotImplemented")
		})
		storetest.Put(t, s, []byte("a"+name))
		storetest.Put(t, s, []byte("b"+name))
		if refusals != 1 {
			t.Errorf("%s: the server refused %d times, want once", name, refusals)
		}
	}
	wantNoUploads(t, open(t, c))
}

func TestSettingsAreSent(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	c.SSE, c.KMSKeyID, c.StorageClass = "aws:kms", "key-1", "INTELLIGENT_TIERING"
	p.on(func(w http.ResponseWriter, r *http.Request) bool { return refuse(w, r, 400, "Enough") })
	blob := []byte("x")
	for _, c := range []s3store.Config{c, inParts(c)} {
		_ = open(t, c).Put(t.Context(), storetest.Key(blob), storetest.Body(blob))
	}
	writes := 0
	for _, r := range p.seen() {
		if r.Method == http.MethodHead {
			continue
		}
		writes++
		got := []string{r.Header.Get("X-Amz-Server-Side-Encryption"), r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"), r.Header.Get("X-Amz-Storage-Class")}
		if diff := cmp.Diff([]string{"aws:kms", "key-1", "INTELLIGENT_TIERING"}, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", r.Method, r.URL, diff)
		}
	}
	if writes == 0 {
		t.Error("no write was seen")
	}
}

// Credentials in a file that another program renews are read again when the server
// says that they have expired.
func TestExpiredCredentialsAreRenewed(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(access string) {
		t.Helper()
		text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", access, server.SecretKey)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	s3server.Setenv(t, map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": file})
	s := open(t, c)
	p.on(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.Header.Get("Authorization"), "Credential=old/") && refuse(w, r, 403, "ExpiredToken")
	})
	if _, err := s.Open(t.Context(), storetest.Key(nil), 0, -1); !errors.Is(err, blobstore.ErrPermission) || len(p.seen()) != 1 {
		t.Errorf("with expired credentials, after %d requests: %v; want ErrPermission after one", len(p.seen()), err)
	}
	s = open(t, c)
	write(server.AccessKey)
	if err := s.Put(t.Context(), storetest.Key(nil), storetest.Body(nil)); err != nil {
		t.Errorf("after the file was renewed: %v", err)
	}
}
