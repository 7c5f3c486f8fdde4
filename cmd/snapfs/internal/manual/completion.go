package manual

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Shells lists the shells that Completion knows.
func Shells() []string { return []string{"bash", "zsh", "fish"} }

// Completion returns the completion script for one of Shells, "" for any other.
func Completion(app *cli.App, shell string) string {
	switch shell {
	case "bash":
		return bash(app)
	case "zsh":
		return zsh(app)
	case "fish":
		return fish(app)
	}
	return ""
}

// tables are what the scripts of bash and zsh look words up in.
type tables struct {
	words  map[string][]string // names and flags that may follow the words so far
	valued map[string][]string // values of the flags that have some; none for any file
}

func newTables(app *cli.App) tables {
	t := tables{words: map[string][]string{}, valued: map[string][]string{}}
	add := func(path string, words ...string) {
		for _, w := range words {
			if !slices.Contains(t.words[path], w) {
				t.words[path] = append(t.words[path], w)
			}
		}
	}
	for _, c := range commands(app) {
		for i, name := range c.path {
			add(strings.Join(c.path[:i], " "), name)
		}
		for _, f := range flags(c.Command) {
			add(c.name(), f.spelled()...)
			if f.value != "" {
				for _, s := range f.spelled() {
					t.valued[s] = f.values()
				}
			}
		}
	}
	add("completion", Shells()...)
	return t
}

func bash(app *cli.App) string {
	var b strings.Builder
	t := newTables(app)
	b.WriteString("# bash completion of snapfs: source <(snapfs completion bash)\n_snapfs() {\n" +
		"    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} sofar= words= i\n" +
		"    COMPREPLY=()\n    case $prev in\n")
	for _, f := range slices.Sorted(maps.Keys(t.valued)) {
		if v := t.valued[f]; len(v) > 0 {
			fmt.Fprintf(&b, "        %s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", f, strings.Join(v, " "))
		} else {
			fmt.Fprintf(&b, "        %s) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", f)
		}
	}
	b.WriteString("    esac\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        case \"$sofar${sofar:+ }${COMP_WORDS[i]}\" in\n")
	for _, p := range slices.Sorted(maps.Keys(t.words)) {
		if p != "" {
			fmt.Fprintf(&b, "            '%s') sofar='%s' ;;\n", p, p)
		}
	}
	b.WriteString("        esac\n    done\n    case $sofar in\n")
	for _, p := range slices.Sorted(maps.Keys(t.words)) {
		fmt.Fprintf(&b, "        '%s') words='%s' ;;\n", p, strings.Join(t.words[p], " "))
	}
	b.WriteString(`    esac
    local kind=-v
    [[ $cur == -* ]] && kind=
    words=$(tr ' ' '\n' <<<"$words" | grep $kind -e '^-')
    if [[ -z $words ]]; then
        compopt -o filenames
        COMPREPLY=($(compgen -f -- "$cur"))
        return
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _snapfs snapfs
`)
	return b.String()
}

func zsh(app *cli.App) string {
	var b strings.Builder
	t := newTables(app)
	b.WriteString("#compdef snapfs\n# zsh completion of snapfs: snapfs completion zsh > \"${fpath[1]}/_snapfs\"\n_snapfs() {\n" +
		"    local i sofar= cur=$words[CURRENT] prev=$words[CURRENT-1]\n    local -a list\n    case $prev in\n")
	for _, f := range slices.Sorted(maps.Keys(t.valued)) {
		if v := t.valued[f]; len(v) > 0 {
			fmt.Fprintf(&b, "        (%s) compadd -- %s; return ;;\n", f, strings.Join(v, " "))
		} else {
			fmt.Fprintf(&b, "        (%s) _files; return ;;\n", f)
		}
	}
	b.WriteString("    esac\n    for ((i = 2; i < CURRENT; i++)); do\n        case \"$sofar${sofar:+ }$words[i]\" in\n")
	for _, p := range slices.Sorted(maps.Keys(t.words)) {
		if p != "" {
			fmt.Fprintf(&b, "            ('%s') sofar='%s' ;;\n", p, p)
		}
	}
	b.WriteString("        esac\n    done\n    case $sofar in\n")
	for _, p := range slices.Sorted(maps.Keys(t.words)) {
		fmt.Fprintf(&b, "        ('%s') list=(%s) ;;\n", p, strings.Join(t.words[p], " "))
	}
	b.WriteString(`    esac
    if [[ $cur == -* ]]; then
        compadd -- ${(M)list:#-*}
    elif [[ -n ${list:#-*} ]]; then
        compadd -- ${list:#-*}
    else
        _files
    fi
}
compdef _snapfs snapfs
`)
	return b.String()
}

func fish(app *cli.App) string {
	var b strings.Builder
	b.WriteString("# fish completion of snapfs: snapfs completion fish > ~/.config/fish/completions/snapfs.fish\n" +
		"function __snapfs_at\n    set -l words (string match -v -- '-*' (commandline -opc)[2..-1])\n" +
		"    test \"$words\" = \"$argv\"\nend\n" +
		"function __snapfs_in\n    set -l words (string match -v -- '-*' (commandline -opc)[2..-1])\n" +
		"    string match -q -- \"$argv *\" \"$words \"\nend\n")
	groups := map[string]bool{}
	for _, c := range commands(app) {
		for i, name := range c.path {
			at, usage := strings.Join(c.path[:i], " "), c.Usage
			if i < len(c.path)-1 {
				if groups[name] {
					continue
				}
				groups[name] = true
				usage = app.Command(name).Usage
			}
			fmt.Fprintf(&b, "complete -c snapfs -f -n '__snapfs_at %s' -a %s -d %s\n", at, name, fishQuote(usage))
		}
		for _, f := range flags(c.Command) {
			b.WriteString(fishFlag(c, f))
		}
	}
	fmt.Fprintf(&b, "complete -c snapfs -f -n '__snapfs_at completion' -a '%s'\n", strings.Join(Shells(), " "))
	return b.String()
}

func fishFlag(c command, f flag) string {
	line := fmt.Sprintf("complete -c snapfs -n '__snapfs_in %s'", c.name())
	for _, n := range f.names {
		if len(n) == 1 {
			line += " -s " + n
		} else {
			line += " -l " + n
		}
	}
	if f.value != "" {
		line += " -r"
	}
	if v := f.values(); len(v) > 0 {
		line += " -f -a '" + strings.Join(v, " ") + "'"
	}
	return line + " -d " + fishQuote(f.usage) + "\n"
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
