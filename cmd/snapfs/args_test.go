package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
)

func TestReorder(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"no command", "", ""},
		{"flags first", "manifest ls -l a.json", "manifest ls -l -- a.json"},
		{"flags last", "manifest ls a.json -l", "manifest ls -l -- a.json"},
		{"flag with a value", "download a.json --store s out", "download --store s -- a.json out"},
		{"value with an equals sign", "download a.json --store=s out", "download --store=s -- a.json out"},
		{"value that looks like a flag", "snapshot d --chunk-size -1", "snapshot --chunk-size -1 -- d"},
		{"stdin is an argument", "manifest ls - -l", "manifest ls -l -- -"},
		{"nothing is a flag behind --", "manifest ls -l -- -l a", "manifest ls -l -- -l a"},
		{"common flag before the command", "--json manifest ls a", "manifest ls --json -- a"},
		{"common flag within the command", "manifest -q ls a", "manifest ls -q -- a"},
		{"version flag", "--version", "version"},
		{"argument that is the name of a command", "manifest ls mount", "manifest ls -- mount"},
		{"alias", "unmount d --lazy", "unmount --lazy -- d"},
		{"help of a group", "manifest --help", "manifest --help"},
		{"help of a command", "manifest ls --help", "manifest ls --help"},
		{"unknown command", "frobnicate --deep x", "frobnicate --deep x"},
		{"group without a command", "manifest", "manifest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := reorder(new(program).app(), append([]string{"snapfs"}, strings.Fields(tt.in)...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]string{"snapfs"}, strings.Fields(tt.want)...), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReorderRefuses(t *testing.T) {
	tests := []struct{ in, message, hint string }{
		{"manifest ls a --lnog", "unknown flag --lnog of snapfs manifest ls", "did you mean --long?"},
		{"manifest ls a --qqqqq", "unknown flag --qqqqq of snapfs manifest ls", "snapfs manifest ls --help lists the flags"},
		{"download a --store", "the flag --store needs a value", ""},
		{"--store x download", "the flag --store comes before the command", "write it behind the command: snapfs COMMAND --store"},
	}
	for _, tt := range tests {
		_, err := reorder(new(program).app(), append([]string{"snapfs"}, strings.Fields(tt.in)...))
		e := failure.Classify(err)
		if e == nil || e.Code != failure.Usage || e.Message != tt.message || e.Hint != tt.hint {
			t.Errorf("%s: got %+v", tt.in, e)
		}
	}
}

// TestEveryFlagHasAVariable also fails for a type of flag that setEnv does not know.
func TestEveryFlagHasAVariable(t *testing.T) {
	for _, c := range new(program).app().VisibleCommands() {
		for _, cmd := range append(c.Subcommands, c) {
			for _, f := range cmd.Flags {
				env := f.(interface{ GetEnvVars() []string }).GetEnvVars()
				want := "SNAPFS_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))
				if len(env) != 1 || env[0] != want {
					t.Errorf("%s --%s: variables %q, want %s", cmd.Name, f.Names()[0], env, want)
				}
			}
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"snapshot", "mount", "umount", "diff", "ls", "json", "j"}
	for _, tt := range []struct{ word, want string }{
		{"snapshto", "snapshot"},
		{"snpshot", "snapshot"},
		{"moutn", "mount"},
		{"difff", "diff"},
		{"jsno", "json"},
		{"frobnicate", ""},
		{"x", ""},
		{"", ""},
	} {
		if got := nearest(tt.word, candidates); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"abc", "abd", 1}, {"abc", "ab", 1}, {"abc", "xabc", 1}, {"abc", "acb", 1}, {"ca", "abc", 3},
		{"kitten", "sitting", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

func TestCount(t *testing.T) {
	for _, tt := range []struct {
		n    int
		noun string
		want string
	}{
		{0, "file", "0 files"}, {1, "file", "1 file"}, {1234, "file", "1,234 files"},
		{1, "directory", "1 directory"}, {2, "directory", "2 directories"}, {0, "overlay", "0 overlays"},
	} {
		if got := count(tt.n, tt.noun); got != tt.want {
			t.Errorf("count(%d, %q) = %q, want %q", tt.n, tt.noun, got, tt.want)
		}
	}
}

func TestShown(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"a b/ü\"\\", "a b/ü\"\\"}, {"日本", "日本"}, {"a\nb", `"a\nb"`}, {"\x1b[31m", `"\x1b[31m"`}, {"", ""},
	} {
		if got := shown(tt.in); got != tt.want {
			t.Errorf("shown(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}
