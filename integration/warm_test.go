package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/snapfs/snapfs/integration/s3server"
)

// warmed is what `warm --json` says.
type warmed struct {
	Files   int
	Bytes   int64
	Fetched int64 `json:"fetched_bytes"`
	Missing int
}

func (w *world) warm(args ...string) (v warmed) {
	w.t.Helper()
	w.decode(w.ok(append([]string{"warm", "--json"}, args...)...), &v)
	return v
}

// plantRemote stores small files and large ones on a server, as a.json.
func plantRemote(t *testing.T) (*world, *s3server.Server) {
	t.Helper()
	w, server := withServer(t)
	w.env = append(w.env, "SNAPFS_STORE="+server.URL("Data"))
	for i := range 30 {
		w.write(fmt.Sprintf("tree/src/f%02d.txt", i), strings.Repeat(fmt.Sprintf("line %d\n", i), 300))
	}
	w.write("tree/large", strings.Repeat("0123456789abcdef", 24<<20/16))
	w.write("tree/whole", strings.Repeat("fedcba9876543210", 12<<20/16))
	w.write("tree/unread", strings.Repeat("unread", 10_000))
	w.ok("snapshot", "tree", "-o", "a.json")
	return w, server
}

// Programs that read: files as a whole, of which one is larger than what is fetched at
// once; and parts of a large file, behind which the cache reads on.
const (
	readsFiles = "cat mnt/src/f0[012456789]*.txt mnt/whole | sum\n"
	readsParts = "for at in 200 0; do dd if=mnt/large bs=64k count=4 skip=$at status=none | sum; done\n"
)

// A program that was traced needs no store after its trace was fetched. What the cache
// fetches beyond that, on suspicion, nobody waits for.
func TestTracedProgramNeedsNoStore(t *testing.T) {
	w, server := plantRemote(t)
	w.ok("mount", "a.json", "mnt", "--trace", "trace.jsonl")
	files, parts := w.shell(readsFiles), w.shell(readsParts+"cat mnt/src/f03.txt >/dev/null")
	w.ok("umount", "mnt")
	checkTrace(t, w)
	w.ok("cache", "clear")
	// A similar manifest: one of the files is gone, another is new.
	w.shell("rm tree/src/f03.txt; echo new > tree/src/new.txt")
	w.ok("snapshot", "tree", "-o", "b.json")
	if v := w.warm("b.json", "--trace", "trace.jsonl"); v.Missing != 1 || v.Files != 11 || v.Fetched == 0 || v.Fetched > 24<<20 {
		t.Errorf("warm says %+v", v)
	}
	if v := w.warm("b.json", "--trace", "trace.jsonl"); v.Fetched != 0 {
		t.Errorf("a second warm fetched: %+v", v)
	}
	w.ok("mount", "b.json", "mnt")
	server.Pause()
	defer server.Resume()
	if after := w.shell(readsFiles); after != files {
		t.Errorf("read %q, and %q after the trace was fetched", files, after)
	}
	if after := w.shell(readsParts); after != parts {
		t.Errorf("read %q, and %q after the trace was fetched", parts, after)
	}
	server.Resume()
	w.ok("umount", "mnt")
	w.ok("cache", "clear")
	w.ok("mount", "a.json", "mnt", "--replay", "trace.jsonl")
	eventually(t, "the trace is replayed", func() bool { return strings.Contains(mountLog(w), "replayed") })
	server.Pause()
	if w.shell(readsFiles) != files || w.shell(readsParts) != parts {
		t.Error("after the replay other contents were read")
	}
	server.Resume()
	w.ok("umount", "mnt")
}

func mountLog(w *world) string { return w.shell("cat home/.local/state/snapfs/log/*") }

// checkTrace looks at the lines of a trace.
func checkTrace(t *testing.T, w *world) {
	t.Helper()
	read := map[string]int64{}
	for line := range strings.Lines(w.read("trace.jsonl")) {
		var touch struct {
			Path           string
			Offset, Length int64
			Seconds        *float64
		}
		if err := json.Unmarshal([]byte(line), &touch); err != nil || touch.Seconds == nil || touch.Length <= 0 {
			t.Errorf("line of the trace: %s: %v", line, err)
		}
		read[touch.Path] += touch.Length
	}
	if len(read) != 12 || read["whole"] != 12<<20 || read["src/f01.txt"] == 0 || read["large"] < 512<<10 || read["large"] > 20<<20 {
		t.Errorf("the trace says that was read: %v", read)
	}
}

// Warm fetches what is selected, once, for manifests and for mounts.
func TestWarmSelects(t *testing.T) {
	w, server := plantRemote(t)
	if v := w.warm("a.json", "src/f01.txt", "src/f02.txt"); v.Files != 2 || v.Fetched != v.Bytes {
		t.Errorf("two paths: %+v", v)
	}
	if v := w.warm("a.json", "--glob", "src/f1*"); v.Files != 10 || v.Fetched != v.Bytes {
		t.Errorf("a glob: %+v", v)
	}
	if v := w.warm("a.json", "src"); v.Files != 30 || v.Fetched >= v.Bytes || v.Fetched == 0 {
		t.Errorf("a directory of which some is there: %+v", v)
	}
	w.fails(5, []string{"nowhere"}, "warm", "a.json", "nowhere")
	w.fails(2, []string{"--trace"}, "warm", "a.json", "src", "--trace", "a.json")
	w.fails(2, []string{"line 1", "a.json"}, "warm", "a.json", "--trace", "a.json")
	w.fails(5, []string{"no snapfs mount"}, "warm", "mnt")
	w.ok("mount", "a.json", "mnt", "--cache-dir", "another")
	size := info(t, w.path("tree/large")) + info(t, w.path("tree/unread"))
	if v := w.warm("mnt", "large", "unread"); v.Files != 2 || v.Fetched != size {
		t.Errorf("a mount: %+v, want %d bytes", v, size)
	}
	server.Pause()
	defer server.Resume()
	if w.shell("cmp mnt/large tree/large; cmp mnt/unread tree/unread && echo same") != "same\n" {
		t.Error("the contents differ")
	}
	server.Resume()
	w.ok("umount", "mnt")
}

func info(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}
