package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

// WaiversType is the payload type of a signed file of waivers.
const WaiversType = "application/vnd.prerun.waivers+json"

// WaiversSchema is the schema field of a file of waivers.
const WaiversSchema = "prerun/waivers/v1"

// A Waiver excuses findings for a time: somebody owns the risk, somebody else
// approved it, and it ends. Both patterns follow [path.Match], so "*" does not
// cross a "/".
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
// unrated finding is never covered.
func (w Waiver) covers(f prerun.Finding) bool {
	if f.Severity == prerun.Unrated || f.Severity > w.MaxSeverity {
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

func (w Waiver) expired(now time.Time) bool { return !now.Before(w.Expires) }

// defect says why the waiver does not count under a profile, or "".
func (w Waiver) defect(p Profile, now time.Time) string {
	approvers := slices.Compact(slices.Sorted(slices.Values(w.Approvers)))
	switch {
	case w.Path == "" && w.Subject == "":
		return "it names neither a path nor a subject"
	case w.MaxSeverity == prerun.Unrated:
		return "it names no severity up to which it covers"
	case !validPattern(w.Rule) || !validPattern(w.Path):
		return "its pattern is malformed"
	case slices.Contains(approvers, w.Owner):
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

func validPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil
}

// Waivers is a signed file of waivers after its signature was looked at.
type Waivers struct {
	file     string
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
	if err == nil && wire.Schema != WaiversSchema {
		err = fmt.Errorf("schema %q, want %q", wire.Schema, WaiversSchema)
	}
	if err != nil {
		return &Waivers{file: name, rejected: redact.Text(err.Error())}
	}
	return &Waivers{file: name, list: wire.Waivers}
}

// SignWaivers signs a file of waivers.
func SignWaivers(ctx context.Context, list []Waiver, signer prerun.Signer) ([]byte, error) {
	payload, err := marshal(map[string]any{"schema": WaiversSchema, "waivers": list})
	if err != nil {
		return nil, err
	}
	return signer.Sign(ctx, WaiversType, payload)
}

// marshal writes JSON with members in a fixed order and no HTML escapes.
func marshal(v any) ([]byte, error) { return json.Marshal(v) }

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

// excuse reports whether a waiver covers a finding. An expired or defective one
// that would have covered it is reported, once.
func (b *waiverBook) excuse(f prerun.Finding) bool {
	for i := range b.entries {
		e := &b.entries[i]
		if !e.covers(f) {
			continue
		}
		first := !e.used
		e.used = true
		switch {
		case first && e.defect != "":
			b.report(ruleWaiverInvalid, e.File, e.ID, fmt.Sprintf("waiver %q is not applied: %s", e.ID, e.defect))
		case first && e.expired(b.now):
			b.report(ruleWaiverExpired, e.File, e.ID, fmt.Sprintf("waiver %q, owned by %q, expired on %s",
				e.ID, e.Owner, e.Expires.UTC().Format(time.DateOnly)))
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

// settle reports what covered nothing. It is called once, after all findings.
func (b *waiverBook) settle() []prerun.Finding {
	for _, e := range b.entries {
		if !e.used {
			b.report(ruleWaiverUnused, e.File, e.ID, fmt.Sprintf("waiver %q matches no finding", e.ID))
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
