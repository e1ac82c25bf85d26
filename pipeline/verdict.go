package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/strictjson"
	"github.com/prerun/prerun/provenance"
)

// Members that the verdict adds to the predicate of a SLSA verification
// summary. What else a verdict holds is as [provenance.VSA] has it.
const (
	// ChecksExtension names an array with one object for each check, by id:
	//
	//	{"id": "scan.model", "outcome": "pass", "items": [], "controls": ["SUP-01"]}
	//
	// All members are required; outcomes are the names of [Outcome]. A summary
	// that passed lists no outcome but pass, not-applicable and waived.
	ChecksExtension = "prerun_checks"

	// PoliciesExtension names an array of the files that decided besides the
	// configuration, which the standard member policy names: public keys,
	// provenance policies, suites with their cases, lock files. By path:
	//
	//	{"path": "suite.yaml", "digest": "sha256:..."}
	PoliciesExtension = "prerun_policies"
)

// VerdictInfo is what a gate says about itself in its verdict. All of it is
// required.
type VerdictInfo struct {
	Verifier     string // URI of the gate that decided
	ResourceURI  string // of the model, such as a package URL
	PolicyURI    string // of the configuration that was applied
	PolicyDigest string // digest of that configuration, algorithm:hex
}

// A CheckOutcome is one line of [ChecksExtension].
type CheckOutcome struct {
	ID       string   `json:"id,required"`
	Outcome  Outcome  `json:"outcome,required"`
	Items    []string `json:"items,required"`
	Controls []string `json:"controls,required"`
}

type policyFile struct {
	Path   string `json:"path,required"`
	Digest string `json:"digest,required"`
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
// gives [ErrNoModel]; one about more than [provenance.MaxDescriptors] files
// cannot be written. The same decision always gives the same payload.
func (d *Decision) Sign(ctx context.Context, info VerdictInfo, signer prerun.Signer) ([]byte, error) {
	st, err := d.statement(info)
	if err != nil {
		return nil, err
	}
	return st.Sign(ctx, signer)
}

func (d *Decision) statement(info VerdictInfo) (*provenance.Statement, error) {
	if d.Model == nil {
		return nil, ErrNoModel
	}
	if info.Verifier == "" || info.ResourceURI == "" || info.PolicyURI == "" {
		return nil, fmt.Errorf("%w: verifier, resource and policy must be named", ErrVerdictInvalid)
	}
	subjects, err := descriptors(append([]prerun.Subject{{Path: d.Model.Name, Digest: d.Model.Root}}, d.Model.Files...))
	if err != nil {
		return nil, err
	}
	inputs, err := descriptors(d.inputs)
	if err != nil {
		return nil, err
	}
	policy, err := descriptors([]prerun.Subject{{Digest: info.PolicyDigest}})
	if err != nil {
		return nil, err
	}
	policy[0].URI = info.PolicyURI
	checks := []CheckOutcome{}
	for _, c := range d.Checks {
		checks = append(checks, CheckOutcome{c.ID, c.Outcome, notNil(c.Items), notNil(c.Controls)})
	}
	policies := []policyFile{}
	for _, s := range d.policies {
		policies = append(policies, policyFile(s))
	}
	summary := provenance.VSA{
		VerifierID:        info.Verifier,
		TimeVerified:      d.asOf,
		ResourceURI:       info.ResourceURI,
		Policy:            policy[0],
		InputAttestations: inputs,
		VerifiedLevels:    []string{"FAILED"},
		SLSAVersion:       "1.2",
		Extensions:        map[string]any{ChecksExtension: checks, PoliciesExtension: policies},
	}
	if d.Verdict == prerun.Pass {
		summary.Passed, summary.VerifiedLevels = true, []string{levelOf(d.Tier)}
	}
	st, err := summary.Statement(subjects...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerdictInvalid, err)
	}
	return st, nil
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func descriptors(subjects []prerun.Subject) ([]provenance.Descriptor, error) {
	var out []provenance.Descriptor
	for _, s := range subjects {
		d, err := digestx.Parse(s.Digest)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrVerdictInvalid, s.Path, err)
		}
		out = append(out, provenance.Descriptor{Name: s.Path, Digest: provenance.DigestsOf(d)})
	}
	return out, nil
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
	Policies     []string      // optional: digests of files that must have decided too, see PoliciesExtension

	InsecureAnyPolicy   bool // accept whatever configuration was applied
	InsecureAnyVerifier bool // accept whatever the trusted key calls itself
}

// A Verdict is what a verdict says, as signed.
type Verdict struct {
	Passed       bool
	Verifier     string
	ResourceURI  string
	PolicyDigest string
	Time         time.Time
	Levels       []string
	Subjects     []prerun.Subject // one for each digest
	Checks       []CheckOutcome
	Policies     []prerun.Subject // files that decided besides the configuration
	Inputs       []prerun.Subject // signed documents that were looked at
	Signer       string
}

// VerifyVerdict is what a deployer calls: it returns a nil error only when the
// verdict is signed by the trusted key, well-formed, about every subject asked
// for, from the verifier and policy asked for, fresh, and a pass. The verdict
// is returned with the error wherever it could be read, except for a bad
// signature. Errors wrap the ErrVerdict class, or what the verifier said.
func VerifyVerdict(ctx context.Context, bundle []byte, trust prerun.Verifier, p VerdictPolicy) (*Verdict, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if trust == nil {
		return nil, errors.New("no key to verify the verdict with")
	}
	signed, err := trust.Verify(ctx, bundle)
	switch {
	case err != nil:
		return nil, err
	case signed == nil:
		return nil, errNothingVerified
	case signed.PayloadType != provenance.PayloadType:
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
	st, err := provenance.ParseStatement(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerdictInvalid, err)
	}
	summary, err := st.VSA()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerdictInvalid, err)
	}
	v := &Verdict{
		Passed: summary.Passed, Verifier: summary.VerifierID, ResourceURI: summary.ResourceURI,
		Time: summary.TimeVerified, Levels: summary.VerifiedLevels,
		Subjects: subjectsOf(st.Subjects), Inputs: subjectsOf(summary.InputAttestations),
	}
	if v.Time.IsZero() {
		return nil, fmt.Errorf("%w: it does not say when", ErrVerdictInvalid)
	}
	for _, s := range subjectsOf([]provenance.Descriptor{summary.Policy}) {
		if v.PolicyDigest == "" || strings.HasPrefix(s.Digest, "sha256:") {
			v.PolicyDigest = s.Digest
		}
	}
	if err := extension(summary, ChecksExtension, &v.Checks); err != nil {
		return nil, err
	}
	var policies []policyFile
	if err := extension(summary, PoliciesExtension, &policies); err != nil {
		return nil, err
	}
	for _, p := range policies {
		v.Policies = append(v.Policies, prerun.Subject(p))
	}
	return v, nil
}

// extension decodes a member that the verdict adds. In-toto asks readers to
// ignore what they do not know, in it as elsewhere.
func extension(v *provenance.VSA, name string, into any) error {
	value, present := v.Extensions[name]
	if !present {
		return fmt.Errorf("%w: it has no member %q", ErrVerdictInvalid, name)
	}
	text, err := json.Marshal(value)
	if err == nil {
		_, err = strictjson.Unmarshal(text, into, strictjson.Options{AllowUnknown: true})
	}
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrVerdictInvalid, name, err)
	}
	return nil
}

// subjectsOf lists each digest with its name. Digests of algorithms that
// nobody here can check match nothing and are left out.
func subjectsOf(list []provenance.Descriptor) []prerun.Subject {
	var out []prerun.Subject
	for _, d := range list {
		for _, algorithm := range sortedKeys(d.Digest) {
			if sum, err := digestx.Parse(algorithm + ":" + d.Digest[algorithm]); err == nil {
				out = append(out, prerun.Subject{Path: d.Name, Digest: sum.String()})
			}
		}
	}
	return out
}

func covers(subjects []prerun.Subject, digest string) bool {
	return slices.ContainsFunc(subjects, func(s prerun.Subject) bool { return s.Digest == digest })
}

func (p VerdictPolicy) judge(v *Verdict) error {
	for _, want := range p.Subjects {
		if !covers(v.Subjects, want) {
			return fmt.Errorf("%w: it does not cover %q", ErrVerdictSubject, want)
		}
	}
	for _, want := range p.Policies {
		if !covers(v.Policies, want) {
			return fmt.Errorf("%w: %q is not among the files that decided", ErrVerdictPolicy, want)
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
		return fmt.Errorf("%w: %q, want %q", ErrVerdictPolicy, v.PolicyDigest, p.PolicyDigest)
	case v.Time.After(p.Now):
		return fmt.Errorf("%w: decided %s", ErrVerdictStale, v.Time.UTC().Format(time.RFC3339))
	case p.Now.Sub(v.Time) > maxAge:
		return fmt.Errorf("%w: decided %s, %d days before %s", ErrVerdictStale, v.Time.UTC().Format(time.RFC3339),
			p.Now.Sub(v.Time)/day, p.Now.UTC().Format(time.DateOnly))
	case !v.Passed:
		return fmt.Errorf("%w: %s", ErrVerdictFailed, strings.Join(v.unsatisfied(), ", "))
	case v.tier() < max(p.Tier, LOW):
		return fmt.Errorf("%w: levels %q, want at least %s", ErrVerdictPolicy, v.Levels, levelOf(max(p.Tier, LOW)))
	case len(v.Checks) == 0:
		return fmt.Errorf("%w: it passed on no check", ErrVerdictInvalid)
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
