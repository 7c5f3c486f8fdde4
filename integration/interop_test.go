package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/integration/s3server"
	"github.com/snapfs/snapfs/manifest"
)

// stockRoot is the prefix of a queue's bucket, and stockData where its contents lie.
const (
	stockRoot = "DeadlineCloud"
	stockData = stockRoot + "/Data"
)

// stock is an installation of the Deadline tools of Python, for one user.
type stock struct {
	*world
	python string
}

// newStock returns the tools of a new user, who shares his home with snapfs. They are
// installed once for each checkout, below .cache; without a package index to install
// them from the test is skipped.
func newStock(t *testing.T) *stock {
	t.Helper()
	if testing.Short() {
		t.Skip("installs and runs the Deadline tools")
	}
	dir, err := filepath.Abs("../.cache/deadline")
	if err != nil {
		t.Fatal(err)
	}
	s := &stock{newHome(t), filepath.Join(dir, "bin", "python")}
	if _, err := os.Stat(filepath.Join(dir, "complete")); errors.Is(err, fs.ErrNotExist) {
		installStock(t, dir)
	}
	return s
}

// installStock makes a virtual environment in dir.
func installStock(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("python3", "-m", "venv", dir).CombinedOutput(); err != nil {
		t.Fatalf("make a virtual environment (Debian has it in python3-venv): %v\n%s", err, out)
	}
	pip := exec.Command(filepath.Join(dir, "bin", "python"), "-m", "pip", "install",
		"--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15", "deadline")
	out, err := pip.CombinedOutput()
	for _, sign := range []string{"connection", "Connection", "Could not find a version", "timed out", "Max retries"} {
		if err != nil && strings.Contains(string(out), sign) {
			t.Skipf("the package index cannot be reached, so that the Deadline tools cannot be installed:\n%s", out)
		}
	}
	if err != nil {
		t.Fatalf("install the Deadline tools: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// do runs a command of testdata/stock.py, which must succeed.
func (s *stock) do(stdin string, args ...string) string {
	s.t.Helper()
	script, err := filepath.Abs("testdata/stock.py")
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.python, append([]string{script}, args...)...)
	cmd.Env = append(slices.Clone(s.env), "AWS_DEFAULT_REGION=us-east-1", "AWS_ENDPOINT_URL_STS=http://127.0.0.1:1")
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("stock.py %v: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

// use gives the user an S3 server.
func (s *stock) use(server *s3server.Server) {
	for name, value := range server.Env() {
		if value != "" {
			s.env = append(s.env, name+"="+value)
		}
	}
	s.env = append(s.env, "AWS_ENDPOINT_URL_S3="+server.Endpoint, "AWS_DEFAULT_REGION="+server.Region)
}

// oddNames are names on which encoders differ.
var oddNames = []string{
	"plain.txt", "a b.txt", "a-b/x", "a/b", "a.b/x", "UPPER.txt", "quote\"s", "back\\slash", "tab\tand\nnewline", "\x01control",
	"é", "e\u0301", "日本語/ファイル", "😀.txt", "\ufffd.txt", "\ue000", "\u2028", "<&>'", "$0/x", "~tilde", ".hidden",
}

// Promise 8 of spec/users.md §6: the manifests of either are read and written by the
// other, byte for byte.
func TestStockToolsReadAndWriteTheSameManifests(t *testing.T) {
	s := newStock(t)
	t.Logf("deadline %s", s.do("", "version"))
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: manifest.WholeFile}
	var lines strings.Builder
	for i, name := range oddNames {
		f := manifest.File{
			Path: name, Size: int64(i) << (2 * i), ModTime: 1_700_000_000_000_000 + int64(i), Hash: manifest.Sum([]byte(name)),
		}
		m.Files = append(m.Files, f)
		line, err := json.Marshal([]any{f.Path, f.Hash, f.Size, f.ModTime})
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	var ours bytes.Buffer
	if err := manifest.EncodeV2023(&ours, m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ours.String(), s.do(ours.String(), "recode")); diff != "" {
		t.Errorf("they write what we wrote differently (-ours +theirs):\n%s", diff)
	}
	theirs := s.do(lines.String(), "make")
	if diff := cmp.Diff(ours.String(), theirs); diff != "" {
		t.Errorf("they write the same entries differently (-ours +theirs):\n%s", diff)
	}
	read, err := manifest.DecodeAs[manifest.Rel, manifest.Full](strings.NewReader(theirs))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := manifest.EncodeV2023(&again, read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs, again.String()); diff != "" {
		t.Errorf("we write what they wrote differently (-theirs +ours):\n%s", diff)
	}
}

// The one character that they write otherwise than the reference, and so than we do:
// DEL, which Python escapes. Either reads the other.
func TestStockToolsEscapeDEL(t *testing.T) {
	s := newStock(t)
	const verbatim = "{\"hashAlg\":\"xxh128\",\"manifestVersion\":\"2023-03-03\",\"paths\":[" +
		"{\"hash\":\"99aa06d3014798d86001c324468d497f\",\"mtime\":1,\"path\":\"\x7f\",\"size\":0}],\"totalSize\":0}"
	theirs := s.do(verbatim, "recode")
	if want := strings.ReplaceAll(verbatim, "\x7f", `\u007f`); theirs != want {
		t.Errorf("they write %s, not %s", theirs, want)
	}
	m, err := manifest.DecodeAs[manifest.Rel, manifest.Full](strings.NewReader(theirs))
	if err != nil {
		t.Fatal(err)
	}
	var ours bytes.Buffer
	if err := manifest.EncodeV2023(&ours, m); err != nil {
		t.Fatal(err)
	}
	if ours.String() != verbatim {
		t.Errorf("we write %s, not %s", &ours, verbatim)
	}
}

// plant writes a tree of files with odd names, of different times, and returns its root.
func (s *stock) plant(name string) string {
	s.t.Helper()
	for i, odd := range oddNames {
		at := filepath.Join(name, odd)
		s.write(at, strings.Repeat(odd, 1+i*1000))
		when := time.Unix(1_700_000_000+int64(i), int64(i)*47_000_123) // not whole microseconds
		if err := os.Chtimes(s.path(at), when, when); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.path(name)
}

// hashCounts is the part of `snapfs hash --json` that the test looks at.
type hashCounts struct {
	Hashed  int `json:"hashed_files"`
	Skipped int `json:"skipped_files"`
}

// hash hashes a tree with snapfs, and returns the manifest in v2023 as well.
func (s *stock) hash(root string) (counts hashCounts, text string) {
	s.t.Helper()
	s.ok("collect", root, "--chunk-size", "whole", "-o", "collected.json")
	s.decode(s.ok("hash", "collected.json", "-o", "hashed.json", "--json"), &counts)
	s.ok("subtree", "hashed.json", root, "--format", "v2023", "-o", "hashed.v2023.json")
	return counts, s.read("hashed.v2023.json")
}

// The database hash_cache.db, table hashesV4, is one for all (spec/caches.md §4).
func TestStockToolsShareTheHashCache(t *testing.T) {
	s := newStock(t)
	all := len(oddNames)
	theirsFirst := s.plant("theirs")
	theirText := s.do("", "hash", theirsFirst)
	counts, text := s.hash(theirsFirst)
	if counts != (hashCounts{Skipped: all}) {
		t.Errorf("after they hashed %d files, we did %+v", all, counts)
	}
	if diff := cmp.Diff(theirText, text); diff != "" {
		t.Errorf("the manifests differ (-theirs +ours):\n%s", diff)
	}

	oursFirst := s.plant("ours")
	if counts, text = s.hash(oursFirst); counts != (hashCounts{Hashed: all}) {
		t.Errorf("of %d new files we did %+v", all, counts)
	}
	var paths []string
	for _, name := range oddNames {
		paths = append(paths, filepath.Join(oursFirst, name))
	}
	var rows map[string]manifest.Hash
	s.decode(s.do("", append([]string{"hashes"}, paths...)...), &rows)
	for i, path := range paths {
		content := strings.Repeat(oddNames[i], 1+i*1000)
		if rows[path] != manifest.Sum([]byte(content)) {
			t.Errorf("they find %q in our row of %q", rows[path], path)
		}
	}
	if diff := cmp.Diff(text, s.do("", "hash", oursFirst)); diff != "" {
		t.Errorf("with our rows they get another manifest (-ours +theirs):\n%s", diff)
	}
	if counts, _ = s.hash(oursFirst); counts != (hashCounts{Skipped: all}) {
		t.Errorf("after both had hashed, we did %+v", counts)
	}
}

// sameContents compares two trees by name, content and time; times of Python are off by
// a microsecond, as it takes them through floating point.
func sameContents(t *testing.T, got, want string) {
	t.Helper()
	for _, name := range oddNames {
		a, errA := os.ReadFile(filepath.Join(got, name))
		b, errB := os.ReadFile(filepath.Join(want, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%q: %d and %d bytes, %v, %v", name, len(a), len(b), errA, errB)
			continue
		}
		x, err := os.Stat(filepath.Join(got, name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.Stat(filepath.Join(want, name))
		if err != nil {
			t.Fatal(err)
		}
		if d := x.ModTime().Sub(y.ModTime()).Abs(); d > 2*time.Microsecond {
			t.Errorf("%q: times differ by %v", name, d)
		}
	}
}

// What either has uploaded, the other downloads and does not upload again: contents lie
// at the same keys, and what was seen in the bucket is remembered for both in
// s3_check_cache.db, table s3checkV1 (spec/caches.md §5).
func TestStockToolsShareABucket(t *testing.T) {
	s := newStock(t)
	server := s3server.Start(t)
	s.use(server)
	root := s.plant("tree")
	store := server.URL(stockData)

	s.ok("snapshot", root, "--format", "v2023", "--store", store, "-o", "m.json")
	text := s.read("m.json")
	keys := blobKeys(t, server.Bucket, text)
	s.wantSeen(keys, "we uploaded")
	if n := s.do(text, "download", s.path("out"), server.Bucket, stockData); n != fmt.Sprint(len(oddNames)) {
		t.Errorf("they downloaded %s files", n)
	}
	sameContents(t, s.path("out"), root)

	// With what we remembered they need no request, and no server.
	server.Stop()
	s.do(text, "upload", root, server.Bucket, stockData)
	server.Restart()

	other := s.plant("other")
	for i, name := range oddNames { // other contents
		s.write(filepath.Join("other", name), fmt.Sprint("theirs", i))
	}
	text = s.do("", "hash", other)
	s.do(text, "upload", other, server.Bucket, stockData)
	s.wantSeen(blobKeys(t, server.Bucket, text), "they uploaded")
	s.write("theirs.json", text)
	s.ok("manifest", "verify", "theirs.json", "--deep", "--store", store)
	s.ok("download", "theirs.json", "out2", "--store", store)
	sameContents(t, s.path("out2"), other)
	var again struct {
		Hashed   *int64 `json:"hashed_bytes"`
		Uploaded *int64 `json:"uploaded_bytes"`
	}
	s.decode(s.ok("snapshot", other, "--format", "v2023", "--store", store, "-o", "again.json", "--json"), &again)
	if again.Hashed == nil || *again.Hashed != 0 || again.Uploaded == nil || *again.Uploaded != 0 {
		t.Errorf("after they hashed and uploaded, we did %+v", again)
	}
	if diff := cmp.Diff(text, s.read("again.json")); diff != "" {
		t.Errorf("the manifests differ (-theirs +ours):\n%s", diff)
	}
}

// blobKeys returns how the check cache calls the contents of a manifest.
func blobKeys(t *testing.T, bucket, text string) []string {
	t.Helper()
	m, err := manifest.DecodeAs[manifest.Rel, manifest.Full](strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, f := range m.Files {
		keys = append(keys, fmt.Sprintf("%s/%s/%s.xxh128", bucket, stockData, f.Hash))
	}
	return keys
}

// wantSeen fails unless their check cache holds all the keys.
func (s *stock) wantSeen(keys []string, when string) {
	s.t.Helper()
	var known map[string]bool
	s.decode(s.do("", append([]string{"seen"}, keys...)...), &known)
	for _, key := range keys {
		if !known[key] {
			s.t.Errorf("after %s, their check cache lacks %s", when, key)
		}
	}
}
