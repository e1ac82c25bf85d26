package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/pipeline/report"
)

// An app is one invocation: its common flags, its streams, its exit status.
type app struct {
	stdout, stderr io.Writer
	now            func() time.Time
	start          time.Time

	format string
	output string // for the report
	failOn prerun.Severity
	quiet  bool

	job     string // the command, as reports call it; "" before it begins
	subject string // its first argument
	writer  report.Writer
	bundle  string // where sign writes to
	line    bool   // progress stands on the terminal
	code    int
}

// begin comes before every command that was used rightly.
func (a *app) begin(cmd *cobra.Command, args []string) error {
	writer, err := report.For(a.format)
	if err != nil {
		return err
	}
	if !cmd.HasParent() || cmd.HasSubCommands() || len(args) == 0 {
		return nil // RunE says what is missing
	}
	a.writer, a.subject = writer, filepath.Base(args[0])
	switch parent := cmd.Parent(); parent.Name() {
	case "sign":
		a.job, a.bundle, a.output = "sign", a.output, ""
	case "verify":
		a.job = "verify"
	case "prerun":
		a.job = cmd.Name()
	default:
		a.job = parent.Name() + " " + cmd.Name()
	}
	return nil
}

// A change adds to a document what only one command knows.
type change func(*report.Document)

func summary(format string, args ...any) change {
	return func(doc *report.Document) { doc.Summary = fmt.Sprintf(format, args...) }
}

// lines show parts of an outcome, such as requirements, where a gate shows its
// checks. The envelope has them as facts already.
func (a *app) lines(checks []report.Check) change {
	return func(doc *report.Document) {
		if a.format != "json" {
			doc.Checks = checks
		}
	}
}

// finish decides over a source at the threshold and writes the report.
func (a *app) finish(src prerun.Source, facts map[string]any, changes ...change) error {
	doc := report.Document{Verdict: prerun.Decide(src, a.failOn), Source: src, Facts: facts}
	for _, change := range changes {
		change(&doc)
	}
	return a.write(doc)
}

// brokeOff reports work that ended in an error, for whoever reads reports: what
// was not looked at must not look like a report that was never asked for.
func (a *app) brokeOff(err error) error {
	if a.job == "" || a.format == "text" {
		return nil
	}
	where := prerun.EscapePath(a.subject)
	return a.finish(prerun.NewSource([]prerun.Subject{{Path: where}}, nil, []prerun.Gap{
		{Location: prerun.Location{Path: where}, Reason: err.Error()},
	}), nil)
}

// write renders a document to --output or to standard output. A report goes to
// a file whole or not at all.
func (a *app) write(doc report.Document) error {
	doc.Command, doc.Stats = a.job, a.stats(doc.Stats)
	if doc.FailOn == prerun.Unrated {
		doc.FailOn = a.failOn
	}
	var buf bytes.Buffer
	if err := a.writer(&buf, doc); err != nil {
		return err
	}
	a.clearLine()
	a.code = doc.Verdict.ExitCode()
	if a.output != "" {
		return outfile.Write(a.output, buf.Bytes(), 0o644)
	}
	if a.quiet {
		return nil
	}
	_, err := a.stdout.Write(buf.Bytes())
	return err
}

// stats adds the run's duration, "seconds".
func (a *app) stats(stats map[string]any) map[string]any {
	out := map[string]any{"seconds": a.now().Sub(a.start).Seconds()}
	maps.Copy(out, stats)
	return out
}

// terminal is standard error when somebody watches it, or nil.
func (a *app) terminal() io.Writer {
	f, ok := a.stderr.(*os.File)
	if !ok || a.quiet {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return f
}

// progress shows a share of work on the terminal. It is nil elsewhere.
func (a *app) progress(what string) func(done, total int64) {
	w := a.terminal()
	if w == nil {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		if now := time.Now(); total > 0 && now.Sub(last) > 100*time.Millisecond {
			last, a.line = now, true
			fmt.Fprintf(w, "\r\x1b[K%s %3d %%", what, 100*done/total)
		}
	}
}

// clearLine takes the progress off the terminal.
func (a *app) clearLine() {
	if a.line {
		a.line = false
		fmt.Fprint(a.stderr, "\r\x1b[K")
	}
}
