package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/compare"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
)

// TestJSONIsDocumented compares what goes to stdout under --json with
// docs/cli-json.md: every member is named there, and the first one is the type.
func TestJSONIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli-json.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for _, v := range []any{
		failure.JSON{}, snapshotResult{}, collected{}, hashResult{}, uploadResult{}, diffResult{}, part{}, written{},
		compare.Change{}, compare.Summary{}, downloadResult{}, syncResult{},
		inspect.Summary{}, inspect.Entry{}, inspect.Usage{}, validation{}, verification{}, sumResult{},
		mountd.Status{}, mountd.Recoverable{}, mountd.Published{}, mountd.Unmounted{},
		cacheState{}, pruned{}, storeState{}, storeChecked{}, diagnosis{}, versionResult{},
	} {
		typ := reflect.TypeOf(v)
		names := members(typ)
		if names[0] != "type" {
			t.Errorf("%s: the first member is %q, not type", typ, names[0])
		}
		for _, name := range names {
			if !strings.Contains(doc, "`"+name+"`") && !strings.Contains(doc, `"`+name+`"`) {
				t.Errorf("%s: docs/cli-json.md does not name %q", typ, name)
			}
			if name != strings.ToLower(name) || strings.Contains(name, "-") {
				t.Errorf("%s: %q is not snake_case", typ, name)
			}
		}
	}
}

// members lists the names of the JSON members of a struct, and of the structs in it.
func members(typ reflect.Type) (names []string) {
	for f := range typ.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag != "" && tag != "text" { // the text of a manifest stays on the control socket
			names = append(names, tag)
		}
		inner := f.Type
		for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && strings.HasPrefix(inner.PkgPath(), "github.com/snapfs/") {
			names = append(names, members(inner)...)
		}
	}
	return names
}
