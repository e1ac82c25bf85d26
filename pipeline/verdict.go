package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/strictjson"
)

// Wire constants of the verdict.
const (
	statementType = "https://in-toto.io/Statement/v1"
	// VSAType is the predicate type of a SLSA verification summary, version 1.
	VSAType = "https://slsa.dev/verification_summary/v1"
	// ChecksExtension names the one member that the verdict adds to the
	// standard predicate: an array of {id, outcome, items, controls}, by id.
	ChecksExtension = "https://prerun.dev/verdict/checks/v1"
)

// VerdictInfo is what a gate says about itself in its verdict.
type VerdictInfo struct {
	Verifier     string           // URI of the gate that decided; required
	ResourceURI  string           // of the model, such as a package URL; required
	PolicyURI    string           // of the configuration that was applied; required
	PolicyDigest string           // digest of that configuration, algorithm:hex; required
	Inputs       []prerun.Subject // attestations that were looked at, with digests
}

// A CheckOutcome is one line of the verdict's extension.
type CheckOutcome struct {
	ID       string   `json:"id,required"`
	Outcome  Outcome  `json:"outcome,required"`
	Items    []string `json:"items"`
	Controls []string `json:"controls"`
}

type statement struct {
	Type          string       `json:"_type,required"`
	Subject       []descriptor `json:"subject,required"`
	PredicateType string       `json:"predicateType,required"`
	Predicate     summary      `json:"predicate,required"`
}

type descriptor struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type summary struct {
	Verifier struct {
		ID string `json:"id,required"`
	} `json:"verifier,required"`
	TimeVerified       time.Time      `json:"timeVerified,required"`
	ResourceURI        string         `json:"resourceUri,required"`
	Policy             descriptor     `json:"policy,required"`
	InputAttestations  []descriptor   `json:"inputAttestations,omitempty"`
	VerificationResult string         `json:"verificationResult,required"`
	VerifiedLevels     []string       `json:"verifiedLevels,required"`
	SLSAVersion        string         `json:"slsaVersion,omitempty"`
	Checks             []CheckOutcome `json:"https://prerun.dev/verdict/checks/v1,required"`
}

// levelOf is the custom level that a passed gate of a tier stands for. It does
// not start with SLSA_, which the specification reserves.
func levelOf(t Tier) string { return "AISBD_GATE_" + t.String() }

// Errors of verdicts, by class.
var (
	ErrNoModel         = errors.New("no check established what the model is")
	ErrVerdictInvalid  = errors.New("verdict is malformed")
	ErrVerdictSubject  = errors.New("verdict is about something else")
	ErrVerdictPolicy   = errors.New("verdict applied another policy")
	ErrVerdictVerifier = errors.New("verdict comes from another verifier")
	ErrVerdictStale    = errors.New("verdict is too old or from the future")
	ErrVerdictFailed   = errors.New("verdict is a no")
)

// Sign makes the signed verdict: a SLSA verification summary over every file of
// the model and its root digest. The result is PASSED only for a pass. A
// decision in which no model was established has no subject to speak of and
// gives [ErrNoModel].
func (d *Decision) Sign(ctx context.Context, info VerdictInfo, signer prerun.Signer) ([]byte, error) {
	payload, err := d.statement(info)
	if err != nil {
		return nil, err
	}
	return signer.Sign(ctx, dsse.InTotoType, payload)
}

func (d *Decision) statement(info VerdictInfo) ([]byte, error) {
	if d.Model == nil {
		return nil, ErrNoModel
	}
	if info.Verifier == "" || info.ResourceURI == "" || info.PolicyURI == "" {
		return nil, fmt.Errorf("%w: verifier, resource and policy must be named", ErrVerdictInvalid)
	}
	st := statement{Type: statementType, PredicateType: VSAType}
	subjects := append([]prerun.Subject{{Path: d.Model.Name, Digest: d.Model.Root}}, d.Model.Files...)
	for _, s := range subjects {
		desc, err := describe(s)
		if err != nil {
			return nil, err
		}
		st.Subject = append(st.Subject, desc)
	}
	policy, err := describe(prerun.Subject{Digest: info.PolicyDigest})
	if err != nil {
		return nil, err
	}
	policy.URI = info.PolicyURI
	p := &st.Predicate
	p.Verifier.ID = info.Verifier
	p.TimeVerified = d.asOf
	p.ResourceURI = info.ResourceURI
	p.Policy = policy
	p.VerificationResult, p.VerifiedLevels = "FAILED", []string{"FAILED"}
	if d.Verdict == prerun.Pass {
		p.VerificationResult, p.VerifiedLevels = "PASSED", []string{levelOf(d.Tier)}
	}
	p.SLSAVersion = "1.2"
	for _, s := range info.Inputs {
		desc, err := describe(s)
		if err != nil {
			return nil, err
		}
		p.InputAttestations = append(p.InputAttestations, desc)
	}
	for _, c := range d.Checks {
		p.Checks = append(p.Checks, CheckOutcome{c.ID, c.Outcome, notNil(c.Items), notNil(c.Controls)})
	}
	return marshal(st)
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func describe(s prerun.Subject) (descriptor, error) {
	d, err := digestx.Parse(s.Digest)
	if err != nil {
		return descriptor{}, fmt.Errorf("%w: %w", ErrVerdictInvalid, err)
	}
	return descriptor{Name: s.Path, Digest: map[string]string{digestx.Algorithm(d): digestx.Hex(d)}}, nil
}

// VerdictPolicy is what the other side demands of a verdict. Subjects,
// PolicyDigest and Verifier must be set; a field that is empty on purpose has an
// Insecure field to say so.
type VerdictPolicy struct {
	Subjects     []string      // digests, each of which the verdict must cover
	PolicyDigest string        // of the gate configuration that must have been applied
	Verifier     string        // URI that must have decided
	ResourceURI  string        // optional: the resource that must be named
	Tier         Tier          // lowest tier that will do; NoTier means any
	MaxAge       time.Duration // 0 means 30 days
	Now          time.Time     // required

	InsecureAnyPolicy   bool // accept whatever configuration was applied
	InsecureAnyVerifier bool // accept whatever the trusted key calls itself
}

// A Verdict is a verified verdict.
type Verdict struct {
	Passed       bool
	Verifier     string
	ResourceURI  string
	PolicyDigest string
	Time         time.Time
	Levels       []string
	Subjects     []prerun.Subject
	Checks       []CheckOutcome
	Signer       string
}

// maxVerdictSubjects bounds how many subjects are looked through.
const maxVerdictSubjects = 1 << 20

// VerifyVerdict is what a deployer calls: it returns a nil error only when the
// verdict is signed by the trusted key, well-formed, about every subject asked
// for, from the verifier and policy asked for, fresh, and a pass. The verdict
// is returned with the error wherever it could be read, except for a bad
// signature. Errors wrap the ErrVerdict class, or what the verifier said.
func VerifyVerdict(ctx context.Context, bundle []byte, trust prerun.Verifier, p VerdictPolicy) (*Verdict, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	signed, err := trust.Verify(ctx, bundle)
	if err != nil {
		return nil, err
	}
	if signed.PayloadType != dsse.InTotoType {
		return nil, fmt.Errorf("%w: payload type %q", ErrVerdictInvalid, signed.PayloadType)
	}
	v, err := parseVerdict(signed.Payload)
	if err != nil {
		return nil, err
	}
	v.Signer = signed.Signer
	return v, p.judge(v)
}

func (p VerdictPolicy) check() error {
	switch {
	case len(p.Subjects) == 0:
		return fmt.Errorf("%w: no subject to verify for", ErrVerdictSubject)
	case p.PolicyDigest == "" && !p.InsecureAnyPolicy:
		return fmt.Errorf("%w: no policy digest asked for", ErrVerdictPolicy)
	case p.Verifier == "" && !p.InsecureAnyVerifier:
		return fmt.Errorf("%w: no verifier asked for", ErrVerdictVerifier)
	case p.Now.IsZero():
		return ErrNoTime
	}
	return nil
}

func parseVerdict(payload []byte) (*Verdict, error) {
	var st statement
	// In-toto asks consumers to ignore what they do not know.
	if _, err := strictjson.Unmarshal(payload, &st, strictjson.Options{AllowUnknown: true}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerdictInvalid, err)
	}
	p := st.Predicate
	switch {
	case st.Type != statementType:
		return nil, fmt.Errorf("%w: statement type %q", ErrVerdictInvalid, st.Type)
	case st.PredicateType != VSAType:
		return nil, fmt.Errorf("%w: predicate type %q", ErrVerdictInvalid, st.PredicateType)
	case len(st.Subject) == 0 || len(st.Subject) > maxVerdictSubjects:
		return nil, fmt.Errorf("%w: %d subjects", ErrVerdictInvalid, len(st.Subject))
	case p.VerificationResult != "PASSED" && p.VerificationResult != "FAILED":
		return nil, fmt.Errorf("%w: result %q", ErrVerdictInvalid, p.VerificationResult)
	}
	v := &Verdict{
		Passed: p.VerificationResult == "PASSED", Verifier: p.Verifier.ID, ResourceURI: p.ResourceURI,
		Time: p.TimeVerified, Levels: p.VerifiedLevels, Checks: p.Checks,
	}
	if hex := p.Policy.Digest["sha256"]; hex != "" {
		v.PolicyDigest = "sha256:" + hex
	}
	for _, s := range st.Subject {
		// Digests under names that nobody can check are no match for anything.
		if hex := s.Digest["sha256"]; hex != "" {
			v.Subjects = append(v.Subjects, prerun.Subject{Path: s.Name, Digest: "sha256:" + hex})
		}
	}
	return v, nil
}

func (p VerdictPolicy) judge(v *Verdict) error {
	for _, want := range p.Subjects {
		if !slices.ContainsFunc(v.Subjects, func(s prerun.Subject) bool { return s.Digest == want }) {
			return fmt.Errorf("%w: it does not cover %s", ErrVerdictSubject, want)
		}
	}
	maxAge := p.MaxAge
	if maxAge == 0 {
		maxAge = 30 * day
	}
	switch {
	case !p.InsecureAnyVerifier && v.Verifier != p.Verifier:
		return fmt.Errorf("%w: %q, want %q", ErrVerdictVerifier, v.Verifier, p.Verifier)
	case p.ResourceURI != "" && v.ResourceURI != p.ResourceURI:
		return fmt.Errorf("%w: resource %q, want %q", ErrVerdictSubject, v.ResourceURI, p.ResourceURI)
	case !p.InsecureAnyPolicy && v.PolicyDigest != p.PolicyDigest:
		return fmt.Errorf("%w: %s, want %s", ErrVerdictPolicy, v.PolicyDigest, p.PolicyDigest)
	case v.Time.After(p.Now):
		return fmt.Errorf("%w: decided %s", ErrVerdictStale, v.Time.UTC().Format(time.RFC3339))
	case p.Now.Sub(v.Time) > maxAge:
		return fmt.Errorf("%w: decided %s, %d days before %s", ErrVerdictStale, v.Time.UTC().Format(time.RFC3339),
			p.Now.Sub(v.Time)/day, p.Now.UTC().Format(time.DateOnly))
	case !v.Passed:
		return fmt.Errorf("%w: %s", ErrVerdictFailed, strings.Join(v.unsatisfied(), ", "))
	case v.tier() < max(p.Tier, LOW):
		return fmt.Errorf("%w: levels %q, want at least %s", ErrVerdictPolicy, v.Levels, levelOf(max(p.Tier, LOW)))
	case len(v.unsatisfied()) > 0:
		return fmt.Errorf("%w: it says passed, yet %s", ErrVerdictInvalid, strings.Join(v.unsatisfied(), ", "))
	}
	return nil
}

func (v *Verdict) unsatisfied() []string {
	var out []string
	for _, c := range v.Checks {
		if !c.Outcome.Satisfied() {
			out = append(out, c.ID+" "+c.Outcome.String())
		}
	}
	return out
}

// tier is the highest tier among the levels.
func (v *Verdict) tier() Tier {
	best := NoTier
	for t := LOW; t <= CRITICAL; t++ {
		if slices.Contains(v.Levels, levelOf(t)) {
			best = t
		}
	}
	return best
}

// Refused reports whether an error of [VerifyVerdict] says that the verdict is
// bad or a no, as against one that could not be looked at.
func Refused(err error) bool {
	for _, class := range []error{
		ErrVerdictInvalid, ErrVerdictSubject, ErrVerdictPolicy, ErrVerdictVerifier, ErrVerdictStale, ErrVerdictFailed,
		dsse.ErrMalformed, dsse.ErrSignature, dsse.ErrKey,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
