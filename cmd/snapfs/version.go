package main

import (
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is set when a release is built (go build -ldflags "-X main.version=…").
var version = "dev"

func (p *program) versionCommand() *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "print the version",
		Action: p.printVersion,
	}
}

// versionResult is the result of version.
type versionResult struct {
	Type     string   `json:"type"` // always "version"
	Version  string   `json:"version"`
	Revision string   `json:"revision,omitempty"` // of the source
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Formats  []string `json:"manifest_formats"`
}

func (p *program) printVersion(c *cli.Context) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	v := versionResult{
		Type: "version", Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Formats: []string{"v2023", "v2025"},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return p.result(v, func() error { return p.print("snapfs %s (%s, %s)", v.Version, v.Go, v.Platform) })
}
