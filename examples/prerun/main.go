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
// checked or a wrong use. A wrong use is an error on standard error alone; work
// that broke off is a report too, with the verdict incomplete, in every format
// but text. No command opens a network connection unless a flag names a remote.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	_ "github.com/prerun/prerun/examples/prerun/internal/lategc"
	"github.com/prerun/prerun/pipeline/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr, failOn: prerun.Medium, format: "text", now: time.Now}
	a.start = a.now()
	root := a.command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return a.code
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	err = errors.Join(err, a.brokeOff(err))
	a.clearLine()
	fmt.Fprintln(stderr, "prerun:", strings.ReplaceAll(err.Error(), "\n", "\nprerun: "))
	return 2
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "prerun",
		Short: "AI pre-runtime security: check a model, its data and its pipeline before it is deployed",
		Long: `AI pre-runtime security: check a model, its data and its pipeline before it is
deployed.

Exit status: 0 pass, 1 fail, 2 could not be checked, or used wrongly.`,
		Example: `  prerun scan model
  prerun sign key model --private-key key.pem -o model.sig
  prerun verify key model --signature model.sig --public-key key.pub
  prerun dataset scan train.jsonl --text text --label label
  prerun gate gate.yaml --out reports --verdict-key gate.pem`,
		Version:            version(debug.ReadBuildInfo()),
		SilenceUsage:       true,
		SilenceErrors:      true,
		DisableSuggestions: true,
		PersistentPreRunE:  func(cmd *cobra.Command, args []string) error { return a.begin(cmd, args) },
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no command given; see prerun --help")
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetVersionTemplate("prerun {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version of this program and do nothing else")
	root.SetHelpCommand(helpCommand(root))
	flags := root.PersistentFlags()
	flags.StringVar(&a.format, "format", a.format, "format of the report: "+strings.Join(report.Formats(), ", "))
	flags.StringVarP(&a.output, "output", "o", "", "write the report to this `FILE`; for sign, the bundle")
	flags.Var((*severityFlag)(&a.failOn), "fail-on", "lowest severity that fails: info, low, medium, high, critical")
	flags.BoolVar(&a.quiet, "quiet", false, "print nothing")
	root.AddCommand(
		a.hashCommand(), a.signCommand(), a.verifyCommand(), a.scanCommand(), a.weightsCommand(),
		a.provenanceCommand(), a.datasetCommand(), a.embeddingsCommand(), a.validateCommand(),
		a.gateCommand(), a.verdictCommand(),
		notBuilt("posture DIR", "find weaknesses in CI, IaC, notebooks and prompts"),
	)
	return root
}

// version names a build: the module's version, with the revision it was built
// from where the toolchain recorded one. A build of neither is "devel".
func version(info *debug.BuildInfo, ok bool) string {
	if !ok || info == nil {
		return "devel"
	}
	out := strings.Trim(info.Main.Version, "()")
	if out == "" {
		out = "devel"
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		out += " (" + revision
		if settings["vcs.modified"] == "true" {
			out += ", modified"
		}
		out += ")"
	}
	return out
}

// helpCommand is cobra's, but that an unknown topic is a wrong use.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]...", Short: "explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return fmt.Errorf("%s: unknown subcommand %q", called(cmd), rest[0])
			}
			return cmd.Help()
		},
	}
}

// notBuilt holds the place of a command that has nothing behind it yet.
func notBuilt(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short + " (not built yet)", Args: cobra.ArbitraryArgs,
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		PersistentPreRun:   func(*cobra.Command, []string) {}, // there is nothing to begin
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("%s: not built yet", called(cmd))
		},
	}
}

// group is a command that only has subcommands.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%s: unknown subcommand %q", called(cmd), args[0])
			}
			return fmt.Errorf("%s: no subcommand given; see prerun %s --help", called(cmd), called(cmd))
		},
	}
	cmd.AddCommand(children...)
	return cmd
}

// called is a command as the user called it, without the program.
func called(cmd *cobra.Command) string { return strings.TrimPrefix(cmd.CommandPath(), "prerun ") }

// takes wants as many arguments as the command's use line names, or more when
// the last may be repeated.
func takes(cmd *cobra.Command, args []string) error {
	_, names, _ := strings.Cut(cmd.Use, " ")
	want := len(strings.Fields(names))
	if len(args) < want || len(args) > want && !strings.HasSuffix(names, "...") {
		return fmt.Errorf("%s: %s given; usage: %s", called(cmd), count(len(args), "argument"), cmd.UseLine())
	}
	return nil
}

// must is for what only a mistake in this program can break, such as a flag
// that was not defined.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

type severityFlag prerun.Severity

func (f *severityFlag) String() string { return prerun.Severity(*f).String() }
func (f *severityFlag) Type() string   { return "severity" }

func (f *severityFlag) Set(s string) error {
	var v prerun.Severity
	if err := v.UnmarshalText([]byte(s)); err != nil || v == prerun.Unrated {
		return errors.New("must be info, low, medium, high or critical")
	}
	*f = severityFlag(v)
	return nil
}
