package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/manual"
	"github.com/urfave/cli/v2"
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion script for a shell",
		ArgsUsage: strings.Join(manual.Shells(), "|"),
		Description: "bash: source <(snapfs completion bash)\n\n" +
			"zsh: snapfs completion zsh > \"${fpath[1]}/_snapfs\"\n\n" +
			"fish: snapfs completion fish > ~/.config/fish/completions/snapfs.fish",
		Action: func(c *cli.Context) error {
			list, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			if !slices.Contains(manual.Shells(), list[0]) {
				return usage("there are completions for %s, not for %q", strings.Join(manual.Shells(), ", "), list[0])
			}
			_, err = fmt.Fprint(p.stdout, manual.Completion(c.App, list[0]))
			return err
		},
	}
}

func (p *program) manCommand() *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the man page",
		Description: "Read it with: snapfs man | man -l -",
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			_, err := fmt.Fprint(p.stdout, manual.Man(c.App, version))
			return err
		},
	}
}
