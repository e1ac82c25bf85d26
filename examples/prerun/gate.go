package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/validate"
)

func (a *app) gateCommand() *cobra.Command {
	var ask server
	var out, verdictKey, passwordFile string
	var urls []string
	cmd := &cobra.Command{
		Use: "gate CONFIG", Short: "run a whole profile; write reports and the signed verdict",
		Long: `Run every check of a gate configuration under its profile, and decide.

Paths in the configuration are relative to its folder. With --out the reports are
written there, and with --verdict-key the signed verdict too, which "prerun
verdict verify" checks before a deployment.`,
		Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readFile(args[0])
			if err != nil {
				return err
			}
			config, err := pipeline.ParseConfig(data)
			if err != nil {
				return named(args[0], err)
			}
			signer, err := verdictSigner(out, verdictKey, passwordFile)
			if err != nil {
				return err
			}
			targets, err := ask.targets(cmd.Context(), urls)
			if err != nil {
				return err
			}
			p, err := open(args[0])
			if err != nil {
				return err
			}
			defer p.Close()
			g, err := config.Gate(cmd.Context(), p.fsys, pipeline.Deps{Targets: targets, Now: a.now()})
			if err != nil {
				return named(args[0], err)
			}
			g.Progress = a.checks(len(g.Checks))
			d, err := g.Run(cmd.Context())
			if err != nil {
				return err
			}
			return a.decided(cmd.Context(), d, out, config.Info(filepath.Base(args[0])), signer)
		},
	}
	ask.add(cmd)
	cmd.Flags().StringArrayVar(&urls, "target", nil, "server to ask for a target of the configuration, as `NAME=URL` (repeatable)")
	cmd.Flags().StringVar(&out, "out", "", "`DIR` for report.html, report.sarif, report.json and "+outfile.Verdict)
	cmd.Flags().StringVar(&verdictKey, "verdict-key", "", "PEM `FILE` of the gate's private key; without it no verdict is signed")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "`FILE` with the password of an encrypted key")
	return cmd
}

// targets are the servers of --target by name.
func (s *server) targets(ctx context.Context, urls []string) (map[string]validate.Target, error) {
	out := make(map[string]validate.Target)
	for _, arg := range urls {
		name, url, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--target %q is not NAME=URL", arg)
		}
		if out[name] != nil {
			return nil, fmt.Errorf("--target names %q twice", name)
		}
		var err error
		if out[name], err = s.target(ctx, url); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// verdictSigner signs with the gate's key, or is nil without one. The key is
// read before the checks run, so that they do not run for nothing.
func verdictSigner(out, keyFile, passwordFile string) (prerun.Signer, error) {
	if keyFile == "" {
		return nil, nil
	}
	if out == "" {
		return nil, errors.New("--verdict-key needs --out: the folder for the verdict")
	}
	key, err := readPrivateKey(keyFile, passwordFile)
	if err != nil {
		return nil, err
	}
	return integrity.NewKeySigner(key)
}

// checks shows on the terminal which checks have ended.
func (a *app) checks(all int) func(pipeline.Event) {
	w := a.terminal()
	if w == nil {
		return nil
	}
	done := 0
	return func(e pipeline.Event) {
		if e.Done {
			done++
			a.line = true
			fmt.Fprintf(w, "\r\x1b[K%d of %d checks, last %s: %s", done, all, e.Check, e.Outcome)
		}
	}
}

// decided writes what a gate decided.
func (a *app) decided(ctx context.Context, d *pipeline.Decision, out string, info pipeline.VerdictInfo, signer prerun.Signer) error {
	doc := d.Document()
	if out == "" {
		return a.write(doc)
	}
	var bundle []byte
	if signer != nil {
		var err error
		bundle, err = d.Sign(ctx, info, signer)
		if err != nil && !errors.Is(err, pipeline.ErrNoModel) { // then the report says why
			return err
		}
	}
	doc.Stats = a.stats(nil)
	if err := outfile.Gate(out, doc, bundle); err != nil {
		return err
	}
	return a.write(doc)
}

func (a *app) verdictCommand() *cobra.Command {
	var publicKey, policyDigest, verifier string
	var subjects []string
	var maxAge time.Duration
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "verify a gate's signed verdict before deploying", Args: takes,
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
			for _, d := range append(subjects, cmp.Or(policyDigest, subjects[0])) {
				if _, err := digest.Parse(d); err != nil {
					return fmt.Errorf("digest %q: %w", d, err)
				}
			}
			v, err := pipeline.VerifyVerdict(cmd.Context(), bundle, trust, pipeline.VerdictPolicy{
				Subjects: subjects, PolicyDigest: policyDigest, Verifier: verifier, MaxAge: maxAge, Now: a.now(),
				InsecureAnyPolicy: policyDigest == "", InsecureAnyVerifier: verifier == "",
			})
			return a.verdict(args[0], v, err, policyDigest, verifier)
		},
	}
	cmd.Flags().StringVar(&publicKey, "public-key", "", "PEM `FILE` of the gate's public key")
	cmd.Flags().StringArrayVar(&subjects, "subject", nil, "`DIGEST` that the verdict must cover, algorithm:hex (repeatable)")
	cmd.Flags().StringVar(&policyDigest, "policy-digest", "", "`DIGEST` of the gate configuration that must have been applied")
	cmd.Flags().StringVar(&verifier, "verifier", "", "`URI` of the gate that must have decided")
	cmd.Flags().DurationVar(&maxAge, "max-age", 0, "oldest verdict to accept (default 720h)")
	must(cmd.MarkFlagRequired("public-key"))
	must(cmd.MarkFlagRequired("subject"))
	return group("verdict", "a gate's decision", cmd)
}

// refused is the rule of this command; the packages' own are in their tables.
var refused = prerun.Rule{
	ID: "prerun.verdict.refused", Title: "verdict does not allow the deployment", Severity: prerun.Critical,
	Help: "The verdict is not signed by the gate's key, is no pass, is too old, or is about something else. Do not deploy; run the gate again.",
}

// verdict reports a verification. Its facts are not_checked, and as far as the
// verdict could be read passed, verifier, resource, policy_digest, time, signer,
// levels and checks[]{id, outcome, items, controls}.
func (a *app) verdict(file string, v *pipeline.Verdict, err error, policyDigest, verifier string) error {
	where := prerun.EscapePath(filepath.Base(file))
	subjects := []prerun.Subject{{Path: where}}
	facts := map[string]any{"not_checked": notAsked(policyDigest, verifier)}
	var checks []report.Check
	if v != nil {
		subjects = append(subjects, v.Subjects...)
		facts["passed"], facts["verifier"], facts["resource"] = v.Passed, v.Verifier, v.ResourceURI
		facts["policy_digest"], facts["signer"], facts["time"] = v.PolicyDigest, v.Signer, v.Time.UTC()
		facts["levels"], facts["checks"] = orEmpty(v.Levels), orEmpty(v.Checks)
		for _, c := range v.Checks {
			checks = append(checks, report.Check{ID: c.ID, Outcome: c.Outcome.String(), Items: c.Items, Controls: c.Controls})
		}
	}
	var findings []prerun.Finding
	var gaps []prerun.Gap
	about := ""
	switch at := (prerun.Location{Path: where}); {
	case err == nil:
		about = "verified, signed by " + v.Signer
	case pipeline.Refused(err):
		findings = append(findings, prerun.Finding{
			Rule: refused, Severity: refused.Severity, Confidence: prerun.ConfidenceHigh,
			Subject: subjects[0], Locations: []prerun.Location{at}, Message: err.Error(),
		})
	default:
		gaps = append(gaps, prerun.Gap{Location: at, Reason: err.Error()})
	}
	return a.finish(prerun.NewSource(subjects, findings, gaps), facts, a.lines(checks), summary("%s", about))
}

// notAsked names what the user did not ask for, so that nobody takes it for
// checked.
func notAsked(policyDigest, verifier string) []string {
	out := []string{}
	if policyDigest == "" {
		out = append(out, "policy digest")
	}
	if verifier == "" {
		out = append(out, "verifier")
	}
	return out
}
