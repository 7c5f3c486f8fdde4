package ops

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testPackages says where the packages lie that testdata/coverage.txt names.
var testPackages = map[string]string{
	"ops": ".", "confine": "internal/confine", "manifest": "../manifest", "canonjson": "../manifest/internal/canonjson",
	"cache": "../cache", "dirstore": "../blobstore/dirstore", "s3store": "../blobstore/s3store", "blobstore": "../blobstore",
	"snapfs": "../cmd/snapfs", "failure": "../cmd/snapfs/internal/failure", "integration": "../integration",
}

// TestCoverage checks testdata/coverage.txt: that no statement of the specification is
// missing there, and that the tests exist which it names. How the file is written, it
// says itself.
func TestCoverage(t *testing.T) {
	text, err := os.ReadFile("testdata/coverage.txt")
	must(t, err)
	c := coverage{t: t, tests: map[string]map[string]*testFunc{}}
	for i, line := range strings.Split(string(text), "\n") {
		c.line(fmt.Sprintf("coverage.txt:%d", i+1), strings.TrimSpace(line))
	}
	c.endSection("coverage.txt")
	if c.total < 900 {
		t.Errorf("coverage.txt has only %d statements", c.total)
	}
}

// coverage is what has been read of the table.
type coverage struct {
	t       *testing.T
	tests   map[string]map[string]*testFunc // by package and name
	section string
	want    int
	seen    map[string]bool
	total   int
}

var sectionLine = regexp.MustCompile(`^\[(.+)\] (\d+)$`)

func (c *coverage) line(at, line string) {
	if line == "" || strings.HasPrefix(line, "#") {
		return
	}
	if m := sectionLine.FindStringSubmatch(line); m != nil {
		c.endSection(at)
		c.section, c.seen = m[1], map[string]bool{}
		c.want, _ = strconv.Atoi(m[2]) // it is all digits
		return
	}
	ids, rest, ok := strings.Cut(line, ": ")
	if !ok || c.seen == nil {
		c.t.Errorf("%s: not an entry: %s", at, line)
		return
	}
	for id := range strings.FieldsSeq(ids) {
		if c.seen[id] {
			c.t.Errorf("%s: %s is there twice", at, id)
		}
		c.seen[id] = true
		c.entry(at, id, rest)
	}
}

func (c *coverage) endSection(at string) {
	if len(c.seen) != c.want {
		c.t.Errorf("%s: section %s has %d statements, not %d", at, c.section, len(c.seen), c.want)
	}
	c.total += len(c.seen)
}

// entry checks what is said of one statement.
func (c *coverage) entry(at, id, rest string) {
	if reason, ok := strings.CutPrefix(rest, "-- "); ok {
		if len(reason) < 20 {
			c.t.Errorf("%s: %s: why is it not tested?", at, id)
		}
		return
	}
	refs, reason, differs := strings.Cut(rest, " != ")
	if differs && len(reason) < 10 {
		c.t.Errorf("%s: %s: why is it different?", at, id)
	}
	named := false
	for ref := range strings.FieldsSeq(refs) {
		fn := c.find(at, ref)
		named = named || fn != nil && fn.mentions(id)
	}
	if c.section == "gaps" && !named {
		c.t.Errorf("%s: none of %s names %s", at, refs, id)
	}
}

// find returns the test that ref names, as [package.]Test[/subtest].
func (c *coverage) find(at, ref string) *testFunc {
	name, sub, _ := strings.Cut(ref, "/")
	pkg, fn, ok := strings.Cut(name, ".")
	if !ok {
		pkg, fn = "ops", name
	}
	if c.tests[pkg] == nil {
		c.tests[pkg] = parseTests(c.t, testPackages[pkg])
	}
	f := c.tests[pkg][fn]
	switch {
	case f == nil:
		c.t.Errorf("%s: there is no test %s in package %s", at, fn, pkg)
	case sub != "" && !f.hasSubtest(c.t, sub):
		c.t.Errorf("%s: test %s has no subtest %q", at, fn, sub)
	}
	return f
}

// testFunc is what is known of a test from its source.
type testFunc struct {
	dir     string
	text    string   // with its comments
	strings []string // literals
}

// parseTests returns the tests of the package in dir.
func parseTests(t *testing.T, dir string) map[string]*testFunc {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no tests in %q", dir)
	}
	found := map[string]*testFunc{}
	for _, name := range names {
		source, err := os.ReadFile(name)
		must(t, err)
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, source, parser.ParseComments)
		must(t, err)
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil {
				continue
			}
			start := fn.Pos()
			if fn.Doc != nil {
				start = fn.Doc.Pos()
			}
			f := &testFunc{dir: dir, text: string(source[fset.Position(start).Offset:fset.Position(fn.End()).Offset])}
			ast.Inspect(fn, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						f.strings = append(f.strings, s)
					}
				}
				return true
			})
			found[fn.Name.Name] = f
		}
	}
	return found
}

func (f *testFunc) mentions(id string) bool { return strings.Contains(f.text, id) }

// hasSubtest reports whether the test has a case of the name, as a literal, as a line of
// the vectors that it reads, or as a file.
func (f *testFunc) hasSubtest(t *testing.T, name string) bool {
	plain := func(s string) string { return strings.ReplaceAll(s, " ", "_") }
	if slices.ContainsFunc(f.strings, func(s string) bool { return plain(s) == name }) {
		return true
	}
	for _, s := range f.strings {
		if !strings.HasSuffix(s, ".jsonl") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(f.dir, "testdata", "vectors", filepath.Base(s)))
		must(t, err)
		for line := range strings.Lines(string(text)) {
			var v struct{ Name string }
			must(t, json.Unmarshal([]byte(line), &v))
			if plain(v.Name) == name {
				return true
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(f.dir, "testdata", "*", name+".*"))
	scripts, _ := filepath.Glob(filepath.Join(f.dir, "testdata", name+".*"))
	return len(files)+len(scripts) > 0
}
