package provenance

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/internal/strictjson"
)

// A Verifier judges artefacts. The zero value trusts nobody. It is safe for
// concurrent use if its signers are.
type Verifier struct {
	Trust  Trust
	Now    func() time.Time // nil means time.Now
	Limits Limits
}

// Limits bound one verification. A field that is not positive means its
// default. Exceeding one
// is an error, never a shorter answer, except where Graph says Truncated.
type Limits struct {
	Documents int   // pieces of evidence; 0 means 4096
	Bytes     int64 // of evidence in all; 0 means 256 MiB
	Edges     int   // drawn in the graph; 0 means 65536
	Steps     int   // of the search for a lineage; 0 means 65536
}

func (l Limits) withDefaults() Limits {
	if l.Documents <= 0 {
		l.Documents = 4096
	}
	if l.Bytes <= 0 {
		l.Bytes = 256 << 20
	}
	if l.Edges <= 0 {
		l.Edges = 1 << 16
	}
	if l.Steps <= 0 {
		l.Steps = 1 << 16
	}
	return l
}

// ErrLimit is wrapped by the error for evidence beyond [Limits].
var ErrLimit = errors.New("too much evidence")

// An Artifact is what is judged. The caller computed the digests from the
// bytes in hand; what is wrong here is wrong everywhere.
type Artifact struct {
	Name string // shown in reports; never matched

	// Digests are aliases: each identifies the whole artefact, such as the root
	// digest of a model's folder and the manifest digest of the same model in a
	// registry. A statement is about the artefact when one subject has one of
	// them and disagrees with none.
	Digests []digest.Digest

	// Files are the parts of an artefact. A statement is also about the
	// artefact when every file is one of its subjects.
	Files []Item

	// Inputs are what the caller holds of what went in, such as the training
	// data. A policy's materials refer to them by name.
	Inputs []Item
}

// target is an artefact with its digests checked.
type target struct {
	Artifact
	id     identity
	files  []identity
	inputs map[string]identity
	own    map[string]bool // every digest of the artefact and its files
}

func newTarget(a Artifact) (*target, error) {
	t := &target{Artifact: a, inputs: make(map[string]identity), own: make(map[string]bool)}
	var err error
	if t.id, err = parseDigests(a.Digests); err != nil {
		return nil, fmt.Errorf("artifact %q: %w", a.Name, err)
	}
	for _, f := range a.Files {
		id, err := parseDigests(f.Digests)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", f.Name, err)
		}
		if len(id) == 0 {
			return nil, fmt.Errorf("file %q has no digest", f.Name)
		}
		t.files = append(t.files, id)
		t.addOwn(id)
	}
	t.addOwn(t.id)
	if len(t.own) == 0 {
		return nil, fmt.Errorf("artifact %q has no digest", a.Name)
	}
	for _, in := range a.Inputs {
		id, err := parseDigests(in.Digests)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", in.Name, err)
		}
		if _, dup := t.inputs[in.Name]; dup || len(id) == 0 {
			return nil, fmt.Errorf("input %q has no digest or is given twice", in.Name)
		}
		t.inputs[in.Name] = id
	}
	return t, nil
}

func (t *target) addOwn(id identity) {
	for algorithm, values := range id {
		for _, value := range values {
			t.own[algorithm+":"+value] = true
		}
	}
}

// match finds the subjects that are the artefact: one that is the whole, or one
// for each file. Expected digests are never spread over several subjects.
func (t *target) match(s *Statement, name string) (subjects []int, reason string) {
	reason = "no subject has the artefact's digest"
	for i := range s.Subjects {
		switch t.id.compare(s.Subjects[i].Digest) {
		case same:
			if name == "" || s.Subjects[i].Name == name {
				return []int{i}, ""
			}
			reason = fmt.Sprintf("the matching subject is named %s, not %q", quote(s.Subjects[i].Name), name)
		case conflicting:
			reason = fmt.Sprintf("subject %d agrees with one digest of the artefact and disagrees with another", i)
		}
	}
	if len(t.files) == 0 || name != "" {
		return nil, reason
	}
	byDigest := make(map[string][]int)
	for i := range s.Subjects {
		for _, d := range s.Subjects[i].Digest.counted() {
			byDigest[d] = append(byDigest[d], i)
		}
	}
	for n, id := range t.files {
		i := findSubject(s, id, byDigest)
		if i < 0 {
			if len(subjects) > 0 {
				reason = fmt.Sprintf("the file %q is no subject", clip(t.Files[n].Name))
			}
			return nil, reason
		}
		subjects = append(subjects, i)
	}
	slices.Sort(subjects)
	return slices.Compact(subjects), ""
}

func findSubject(s *Statement, id identity, byDigest map[string][]int) int {
	for _, algorithm := range strength {
		for _, value := range id[algorithm] {
			for _, i := range byDigest[algorithm+":"+value] {
				if id.compare(s.Subjects[i].Digest) == same {
					return i
				}
			}
		}
	}
	return -1
}

// A document is one piece of evidence after it was read.
type document struct {
	name   string // with its line
	path   string
	line   int
	digest string
	groups []*group // what it holds; none for what is no attestation or could not be read

	unread bool // it could not be read, or not parsed
	reason string
}

// A group is all evidence with the same payload: one statement, whoever signed
// it and however often.
type group struct {
	id          string // digest of the payload
	payloadType string
	docs        []*document
	signatures  map[string][]*prerun.Signed // by signer's name
	signed      bool                        // by somebody, trusted or not

	statement  *Statement
	err        error // why there is none
	provenance *Provenance
	vsa        *VSA
	typedErr   error // why there is no typed predicate although the type is known
}

// where is the first place at which the statement was found.
func (g *group) where() *document { return g.docs[0] }

func (g *group) evidence() []string {
	var names []string
	for _, d := range g.docs {
		names = append(names, d.name)
	}
	return slices.Compact(names)
}

func (g *group) signers() []string { return slices.Sorted(maps.Keys(g.signatures)) }

// A session is one verification.
type session struct {
	target   *target
	policy   *Policy
	signers  map[string]prerun.Verifier
	builders []Builder
	denied   map[string]bool
	limits   Limits
	now      time.Time

	docs   []*document
	groups []*group // by id
	unread int      // documents that could not be read
	claims []Claim

	bySubject map[string][]*group // made when first asked for

	expected map[*Attestation]*strictjson.Value // parameters, normalised
}

// Verify judges an artefact by the evidence against a policy. An error means
// that nothing was decided: the policy, the trust or the artefact is unusable
// (wrapping [ErrPolicy] where the policy is), the evidence is beyond the limits
// ([ErrLimit]), its source failed, or ctx is done. All that is wrong with the
// evidence itself is in the report.
//
// The order and the names of the evidence do not change an outcome, and more
// evidence never turns a met requirement into one that is not. The cost is one
// signature check per document and signer, in sequence.
func (v Verifier) Verify(ctx context.Context, artifact Artifact, evidence EvidenceSource, policy Policy) (*Report, error) {
	s, err := v.session(artifact, policy)
	if err != nil {
		return nil, err
	}
	if evidence == nil {
		evidence = Memory()
	}
	if err := s.collect(ctx, evidence); err != nil {
		return nil, err
	}
	return s.report(ctx)
}

func (v Verifier) session(artifact Artifact, policy Policy) (*session, error) {
	if err := policy.Check(); err != nil {
		return nil, err
	}
	t, err := newTarget(artifact)
	if err != nil {
		return nil, err
	}
	s := &session{
		target:   t,
		policy:   &policy,
		builders: slices.Concat(v.Trust.Builders, policy.Trust.Builders),
		denied:   make(map[string]bool),
		limits:   v.Limits.withDefaults(),
		expected: make(map[*Attestation]*strictjson.Value),
	}
	for _, d := range policy.Denied {
		s.denied[string(d)] = true
	}
	now := v.Now
	if now == nil {
		now = time.Now
	}
	s.now = now()
	if s.signers, err = v.Trust.join(policy.Trust); err != nil {
		return nil, err
	}
	return s, s.checkNames()
}

// join unites the signers of verifier and policy.
func (t Trust) join(other Trust) (map[string]prerun.Verifier, error) {
	all := maps.Clone(t.Signers)
	if all == nil {
		all = make(map[string]prerun.Verifier)
	}
	for name, v := range other.Signers {
		if _, dup := all[name]; dup {
			return nil, policyError("signers", "%q is also a signer of the verifier; which one counts must not be a guess", name)
		}
		all[name] = v
	}
	for name, v := range all {
		if v == nil || name == "" {
			return nil, policyError("signers", "%q is empty or has no verifier", name)
		}
	}
	return all, nil
}

// checkNames refuses a policy that names signers or builders nobody knows, and
// parameters that are no JSON.
func (s *session) checkNames() error {
	known := func(field string, names []string) error {
		for _, name := range names {
			if s.signers[name] == nil {
				return policyError(field, "%q is not a known signer", name)
			}
		}
		return nil
	}
	for i, b := range s.builders {
		field := "builders/" + strconv.Itoa(i)
		if b.ID == "" || len(b.Signers) == 0 || b.Level < 0 {
			return policyError(field, "a builder needs an id, signers and a level of at least 0")
		}
		if err := known(field, b.Signers); err != nil {
			return err
		}
	}
	for i := range s.policy.Attestations {
		a := &s.policy.Attestations[i]
		field := "attestations/" + strconv.Itoa(i)
		if err := known(field+"/signers", a.Signers); err != nil {
			return err
		}
		if a.Parameters != nil {
			tree, err := treeOf(a.Parameters)
			if err != nil {
				return policyError(field+"/parameters", "%v", err)
			}
			s.expected[a] = tree
		}
	}
	if l := s.policy.Lineage; l != nil {
		return known("lineage/signers", l.Signers)
	}
	return nil
}

// treeOf reduces a value to the tree that its JSON would parse to.
func treeOf(v any) (*strictjson.Value, error) {
	raw, err := marshal(v)
	if err != nil {
		return nil, err
	}
	return strictjson.Parse(raw, statementLimits)
}

// collect reads the evidence, checks signatures and groups it by payload.
func (s *session) collect(ctx context.Context, src EvidenceSource) error {
	groups := make(map[[2]string]*group)
	var total int64
	for e, err := range src.Attestations(ctx) {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil && e.Name == "" {
			return err
		}
		if len(s.docs) == s.limits.Documents {
			return fmt.Errorf("%w: more than %d documents", ErrLimit, s.limits.Documents)
		}
		if total += int64(len(e.Data)); total > s.limits.Bytes {
			return fmt.Errorf("%w: more than %d bytes", ErrLimit, s.limits.Bytes)
		}
		d := newDocument(e)
		s.docs = append(s.docs, d)
		if err != nil {
			d.unread, d.reason, d.digest = true, quoteError(err), ""
			continue
		}
		if err := s.read(ctx, d, e.Data, groups); err != nil {
			return err
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if src, ok := src.(ClaimSource); ok {
		for c, err := range src.Claims(ctx) {
			if err != nil {
				return err
			}
			if len(s.claims) == s.limits.Documents {
				return fmt.Errorf("%w: more than %d claims", ErrLimit, s.limits.Documents)
			}
			s.claims = append(s.claims, c)
		}
	}
	s.settle(groups)
	return nil
}

func newDocument(e Evidence) *document {
	d := &document{path: prerun.EscapePath(e.Name), line: e.Line, digest: string(digestx.Of(e.Data))}
	if d.path == "" {
		d.path = "unnamed"
	}
	d.name = d.path
	if e.Line > 0 {
		d.name += ":" + strconv.Itoa(e.Line)
	}
	return d
}

// settle puts everything into an order that does not depend on the source's.
func (s *session) settle(groups map[[2]string]*group) {
	slices.SortFunc(s.docs, func(a, b *document) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.line, b.line), cmp.Compare(a.digest, b.digest))
	})
	for _, d := range s.docs {
		if d.unread {
			s.unread++
		}
		for _, g := range d.groups {
			g.docs = append(g.docs, d)
		}
	}
	s.groups = slices.SortedFunc(maps.Values(groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.payloadType, b.payloadType))
	})
	slices.SortFunc(s.claims, func(a, b Claim) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Parent.label(), b.Parent.label()), cmp.Compare(a.Child.label(), b.Child.label()))
	})
}

// read tells what a document is and who signed it. Its error is that of ctx.
func (s *session) read(ctx context.Context, d *document, data []byte, groups map[[2]string]*group) error {
	if len(data) > MaxEvidence {
		d.unread, d.reason = true, fmt.Sprintf("%d bytes, the limit is %d", len(data), MaxEvidence)
		return nil
	}
	tree, err := strictjson.Parse(data, strictjson.Limits{Bytes: MaxEvidence, Depth: maxDepth, Nodes: maxNodes})
	if err != nil {
		d.unread, d.reason = true, quoteError(err)
		return nil
	}
	switch {
	case tree.Get("payloadType") != nil || tree.Get("dsseEnvelope") != nil:
	case tree.Get("_type") != nil:
		s.group(d, groups, PayloadType, data)
		return nil
	case tree.Get("messageSignature") != nil:
		d.reason = "a signature over the artefact itself, not an attestation"
		return nil
	default:
		d.reason = "no attestation"
		return nil
	}
	if n := signatures(tree); n > dsse.MaxSignatures { // before each signer decodes them
		d.unread, d.reason = true, fmt.Sprintf("%d signatures, the limit is %d", n, dsse.MaxSignatures)
		return nil
	}
	vouched := false
	for _, name := range slices.Sorted(maps.Keys(s.signers)) {
		signed, err := s.signers[name].Verify(ctx, data)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil || signed == nil {
			continue
		}
		g := s.group(d, groups, signed.PayloadType, signed.Payload)
		g.signatures[name] = append(g.signatures[name], signed)
		g.signed, vouched = true, true
	}
	if vouched {
		return nil
	}
	payloadType, payload, err := unverified(tree, data)
	if err != nil {
		d.unread, d.reason = true, quoteError(err)
		return nil
	}
	s.group(d, groups, payloadType, payload).signed = true
	return nil
}

func signatures(tree *strictjson.Value) int {
	n := 0
	for _, list := range []*strictjson.Value{tree.Get("signatures"), tree.Get("dsseEnvelope").Get("signatures")} {
		if list != nil {
			n = max(n, len(list.Items))
		}
	}
	return n
}

// unverified is the payload of an envelope that nobody vouches for. It may
// explain, and draw claimed edges; it never meets anything.
func unverified(tree *strictjson.Value, data []byte) (string, []byte, error) {
	if tree.Get("dsseEnvelope") != nil {
		b, err := dsse.ParseBundle(data)
		if err != nil {
			return "", nil, err
		}
		return b.Envelope.PayloadType, b.Envelope.Payload, nil
	}
	e, err := dsse.ParseEnvelope(data)
	if err != nil {
		return "", nil, err
	}
	return e.PayloadType, e.Payload, nil
}

func (s *session) group(d *document, groups map[[2]string]*group, payloadType string, payload []byte) *group {
	key := [2]string{payloadType, string(payload)}
	g := groups[key]
	if g == nil {
		sum := sha256.Sum256(payload)
		g = &group{
			id:          "sha256:" + hex.EncodeToString(sum[:]),
			payloadType: payloadType,
			signatures:  make(map[string][]*prerun.Signed),
		}
		g.decode(payload)
		groups[key] = g
	}
	if !slices.Contains(d.groups, g) {
		d.groups = append(d.groups, g)
	}
	return g
}

// decode reads the statement once, for every test to come.
func (g *group) decode(payload []byte) {
	if g.payloadType != PayloadType {
		g.err = fmt.Errorf("the payload type is %q, not %q", clip(g.payloadType), PayloadType)
		return
	}
	if g.statement, g.err = ParseStatement(payload); g.err != nil {
		return
	}
	switch g.statement.PredicateType {
	case ProvenanceType:
		g.provenance, g.typedErr = g.statement.Provenance()
	case VSAType:
		g.vsa, g.typedErr = g.statement.VSA()
	}
}

// quote makes text from outside fit for a sentence: redacted, escaped, short.
func quote(s string) string { return strconv.Quote(redact.Excerpt([]byte(s), 160)) }

// quoteError is an error's text, which may hold text from outside.
func quoteError(err error) string { return redact.Excerpt([]byte(err.Error()), 240) }
