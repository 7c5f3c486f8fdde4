package snapfs_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/snapfs/snapfs"

// rules says who may import what. The first rule whose package pattern matches
// decides; docs/architecture.md draws the picture.
var rules = []struct {
	pkg    string   // import path below the module; a trailing /... covers what is below too
	may    []string // packages of ours that it may import
	reason string
}{
	{"manifest/...", []string{"manifest/..."}, "manifest is the vocabulary: everybody imports it, it imports nobody"},
	{"blobstore/storetest", []string{"blobstore/..."}, "the conformance suite knows stores only"},
	{"blobstore/...", []string{"blobstore/..."}, "stores hold bytes under keys and know nothing of manifests"},
	{"ops/...", []string{"ops/...", "manifest", "blobstore/..."}, "operations know neither caches nor mounts"},
	{"cache/...", []string{"cache/...", "manifest", "blobstore/..."}, "caches serve mounts and operations, not the other way round"},
	{"fs/fusefs", []string{"fs", "manifest"}, "the kernel's side of the tree"},
	{"fs/...", []string{"fs/internal/...", "manifest"}, "the tree knows no kernel, no store and no cache"},
	{"cmd/snapfs/...", []string{"..."}, "the program puts everything together"},
	{"integration/...", []string{"..."}, "tests look at everything"},
}

// owners says which packages alone may import a third-party module, tests excepted.
var owners = []struct {
	prefix, owner string
}{
	{"github.com/aws/", "blobstore/s3store"},
	{"github.com/hanwen/go-fuse/", "fs/fusefs"},
	{"github.com/urfave/cli/", "cmd/snapfs"},
	{"github.com/rs/zerolog", "cmd/snapfs fs/fusefs"},
	{"github.com/dgraph-io/ristretto/", "cache"},
	{"modernc.org/sqlite", "cache"},
	{"github.com/schollz/progressbar/", "cmd/snapfs"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func matches(path, pattern string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(path+"/", prefix)
	}
	return path == pattern
}

func matchesAny(path string, patterns []string) bool {
	for _, p := range patterns {
		if matches(path, p) {
			return true
		}
	}
	return false
}

// TestLayering fails when a package imports one that its layer must not know.
func TestLayering(t *testing.T) {
	pkgs := list(t)
	if len(pkgs) < 10 {
		t.Fatalf("go list found only %d packages", len(pkgs))
	}
	for _, p := range pkgs {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if path == "" {
			continue
		}
		checkLayer(t, path, p.Imports)
		checkOwners(t, path, p.Imports)
	}
}

func checkLayer(t *testing.T, path string, imports []string) {
	t.Helper()
	for _, rule := range rules {
		if !matches(path, rule.pkg) {
			continue
		}
		for _, imp := range imports {
			if ours, ok := strings.CutPrefix(imp, module+"/"); ok && !matchesAny(ours, rule.may) {
				t.Errorf("%s imports %s: %s", path, ours, rule.reason)
			}
		}
		return
	}
	t.Errorf("%s has no rule: the top level of the module is fixed (docs/architecture.md)", path)
}

func checkOwners(t *testing.T, path string, imports []string) {
	t.Helper()
	for _, imp := range imports {
		for _, o := range owners {
			if !strings.HasPrefix(imp, o.prefix) {
				continue
			}
			allowed := false
			for owner := range strings.FieldsSeq(o.owner) {
				allowed = allowed || path == owner || strings.HasPrefix(path, owner+"/")
			}
			if !allowed {
				t.Errorf("%s imports %s, which only %s may", path, imp, o.owner)
			}
		}
	}
}
