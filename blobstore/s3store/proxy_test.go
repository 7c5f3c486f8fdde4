package s3store_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/snapfs/snapfs/blobstore/s3store"
	"github.com/snapfs/snapfs/integration/s3server"
)

// proxy stands between a store and the server, and may answer in its place.
type proxy struct {
	*httptest.Server

	mu        sync.Mutex
	requests  []*http.Request // all so far, without their bodies
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// newProxy returns a proxy, and the configuration of a store that goes through it.
func newProxy(t testing.TB, server *s3server.Server) (*proxy, s3store.Config) {
	t.Helper()
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests = append(p.requests, r.Clone(r.Context()))
		intercept := p.intercept
		p.mu.Unlock()
		if intercept == nil || !intercept(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	c := configFor(t, server, "Data")
	c.Endpoint = p.URL
	return p, c
}

// on sets what the proxy does instead of forwarding: f returns false to forward
// after all.
func (p *proxy) on(f func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.intercept, p.requests = f, nil
}

// seen returns the requests since on was called last.
func (p *proxy) seen() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// refuse answers as S3 does when it refuses a request. It takes the body first: the
// client of a server that does not may see a broken connection instead.
func refuse(w http.ResponseWriter, r *http.Request, status int, code string) bool {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amz-Request-Id", "REQ1")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said so</Message></Error>", code)
	return true
}
