package integration

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// directOpens returns how many opens of files of a mount the kernel has served by
// itself, or ends the test when it does not here.
func (w *world) directOpens(dir string) uint64 {
	w.t.Helper()
	var st struct {
		Passthrough struct {
			Active bool
			Reason string
			Opens  uint64
		}
	}
	w.decode(w.ok("status", dir, "--json"), &st)
	if !st.Passthrough.Active {
		w.t.Skip("no passthrough here: ", st.Passthrough.Reason)
	}
	return st.Passthrough.Opens
}

// TestLargeFilesAreUsedDirectly reads a file that is one content, and one that is cut
// into chunks, from S3, until the kernel reads them by itself: then the server is not
// needed any more, and writing to the files changes nothing in the cache.
func TestLargeFilesAreUsedDirectly(t *testing.T) {
	w, server := withServer(t)
	w.env = append(w.env, "SNAPFS_STORE="+server.URL("Data"))
	content := make([]byte, 10<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	for _, test := range []struct{ name, chunk string }{{"whole", "whole"}, {"chunked", "4MiB"}} {
		t.Run(test.name, func(t *testing.T) {
			w := *w
			w.t = t
			dir, m, mnt := test.name, test.name+".json", test.name+"-mnt"
			w.write(dir+"/big", string(content))
			w.mkdir(mnt)
			w.ok("snapshot", dir, "-o", m, "--chunk-size", test.chunk)
			w.ok("mount", m, mnt, "--on-unmount", "keep")
			defer w.run("umount", mnt, "--lazy", "--no-commit")
			before := w.directOpens(mnt)
			eventually(t, "the kernel to read the file by itself", func() bool {
				if w.read(mnt+"/big") != string(content) {
					t.Fatal("wrong content")
				}
				return w.directOpens(mnt) > before
			})
			old, err := os.Open(w.path(mnt + "/big"))
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			changed, err := os.OpenFile(w.path(mnt+"/big"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer changed.Close()
			if _, err := changed.WriteAt([]byte("new"), 5<<20); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(old); err != nil || !bytes.Equal(got, content) {
				t.Errorf("who had the file open before it was written to reads something else (%v)", err)
			}
			want := bytes.Clone(content)
			copy(want[5<<20:], "new")
			if w.read(mnt+"/big") != string(want) {
				t.Error("what was written is not there")
			}
			old.Close()
			changed.Close()
			w.fails(4, nil, "umount", mnt)

			// The cache holds the old content still, and nothing else is asked.
			server.Stop()
			defer server.Restart()
			w.ok("mount", m, mnt, "--read-only")
			if w.read(mnt+"/big") != string(content) {
				t.Error("the cached content was changed")
			}
			w.ok("umount", mnt)
		})
	}
}
