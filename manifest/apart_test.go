package manifest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// emptyPackages imports nothing: only errors in the extra file count.
type emptyPackages struct{}

func (emptyPackages) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, path[strings.LastIndexByte(path, '/')+1:])
	p.MarkComplete()
	return p, nil
}

// The compiler must not accept one kind of manifest for another, not even by
// conversion. The package is type-checked from source with one extra file.
func TestKindsAreApart(t *testing.T) {
	tests := []struct {
		name, expr string
		ok         bool
	}{
		{"same kind", "func(m *Snapshot) *Manifest[Rel, Full] { return m }", true},
		{"assignment", "func(m *AbsSnapshot) *Snapshot { return m }", false},
		{"conversion of styles", "func(m *AbsSnapshot) *Snapshot { return (*Snapshot)(m) }", false},
		{"conversion of kinds", "func(m *SnapshotDiff) *Snapshot { return (*Snapshot)(m) }", false},
		{"conversion of values", "func(m AbsSnapshotDiff) AbsSnapshot { return AbsSnapshot(m) }", false},
		{"a style of one's own", "Manifest[struct{}, Full]{}", false},
		{"swapped parameters", "Manifest[Full, Rel]{}", false},
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range []string{"manifest.go", "hash.go", "validate.go"} {
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			extra, err := parser.ParseFile(fset, "extra.go", "package manifest\nvar _ = "+tt.expr, 0)
			if err != nil {
				t.Fatal(err)
			}
			var inExtra error
			conf := types.Config{
				Importer: emptyPackages{},
				Error: func(err error) {
					if strings.Contains(err.Error(), "extra.go") {
						inExtra = err
					}
				},
			}
			_, _ = conf.Check("manifest", fset, append([]*ast.File{extra}, files...), nil)
			if (inExtra == nil) != tt.ok {
				t.Errorf("got error %v, want acceptance %t", inExtra, tt.ok)
			}
		})
	}
}
