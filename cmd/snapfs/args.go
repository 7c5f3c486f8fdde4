package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/urfave/cli/v2"
)

// reorder moves the flags of a command line before its arguments, because the parser
// stops at the first argument, and people write flags behind them. It refuses flags
// that the command does not know, with the nearest one that it does.
func reorder(app *cli.App, args []string) ([]string, error) {
	out := args[:min(1, len(args))]
	rest := args[len(out):]
	commands := app.Commands
	var cmd *cli.Command
	for len(rest) > 0 {
		next := find(commands, rest[0])
		if next == nil {
			break
		}
		out, rest = append(slices.Clone(out), rest[0]), rest[1:]
		cmd, commands = next, next.Subcommands
	}
	if cmd == nil || len(cmd.Subcommands) > 0 {
		return append(slices.Clone(out), rest...), nil
	}
	flags, positional, err := split(cmd, rest)
	if err != nil {
		return args, err
	}
	out = append(out, flags...)
	if len(positional) > 0 {
		out = append(append(out, "--"), positional...)
	}
	return out, nil
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// split sorts the words of a command into flags with their values, and arguments.
func split(cmd *cli.Command, words []string) (flags, positional []string, err error) {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" {
			return flags, append(positional, words[i+1:]...), nil
		}
		if word == "-" || !strings.HasPrefix(word, "-") {
			positional = append(positional, word)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		isBool, known := flagKind(cmd, name)
		if !known {
			return nil, nil, unknownFlag(cmd, name)
		}
		flags = append(flags, word)
		if isBool || hasValue {
			continue
		}
		if i++; i == len(words) {
			return nil, nil, usage("the flag --%s needs a value", name)
		}
		flags = append(flags, words[i])
	}
	return flags, positional, nil
}

func flagKind(cmd *cli.Command, name string) (isBool, known bool) {
	if name == "help" || name == "h" {
		return true, true
	}
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			_, isBool = f.(*cli.BoolFlag)
			return isBool, true
		}
	}
	return false, false
}

func unknownFlag(cmd *cli.Command, name string) error {
	names := []string{"help"}
	for _, f := range cmd.Flags {
		names = append(names, f.Names()...)
	}
	e := &failure.Error{Code: failure.Usage, Message: fmt.Sprintf("unknown flag --%s of snapfs %s", name, cmd.FullName())}
	if near := nearest(name, names); near != "" {
		e.Hint = "did you mean --" + near + "?"
	} else {
		e.Hint = "snapfs " + cmd.FullName() + " --help lists the flags"
	}
	return e
}

func unknownCommand(commands []*cli.Command, name, group string) error {
	var names []string
	for _, c := range commands {
		names = append(names, c.Names()...)
	}
	e := &failure.Error{Code: failure.Usage, Message: fmt.Sprintf("unknown command %q", group+name)}
	if near := nearest(name, names); near != "" {
		e.Hint = "did you mean snapfs " + group + near + "?"
	} else {
		e.Hint = "snapfs --help lists the commands"
	}
	return e
}

// nearest returns the candidate that differs least from word, if it differs little.
func nearest(word string, candidates []string) string {
	best, least := "", max(2, len(word)/2)
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
