package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sweep measures how one figure depends on another, and prints a table that gnuplot can
// read: see plots.gp.
func (b *bench) sweep(what string) error {
	switch what {
	case "requests":
		return b.byRequestSize()
	case "latency":
		return b.byLatency()
	}
	return fmt.Errorf("there is no sweep %q; there are requests and latency", what)
}

// byRequestSize reads a file that is in the local cache, but not in the page cache, with
// requests of growing size.
func (b *bench) byRequestSize() error {
	systems := b.systems()
	rows := map[int][]string{}
	var sizes []int
	for size := 4 << 10; size <= 4<<20; size *= 4 {
		sizes = append(sizes, size)
	}
	for _, s := range systems {
		fmt.Fprintf(os.Stderr, "%s …\n", s.name)
		m, err := s.mount(b)
		if err != nil {
			return err
		}
		path := filepath.Join(m.dir, "big")
		_, err = readAll(path, 1<<20)
		time.Sleep(3 * time.Second) // what a mount still has to do with what it fetched
		for _, size := range sizes {
			if err != nil {
				break
			}
			settle()
			var took time.Duration
			took, err = readAll(path, size)
			rows[size] = append(rows[size], number(float64(b.size<<20)/1e6/took.Seconds()))
		}
		if err := errors.Join(err, m.end()); err != nil {
			return err
		}
	}
	printHead("KiB", systems)
	for _, size := range sizes {
		fmt.Printf("%d\t%s\n", size>>10, strings.Join(rows[size], "\t"))
	}
	return nil
}

// latencyFiles is how many small files are read for each latency.
const latencyFiles = 200

// byLatency reads small files, of which nothing is cached, from a store that answers
// later and later.
func (b *bench) byLatency() error {
	systems := b.systems()[1:] // the local file system has no store
	var table strings.Builder
	direct := b.endpoint
	for _, ms := range []int{0, 1, 5, 20, 50, 100} {
		fmt.Fprintf(os.Stderr, "%d ms …\n", ms)
		stop, err := b.delay(direct, time.Duration(ms)*time.Millisecond)
		if err != nil {
			return err
		}
		fmt.Fprint(&table, ms)
		for _, s := range systems {
			each, err := b.smallCold(s)
			if err != nil {
				return errors.Join(fmt.Errorf("%s: %w", s.name, err), stop())
			}
			fmt.Fprintf(&table, "\t%s", number(each))
		}
		fmt.Fprintln(&table)
		if err := stop(); err != nil {
			return err
		}
	}
	printHead("ms", systems)
	_, err := fmt.Print(table.String())
	return err
}

// smallCold returns how long one small file takes, in ms.
func (b *bench) smallCold(s *system) (float64, error) {
	m, err := s.mount(b)
	if err != nil {
		return 0, err
	}
	settle()
	begin := time.Now()
	for i := range latencyFiles {
		if _, err = os.ReadFile(smallPath(m.dir, i)); err != nil {
			break
		}
	}
	took := time.Since(begin)
	return float64(took.Microseconds()) / 1000 / latencyFiles, errors.Join(err, m.end())
}

// delay puts a proxy before the S3 server that passes requests on after a while.
func (b *bench) delay(server string, by time.Duration) (stop func() error, err error) {
	target, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0) // requests are given up when a mount ends
	proxy := &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(by)
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = srv.Serve(l) }() // until it is closed
	b.endpoint = "http://" + l.Addr().String()
	return func() error {
		b.endpoint = server
		return srv.Close()
	}, nil
}

func printHead(unit string, systems []*system) {
	names := []string{unit}
	for _, s := range systems {
		names = append(names, s.name)
	}
	fmt.Println(strings.Join(names, "\t"))
}

// readAll reads a file with requests of the given size.
func readAll(path string, size int) (time.Duration, error) {
	begin := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, size)
	for {
		if _, err := f.Read(buf); err == io.EOF {
			return time.Since(begin), nil
		} else if err != nil {
			return 0, err
		}
	}
}
