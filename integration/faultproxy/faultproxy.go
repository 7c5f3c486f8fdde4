// Package faultproxy is an HTTP proxy before a real S3 server that fails as a script says:
// it answers with errors, or spoils the answers of the server. It is meant for tests of
// readers on a bad network.
package faultproxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Fault is what happens to the reads of objects, GET requests, while it lasts. Fields
// that are zero do nothing.
type Fault struct {
	Every int // only one request in so many is hit

	Delay  time.Duration // before the answer begins
	Status int           // answers with it, and Code, instead of asking the server
	Code   string
	Page   bool // answers 200 with a page of HTML
	Hang   bool // never answers

	Cut    int64         // so many bytes of the body pass; then it ends as one of these says:
	Reset  bool          // the connection is reset
	Stall  bool          // nothing comes any more
	Short  bool          // the connection is closed in good order
	Flip   bool          // the next bit is wrong, and the rest passes
	Longer int64         // the length is announced as so much more than it is
	Skew   time.Duration // the clock of the server is so far ahead
}

// Proxy is a running proxy.
type Proxy struct {
	URL string

	target *url.URL
	client *http.Client
	server *httptest.Server

	mu    sync.Mutex
	fault *Fault
	gone  bool
	gets  int           // GET requests since the last Set
	ended chan struct{} // closed when the present fault ends
}

// Start starts a proxy for the server at endpoint that ends with the test.
func Start(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		target: target, ended: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}},
	}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	p.URL = p.server.URL
	t.Cleanup(func() {
		p.Heal()
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// Set makes a fault last until Heal or the next Set.
func (p *Proxy) Set(f Fault) { p.change(&f, false) }

// Gone makes the proxy cut every connection, new ones too, as when the server is gone.
func (p *Proxy) Gone() {
	p.change(nil, true)
	p.server.CloseClientConnections()
}

// Heal ends the fault. Requests that hang or stall are cut off.
func (p *Proxy) Heal() { p.change(nil, false) }

func (p *Proxy) change(f *Fault, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.gone, p.gets = f, gone, 0
	close(p.ended)
	p.ended = make(chan struct{})
}

// Gets returns how many objects were asked for since the last change.
func (p *Proxy) Gets() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gets
}

// serve answers one request.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	fault, gone, ended := p.fault, p.gone, p.ended
	if r.Method == http.MethodGet {
		p.gets++
	}
	hit := fault != nil && r.Method == http.MethodGet && p.gets%max(fault.Every, 1) == 0
	p.mu.Unlock()
	switch {
	case gone:
		reset(w)
	case !hit:
		p.forward(w, r, &Fault{}, ended)
	default:
		p.strike(w, r, fault, ended)
	}
}

// strike answers a request that the fault hits.
func (p *Proxy) strike(w http.ResponseWriter, r *http.Request, f *Fault, ended <-chan struct{}) {
	wait := f.Delay
	if f.Hang {
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		return
	case <-ended:
		reset(w)
		return
	}
	switch {
	case f.Status != 0:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(f.Status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the script says</Message></Error>", f.Code)
	case f.Page:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html><body>Please log in</body></html>")
	default:
		p.forward(w, r, f, ended)
	}
}

// forward hands on a request, and the answer as the fault spoils it.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, f *Fault, ended <-chan struct{}) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = p.target.Scheme, p.target.Host, ""
	resp, err := p.client.Do(out) // Host stays as it was signed
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	if f.Longer != 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength+f.Longer, 10))
	}
	if f.Skew != 0 {
		w.Header().Set("Date", time.Now().Add(f.Skew).UTC().Format(http.TimeFormat))
	}
	w.WriteHeader(resp.StatusCode)
	if !f.Reset && !f.Stall && !f.Short && !f.Flip {
		_, _ = io.Copy(w, resp.Body)
		return
	}
	if n, _ := io.CopyN(w, resp.Body, f.Cut); n < f.Cut {
		return // the whole body was shorter than that
	}
	_ = http.NewResponseController(w).Flush()
	switch {
	case f.Flip:
		next := make([]byte, 1)
		if n, _ := resp.Body.Read(next); n == 1 {
			next[0] ^= 1
			_, _ = w.Write(next)
		}
		_, _ = io.Copy(w, resp.Body)
	case f.Stall:
		select {
		case <-r.Context().Done():
		case <-ended:
		}
		reset(w)
	case f.Reset:
		reset(w)
	}
	// Short: the handler returns early, and the connection is closed.
}

// reset ends a connection at once.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // what net/http provides to end a connection
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
