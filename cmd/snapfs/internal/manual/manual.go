// Package manual derives the man page and the completion scripts from the description
// of the command line, so that they cannot disagree with it.
package manual

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// command is a command that can be run, with the groups that it is in.
type command struct {
	path []string // names of the groups and of the command
	*cli.Command
}

func (c command) name() string { return strings.Join(c.path, " ") }

// commands lists the commands that can be run, in the order of the description.
func commands(app *cli.App) []command { return below(nil, app.Commands) }

func below(path []string, list []*cli.Command) (out []command) {
	for _, c := range list {
		if c.Hidden || c.Name == "help" {
			continue
		}
		here := append(slices.Clone(path), c.Name)
		if len(c.Subcommands) > 0 {
			out = append(out, below(here, c.Subcommands)...)
			continue
		}
		out = append(out, command{here, c})
	}
	return out
}

// flag is what the description says about a flag.
type flag struct {
	names       []string
	value       string // name of its value, "" when it has none
	usage       string
	defaultText string
	category    string
}

func flags(c *cli.Command) []flag {
	list := make([]flag, 0, len(c.Flags))
	for _, f := range c.Flags {
		if doc, ok := f.(cli.DocGenerationFlag); ok && !slices.Contains(f.Names(), "help") {
			list = append(list, describe(f, doc))
		}
	}
	return list
}

func describe(f cli.Flag, doc cli.DocGenerationFlag) flag {
	out := flag{names: f.Names(), usage: doc.GetUsage()}
	if c, ok := f.(cli.CategorizableFlag); ok {
		out.category = c.GetCategory()
	}
	if doc.TakesValue() {
		out.value = "VALUE"
		if _, rest, ok := strings.Cut(out.usage, "`"); ok {
			out.value, _, _ = strings.Cut(rest, "`")
		}
		out.defaultText = doc.GetValue()
	}
	if _, ok := f.(*cli.StringSliceFlag); ok {
		out.defaultText = ""
	}
	out.usage = strings.ReplaceAll(out.usage, "`", "")
	return out
}

// spelled returns the ways to write the flag: "-o", "--output".
func (f flag) spelled() []string {
	list := make([]string, len(f.names))
	for i, n := range f.names {
		list[i] = "--" + n
		if len(n) == 1 {
			list[i] = "-" + n
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return len(a) - len(b) })
	return list
}

// values returns what a flag accepts, when that is one of a few words.
func (f flag) values() []string {
	switch f.names[0] {
	case "format":
		return []string{"v2025", "v2023"}
	case "symlinks":
		return []string{"collapse-escaping", "collapse-all", "exclude-escaping", "exclude-all", "preserve", "transitive-include-targets"}
	case "conflict":
		return []string{"overwrite", "skip", "create-copy"}
	case "on-unmount":
		return []string{"commit", "keep"}
	case "parent-hash":
		return []string{"auto", "none"}
	case "sse":
		return []string{"AES256", "aws:kms"}
	}
	return nil
}
