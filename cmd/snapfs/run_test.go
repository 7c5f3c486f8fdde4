package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// full is where nothing can be written.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestLostOutput: data that could not be written is a failure, however little it was.
func TestLostOutput(t *testing.T) {
	var stderr bytes.Buffer
	code := run([]string{"snapfs", "manifest", "ls", "-"}, strings.NewReader(smallManifest), full{}, &stderr)
	if code != failure.NoSpace || !strings.Contains(stderr.String(), "write to stdout") {
		t.Errorf("exit code %d: %s", code, stderr.String())
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

// TestInterruptedSnapshotResumes stops a snapshot in the middle: no manifest is written,
// nothing half-written is left, and the next run sends only what was missing.
func TestInterruptedSnapshotResumes(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MB")
	}
	dir := t.TempDir()
	src, store, out := filepath.Join(dir, "src"), filepath.Join(dir, "store"), filepath.Join(dir, "m.json")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	const files, size = 25, 4 << 20
	for i := range files {
		content := bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, size/3)
		if err := os.WriteFile(filepath.Join(src, strconv.Itoa(i)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	snapshot := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "snapfs", "snapshot", src, "-o", out, "--store", store, "--workers", "1", "--json")
		cmd.Env = append(os.Environ(), "HOME="+dir)
		return cmd
	}
	first := snapshot()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	waitForBlob(t, store)
	if err := first.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := first.Wait(); !errors.As(err, &exit) || exit.ExitCode() != int(failure.Interrupted) {
		t.Fatalf("the first run ended with %v, want exit code %d", err, failure.Interrupted)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an interrupted snapshot has left a manifest: %v", err)
	}
	text, err := snapshot().Output()
	if err != nil {
		t.Fatal(err)
	}
	var result snapshotResult
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	if result.Files != files || result.UploadedBytes == 0 || result.UploadedBytes >= result.Bytes {
		t.Errorf("the second run has sent %d bytes of %d", result.UploadedBytes, result.Bytes)
	}
	if left, err := filepath.Glob(filepath.Join(store, ".tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// waitForBlob returns when the first blob has appeared in a store.
func waitForBlob(t *testing.T, store string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if blobs, err := filepath.Glob(filepath.Join(store, "*.xxh128")); err == nil && len(blobs) > 0 {
			return
		}
	}
	t.Fatal("nothing was stored")
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
