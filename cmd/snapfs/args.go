package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/urfave/cli/v2"
)

// reorder moves the flags of a command line before its arguments, because the parser
// stops at the first argument, and people write flags behind them. It moves the common
// flags, which people write before the command too, behind it. It refuses flags that
// the command does not know, with the nearest one that it does.
func reorder(app *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	line, rest := findCommand(app, args[1:])
	out := append([]string{args[0]}, line.path...)
	if len(rest) > 0 && isHelp(rest[0]) {
		return append(out, rest...), nil
	}
	if line.command == nil || len(line.command.Subcommands) > 0 {
		if len(rest) > 0 && isFlag(rest[0]) {
			return args, &failure.Error{
				Code: failure.Usage, Message: fmt.Sprintf("the flag %s comes before the command", rest[0]),
				Hint: "write it behind the command: snapfs COMMAND " + rest[0],
			}
		}
		return append(out, rest...), nil
	}
	flags, positional, err := line.split(rest)
	if err != nil {
		return args, err
	}
	out = append(append(out, line.flags...), flags...)
	if len(positional) > 0 {
		out = append(append(out, "--"), positional...)
	}
	return out, nil
}

// commandLine is the beginning of a command line.
type commandLine struct {
	path    []string     // names of the command and the groups that it is in
	flags   []string     // common flags that came before it
	command *cli.Command // nil when there is none
}

// findCommand reads the words up to the name of the command, and returns the others.
func findCommand(app *cli.App, words []string) (line commandLine, rest []string) {
	commands := app.Commands
	for len(words) > 0 && (line.command == nil || len(commands) > 0) {
		word := words[0]
		if word == "--version" {
			word = "version"
		}
		if isCommonFlag(word) {
			line.flags = append(line.flags, word)
			words = words[1:]
			continue
		}
		next := find(commands, word)
		if next == nil {
			break
		}
		line.path, line.command, commands = append(line.path, word), next, next.Subcommands
		words = words[1:]
	}
	return line, words
}

func isFlag(word string) bool { return strings.HasPrefix(word, "-") && word != "-" && word != "--" }

func isHelp(word string) bool { return slices.Contains([]string{"--help", "-help", "-h"}, word) }

// isCommonFlag reports whether word is one of the flags that every command has.
func isCommonFlag(word string) bool {
	name := strings.TrimLeft(word, "-")
	return isFlag(word) && slices.ContainsFunc(new(program).commonFlags(), func(f cli.Flag) bool {
		return slices.Contains(f.Names(), name)
	})
}

// wantsJSON reports whether a command line that could not be parsed asks for JSON.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	env, _ := strconv.ParseBool(os.Getenv("SNAPFS_JSON"))
	return env || slices.Contains(args, "--json")
}

// find returns the command of the given name, nil when there is none.
func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// split sorts the words behind a command into flags with their values, and arguments.
func (l *commandLine) split(words []string) (flags, positional []string, err error) {
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
		isBool, known := flagKind(l.command, name)
		if !known {
			return nil, nil, l.unknownFlag(name)
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

func (l *commandLine) unknownFlag(name string) error {
	names := []string{"help"}
	for _, f := range l.command.Flags {
		names = append(names, f.Names()...)
	}
	command := "snapfs " + strings.Join(l.path, " ")
	e := &failure.Error{Code: failure.Usage, Message: fmt.Sprintf("unknown flag --%s of %s", name, command)}
	if near := nearest(name, names); near != "" {
		e.Hint = "did you mean --" + near + "?"
	} else {
		e.Hint = command + " --help lists the flags"
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

// nearest returns the candidate that differs least from word, if it differs little
// and they have a letter in common.
func nearest(word string, candidates []string) string {
	best, least := "", max(2, len(word)/2)
	for _, c := range candidates {
		if d := distance(word, c); d < least && d < max(len(word), len(c)) {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with the next
// one to turn a into b.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
