package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
)

const smallManifest = `{"dirs":[{"name":"d"}],"fileChunkSizeBytes":268435456,"files":[` +
	`{"hash":"00000000000000000000000000000001","mtime":1,"name":"x","size":6},{"name":"l","symlink":{"name":"x"}}],` +
	`"hashAlg":"xxh128","specificationVersion":"relative-manifest-snapshot-beta-2025-12","totalSize":6}`

// TestTruncatedManifest cuts a manifest after every byte.
func TestTruncatedManifest(t *testing.T) {
	for n := range len(smallManifest) + 1 {
		var stdout, stderr bytes.Buffer
		code := run([]string{"snapfs", "manifest", "validate", "-", "--json"}, strings.NewReader(smallManifest[:n]), &stdout, &stderr)
		want := failure.Invalid
		if n == len(smallManifest) {
			want = failure.OK
		}
		if code != want {
			t.Fatalf("%d bytes: exit code %d, want %d: %s", n, code, want, stderr.String())
		}
		var v map[string]any
		if err := json.Unmarshal(stdout.Bytes(), &v); err != nil {
			t.Fatalf("%d bytes: stdout is not one JSON value: %v\n%s", n, err, stdout.String())
		}
	}
}

// TestSignals runs the program itself: a first signal ends it within two seconds, even
// when it waits for input that never comes.
func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		signal syscall.Signal
		want   failure.Code
	}{
		{syscall.SIGINT, failure.Interrupted},
		{syscall.SIGTERM, failure.Terminated},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "snapfs", "manifest", "show", fifo, "--json")
			var stdout bytes.Buffer
			cmd.Stdout = &stdout
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer openWriter(t, fifo).Close()
			sent := time.Now()
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != int(tt.want) {
				t.Errorf("ended with %v, want exit code %d", err, tt.want)
			}
			if took := time.Since(sent); took > 2*time.Second {
				t.Errorf("took %v to end", took)
			}
			if !strings.Contains(stdout.String(), `"message":"stopped by signal: `) {
				t.Errorf("stdout: %s", stdout.String())
			}
		})
	}
}

// openWriter opens a fifo for writing as soon as somebody reads from it.
func openWriter(t *testing.T, fifo string) *os.File {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			return f
		}
		if time.Now().After(deadline) {
			t.Fatalf("the program does not read: %v", err)
		}
	}
}
