// Command snapfs mounts manifests as read-write directories, and works with manifests
// and content-addressed stores.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/urfave/cli/v2"
)

func main() {
	ignoreEmptyVariables()
	os.Exit(int(run(os.Args, os.Stdin, os.Stdout, os.Stderr)))
}

// ignoreEmptyVariables makes SNAPFS_OUTPUT="" mean what it means to unset it, which is
// the way of the other variables that we follow (XDG, AWS).
func ignoreEmptyVariables() {
	for _, v := range os.Environ() {
		if name, ok := strings.CutSuffix(v, "="); ok && strings.HasPrefix(name, "SNAPFS_") {
			_ = os.Unsetenv(name)
		}
	}
}

// run is the program: arguments in, exit code out.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) failure.Code {
	buffered := bufio.NewWriterSize(stdout, 64<<10) // lists are long
	p := &program{stdin: stdin, stdout: buffered, stderr: stderr, flush: buffered.Flush}
	ctx, stop := signalContext()
	defer stop()
	app := p.app()
	args, err := reorder(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	code := p.fail(args, err, context.Cause(ctx))
	if err := buffered.Flush(); err != nil && code == failure.OK {
		return p.fail(args, fmt.Errorf("write to stdout: %w", err), nil)
	}
	return code
}

// signalContext ends with the first SIGINT, SIGTERM or SIGHUP; the second one ends
// the program at once.
func signalContext() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		sig, ok := <-ch
		if !ok {
			return
		}
		cancel(signalled{sig})
		if _, ok := <-ch; ok {
			os.Exit(int(codeOf(sig)))
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(ch)
		cancel(nil)
	}
}

// signalled is the cause of a context that a signal has ended.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return "stopped by signal: " + s.String() }

func codeOf(sig os.Signal) failure.Code {
	switch sig {
	case syscall.SIGTERM:
		return failure.Terminated
	case syscall.SIGHUP:
		return failure.HungUp
	}
	return failure.Interrupted
}

// program is one run of the command line.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	flush          func() error // hands what stdout has taken to those who read it
	json           bool
	quiet          bool
	code           failure.Code // of a run that succeeded, when it is not OK
}

// fail reports err and returns the exit code. Cause is why the context has ended, if
// it has.
func (p *program) fail(args []string, err, cause error) failure.Code {
	if err == nil {
		return p.code
	}
	e := *failure.Classify(err)
	var sig signalled
	if e.Code == failure.Interrupted && errors.As(cause, &sig) {
		e.Code, e.Message = codeOf(sig.Signal), sig.Error()
	}
	fmt.Fprintf(p.stderr, "snapfs: %s\n", e.Message)
	if e.Hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", e.Hint)
	}
	if p.json || wantsJSON(args) {
		if err := p.emit(e.JSON()); err != nil {
			fmt.Fprintf(p.stderr, "snapfs: write the error to stdout: %v\n", err)
		}
	}
	return e.Code
}

// note tells people something that is no result. It is silent under --quiet.
func (p *program) note(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.stderr, format+"\n", args...)
	}
}

// warn tells people what they should know even under --quiet.
func (p *program) warn(format string, args ...any) {
	fmt.Fprintf(p.stderr, "warning: "+format+"\n", args...)
}

// print writes a line of data to stdout.
func (p *program) print(format string, args ...any) error {
	_, err := fmt.Fprintf(p.stdout, format+"\n", args...)
	return err
}

// emit writes v as one line of JSON to stdout.
func (p *program) emit(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false) // paths are for people and shells, too
	return enc.Encode(v)
}

// result writes a result: v under --json, and what text prints otherwise.
func (p *program) result(v any, text func() error) error {
	if p.json {
		return p.emit(v)
	}
	return text()
}

func usage(format string, args ...any) error {
	return &failure.Error{Code: failure.Usage, Message: fmt.Sprintf(format, args...)}
}

// app describes the command line.
func (p *program) app() *cli.App {
	app := &cli.App{
		Name:                      "snapfs",
		Usage:                     "mount manifests of directory trees, and publish what changes",
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // paths and globs hold commas
		ExitErrHandler:            func(*cli.Context, error) {},
		Commands:                  p.commands(),
		OnUsageError:              usageError,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return unknownCommand(c.App.Commands, c.Args().First(), "")
			}
			return cli.ShowAppHelp(c)
		},
	}
	prepare(p, app.Commands)
	return app
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return &failure.Error{Code: failure.Usage, Message: err.Error(), Err: err}
}

// prepare gives every command the common flags, and every flag its variable.
func prepare(p *program, commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = usageError
		if len(c.Subcommands) > 0 {
			prepare(p, c.Subcommands)
			group := c
			c.Action = func(ctx *cli.Context) error {
				if ctx.NArg() > 0 {
					return unknownCommand(group.Subcommands, ctx.Args().First(), group.Name+" ")
				}
				return cli.ShowSubcommandHelp(ctx)
			}
			continue
		}
		c.HideHelpCommand = true // an argument may be "help"
		c.Flags = append(c.Flags, p.commonFlags()...)
		for _, f := range c.Flags {
			setEnv(f)
		}
	}
}

func (p *program) commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print results as JSON on stdout", Destination: &p.json},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing but results and errors", Destination: &p.quiet},
		&cli.BoolFlag{Name: "no-progress", Usage: "show no progress"},
	}
}

// setEnv gives a flag the environment variable SNAPFS_<FLAG>.
func setEnv(f cli.Flag) {
	env := []string{"SNAPFS_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))}
	switch f := f.(type) {
	case *cli.BoolFlag:
		f.EnvVars = env
	case *cli.StringFlag:
		f.EnvVars = env
	case *cli.StringSliceFlag:
		f.EnvVars = env
	case *cli.IntFlag:
		f.EnvVars = env
	case *cli.DurationFlag:
		f.EnvVars = env
	}
}

func (p *program) commands() []*cli.Command {
	return slices.Concat(
		category("everyday",
			p.snapshotCommand(), p.mountCommand(), p.statusCommand(), p.commitCommand(), p.umountCommand(),
			p.downloadCommand(), p.diffCommand(), p.warmCommand()),
		category("operations",
			p.collectCommand(), p.hashCommand(), p.uploadCommand(), p.composeCommand(), p.filterCommand(),
			p.subtreeCommand(), p.joinCommand(), p.partitionCommand(), p.cacheSyncCommand(), p.manifestCommand()),
		category("upkeep",
			p.layerCommand(), p.overlayCommand(), p.cacheCommand(), p.storeCommand(), p.doctorCommand(), p.completionCommand(), p.manCommand(),
			p.versionCommand()),
	)
}

// category puts commands under a heading of the help text.
func category(name string, commands ...*cli.Command) []*cli.Command {
	for _, c := range commands {
		c.Category = name
	}
	return commands
}
