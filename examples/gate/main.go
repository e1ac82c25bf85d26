// Command gate is the main job of this module end to end, on a real model: it
// takes a text classifier with its training data, help corpus, prompts,
// provenance and behavioural suite through the whole gate of profile LOW, and
// writes a report and a signed verdict.
//
// Everything is embedded; it needs no arguments and no network. With -tamper it
// damages a copy first, and must say no:
//
//	go run ./examples/gate
//	go run ./examples/gate -tamper list
//	go run ./examples/gate -tamper poisoned-rows
//
// The exit status is 0 for a pass, 1 for a no, 2 when the gate could not run.
// All keys are DEMO keys derived from labels in the source.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/validate"
)

//go:embed demo
var embedded embed.FS

const (
	configFile    = "gate.yaml"
	evaluatedAsOf = "2026-11-01T00:00:00Z"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("gate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "out", "folder for the reports and the verdict")
	kind := flags.String("tamper", "", "damage a copy first: a kind, or list")
	sign := flags.String("sign", "", "sign the demo in this folder with the DEMO keys, and do nothing else")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var err error
	code := 0
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *sign != "":
		err = signFolder(ctx, *sign)
	case *kind == "list":
		listTamperings(stdout)
	default:
		code, err = gate(ctx, *kind, *out, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "gate:", err)
		return 2
	}
	return code
}

func listTamperings(w io.Writer) {
	for _, t := range tamperings() {
		class := "unauthorised"
		if t.authorised {
			class = "authorised"
		}
		fmt.Fprintf(w, "%-16s %-13s %s\n", t.kind, class, t.what)
	}
}

func signFolder(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return (&signatory{dir: dir, root: root}).everything(ctx)
}

// stage copies the embedded demo to a folder of its own.
func stage() (dir string, err error) {
	dir, err = os.MkdirTemp("", "prerun-gate-")
	if err != nil {
		return "", err
	}
	demo, err := fs.Sub(embedded, "demo")
	if err == nil {
		err = os.CopyFS(dir, demo)
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// gate runs the demo, damaged or not, and writes what came of it.
func gate(ctx context.Context, kind, out string, stdout, stderr io.Writer) (code int, err error) {
	start := time.Now()
	dir, err := stage()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	if kind != "" {
		t, err := tamperingOf(kind)
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(stdout, "tampered copy: %s\n", t.what)
		if err := t.apply(ctx, &signatory{dir: dir, root: root}); err != nil {
			return 0, err
		}
	}
	config, err := readConfig(root.FS())
	if err != nil {
		return 0, err
	}
	decision, err := decide(ctx, root.FS(), config, progress(stderr))
	if err != nil {
		return 0, err
	}
	doc := decision.Document()
	doc.Stats = map[string]any{"seconds": time.Since(start).Seconds()}
	bundle, err := verdict(ctx, config, decision)
	if err != nil {
		return 0, err
	}
	if err := outfile.Gate(out, doc, bundle); err != nil {
		return 0, err
	}
	summarise(stdout, decision, out, time.Since(start))
	return decision.Verdict.ExitCode(), nil
}

func readConfig(fsys fs.FS) (*pipeline.Config, error) {
	data, err := fs.ReadFile(fsys, configFile)
	if err != nil {
		return nil, err
	}
	return pipeline.ParseConfig(data)
}

// decide runs the configured gate over a folder.
func decide(ctx context.Context, fsys fs.FS, config *pipeline.Config, watch func(pipeline.Event)) (*pipeline.Decision, error) {
	model, err := fs.Sub(fsys, "model")
	if err != nil {
		return nil, err
	}
	c, err := loadClassifier(model)
	if err != nil {
		return nil, err
	}
	g, err := config.Gate(ctx, fsys, pipeline.Deps{Targets: map[string]validate.Target{"mailtriage": c.target()}})
	if err != nil {
		return nil, err
	}
	g.Progress = watch
	return g.Run(ctx)
}

// verdict signs the decision and verifies it as a deployer would. A decision
// without an established model has nothing to sign.
func verdict(ctx context.Context, config *pipeline.Config, d *pipeline.Decision) ([]byte, error) {
	signer, err := demoSigner(demoGate)
	if err != nil {
		return nil, err
	}
	bundle, err := d.Sign(ctx, config.Info(configFile), signer)
	if errors.Is(err, pipeline.ErrNoModel) {
		return nil, nil
	}
	return bundle, err
}

// progress shows which checks have ended, on one line of a terminal.
func progress(w io.Writer) func(pipeline.Event) {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	done := 0
	return func(e pipeline.Event) {
		if e.Done {
			done++
			fmt.Fprintf(w, "\r\x1b[K%2d done, last %s: %s", done, e.Check, e.Outcome)
		}
	}
}

// summarise prints one screen.
func summarise(w io.Writer, d *pipeline.Decision, out string, took time.Duration) {
	fmt.Fprintf(w, "\n%s: %s under profile %s\n", d.Name, strings.ToUpper(d.Verdict.String()), d.Tier)
	fmt.Fprintf(w, "evaluated as of %s, with DEMO keys\n\n", d.AsOf().Format(time.DateOnly))
	for _, c := range d.Checks {
		fmt.Fprintf(w, "  %-14s %-20s %s\n", c.Outcome, c.ID, c.Reason)
	}
	shown := 0
	for f := range d.Findings() {
		if !f.Severity.AtLeast(prerun.Medium) || d.WaivedBy(f) != nil {
			continue
		}
		if shown == 0 {
			fmt.Fprintln(w)
		}
		if shown++; shown > 8 {
			continue
		}
		fmt.Fprintf(w, "  %s %s: %s\n", f.Severity, f.Rule.ID, f.Message)
	}
	if shown > 8 {
		fmt.Fprintf(w, "  and %d more\n", shown-8)
	}
	fmt.Fprintf(w, "\n%s\n%s: report.html, report.sarif, report.json", d.Reason, out)
	if d.Model != nil {
		fmt.Fprintf(w, ", %s", outfile.Verdict)
	}
	fmt.Fprintf(w, "\n%.1f s\n", took.Seconds())
}
