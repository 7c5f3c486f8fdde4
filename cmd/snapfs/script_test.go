package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/snapfs/snapfs/integration/s3server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"snapfs": main})
}

// TestScripts runs testdata/*.txt, each in a directory of its own, with nothing but
// HOME to tell snapfs where to keep its files. With SNAPFS_UPDATE_SCRIPTS=1 the
// expected texts in the scripts are replaced by the present ones.
func TestScripts(t *testing.T) { runScripts(t, "testdata", nil) }

// TestS3Scripts runs testdata/s3/*.txt against a real S3 server, with one bucket, whose
// URL is s3://$BUCKET/PREFIX$QUERY.
func TestS3Scripts(t *testing.T) {
	server := s3server.Start(t)
	query := "?endpoint=" + server.Endpoint + "&path-style=1"
	runScripts(t, "testdata/s3", map[string]string{
		"AWS_ACCESS_KEY_ID": server.AccessKey, "AWS_SECRET_ACCESS_KEY": server.SecretKey, "AWS_REGION": server.Region,
		"BUCKET": server.Bucket, "QUERY": query, "ENDPOINT": server.Endpoint,
	})
}

func runScripts(t *testing.T, dir string, env map[string]string) {
	testscript.Run(t, testscript.Params{
		Dir:           dir,
		UpdateScripts: os.Getenv("SNAPFS_UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			for name, value := range env {
				e.Setenv(name, value)
			}
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"size":     makeFile,
			"same":     same,
			"cmpbytes": compareBytes,
		},
	})
}

// exits runs a command that must end with the given code: exits CODE COMMAND…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// compareBytes compares the last stdout with a file, not minding the newline that the
// scripts have at the end of every file: cmpbytes stdout FILE
func compareBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cmpbytes stdout FILE")
	}
	got, want := ts.ReadFile(args[0]), strings.TrimSuffix(ts.ReadFile(args[1]), "\n")
	if strings.TrimSuffix(got, "\n") != want {
		ts.Fatalf("%s (%d bytes) and %s (%d bytes) differ", args[0], len(got), args[1], len(want))
	}
}

// makeFile makes a file of the given size: size FILE BYTES
func makeFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: size FILE BYTES")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i / 251 * 7 >> (i % 3))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o644))
}

// same compares two trees with diff -r, modes and link texts included: same DIR DIR
func same(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same DIR DIR")
	}
	a, b := tree(ts, args[0]), tree(ts, args[1])
	for path, want := range a {
		if got := b[path]; got != want {
			ts.Fatalf("%s is %q in %s, and %q in %s", path, want, args[0], got, args[1])
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			ts.Fatalf("%s is in %s only", path, args[1])
		}
	}
}

// tree describes every entry below dir by mode, time and content.
func tree(ts *testscript.TestScript, dir string) map[string]string {
	out := map[string]string{}
	root := ts.MkAbs(dir)
	ts.Check(filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir():
			out[rel] = "dir"
		case d.Type() == os.ModeSymlink:
			text, err := os.Readlink(path)
			out[rel] = "-> " + text
			return err
		default:
			content, err := os.ReadFile(path)
			out[rel] = info.Mode().String() + info.ModTime().UTC().Format(" 2006-01-02T15:04:05.000000 ") + string(content)
			return err
		}
		return nil
	}))
	return out
}
