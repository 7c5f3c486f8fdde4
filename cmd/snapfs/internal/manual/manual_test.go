package manual

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func app() *cli.App {
	return &cli.App{
		Name: "snapfs", Usage: "do things",
		Commands: []*cli.Command{
			{Name: "mount", Usage: "mount it", ArgsUsage: "M DIR", Flags: []cli.Flag{
				&cli.StringFlag{Name: "format", Value: "v2025", Usage: "which `FORMAT`"},
				&cli.StringSliceFlag{Name: "exclude", Aliases: []string{"e"}, Usage: "leave out `GLOB`"},
				&cli.BoolFlag{Name: "path-style", Category: "S3", Usage: "S3 only"},
				&cli.BoolFlag{Name: "json", Usage: "as JSON"},
			}},
			{Name: "manifest", Usage: "look", Subcommands: []*cli.Command{
				{Name: "ls", Usage: "list it's entries", Description: ".dot and \\back-slash\n\nSecond.", Flags: []cli.Flag{
					&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "more"},
					&cli.BoolFlag{Name: "json", Usage: "as JSON"},
				}},
				{Name: "show", Usage: "show"},
			}},
			{Name: "completion", Usage: "this"},
		},
	}
}

func TestMan(t *testing.T) {
	got := Man(app(), "1.0-rc")
	for _, want := range []string{
		".TH SNAPFS 1 \"\" \"snapfs 1.0\\-rc\"\n",
		".SS \"snapfs mount M DIR\"\nMount it.\n",
		".TP\n\\fB\\-\\-format\\fR \\fIFORMAT\\fR\nwhich FORMAT (default: v2025)\n",
		".TP\n\\fB\\-e, \\-\\-exclude\\fR \\fIGLOB\\fR\nleave out GLOB\n",
		".SS \"snapfs manifest ls \"\nList it's entries.\n.PP\n\\&.dot and \\eback\\-slash\n.PP\nSecond.\n",
		".SH S3 FLAGS\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "as JSON"); n != 1 {
		t.Errorf("a common flag is explained %d times", n)
	}
	if strings.Index(got, "S3 only") < strings.Index(got, ".SH S3 FLAGS") {
		t.Error("an S3 flag is explained elsewhere")
	}
}

func TestTables(t *testing.T) {
	got := newTables(app())
	want := map[string][]string{
		"":            {"mount", "manifest", "completion"},
		"mount":       {"--format", "-e", "--exclude", "--path-style", "--json"},
		"manifest":    {"ls", "show"},
		"manifest ls": {"-l", "--long", "--json"},
		"completion":  {"bash", "zsh", "fish"},
	}
	if diff := cmp.Diff(want, got.words); diff != "" {
		t.Error(diff)
	}
	values := map[string][]string{"--format": {"v2025", "v2023"}, "-e": nil, "--exclude": nil}
	if diff := cmp.Diff(values, got.valued); diff != "" {
		t.Error(diff)
	}
}

// TestBash lets bash complete some lines.
func TestBash(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash")
	}
	for _, tt := range []struct{ line, want string }{
		{"snapfs m", "mount manifest"},
		{"snapfs manifest ", "ls show"},
		{"snapfs manifest ls -", "-l --long --json"},
		{"snapfs manifest ls --lo", "--long"},
		{"snapfs mount --format v", "v2025 v2023"},
		{"snapfs completion ", "bash zsh fish"},
		{"snapfs mount manual_te", "manual_test.go"},
		{"snapfs mount --exclude manual_te", "manual_test.go"},
	} {
		words := strings.Split(tt.line, " ")
		script := "compopt() { :; }\n" + Completion(app(), "bash") +
			"COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _snapfs; echo \"${COMPREPLY[*]}\"\n"
		out, err := exec.Command("bash", append([]string{"-c", script, "bash"}, words...)...).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("%q completes to %q (%v), want %q", tt.line, got, err, tt.want)
		}
	}
}

// TestScriptsParse lets the other shells read their scripts, where they are installed.
func TestScriptsParse(t *testing.T) {
	for _, shell := range Shells() {
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		cmd := exec.Command(shell, "-n")
		cmd.Stdin = strings.NewReader(Completion(app(), shell))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if got := Completion(app(), "tcsh"); got != "" {
		t.Errorf("tcsh: %q", got)
	}
}
