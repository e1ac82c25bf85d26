package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/internal/strictjson"
)

// EvidenceType is the payload type of a signed evidence document.
const EvidenceType = "application/vnd.prerun.evidence+json"

// EvidenceSchema is the schema field of an evidence document.
const EvidenceSchema = "prerun/evidence/v1"

// Evidence is a signed statement by a person or a system that a gate item is
// answered for one model. Its file is a bundle (payload type [EvidenceType])
// around this JSON; unknown members are errors.
type Evidence struct {
	Schema   string    `json:"schema,required"`
	Item     string    `json:"item,required"`      // such as "ALL-4"
	Controls []string  `json:"controls,omitempty"` // control ids that it bears on
	Subject  string    `json:"subject,required"`   // the model's root digest
	Issuer   string    `json:"issuer,required"`    // who says so; e-mail addresses are masked in reports
	Date     time.Time `json:"date,required"`      // when
	Expires  time.Time `json:"expires,omitzero"`   // optional
	Summary  string    `json:"summary,required"`   // what was done, with what result
	Document string    `json:"document,omitempty"` // digest of a longer document, optional
	Link     string    `json:"link,omitempty"`     // where it is kept, optional
}

// maxEvidenceFiles bounds the files of one folder.
const maxEvidenceFiles = 1000

// EvidenceSet is a folder of evidence after its signatures were looked at. The
// zero value holds none.
type EvidenceSet struct {
	accepted map[string][]acceptedEvidence
	rejected []rejectedEvidence
}

type acceptedEvidence struct {
	file, digest string
	Evidence
}

type rejectedEvidence struct {
	file, item, reason string // item is the unauthenticated claim, or ""
}

// ReadEvidence reads every *.json file of a folder and verifies its signature.
// A file that cannot be trusted is kept as rejected and shown by the check of
// the item that it claims to answer. The error is for a folder that cannot be
// read.
func ReadEvidence(ctx context.Context, fsys fs.FS, dir string, trust prerun.Verifier) (*EvidenceSet, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > maxEvidenceFiles {
		return nil, &limits.Error{Name: dir, Unit: "files", Max: maxEvidenceFiles}
	}
	set := &EvidenceSet{accepted: make(map[string][]acceptedEvidence)}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".json" {
			continue
		}
		name := path.Join(dir, e.Name())
		if !e.Type().IsRegular() {
			set.rejected = append(set.rejected, rejectedEvidence{name, "", "it is no regular file"})
			continue
		}
		bundle, err := limits.ReadFile(fsys, name, limits.MaxConfig)
		if err != nil {
			return nil, err
		}
		ev, err := openEvidence(ctx, bundle, trust)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			set.rejected = append(set.rejected, rejectedEvidence{name, claimedItem(bundle), err.Error()})
			continue
		}
		set.accepted[ev.Item] = append(set.accepted[ev.Item], acceptedEvidence{name, digestx.Of(bundle).String(), *ev})
	}
	return set, nil
}

func openEvidence(ctx context.Context, bundle []byte, trust prerun.Verifier) (*Evidence, error) {
	var ev Evidence
	if err := openSigned(ctx, bundle, trust, EvidenceType, &ev); err != nil {
		return nil, err
	}
	if ev.Schema != EvidenceSchema {
		return nil, fmt.Errorf("schema %q, want %q", ev.Schema, EvidenceSchema)
	}
	if strings.TrimSpace(ev.Issuer) == "" || strings.TrimSpace(ev.Summary) == "" {
		return nil, errors.New("its issuer or its summary is left empty")
	}
	if _, err := digestx.Parse(ev.Subject); err != nil {
		return nil, fmt.Errorf("its subject: %w", err)
	}
	return &ev, nil
}

// openSigned verifies a bundle and decodes its JSON payload strictly.
func openSigned(ctx context.Context, bundle []byte, trust prerun.Verifier, payloadType string, into any) error {
	if trust == nil {
		return errors.New("no key to verify it with")
	}
	signed, err := trust.Verify(ctx, bundle)
	switch {
	case err != nil:
		return err
	case signed == nil:
		return errNothingVerified
	case signed.PayloadType != payloadType:
		return fmt.Errorf("payload type %q, want %q", signed.PayloadType, payloadType)
	}
	_, err = strictjson.Unmarshal(signed.Payload, into, strictjson.Options{})
	return err
}

var errNothingVerified = errors.New("the verifier returned nothing")

// claimedItem is what an untrusted file says that it answers, to show the
// rejection in the right place. Nothing else is made of it.
func claimedItem(bundle []byte) string {
	b, err := dsse.ParseBundle(bundle)
	if err != nil {
		return ""
	}
	tree, err := strictjson.Parse(b.Envelope.Payload, strictjson.Limits{})
	if err != nil {
		return ""
	}
	if item := tree.Get("item"); item != nil && item.Kind == strictjson.String {
		return item.Text
	}
	return ""
}

// SignEvidence signs an evidence document. It fills in the schema.
func SignEvidence(ctx context.Context, ev Evidence, signer prerun.Signer) ([]byte, error) {
	ev.Schema = EvidenceSchema
	payload, err := marshal(ev)
	if err != nil {
		return nil, err
	}
	return signer.Sign(ctx, EvidenceType, payload)
}

// evidenceCheck decides one item by evidence.
type evidenceCheck struct {
	item   Item
	set    *EvidenceSet
	maxAge time.Duration
}

func (c evidenceCheck) Meta() Meta {
	return Meta{
		ID:       c.item.evidenceCheck(),
		Version:  "1",
		Needs:    []string{string(ModelFact)},
		Items:    []string{c.item.ID},
		Controls: c.item.Controls,
	}
}

func (c evidenceCheck) Run(_ context.Context, in *Input) (*Result, error) {
	model, err := Get(in, ModelFact)
	if err != nil {
		return nil, err
	}
	var findings []prerun.Finding
	for _, ev := range c.set.of(c.item.ID) {
		f := c.judge(ev, model.Root, in.Now)
		if f == nil {
			return c.met(ev), nil
		}
		findings = append(findings, *f)
	}
	for _, r := range c.set.rejectedFor(c.item.ID) {
		findings = append(findings, evidenceFinding(ruleEvidenceUntrusted, r.file, c.item,
			fmt.Sprintf("%q claims to answer %s but is not accepted: %s", r.file, c.item.ID, redact.Excerpt([]byte(r.reason), maxReason))))
	}
	if len(findings) == 0 {
		findings = append(findings, evidenceFinding(ruleEvidenceAbsent, ".", c.item,
			fmt.Sprintf("no evidence answers %s (%s)%s", c.item.ID, strings.ToLower(c.item.Title), c.set.unclaimed())))
	}
	subjects := []prerun.Subject{{Path: model.Name, Digest: model.Root}}
	return &Result{
		Reason: fmt.Sprintf("%s is not answered by evidence that counts", c.item.ID),
		Source: prerun.NewSource(subjects, findings, nil),
	}, nil
}

func (c evidenceCheck) met(ev acceptedEvidence) *Result {
	issuer := redact.Excerpt([]byte(ev.Issuer), maxReason)
	document := []prerun.Subject{{Path: prerun.EscapePath(ev.file), Digest: ev.digest}}
	return &Result{
		Outcome: Pass,
		Reason:  fmt.Sprintf("%s, by %s on %s", ev.file, issuer, ev.Date.UTC().Format(time.DateOnly)),
		Source:  prerun.NewSource(document, nil, nil),
		Inputs:  document,
		Facts:   map[string]any{"item": ev.Item, "issuer": issuer, "summary": redact.Excerpt([]byte(ev.Summary), maxReason)},
	}
}

// judge returns nil when the document answers the item for this model now.
func (c evidenceCheck) judge(ev acceptedEvidence, root string, now time.Time) *prerun.Finding {
	var f prerun.Finding
	switch {
	case ev.Subject != root:
		f = evidenceFinding(ruleEvidenceSubject, ev.file, c.item,
			fmt.Sprintf("%q answers %s for model %q, not for %s", ev.file, c.item.ID, ev.Subject, root))
	case ev.Date.After(now):
		f = evidenceFinding(ruleEvidenceStale, ev.file, c.item,
			fmt.Sprintf("%q is dated %s, in the future", ev.file, ev.Date.UTC().Format(time.DateOnly)))
	case !ev.Expires.IsZero() && !now.Before(ev.Expires):
		f = evidenceFinding(ruleEvidenceStale, ev.file, c.item,
			fmt.Sprintf("%q expired on %s", ev.file, ev.Expires.UTC().Format(time.DateOnly)))
	case c.maxAge > 0 && now.Sub(ev.Date) > c.maxAge:
		f = evidenceFinding(ruleEvidenceStale, ev.file, c.item,
			fmt.Sprintf("%q is of %s, older than the %d days that the profile allows",
				ev.file, ev.Date.UTC().Format(time.DateOnly), c.maxAge/day))
	default:
		return nil
	}
	return &f
}

func evidenceFinding(rule prerun.Rule, file string, item Item, message string) prerun.Finding {
	return prerun.Finding{
		Rule:       rule,
		Severity:   rule.Severity,
		Confidence: prerun.ConfidenceHigh,
		Subject:    prerun.Subject{Path: prerun.EscapePath(file)},
		Locations:  []prerun.Location{{Path: prerun.EscapePath(file)}},
		Message:    message,
		Key:        item.ID,
	}
}

func (s *EvidenceSet) of(item string) []acceptedEvidence {
	if s == nil {
		return nil
	}
	return s.accepted[item]
}

func (s *EvidenceSet) rejectedFor(item string) []rejectedEvidence {
	if s == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.rejected), func(r rejectedEvidence) bool { return r.item != item })
}

// unclaimed mentions files that were rejected and name no item at all.
func (s *EvidenceSet) unclaimed() string {
	n := len(s.rejectedFor(""))
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d files of evidence could not be read", n)
}
