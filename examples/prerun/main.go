// Command prerun is the reference command: every job of the module's packages
// from a shell. It is built only from the public packages and is the proof that
// they compose.
//
//	prerun hash model
//	prerun sign key model --private-key key.pem -o model.sig
//	prerun verify key model --signature model.sig --public-key key.pub
//	prerun scan model
//	prerun gate gate.yaml --out reports
//
// The exit status is 0 for a pass, 1 for a fail, and 2 for what could not be
// checked or a wrong use. No command opens a network connection unless a flag
// names a remote.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command, for main and for tests.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr, failOn: prerun.Medium, format: "text", now: time.Now}
	root := a.command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "prerun:", err)
		return 2
	}
	return a.code
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "prerun",
		Short:         "AI pre-runtime security: check a model, its data and its pipeline before it is deployed",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no command given; see prerun --help")
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.format, "format", a.format, "report: text, json, sarif, junit, markdown, html")
	flags.StringVarP(&a.output, "output", "o", "", "file for the report (for sign: for the bundle)")
	flags.Var((*severityFlag)(&a.failOn), "fail-on", "lowest severity that fails: info, low, medium, high, critical")
	flags.BoolVar(&a.quiet, "quiet", false, "print nothing but the report of --output")
	root.AddCommand(
		a.hashCommand(), a.signCommand(), a.verifyCommand(), a.scanCommand(), a.weightsCommand(),
		a.provenanceCommand(), a.datasetCommand(), a.embeddingsCommand(), a.validateCommand(),
		a.gateCommand(), a.verdictCommand(),
		notBuilt("posture DIR", "find weaknesses in CI, IaC, notebooks and prompts"),
	)
	return root
}

// notBuilt holds the place of a command that has nothing behind it yet.
func notBuilt(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short + " (not built yet)", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("%s: not built yet", cmd.CommandPath())
		},
	}
}

// group is a command that only has subcommands.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%s: unknown subcommand %q", cmd.CommandPath(), args[0])
			}
			return fmt.Errorf("%s: no subcommand given; see --help", cmd.CommandPath())
		},
	}
	cmd.AddCommand(children...)
	return cmd
}

type severityFlag prerun.Severity

func (f *severityFlag) String() string { return prerun.Severity(*f).String() }
func (f *severityFlag) Type() string   { return "severity" }
func (f *severityFlag) Set(s string) error {
	return (*prerun.Severity)(f).UnmarshalText([]byte(s))
}
