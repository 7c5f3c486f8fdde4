package fusefs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
)

// childEnv makes the test binary a server: it holds the path of a childConfig.
const childEnv = "SNAPFS_TEST_SERVER"

// childConfig tells the server process what to serve.
type childConfig struct {
	Dir, Overlay, Store string
	Snapshot            manifest.Snapshot
	ReadOnly, Debug     bool
	AllowOther          bool
	Ask                 bool // no passthrough
	Lend                bool // the store lends its files
}

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := serve(path); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if path := os.Getenv(readerEnv); path != "" {
		if err := readOnce(path, os.Getenv("FLAGS")); err != nil {
			fmt.Fprintln(os.Stderr, "reader:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve mounts, says "ready" on standard output, and serves until it is unmounted.
// It unmounts by itself when standard input ends.
func serve(path string) error {
	signal.Ignore(os.Interrupt)
	var c childConfig
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return err
	}
	base, err := fs.NewBase(&c.Snapshot)
	if err != nil {
		return err
	}
	var blobs fs.BlobReader = dirBlobs(c.Store)
	if c.Lend {
		blobs = lendingBlobs{dirBlobs(c.Store)}
	}
	tree, err := fs.New(base, blobs, c.Overlay, fs.Options{
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Umask: 0o022, MountPoint: c.Dir,
	})
	if err != nil {
		return err
	}
	server, err := Mount(tree, c.Dir, MountOptions{
		ReadOnly: c.ReadOnly, Debug: c.Debug, AllowOther: c.AllowOther, Ask: c.Ask, Log: zerolog.New(os.Stderr),
	})
	if err != nil {
		return err
	}
	var answering sync.Mutex
	go obey(server, tree, &answering)
	server.Serve()
	answering.Lock() // who has asked for the end waits for the answer
	return tree.Close()
}

// obey carries out the commands that come in on standard input. It holds answering
// while it does.
func obey(server *Server, tree *fs.Tree, answering *sync.Mutex) {
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answering.Lock()
		switch in.Text() {
		case "changes":
			list := []string{}
			for _, c := range tree.Changes() {
				list = append(list, fmt.Sprintf("%c %s", c.Kind, c.Path))
			}
			out, _ := json.Marshal(list)
			fmt.Println(string(out))
		case "stats":
			out, _ := json.Marshal(tree.Stats())
			fmt.Println(string(out))
		case "passthrough":
			out, _ := json.Marshal(server.Passthrough())
			fmt.Println(string(out))
		case "unmount":
			fmt.Println(server.Unmount())
		}
		answering.Unlock()
	}
	server.UnmountLazy()
}

// dirBlobs is a store: a directory with a file for each blob. A file named like the
// blob with ".hang" behind it makes reads of that blob wait until it is gone.
type dirBlobs string

func (d dirBlobs) ReadBlobAt(ctx context.Context, b manifest.Blob, p []byte, off int64) (int, error) {
	path := filepath.Join(string(d), string(b.Hash))
	for {
		if _, err := os.Lstat(path + ".hang"); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("no blob %s", b.Hash) // never ENOENT
	}
	defer f.Close()
	n, err := f.ReadAt(p, off)
	if err == io.EOF && n == len(p) {
		err = nil
	}
	return n, err
}

// lendingBlobs lends the file of a blob, as a cache does.
type lendingBlobs struct{ dirBlobs }

func (d lendingBlobs) Lend(blobs []manifest.Blob) (*os.File, bool) {
	if len(blobs) != 1 {
		return nil, false
	}
	f, err := os.Open(filepath.Join(string(d.dirBlobs), string(blobs[0].Hash)))
	return f, err == nil
}

func (d dirBlobs) put(t testing.TB, p []byte) manifest.Hash {
	h := manifest.Sum(p)
	if err := os.WriteFile(filepath.Join(string(d), string(h)), p, 0o644); err != nil {
		t.Fatal(err)
	}
	return h
}

// file returns the manifest entry of a file with the given content.
func (d dirBlobs) file(t testing.TB, path string, content []byte, chunk int64) manifest.File {
	f := manifest.File{Path: path, Size: int64(len(content)), ModTime: 1_700_000_000_123_456}
	if f.Size <= chunk {
		f.Hash = d.put(t, content)
		return f
	}
	for c := range slices.Chunk(content, int(chunk)) {
		f.Chunks = append(f.Chunks, d.put(t, c))
	}
	return f
}
