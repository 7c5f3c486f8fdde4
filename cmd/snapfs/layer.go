package main

import (
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/urfave/cli/v2"
)

func (p *program) layerCommand() *cli.Command {
	return &cli.Command{
		Name:  "layer",
		Usage: "change what a mount was made from",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "compose a diff into a mount, while it is in use", ArgsUsage: "DIR DIFF",
				Description: "The names that DIFF changes appear in the mount at once; programs that have a file open\n" +
					"go on reading what it held. What was changed in the mount wins, and is listed. The next\n" +
					"commit has the tree with DIFF as its parent, and DIFF is part of the overlay from now on.",
				Action: p.layerAdd,
			},
		},
	}
}

func (p *program) layerAdd(c *cli.Context) error {
	list, err := args(c, 2, 2)
	if err != nil {
		return err
	}
	dir, err := mountd.Canonical(list[0])
	if err != nil {
		return err
	}
	client, err := mountd.Find(dir)
	if err != nil {
		return err
	}
	diff, err := absoluteManifests(list[1:])
	if err != nil {
		return err
	}
	done, err := client.AddLayer(c.Context, p.docs(c), diff[0])
	if err != nil {
		return err
	}
	if done.OtherParent {
		p.warn("%s was made of another tree than the mount shows", shown(done.Manifest))
	}
	for _, x := range done.Conflicts {
		p.warn("not applied: %s: %s", shown(x.Path), x.Reason)
	}
	if len(done.Conflicts) > 0 {
		p.code = failure.Partial
	}
	return p.result(done, func() error {
		p.note("%s applied, %s", count(done.Applied, "change"), count(len(done.Conflicts), "conflict"))
		return nil
	})
}
