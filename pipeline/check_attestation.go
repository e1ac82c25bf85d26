package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/redact"
)

// VerifyScan takes a signed scan ([scan.Attestation]) for the scan itself: its
// findings and gaps are the check's own, if a trusted scanner says them of the
// model whose signature was verified, by its root digest and by each file's. It
// stands under the same id as [ScanModel]. Its facts are those of the scan
// command, and scanner{name, signer, time}.
type VerifyScan struct {
	ID     string // "" means "scan.model"
	FS     fs.FS
	Path   string // folder of the model in FS, for the paths of findings
	File   string // of the bundle in FS
	Trust  prerun.Verifier
	MaxAge time.Duration // of the scan; 0 means any
}

// Meta implements [Check].
func (c VerifyScan) Meta() Meta {
	return Meta{
		ID: cmp.Or(c.ID, checkScan), Version: "1",
		Needs:    []string{string(ModelFact)},
		Controls: []string{"SUP-01", "SUP-08"},
	}
}

// Run implements [Check].
func (c VerifyScan) Run(ctx context.Context, in *Input) (*Result, error) {
	model, err := Get(in, ModelFact)
	if err != nil {
		return nil, err
	}
	bundle, err := limits.ReadFile(c.FS, c.File, limits.MaxBundle)
	if err != nil {
		return nil, err
	}
	if c.Trust == nil {
		return nil, errors.New("no key to verify the scan with")
	}
	document := prerun.Subject{Path: prerun.EscapePath(c.File), Digest: digestx.Of(bundle).String()}
	a, err := scan.OpenScan(ctx, bundle, c.Trust)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return c.refused(document, ruleScanUntrusted, fmt.Sprintf("the scan is not accepted: %v", err)), nil
	}
	if err := a.Covers(model.Root, model.Files); err != nil {
		return c.refused(document, ruleScanSubject, fmt.Sprintf("the scan is about something else: %v", err)), nil
	}
	when := a.Time.UTC().Format(time.DateOnly)
	switch {
	case a.Time.After(in.Now):
		return c.refused(document, ruleScanStale, fmt.Sprintf("the scan is dated %s, in the future", when)), nil
	case c.MaxAge > 0 && in.Now.Sub(a.Time) > c.MaxAge:
		return c.refused(document, ruleScanStale, fmt.Sprintf("the scan is of %s, older than %d days", when, c.MaxAge/day)), nil
	}
	facts := ScanFacts(a.Result)
	name := redact.Excerpt([]byte(a.Scanner), maxReason)
	facts["scanner"] = map[string]any{"name": name, "signer": a.Signed.Signer, "time": a.Time.UTC()}
	return &Result{
		Reason: fmt.Sprintf("%d files, verdict %s, %s, by %s on %s", len(a.Result.Files), a.Result.Verdict(), a.Result.Completeness(), name, when),
		Source: under(c.Path, a.Result),
		Facts:  facts,
		Inputs: []prerun.Subject{document},
	}, nil
}

func (c VerifyScan) refused(document prerun.Subject, rule prerun.Rule, message string) *Result {
	message = strings.ToValidUTF8(redact.Excerpt([]byte(message), maxReason), "\uFFFD")
	return &Result{
		Reason: message,
		Source: prerun.NewSource([]prerun.Subject{document}, []prerun.Finding{{
			Rule: rule, Severity: rule.Severity, Confidence: prerun.ConfidenceHigh,
			Subject: document, Locations: []prerun.Location{{Path: document.Path}}, Message: message,
		}}, nil),
	}
}
