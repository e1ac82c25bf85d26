package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/target/openai"
)

// A server is how to ask an OpenAI-compatible server. Its key, where it asks for
// one, is in a file: command lines are seen by others.
type server struct {
	model   string
	keyFile string
}

func (s *server) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.model, "model", "", "`NAME` of the model on the server")
	cmd.Flags().StringVar(&s.keyFile, "key-file", "", "`FILE` with the server's API key")
}

// target is the server at an address, once it is there.
func (s *server) target(ctx context.Context, url string) (validate.Target, error) {
	if s.model == "" {
		return nil, errors.New("--target needs --model: the name of the model on the server")
	}
	c := &openai.Client{BaseURL: url, Model: s.model, HTTP: &http.Client{Timeout: 10 * time.Minute}}
	if s.keyFile != "" {
		key, err := readFile(s.keyFile)
		if err != nil {
			return nil, err
		}
		c.Key = openai.Secret(bytes.TrimSpace(key))
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("--target %q: %w", url, err)
	}
	return c, reach(ctx, url)
}

// reach asks for the list of models, to learn before thousands of questions, each
// asked again some times, whether anybody is there. Any answer will do.
func reach(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/models", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		return fmt.Errorf("--target %q is not there: %w", url, err)
	}
	return resp.Body.Close()
}

func (a *app) validateCommand() *cobra.Command {
	return group("validate", "how a model behaves",
		a.validateRunCommand(),
		notBuilt("import FORMAT FILE", "read another tool's results"))
}

// validateRunCommand runs a suite. Its facts are those of
// [pipeline.SuiteFacts], or without a target plan: what a run would ask, by
// requirement. Its stats are asked, reused, asked_again, retries, input_tokens,
// output_tokens and dropped_bytes.
func (a *app) validateRunCommand() *cobra.Command {
	var ask server
	var url, baseline, resume, saveBaseline string
	var seed uint64
	cmd := &cobra.Command{
		Use: "run SUITE", Short: "run a suite and decide with statistics; without --target, show the plan", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			suite, err := readSuite(args[0])
			if err != nil {
				return err
			}
			runner := validate.Runner{Seed: seed, Progress: counts(a.progress("asking")), Now: a.now}
			if baseline != "" {
				data, err := readFile(baseline)
				if err != nil {
					return err
				}
				if runner.Baseline, err = validate.ParseBaseline(data); err != nil {
					return named(baseline, err)
				}
			}
			if url == "" {
				return a.plan(runner, suite)
			}
			target, err := ask.target(cmd.Context(), url)
			if err != nil {
				return err
			}
			if resume != "" {
				journal, err := openJournal(resume)
				if err != nil {
					return err
				}
				defer journal.Close()
				runner.Journal = journal
			}
			rep, err := runner.Run(cmd.Context(), suite, target)
			if err != nil {
				return err
			}
			if saveBaseline != "" {
				data, err := rep.Baseline().Encode()
				if err != nil {
					return err
				}
				if err := outfile.Write(saveBaseline, data, 0o600); err != nil {
					return err
				}
			}
			return a.finish(rep, pipeline.SuiteFacts(rep), a.lines(decisionLines(rep)), func(doc *report.Document) {
				doc.Verdict, doc.Intervals = rep.Verdict.Common(), pipeline.SuiteIntervals(rep)
				doc.Stats = suiteStats(rep.Stats)
			})
		},
	}
	ask.add(cmd)
	cmd.Flags().StringVar(&url, "target", "", "`URL` of an OpenAI-compatible server to ask, such as http://127.0.0.1:8080/v1")
	cmd.Flags().StringVar(&baseline, "baseline", "", "`FILE` of an earlier run's outcomes to compare with")
	cmd.Flags().StringVar(&saveBaseline, "save-baseline", "", "write the outcomes of this run to this `FILE`")
	cmd.Flags().StringVar(&resume, "resume", "", "`DIR` of the journal: a killed run goes on where it was")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of order and samples")
	return cmd
}

func suiteStats(s validate.Stats) map[string]any {
	return map[string]any{
		"asked": s.Asked, "reused": s.Reused, "asked_again": s.AskedAgain, "retries": s.Retries,
		"input_tokens": s.InputTokens, "output_tokens": s.OutputTokens, "dropped_bytes": s.DroppedBytes,
	}
}

func decisionLines(rep *validate.Report) []report.Check {
	var out []report.Check
	for _, d := range rep.Requirements {
		out = append(out, report.Check{
			ID: d.Name, Outcome: strings.ToLower(d.Verdict.String()), Reason: d.Reason, Required: true,
		})
	}
	return out
}

// counts adapts a progress function to the runner's.
func counts(f func(done, total int64)) func(done, total int) {
	if f == nil {
		return nil
	}
	return func(done, total int) { f(int64(done), int64(total)) }
}

func readSuite(path string) (*validate.Suite, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	p, err := open(path)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	suite, err := validate.ParseSuite(data, p.fsys)
	if err != nil {
		return nil, named(path, err)
	}
	return suite, nil
}

// plan shows what a run would ask and whether it could pass, and asks nothing.
func (a *app) plan(runner validate.Runner, suite *validate.Suite) error {
	plan, err := runner.Plan(suite)
	if plan == nil {
		return err
	}
	reason := "nothing was asked: no --target was given"
	if err != nil {
		reason = err.Error()
	}
	src := prerun.NewSource([]prerun.Subject{{Path: prerun.EscapePath(suite.Name)}}, nil, []prerun.Gap{
		{Location: prerun.Location{Path: prerun.EscapePath(suite.Name)}, Reason: reason},
	})
	return a.finish(src, map[string]any{"plan": plan}, a.lines(planLines(plan)),
		summary("%s in all", count(plan.Requests, "question")))
}

func planLines(plan *validate.Plan) []report.Check {
	var out []report.Check
	for _, p := range plan.Requirements {
		line := report.Check{ID: p.Name, Outcome: "skipped", Required: true}
		if p.Allowed < 0 {
			line.Reason = fmt.Sprintf("cannot pass: it has %d clusters and needs %d", p.Clusters, p.Needed)
		} else {
			line.Reason = fmt.Sprintf("%d answers in %d clusters, %d of which may fail", p.Answers, p.Clusters, p.Allowed)
		}
		out = append(out, line)
	}
	return out
}

func openJournal(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "journal"), os.O_RDWR|os.O_CREATE, 0o600)
}
