package pipeline

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/redact"
)

// WaiversType is the payload type of a signed file of waivers.
const WaiversType = "application/vnd.prerun.waivers+json"

// WaiversSchema is the schema field of a file of waivers.
const WaiversSchema = "prerun/waivers/v1"

// A Waiver excuses findings for a time: somebody owns the risk, somebody else
// approved it, and it ends. Both patterns follow [path.Match], so "*" does not
// cross a "/".
//
// Reason and Owner stand in reports, where e-mail addresses and secrets are
// masked: name a team or a person.
type Waiver struct {
	ID          string          `json:"id,required"`
	Rule        string          `json:"rule,required"`         // pattern over rule ids, such as "weights.row.*"
	Path        string          `json:"path,omitempty"`        // pattern over the finding's path; this or Subject
	Subject     string          `json:"subject,omitempty"`     // digest of the finding's subject
	MaxSeverity prerun.Severity `json:"max_severity,required"` // graver findings are not covered
	Reason      string          `json:"reason,required"`
	Owner       string          `json:"owner,required"`
	Approvers   []string        `json:"approvers,required"`
	Ticket      string          `json:"ticket,omitempty"`
	Created     time.Time       `json:"created,required"`
	Expires     time.Time       `json:"expires,required"`
}

// covers reports whether the waiver speaks of this finding, expired or not. An
// unrated finding is never covered, nor is what the gate says of itself.
func (w Waiver) covers(f prerun.Finding) bool {
	if f.Severity == prerun.Unrated || f.Severity > w.MaxSeverity || unwaivable(f.Rule.ID) {
		return false
	}
	if ok, err := path.Match(w.Rule, f.Rule.ID); err != nil || !ok {
		return false
	}
	if w.Subject != "" && w.Subject != f.Subject.Digest {
		return false
	}
	if w.Path != "" {
		if ok, err := path.Match(w.Path, f.Path()); err != nil || !ok {
			return false
		}
	}
	return w.Path != "" || w.Subject != ""
}

// unwaivable reports whether a rule is about checks that did not do their work,
// or about waivers.
func unwaivable(rule string) bool {
	for _, area := range []string{"pipeline.gate.", "pipeline.check.", "pipeline.waiver."} {
		if strings.HasPrefix(rule, area) {
			return true
		}
	}
	return false
}

func (w Waiver) expired(now time.Time) bool { return !now.Before(w.Expires) }

// defect says why the waiver does not count under a profile, or "".
func (w Waiver) defect(p Profile, now time.Time) string {
	var approvers []string
	for _, name := range w.Approvers {
		approvers = append(approvers, person(name))
	}
	slices.Sort(approvers)
	approvers = slices.Compact(approvers)
	switch {
	case person(w.Owner) == "" || strings.TrimSpace(w.Reason) == "" || slices.Contains(approvers, ""):
		return "its reason, its owner or an approver is left empty"
	case w.Path == "" && w.Subject == "":
		return "it names neither a path nor a subject"
	case w.MaxSeverity == prerun.Unrated:
		return "it names no severity up to which it covers"
	case !validPattern(w.Rule) || !validPattern(w.Path):
		return "its pattern is malformed"
	case slices.Contains(approvers, person(w.Owner)):
		return "its owner is among its approvers"
	case len(approvers) < max(p.Approvers, 1):
		return fmt.Sprintf("it has %d approvers, the profile asks for %d", len(approvers), max(p.Approvers, 1))
	case w.Created.After(now):
		return "it was created in the future"
	case w.Expires.Sub(w.Created) > p.MaxWaiverAge:
		return fmt.Sprintf("it lasts longer than the %d days that the profile allows", p.MaxWaiverAge/day)
	}
	return ""
}

// person folds the spellings of a name that mean the same person.
func person(name string) string { return strings.ToLower(strings.Join(strings.Fields(name), " ")) }

func validPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil
}

// Waivers is a signed file of waivers after its signature was looked at.
type Waivers struct {
	file     string
	digest   string
	list     []Waiver
	rejected string
}

// OpenWaivers verifies and reads a file of waivers; name is shown in reports.
// One that cannot be trusted is not lost: the gate reports it and applies none
// of it.
func OpenWaivers(ctx context.Context, name string, bundle []byte, trust prerun.Verifier) *Waivers {
	var wire struct {
		Schema  string   `json:"schema,required"`
		Waivers []Waiver `json:"waivers,required"`
	}
	err := openSigned(ctx, bundle, trust, WaiversType, &wire)
	if err == nil {
		err = checkWaivers(wire.Schema, wire.Waivers)
	}
	if err != nil {
		return &Waivers{file: name, rejected: redact.Excerpt([]byte(err.Error()), maxReason)}
	}
	return &Waivers{file: name, digest: digestx.Of(bundle).String(), list: wire.Waivers}
}

// maxWaivers bounds one file: each is compared with each finding.
const maxWaivers = 1000

func checkWaivers(schema string, list []Waiver) error {
	switch {
	case schema != WaiversSchema:
		return fmt.Errorf("schema %q, want %q", schema, WaiversSchema)
	case len(list) > maxWaivers:
		return fmt.Errorf("%d waivers, the limit is %d", len(list), maxWaivers)
	}
	seen := make(map[string]bool)
	for _, w := range list {
		if seen[w.ID] {
			return fmt.Errorf("two waivers are called %q", w.ID)
		}
		seen[w.ID] = true
	}
	return nil
}

// SignWaivers signs a file of waivers.
func SignWaivers(ctx context.Context, list []Waiver, signer prerun.Signer) ([]byte, error) {
	payload, err := marshal(map[string]any{"schema": WaiversSchema, "waivers": list})
	if err != nil {
		return nil, err
	}
	return signer.Sign(ctx, WaiversType, payload)
}

// AppliedWaiver is a waiver that excused a finding.
type AppliedWaiver struct {
	Waiver
	File string
}

// A waiverBook applies waivers to findings and remembers what became of each.
type waiverBook struct {
	profile  Profile
	now      time.Time
	entries  []waiverEntry
	findings []prerun.Finding // about the waivers themselves
}

type waiverEntry struct {
	AppliedWaiver
	defect string
	used   bool
}

func newWaiverBook(files []*Waivers, p Profile, now time.Time) *waiverBook {
	b := &waiverBook{profile: p, now: now}
	for _, file := range files {
		if file.rejected != "" {
			b.report(ruleWaiverUntrusted, file.file, "",
				fmt.Sprintf("the waivers of %q are not accepted: %s", file.file, file.rejected))
		}
		for _, w := range file.list {
			b.entries = append(b.entries, waiverEntry{AppliedWaiver{w, file.file}, w.defect(p, now), false})
		}
	}
	return b
}

// excuse reports whether a waiver covers a finding, and remembers which would.
func (b *waiverBook) excuse(f prerun.Finding) bool {
	for i := range b.entries {
		if b.entries[i].covers(f) {
			b.entries[i].used = true
		}
	}
	return b.covering(f) != nil
}

// covering returns the first waiver that counts and covers a finding, or nil.
func (b *waiverBook) covering(f prerun.Finding) *AppliedWaiver {
	for i := range b.entries {
		if e := &b.entries[i]; e.defect == "" && !e.expired(b.now) && e.covers(f) {
			return &e.AppliedWaiver
		}
	}
	return nil
}

// settle reports every waiver that did not do its work: a defective one whether
// or not it would have covered anything, an expired one if it would have. It is
// called once, after all findings.
func (b *waiverBook) settle() []prerun.Finding {
	for _, e := range b.entries {
		id := redact.Text(e.ID)
		switch {
		case e.defect != "":
			b.report(ruleWaiverInvalid, e.File, id, fmt.Sprintf("waiver %q is not applied: %s", id, e.defect))
		case !e.used:
			b.report(ruleWaiverUnused, e.File, id, fmt.Sprintf("waiver %q matches no finding", id))
		case e.expired(b.now):
			b.report(ruleWaiverExpired, e.File, id, fmt.Sprintf("waiver %q, owned by %q, expired on %s",
				id, redact.Text(e.Owner), e.Expires.UTC().Format(time.DateOnly)))
		}
	}
	return b.findings
}

func (b *waiverBook) report(rule prerun.Rule, file, key, message string) {
	b.findings = append(b.findings, prerun.Finding{
		Rule:       rule,
		Severity:   rule.Severity,
		Confidence: prerun.ConfidenceHigh,
		Subject:    prerun.Subject{Path: prerun.EscapePath(file)},
		Locations:  []prerun.Location{{Path: prerun.EscapePath(file)}},
		Message:    message,
		Key:        key,
	})
}
