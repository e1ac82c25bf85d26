package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun"
)

// A Tier is a risk tier of aisecuredbydesign.io, whose names it keeps. The
// zero value is no tier and makes no profile.
type Tier uint8

// Tiers, each adding items to the one before.
const (
	NoTier Tier = iota
	LOW
	MEDIUM
	HIGH
	CRITICAL
)

var tierNames = [...]string{"none", "LOW", "MEDIUM", "HIGH", "CRITICAL"}

func (t Tier) String() string {
	if int(t) < len(tierNames) {
		return tierNames[t]
	}
	return fmt.Sprintf("tier(%d)", t)
}

// MarshalText writes the upper-case name.
func (t Tier) MarshalText() ([]byte, error) {
	if int(t) >= len(tierNames) {
		return nil, fmt.Errorf("tier %d is not defined", t)
	}
	return []byte(tierNames[t]), nil
}

// UnmarshalText reads LOW, MEDIUM, HIGH or CRITICAL.
func (t *Tier) UnmarshalText(text []byte) error {
	for i, name := range tierNames {
		if i > 0 && name == string(text) {
			*t = Tier(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a tier (LOW, MEDIUM, HIGH, CRITICAL)", text)
}

// An Item is one line of the deployment checklist. ID is ours ("ALL-2"); the
// wording follows the source site's checklist, and Controls are the site's ids.
type Item struct {
	ID       string
	Title    string
	Tier     Tier     // the lowest tier that asks for it
	Human    bool     // an act of a person, recorded as evidence
	Controls []string // control ids of the source site, edition 2026-07
	Checks   []string // checks that decide it; none means a signed evidence document does
}

// evidenceCheck is the id of the check that decides an item by evidence.
func (it Item) evidenceCheck() string { return "evidence." + strings.ToLower(it.ID) }

// required lists the ids of the checks that decide the item.
func (it Item) required() []string {
	if len(it.Checks) > 0 {
		return it.Checks
	}
	return []string{it.evidenceCheck()}
}

// A Profile is what a gate requires. The zero value has no items and never
// passes; start from [ProfileOf] and tighten.
type Profile struct {
	Tier   Tier
	Items  []Item
	FailOn prerun.Severity // findings below it do not count; 0 means medium

	MaxEvidenceAge time.Duration // 0 means that evidence never goes stale
	MaxWaiverAge   time.Duration // from a waiver's creation to its expiry; 0 means no waivers
	Approvers      int           // distinct approvers that a waiver needs, besides its owner; at least 1
}

const day = 24 * time.Hour

// tierRules holds what the site leaves to the implementer. Evidence ages follow
// the site's test cadence (on major change, quarterly, monthly, continuous);
// waiver ages are ours.
var tierRules = [...]struct {
	evidence, waiver time.Duration
	approvers        int
}{
	LOW:      {365 * day, 180 * day, 1},
	MEDIUM:   {92 * day, 90 * day, 1},
	HIGH:     {31 * day, 60 * day, 2},
	CRITICAL: {7 * day, 30 * day, 2},
}

// ProfileOf is the standard profile of a tier: LOW has 7 items, MEDIUM 13,
// HIGH 20 and CRITICAL all 28. An undefined tier gives the zero profile.
func ProfileOf(t Tier) Profile {
	if t == NoTier || int(t) >= len(tierRules) {
		return Profile{}
	}
	p := Profile{
		Tier:           t,
		FailOn:         prerun.Medium,
		MaxEvidenceAge: tierRules[t].evidence,
		MaxWaiverAge:   tierRules[t].waiver,
		Approvers:      tierRules[t].approvers,
	}
	for _, it := range items() {
		if it.Tier <= t {
			p.Items = append(p.Items, it)
		}
	}
	return p
}

// Required lists the ids of all checks that the profile requires, sorted.
func (p Profile) Required() []string {
	var ids []string
	for _, it := range p.Items {
		ids = append(ids, it.required()...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (p Profile) failOn() prerun.Severity {
	if p.FailOn == prerun.Unrated {
		return prerun.Medium
	}
	return p.FailOn
}

// items is the checklist. Where the site marks an item as mechanical and this
// module has no check for it yet, a signed evidence document decides it.
func items() []Item {
	origin := []string{CheckIntegrity, CheckProvenance}
	suite := []string{CheckValidate}
	return []Item{
		{"ALL-1", "Risk classification documented and approved", LOW, false, []string{"SUP-02"}, nil},
		{"ALL-2", "Model provenance verified", LOW, false, []string{"SUP-01"}, origin},
		{"ALL-3", "Basic adversarial testing completed", LOW, false, []string{"SUP-02"}, suite},
		{"ALL-4", "PACE plan documented for critical components", LOW, false, []string{"IR-04"}, nil},
		{"ALL-5", "Logging configured and verified", LOW, false, []string{"LOG-01", "LOG-08"}, nil},
		{"ALL-6", "Rollback documented and tested", LOW, false, []string{"IR-04"}, nil},
		{"ALL-7", "Runtime security team notified", LOW, true, nil, nil},

		{"MED-1", "Structured adversarial suite passed", MEDIUM, false, []string{"SUP-02"}, suite},
		{"MED-2", "Data governance review completed", MEDIUM, false, []string{"DAT-01"}, nil},
		{"MED-3", "Secrets management verified", MEDIUM, false, []string{"SEC-02", "SEC-03", "SEC-08"}, nil},
		{"MED-4", "Input and output guardrails configured and tested", MEDIUM, false, []string{"NET-02"}, nil},
		{"MED-5", "Monitoring dashboards created", MEDIUM, false, []string{"LOG-01"}, nil},
		{"MED-6", "On-call rotation for AI issues", MEDIUM, false, nil, nil},

		{"HIGH-1", "Red-team exercise completed, findings remediated", HIGH, false, []string{"SUP-02"}, nil},
		{"HIGH-2", "Regulatory compliance verified", HIGH, false, nil, nil},
		{"HIGH-3", "Domain-specific guardrail testing", HIGH, false, []string{"NET-02"}, nil},
		{"HIGH-4", "Judge configured and calibrated", HIGH, false, []string{"SUP-06"}, nil},
		{"HIGH-5", "Human-oversight workflow tested end to end", HIGH, false, []string{"IAM-05"}, nil},
		{"HIGH-6", "AI incident runbook", HIGH, false, []string{"IR-04"}, nil},
		{"HIGH-7", "Privacy impact assessment", HIGH, false, []string{"DAT-01"}, nil},

		{"CRIT-1", "Independent adversarial assessment", CRITICAL, false, []string{"SUP-02"}, nil},
		{"CRIT-2", "Senior sign-off on risk acceptance", CRITICAL, true, nil, nil},
		{"CRIT-3", "Immutable logging configured and verified", CRITICAL, false, []string{"LOG-07", "LOG-10"}, nil},
		{"CRIT-4", "Real-time judge operational", CRITICAL, false, []string{"SUP-06"}, nil},
		{"CRIT-5", "Human escalation path tested", CRITICAL, false, []string{"IAM-05"}, nil},
		{"CRIT-6", "Regulatory notifications filed", CRITICAL, false, nil, nil},
		{"CRIT-7", "Board or risk committee briefed", CRITICAL, true, nil, nil},
		{"CRIT-8", "Canary or staged deployment plan approved", CRITICAL, false, []string{"IR-04"}, nil},
	}
}
