package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Man returns the man page snapfs(1).
func Man(app *cli.App, version string) string {
	var p page
	p.line(`.TH SNAPFS 1 "" "snapfs %s"`, escape(version))
	p.section("NAME")
	p.line(`snapfs \- %s`, escape(app.Usage))
	p.section("SYNOPSIS")
	p.line(`\fBsnapfs\fR \fICOMMAND\fR [\fIFLAG\fR…] [\fIARGUMENT\fR…]`)
	p.section("DESCRIPTION")
	p.text(description)
	p.section("COMMANDS")
	for _, c := range commands(app) {
		p.command(c)
	}
	p.section("COMMON FLAGS")
	p.flagsOf(app, isCommon)
	p.section("S3 FLAGS")
	p.text("These go with every flag and argument that can name a bucket.")
	p.flagsOf(app, func(f flag) bool { return f.category == s3 })
	p.section("ENVIRONMENT")
	p.text(environment)
	p.section("EXIT STATUS")
	for _, row := range exits() {
		p.term(row[0], row[1])
	}
	p.section("FILES")
	for _, row := range files() {
		p.term(row[0], row[1])
	}
	return p.String()
}

const description = `snapfs mounts a manifest, the table of contents of a directory tree, as a read-write directory. Contents lie in a content-addressed store, a directory or an S3 bucket, and are fetched when they are read; changes go to an overlay on local disk, and are published as a diff manifest.

A MANIFEST argument is a file, - for stdin, or s3://bucket/key. Flags may stand before or behind the arguments. Data goes to stdout, everything else to stderr; with --json, results and errors are JSON objects on stdout, one a line.`

const environment = `Every flag has a variable: SNAPFS_ and its name in capitals, with _ for -; for example SNAPFS_STORE for --store. The variables of the AWS tools (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …) work for stores in S3. NO_COLOR turns colours off. XDG_DATA_HOME, XDG_CACHE_HOME, XDG_STATE_HOME and XDG_RUNTIME_DIR say where files are kept.`

func exits() [][2]string {
	return [][2]string{
		{"0", "success"}, {"1", "failed, not classified"}, {"2", "usage or configuration"},
		{"3", "finished, but some entries failed, which are listed"},
		{"4", "differences exist (diff --exit-code), or uncommitted changes are kept"},
		{"5", "not found: manifest, path or mount"}, {"6", "credentials or permission"},
		{"7", "integrity: content is missing or does not match its hash"},
		{"8", "conflict: already mounted, target exists, base changed"}, {"9", "out of space, quota or limit"},
		{"10", "the store does not exist"}, {"11", "busy or locked"}, {"12", "manifest invalid or unsafe"},
		{"124, 129, 130, 143", "timeout, SIGHUP, SIGINT, SIGTERM"},
	}
}

func files() [][2]string {
	return [][2]string{
		{"~/.local/share/snapfs/store", "the store that is used when none is named"},
		{"~/.cache/snapfs", "contents that mounts have fetched"},
		{"~/.local/state/snapfs", "overlays, logs and diffs of mounts"},
		{"~/.deadline/job_attachments", "the caches of the hashes of files and of what buckets hold, shared with the Deadline tools"},
	}
}

// page is a man page in the making.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) section(title string) { p.line(".SH %s", title) }

// text writes paragraphs, which empty lines separate.
func (p *page) text(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		p.line("%s", escape(paragraph))
	}
}

func (p *page) term(term, text string) {
	p.line(".TP\n\\fB%s\\fR\n%s", escape(term), escape(text))
}

func (p *page) command(c command) {
	p.line(`.SS "snapfs %s %s"`, escape(c.name()), escape(c.ArgsUsage))
	sentence := strings.ToUpper(c.Usage[:1]) + c.Usage[1:] + "."
	p.line("%s", escape(sentence))
	if c.Description != "" {
		p.line(".PP")
		p.text(c.Description)
	}
	for _, f := range flags(c.Command) {
		if !isCommon(f) && f.category != s3 {
			p.flag(f)
		}
	}
}

// s3 is the category of the flags that say how to reach buckets.
const s3 = "S3"

// isCommon reports whether every command has the flag.
func isCommon(f flag) bool {
	return slices.Contains([]string{"json", "quiet", "no-progress"}, f.names[0])
}

// flagsOf describes the flags of all commands that keep accepts, each once.
func (p *page) flagsOf(app *cli.App, keep func(flag) bool) {
	seen := map[string]bool{}
	for _, c := range commands(app) {
		for _, f := range flags(c.Command) {
			if keep(f) && !seen[f.names[0]] {
				seen[f.names[0]] = true
				p.flag(f)
			}
		}
	}
}

func (p *page) flag(f flag) {
	term := `\fB` + escape(strings.Join(f.spelled(), ", ")) + `\fR`
	if f.value != "" {
		term += ` \fI` + escape(f.value) + `\fR`
	}
	text := f.usage
	if f.defaultText != "" && !strings.Contains(text, "default") {
		text += " (default: " + f.defaultText + ")"
	}
	p.line(".TP\n%s\n%s", term, escape(text))
}

// escape makes text safe for roff: backslashes and hyphens mean something there, and
// so do dots and quotes at the start of a line.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `"`, `\(dq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
