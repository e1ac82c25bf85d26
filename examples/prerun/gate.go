package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/atomicfile"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/target/openai"
)

// targetFlag is a target of the command line: NAME=URL, or a bare URL for a
// single one. The key, where the server asks for one, is in a file.
type targetFlag struct {
	urls    []string
	model   string
	keyFile string
}

func (f *targetFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.urls, "target", nil, "OpenAI-compatible server to ask: URL, or NAME=URL")
	cmd.Flags().StringVar(&f.model, "model", "", "model to ask the server for")
	cmd.Flags().StringVar(&f.keyFile, "key-file", "", "file with the server's API key")
}

// targets are the named targets; one without a name is called "default".
func (f *targetFlag) targets() (map[string]validate.Target, error) {
	out := make(map[string]validate.Target)
	for _, arg := range f.urls {
		name, url, named := strings.Cut(arg, "=")
		if !named || strings.Contains(name, ":") {
			name, url = "default", arg
		}
		t, err := f.client(url)
		if err != nil {
			return nil, err
		}
		out[name] = t
	}
	return out, nil
}

func (f *targetFlag) client(url string) (validate.Target, error) {
	c := &openai.Client{BaseURL: url, Model: f.model, HTTP: &http.Client{Timeout: 10 * time.Minute}}
	if f.keyFile != "" {
		key, err := readFile(f.keyFile)
		if err != nil {
			return nil, err
		}
		c.Key = openai.Secret(bytes.TrimSpace(key))
	}
	return c, c.Check()
}

func (a *app) validateCommand() *cobra.Command {
	return group("validate", "how a model behaves",
		a.validateRunCommand(),
		notBuilt("import FORMAT FILE", "read another tool's results"))
}

func (a *app) validateRunCommand() *cobra.Command {
	var target targetFlag
	var baseline, resume, saveBaseline string
	var seed uint64
	cmd := &cobra.Command{
		Use: "run SUITE", Short: "run a suite and decide with statistics; without --target, show the plan", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			suite, err := readSuite(args[0])
			if err != nil {
				return err
			}
			runner := validate.Runner{Seed: seed, Progress: counts(a.progress("asking"))}
			if baseline != "" {
				data, err := readFile(baseline)
				if err != nil {
					return err
				}
				if runner.Baseline, err = validate.ParseBaseline(data); err != nil {
					return fmt.Errorf("%q: %w", baseline, err)
				}
			}
			targets, err := target.targets()
			if err != nil {
				return err
			}
			t, ok := targets["default"]
			if !ok {
				return a.plan(runner, suite)
			}
			if resume != "" {
				journal, err := openJournal(resume)
				if err != nil {
					return err
				}
				defer journal.Close()
				runner.Journal = journal
			}
			rep, err := runner.Run(cmd.Context(), suite, t)
			if err != nil {
				return err
			}
			if saveBaseline != "" {
				data, err := rep.Baseline().Encode()
				if err != nil {
					return err
				}
				if err := atomicfile.Write(saveBaseline, data, 0o600); err != nil {
					return err
				}
			}
			return a.finish("validate run", rep, pipeline.SuiteFacts(rep), func(doc *report.Document) {
				doc.Verdict, doc.Intervals = rep.Verdict.Common(), pipeline.SuiteIntervals(rep)
			})
		},
	}
	target.add(cmd)
	cmd.Flags().StringVar(&baseline, "baseline", "", "outcomes of an earlier run to compare with")
	cmd.Flags().StringVar(&saveBaseline, "save-baseline", "", "file for the outcomes of this run")
	cmd.Flags().StringVar(&resume, "resume", "", "folder of the journal: a killed run goes on where it was")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of order and samples")
	return cmd
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
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return suite, nil
}

// plan shows what a run would ask and whether it could pass, and asks nothing.
func (a *app) plan(runner validate.Runner, suite *validate.Suite) error {
	plan, err := runner.Plan(suite)
	if plan == nil {
		return err
	}
	gap := []prerun.Gap{{Location: prerun.Location{Path: suite.Name}, Reason: "nothing was asked: no --target was given"}}
	if err != nil {
		gap[0].Reason = err.Error()
	}
	src := prerun.NewSource([]prerun.Subject{{Path: suite.Name}}, nil, gap)
	return a.finish("validate run", src, map[string]any{"plan": plan})
}

func openJournal(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "journal"), os.O_RDWR|os.O_CREATE, 0o600)
}

func (a *app) gateCommand() *cobra.Command {
	var target targetFlag
	var out, verdictKey string
	cmd := &cobra.Command{
		Use: "gate CONFIG", Short: "run a whole profile; write reports and the signed verdict", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readFile(args[0])
			if err != nil {
				return err
			}
			config, err := pipeline.ParseConfig(data)
			if err != nil {
				return fmt.Errorf("%q: %w", args[0], err)
			}
			p, err := open(args[0])
			if err != nil {
				return err
			}
			defer p.Close()
			targets, err := target.targets()
			if err != nil {
				return err
			}
			g, err := config.Gate(cmd.Context(), p.fsys, pipeline.Deps{Targets: targets, Now: a.now()})
			if err != nil {
				return err
			}
			d, err := g.Run(cmd.Context())
			if err != nil {
				return err
			}
			if out != "" {
				if err := a.writeGate(cmd, out, verdictKey, config.Info(filepath.Base(args[0])), d); err != nil {
					return err
				}
			}
			return a.write(d.Document())
		},
	}
	target.add(cmd)
	cmd.Flags().StringVar(&out, "out", "", "folder for report.html, report.sarif, report.json and the verdict")
	cmd.Flags().StringVar(&verdictKey, "verdict-key", "", "PEM file of the gate's private key; without it no verdict is signed")
	return cmd
}

// verdictFile is where the signed verdict stands in the folder of --out.
const verdictFile = "verdict.sigstore.json"

func (a *app) writeGate(cmd *cobra.Command, dir, keyFile string, info pipeline.VerdictInfo, d *pipeline.Decision) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// A verdict of an earlier run must not stand beside a report of this one.
	if err := os.Remove(filepath.Join(dir, verdictFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	doc := d.Document()
	for name, writer := range map[string]report.Writer{
		"report.html": report.HTML, "report.sarif": report.SARIF, "report.json": report.JSON,
	} {
		var buf bytes.Buffer
		if err := writer(&buf, doc); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := atomicfile.Write(filepath.Join(dir, name), buf.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if keyFile == "" {
		return nil
	}
	data, err := readFile(keyFile)
	if err != nil {
		return err
	}
	key, err := keys.ParsePrivate(data)
	if err != nil {
		return fmt.Errorf("%q: %w", keyFile, err)
	}
	signer, err := integrity.NewKeySigner(key)
	if err != nil {
		return err
	}
	bundle, err := d.Sign(cmd.Context(), info, signer)
	if errors.Is(err, pipeline.ErrNoModel) {
		return nil // the report says why; there is no subject to sign for
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, verdictFile), bundle, 0o644)
}

func (a *app) verdictCommand() *cobra.Command {
	var publicKey, policyDigest, verifier string
	var subjects []string
	var maxAge time.Duration
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "verify a gate's signed verdict before deploying", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bundle, err := readFile(args[0])
			if err != nil {
				return err
			}
			pub, err := readPublicKey(publicKey)
			if err != nil {
				return err
			}
			trust, err := integrity.NewKeyVerifier(pub)
			if err != nil {
				return err
			}
			v, err := pipeline.VerifyVerdict(cmd.Context(), bundle, trust, pipeline.VerdictPolicy{
				Subjects: subjects, PolicyDigest: policyDigest, Verifier: verifier, MaxAge: maxAge, Now: a.now(),
				InsecureAnyPolicy: policyDigest == "", InsecureAnyVerifier: verifier == "",
			})
			return a.verdict(args[0], v, err, policyDigest, verifier)
		},
	}
	cmd.Flags().StringVar(&publicKey, "public-key", "", "PEM file of the gate's public key")
	cmd.Flags().StringArrayVar(&subjects, "subject", nil, "digest that the verdict must cover, algorithm:hex")
	cmd.Flags().StringVar(&policyDigest, "policy-digest", "", "digest of the gate configuration that must have been applied")
	cmd.Flags().StringVar(&verifier, "verifier", "", "URI of the gate that must have decided")
	cmd.Flags().DurationVar(&maxAge, "max-age", 0, "oldest verdict to accept; 720h without it")
	must(cmd.MarkFlagRequired("public-key"))
	must(cmd.MarkFlagRequired("subject"))
	return group("verdict", "a gate's decision", cmd)
}

// verdict reports a verification: facts are passed, verifier, resource,
// policy_digest, time, levels, checks, and what was not asked for.
func (a *app) verdict(file string, v *pipeline.Verdict, err error, policyDigest, verifier string) error {
	doc := report.Document{Command: "verdict verify", Verdict: prerun.Pass, Summary: "verified", FailOn: a.failOn}
	subjects := []prerun.Subject{{Path: filepath.Base(file)}}
	unchecked := []string{}
	if policyDigest == "" {
		unchecked = append(unchecked, "policy digest")
	}
	if verifier == "" {
		unchecked = append(unchecked, "verifier")
	}
	doc.Facts = map[string]any{"not_checked": unchecked}
	if v != nil {
		subjects = append(subjects, v.Subjects...)
		doc.Facts["passed"], doc.Facts["verifier"], doc.Facts["resource"] = v.Passed, v.Verifier, v.ResourceURI
		doc.Facts["policy_digest"], doc.Facts["levels"], doc.Facts["checks"] = v.PolicyDigest, v.Levels, v.Checks
		doc.Facts["signer"], doc.Facts["time"] = v.Signer, v.Time.UTC()
	}
	doc.Source = prerun.NewSource(subjects, nil, nil)
	if err != nil {
		doc.Verdict, doc.Summary = prerun.Fail, err.Error()
		if !pipeline.Refused(err) {
			doc.Verdict = prerun.Incomplete
		}
	}
	return a.write(doc)
}
