package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/urfave/cli/v2"
)

func (p *program) overlayCommand() *cli.Command {
	return &cli.Command{
		Name:  "overlay",
		Usage: "look after what mounts that have ended have left behind",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list the overlays that no mount uses", ArgsUsage: "[PARENT-DIR]",
				Description: "Looks where overlays lie unless --overlay said otherwise, or in PARENT-DIR.",
				Action:      p.overlayList,
			},
			{
				Name: "show", Usage: "show what a commit of an overlay would publish", ArgsUsage: "DIR",
				Action: p.overlayShow,
			},
			{
				Name: "discard", Usage: "delete an overlay with all the changes in it", ArgsUsage: "DIR",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "yes", Usage: "really: the changes are lost"}},
				Action: p.overlayDiscard,
			},
		},
	}
}

func (p *program) overlayList(c *cli.Context) error {
	list, err := args(c, 0, 1)
	if err != nil {
		return err
	}
	dir, err := dirs.Overlays()
	if len(list) == 1 {
		dir, err = filepath.Abs(list[0])
	}
	if err != nil {
		return err
	}
	overlays, err := mountd.Overlays(dir)
	if err != nil {
		return err
	}
	for _, o := range overlays {
		err := p.result(o, func() error {
			return p.print("%s   made %s, was mounted on %s", o.Overlay, o.Created.Local().Format(time.DateTime), o.MountPoint)
		})
		if err != nil {
			return err
		}
	}
	if len(overlays) == 0 && !p.json {
		p.note("no overlays in %s", dir)
	}
	return nil
}

// overlayArg returns the directory that an overlay command names.
func overlayArg(c *cli.Context) (string, error) {
	list, err := args(c, 1, 1)
	if err != nil {
		return "", err
	}
	return filepath.Abs(list[0])
}

func (p *program) overlayShow(c *cli.Context) error {
	dir, err := overlayArg(c)
	if err != nil {
		return err
	}
	shown, err := mountd.ShowOverlay(c.Context, dir, p.docs(c), p.logger(false))
	if err != nil {
		return err
	}
	return p.result(shown, func() error {
		fmt.Fprintf(p.stdout, "overlay   %s\nmounted   %s\nstore     %s\n", shown.Overlay, shown.MountPoint, shown.Store)
		for _, m := range shown.Manifests {
			fmt.Fprintf(p.stdout, "base      %s\n", m)
		}
		fmt.Fprintf(p.stdout, "changes   %s\n", changesTitle(shown.Changes))
		for i := range shown.Changes {
			if err := p.print("%s", changeLine(&shown.Changes[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *program) overlayDiscard(c *cli.Context) error {
	dir, err := overlayArg(c)
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		return usage("this deletes %s and every change in it that was not committed; say --yes if you mean it, "+
			"or look at it first with: snapfs overlay show %s", dir, dir)
	}
	if err := mountd.DiscardOverlay(dir); err != nil {
		return err
	}
	v := struct {
		Type    string `json:"type"`
		Overlay string `json:"overlay"`
	}{"overlay-discarded", dir}
	return p.result(v, func() error {
		p.note("deleted %s", dir)
		return nil
	})
}
