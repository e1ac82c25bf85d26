package provenance

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
)

// Trust says whose signatures count, and which builders each signer may speak
// for. The zero value trusts nobody.
type Trust struct {
	// Signers are the identities that count, by the name that policies use.
	// [NewKeyVerifier] makes one from a public key; other packages make them
	// from certificates or OIDC identities. Distinct signers are counted by the
	// method, issuer and signer that the verifier states.
	Signers map[string]prerun.Verifier

	// Builders are the pairs of signer and builder that count. Provenance by
	// another pair is refused, however good its signature is.
	Builders []Builder
}

// A Builder is a builder id, or the id of the verifier of a summary, that some
// signers may speak for.
type Builder struct {
	ID      string   // matched exactly
	Signers []string // who may sign for it
	Level   int      // the SLSA build level that it is trusted to reach; 0 is none
}

// NewKeySigner makes a signer of a private key: ECDSA on P-256, P-384 or P-521
// (deterministic where the key is in memory), or Ed25519.
func NewKeySigner(key crypto.Signer) (prerun.Signer, error) {
	s, err := dsse.NewKeySigner(key)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return s, nil
}

// NewKeyVerifier makes a verifier that trusts one public key.
func NewKeyVerifier(pub crypto.PublicKey) (prerun.Verifier, error) {
	v, err := dsse.NewKeyVerifier(pub)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// ErrPolicy is wrapped by every error about a policy that cannot be used.
var ErrPolicy = errors.New("unusable policy")

// A Policy is what has to be true of an artefact. All of it must be met; an
// empty policy is an error, and so is one that cannot be met. A policy is a
// value: verifying does not change it. [ParsePolicy] reads its file form.
type Policy struct {
	Name  string // shown in reports
	Trust Trust  // added to the verifier's own; a signer named in both is an error

	Attestations []Attestation
	Lineage      *Lineage // nil asks for no more than the attestations do

	// Denied are artefacts known to be bad. Neither the artefact, nor a
	// dependency of a statement that counts, may be one of them.
	Denied []digest.Digest

	// Expires is when the policy itself ceases to hold; zero is never.
	Expires time.Time
}

// An Attestation asks for one statement about the artefact.
type Attestation struct {
	Name          string // shown in reports; required, unique, without a slash
	PredicateType string // exact; required

	// Signers names those who may sign; required. Threshold of them must have
	// signed this very statement, in one envelope or several; 0 means 1. One
	// key under two names counts once.
	Signers   []string
	Threshold int

	// For provenance, and for the verifier of a summary: the builder must be
	// one that a signer of the statement may speak for (see [Trust]), one of
	// Builders unless that is empty, and trusted to reach MinLevel.
	Builders []string
	MinLevel int

	// For provenance.
	BuildTypes     []string       // exact; empty accepts any
	Parameters     map[string]any // external parameters and their values; nil checks none
	FreeParameters []string       // with Parameters: others that may be present, with any value
	Materials      []Item         // each must be a resolved dependency, by digest

	// For summaries.
	Summary *Summary

	SubjectName string        // the matching subject must have this name; empty accepts any
	MaxAge      time.Duration // since the statement's own time and every proven time of signing; 0 is no limit
	NotBefore   time.Time     // the same times must not lie before it; zero is no limit

	// Custom is a test of the caller's own. An error means that the statement
	// is not accepted, and is the reason. It must give the same answer each
	// time, and must not change the statement. The file form has no custom
	// tests.
	Custom func(*Statement) error
}

// An Item is something known by its name and its digests. The name explains and
// joins policy to caller; only digests match.
type Item struct {
	Name    string
	Digests []digest.Digest // aliases: each identifies the whole item
}

// A Summary is what a verification summary must say besides PASSED.
type Summary struct {
	ResourceURI string        // exact; empty accepts any
	Levels      []string      // each must be reached: the level, or a higher one of its track
	Policy      digest.Digest // that the summary's policy must have; empty accepts any
}

// Lineage asks for verified edges all the way up. An edge is verified when the
// statement that draws it is signed as asked, its child is one subject, and the
// parent is named by a digest that counts.
type Lineage struct {
	// Depth is how far up: 1 is the artefact's own dependencies, and those are
	// the ends; 2 asks for provenance of these as well, and so on. Required.
	Depth int

	// Signers, Threshold, Builders and MinLevel are the rule for statements
	// about ancestors, as in [Attestation]. Without Signers, the rule is that of
	// the attestation where the lineage starts: an ancestor is never held to
	// less by omission. Ages are not limited; a base model may be old.
	Signers   []string
	Threshold int
	Builders  []string
	MinLevel  int

	// Leaves are the ancestors that need no provenance of their own, although
	// Depth has not been reached. None by default.
	Leaves []Leaf

	// InsecureGitSHA1 counts Git ids of 40 digits as digests. They are SHA-1,
	// for which collisions can be made; without it such an edge is unpinned.
	InsecureGitSHA1 bool
}

// A Leaf describes ancestors that need no provenance. Every field that is set
// must hold; one must be set. What it looks at is signed text, so a leaf is as
// good as the signer of the statement that names it.
type Leaf struct {
	Kind      string // the dependency's annotation "kind": "dataset", "code"
	URI       string // exact, or a prefix where it ends in "/"
	MediaType string // exact
	Material  string // the input or material of this name, by digest
}

// Bounds on what a policy may ask.
const (
	maxRules        = 256
	maxLineageDepth = 32
	maxSigners      = 64
)

// PolicyError says what is wrong with a policy: Field is where, in the names of
// the file form, such as "attestations/0/signers".
type PolicyError struct {
	Field string
	Msg   string
}

func (e *PolicyError) Error() string {
	if e.Field == "" {
		return "policy: " + e.Msg
	}
	return fmt.Sprintf("policy: %s: %s", e.Field, e.Msg)
}

func (e *PolicyError) Unwrap() error { return ErrPolicy }

func policyError(field, format string, args ...any) error {
	return &PolicyError{field, fmt.Sprintf(format, args...)}
}

// Check returns an error, wrapping [ErrPolicy], when the policy asks for
// nothing or for what can never be. It does not know the verifier's trust;
// signers are looked up by Verify.
func (p Policy) Check() error {
	if len(p.Attestations) == 0 {
		return policyError("attestations", "an empty policy would accept everything; ask for an attestation")
	}
	if len(p.Attestations) > maxRules {
		return policyError("attestations", "%d attestations, the limit is %d", len(p.Attestations), maxRules)
	}
	seen := make(map[string]bool)
	provenance := false
	for i := range p.Attestations {
		a := &p.Attestations[i]
		field := fmt.Sprintf("attestations/%d", i)
		if a.Name == "" || seen[a.Name] || strings.Contains(a.Name, "/") {
			return policyError(field+"/name", "%q is empty, not unique, or holds a slash", a.Name)
		}
		seen[a.Name] = true
		if err := a.check(field); err != nil {
			return err
		}
		provenance = provenance || a.PredicateType == ProvenanceType
	}
	if _, err := parseDigests(p.Denied); err != nil {
		return policyError("denied", "%v", err)
	}
	if p.Lineage != nil {
		if !provenance {
			return policyError("lineage", "a lineage starts at an attestation of type %s, and there is none", ProvenanceType)
		}
		return p.Lineage.check()
	}
	return nil
}

func (a *Attestation) check(field string) error {
	if a.PredicateType == "" {
		return policyError(field+"/predicateType", "required")
	}
	if err := checkSigners(field, a.Signers, a.Threshold, true); err != nil {
		return err
	}
	provenance, summary := a.PredicateType == ProvenanceType, a.PredicateType == VSAType
	switch {
	case !provenance && (len(a.BuildTypes) > 0 || a.Parameters != nil || len(a.Materials) > 0):
		return policyError(field, "build types, parameters and materials are tests of %s", ProvenanceType)
	case !summary && a.Summary != nil:
		return policyError(field+"/summary", "a test of %s", VSAType)
	case !provenance && !summary && (len(a.Builders) > 0 || a.MinLevel != 0):
		return policyError(field+"/builders", "statements of type %s name no builder", clip(a.PredicateType))
	case len(a.FreeParameters) > 0 && a.Parameters == nil:
		return policyError(field+"/freeParameters", "without parameters, none is checked")
	case a.MinLevel < 0:
		return policyError(field+"/minLevel", "negative")
	case a.MaxAge < 0:
		return policyError(field+"/maxAge", "negative")
	}
	seen := make(map[string]bool)
	for i, m := range a.Materials {
		field := fmt.Sprintf("%s/materials/%d", field, i)
		if m.Name == "" || seen[m.Name] {
			return policyError(field+"/name", "%q is empty or not unique", m.Name)
		}
		seen[m.Name] = true
		if _, err := parseDigests(m.Digests); err != nil {
			return policyError(field+"/digests", "%v", err)
		}
	}
	if a.Summary != nil && a.Summary.Policy != "" {
		if _, err := parseDigests([]digest.Digest{a.Summary.Policy}); err != nil {
			return policyError(field+"/summary/policy", "%v", err)
		}
	}
	return nil
}

func checkSigners(field string, signers []string, threshold int, required bool) error {
	switch {
	case required && len(signers) == 0:
		return policyError(field+"/signers", "required: who may sign")
	case len(signers) > maxSigners:
		return policyError(field+"/signers", "%d signers, the limit is %d", len(signers), maxSigners)
	case threshold < 0 || threshold > max(len(signers), 1):
		return policyError(field+"/threshold", "%d of %d signers can never be", threshold, len(signers))
	case len(signers) == 0 && threshold > 0:
		return policyError(field+"/threshold", "without signers")
	}
	for i, name := range signers {
		if slices.Contains(signers[:i], name) {
			return policyError(field+"/signers", "%q is named twice", name)
		}
	}
	return nil
}

func (l *Lineage) check() error {
	if l.Depth < 1 || l.Depth > maxLineageDepth {
		return policyError("lineage/depth", "%d is not between 1 and %d", l.Depth, maxLineageDepth)
	}
	for i, leaf := range l.Leaves {
		field := fmt.Sprintf("lineage/leaves/%d", i)
		if leaf == (Leaf{}) {
			return policyError(field, "a leaf without a condition would be everything")
		}
		if leaf.URI != "" && strings.Trim(leaf.URI, "/") == "" {
			return policyError(field+"/uri", "%q is a prefix of too much", leaf.URI)
		}
	}
	if len(l.Signers) == 0 && (len(l.Builders) > 0 || l.MinLevel != 0) || l.MinLevel < 0 {
		return policyError("lineage", "builders and a level of at least 0 go with signers")
	}
	return checkSigners("lineage", l.Signers, l.Threshold, false)
}
