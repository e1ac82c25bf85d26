package provenance

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// clockSkew is how far ahead of ours a signer's clock may run.
const clockSkew = 5 * time.Minute

// A check is one test of one statement.
type check struct {
	test     string // "statement", "builder", "material/train.jsonl"
	outcome  Outcome
	rule     prerun.Rule // why not, where it is not met
	reason   string
	fragment string // JSON pointer into the statement
	key      string // what tells it apart from others of its rule
}

// A tier says how near a statement came to meeting an attestation, so that the
// report explains the nearest miss and not an unrelated file.
type tier uint8

const (
	irrelevant tier = iota
	elsewhere       // trusted, of the right type, about another artefact
	garbled         // trusted, but not readable
	unvouched       // of the right type about this artefact, not signed as asked
	judged          // each test was made
)

// An assessment is how one statement fares against one attestation.
type assessment struct {
	group    *group
	tier     tier
	checks   []check
	subjects []int
	failed   int
}

func (a *assessment) met() bool { return a.tier == judged && a.failed == 0 }

func (a *assessment) add(c check) {
	if c.outcome != Met {
		a.failed++
	}
	a.checks = append(a.checks, c)
}

func (a *assessment) pass(test, format string, args ...any) {
	a.add(check{test: test, outcome: Met, reason: fmt.Sprintf(format, args...)})
}

func (a *assessment) fail(test string, rule prerun.Rule, fragment, format string, args ...any) {
	a.add(check{test: test, outcome: NotMet, rule: rule, fragment: fragment, reason: fmt.Sprintf(format, args...)})
}

// signedBy finds which of the named signers signed a statement. Distinct ones
// are counted by identity, not by name: one key under two names is one signer,
// and identities that a verifier does not state cannot be told apart.
func signedBy(g *group, names []string, accept func(*prerun.Signed) bool) (signers []string, distinct int) {
	identities := make(map[string]bool)
	for _, name := range names {
		for _, signed := range g.signatures[name] {
			if accept == nil || accept(signed) {
				signers = append(signers, name)
				identities[signed.Method+"\x00"+signed.Issuer+"\x00"+signed.Signer] = true
			}
		}
	}
	slices.Sort(signers)
	return slices.Compact(signers), len(identities)
}

// assess makes every test of an attestation on one statement.
func (s *session) assess(rule *Attestation, g *group) *assessment {
	a := &assessment{group: g}
	signers, distinct := signedBy(g, rule.Signers, nil)
	enough := distinct >= max(rule.Threshold, 1)
	if g.statement == nil {
		if enough && g.payloadType == PayloadType {
			a.tier = garbled
			a.fail("statement", ruleMalformed, "", "%s", quoteError(g.err))
		}
		return a
	}
	if g.statement.PredicateType != rule.PredicateType {
		return a
	}
	subjects, reason := s.target.match(g.statement, rule.SubjectName)
	switch {
	case !enough && subjects == nil:
		return a
	case !enough:
		a.tier = unvouched
		s.failSignature(a, rule, signers, distinct)
		return a
	case g.typedErr != nil:
		a.tier = garbled
		a.fail("statement", ruleMalformed, "/predicate", "%s", quoteError(g.typedErr))
		return a
	}
	a.pass("statement", "signed by %s", strings.Join(signers, ", "))
	if subjects == nil {
		a.tier = elsewhere
		a.fail("subject", ruleSubject, "/subject", "%s", reason)
		return a
	}
	a.tier, a.subjects = judged, subjects
	a.pass("subject", "%s matched by digest", plural(len(subjects), "subject"))
	s.judge(a, rule, signers)
	return a
}

func (s *session) failSignature(a *assessment, rule *Attestation, signers []string, distinct int) {
	switch {
	case !a.group.signed:
		a.fail("statement", ruleUnsigned, "", "the statement about the artefact is not signed")
	case distinct == 0:
		a.fail("statement", ruleUntrusted, "", "no valid signature by %s", strings.Join(rule.Signers, ", "))
	default:
		a.fail("statement", ruleThreshold, "", "%d of %d signers: %s", distinct, rule.Threshold, strings.Join(signers, ", "))
	}
}

// judge makes the tests that are independent of each other. Where enough
// signatures are of the right age, only those speak for the builder: an old
// signature is not made younger by another signer's.
func (s *session) judge(a *assessment, rule *Attestation, signers []string) {
	var age *check
	if rule.MaxAge > 0 || !rule.NotBefore.IsZero() {
		var fresh []string
		if age, fresh = s.judgeAge(a.group, rule); age.outcome == Met {
			signers = fresh
		}
	}
	if p := a.group.provenance; p != nil {
		s.judgeBuilder(a, rule, signers, p.BuilderID, "/predicate/runDetails/builder/id")
		judgeBuildType(a, rule, p)
		if rule.Parameters != nil {
			judgeParameters(a, rule, p, s.expected[rule])
		}
		for _, m := range rule.Materials {
			s.judgeMaterial(a, m, p)
		}
		if len(s.denied) > 0 {
			s.judgeDenied(a, p)
		}
	}
	if v := a.group.vsa; v != nil {
		s.judgeBuilder(a, rule, signers, v.VerifierID, "/predicate/verifier/id")
		judgeSummary(a, rule, v)
	}
	if age != nil {
		a.add(*age)
	}
	if rule.Custom == nil {
		return
	}
	if err := rule.Custom(a.group.statement); err != nil {
		a.fail("custom", ruleCustom, "", "%s", quoteError(err))
		return
	}
	a.pass("custom", "the policy's own test accepts the statement")
}

// tests are the names of what assess will test, in its order.
func (s *session) tests(rule *Attestation) []string {
	tests := []string{"statement", "subject"}
	if rule.PredicateType == ProvenanceType {
		tests = append(tests, "builder")
		if len(rule.BuildTypes) > 0 {
			tests = append(tests, "build-type")
		}
		if rule.Parameters != nil {
			tests = append(tests, "parameters")
		}
		for _, m := range rule.Materials {
			tests = append(tests, "material/"+m.Name)
		}
		if len(s.denied) > 0 {
			tests = append(tests, "denied")
		}
	}
	if rule.PredicateType == VSAType {
		tests = append(tests, "builder", "summary")
	}
	if rule.MaxAge > 0 || !rule.NotBefore.IsZero() {
		tests = append(tests, "age")
	}
	if rule.Custom != nil {
		tests = append(tests, "custom")
	}
	return tests
}

// speaksFor is the level of the best pair of one of the signers and a builder.
func (s *session) speaksFor(signers []string, id string) (level int, ok bool) {
	for _, b := range s.builders {
		if b.ID != id {
			continue
		}
		for _, name := range b.Signers {
			if slices.Contains(signers, name) {
				level, ok = max(level, b.Level), true
			}
		}
	}
	return level, ok
}

func (s *session) judgeBuilder(a *assessment, rule *Attestation, signers []string, id, fragment string) {
	level, ok := s.speaksFor(signers, id)
	switch {
	case !ok:
		a.fail("builder", ruleBuilder, fragment, "%s may not speak for the builder %q", strings.Join(signers, ", "), clip(id))
	case len(rule.Builders) > 0 && !slices.Contains(rule.Builders, id):
		a.fail("builder", ruleBuilder, fragment, "the policy does not accept the builder %q here", clip(id))
	case level < rule.MinLevel:
		a.fail("builder", ruleLevel, fragment, "the builder %q is trusted to level %d, below %d", clip(id), level, rule.MinLevel)
	default:
		a.pass("builder", "%q, trusted to level %d", clip(id), level)
	}
}

func judgeBuildType(a *assessment, rule *Attestation, p *Provenance) {
	switch {
	case len(rule.BuildTypes) == 0:
	case !slices.Contains(rule.BuildTypes, p.BuildType):
		a.fail("build-type", ruleBuildType, "/predicate/buildDefinition/buildType", "the build type is %q", clip(p.BuildType))
	default:
		a.pass("build-type", "%q", clip(p.BuildType))
	}
}

// judgeParameters compares names and values; values stay out of the report,
// because parameters are where secrets end up.
func judgeParameters(a *assessment, rule *Attestation, p *Provenance, expected *strictjson.Value) {
	const at = "/predicate/buildDefinition/externalParameters"
	for _, name := range slices.Sorted(maps.Keys(p.ExternalParameters)) {
		if _, ok := rule.Parameters[name]; !ok && !slices.Contains(rule.FreeParameters, name) {
			a.fail("parameters", ruleParameters, at, "the parameter %s is not known to the policy", quote(name))
			return
		}
	}
	for i := range expected.Members {
		m := &expected.Members[i]
		have, ok := p.ExternalParameters[m.Name]
		if !ok {
			a.fail("parameters", ruleParameters, at, "the parameter %q is missing", clip(m.Name))
			return
		}
		tree, err := treeOf(have)
		if err != nil || !equal(tree, &m.Value) {
			a.fail("parameters", ruleParameters, at, "the parameter %q has another value than the policy expects", clip(m.Name))
			return
		}
	}
	a.pass("parameters", "%s as expected", plural(len(expected.Members), "parameter"))
}

// judgeMaterial looks for a dependency with the material's digest. Only when
// there is none do names matter: they tell a changed material from a missing
// one.
func (s *session) judgeMaterial(a *assessment, m Item, p *Provenance) {
	test := "material/" + m.Name
	var wanted []identity // each must agree: the policy's digest, and the caller's input
	if id, _ := parseDigests(m.Digests); len(id) > 0 {
		wanted = append(wanted, id)
	}
	if id, ok := s.target.inputs[m.Name]; ok {
		wanted = append(wanted, id)
	}
	if len(wanted) == 0 {
		a.add(check{
			test: test, outcome: Unreadable, key: m.Name,
			reason: fmt.Sprintf("neither the policy nor the caller gives a digest of the material %q", m.Name),
		})
		return
	}
	namesake := -1
	for i := range p.ResolvedDependencies {
		d := &p.ResolvedDependencies[i]
		agrees := func(id identity) bool { return id.compare(d.Digest) == same }
		if !slices.ContainsFunc(wanted, func(id identity) bool { return !agrees(id) }) {
			a.pass(test, "dependency %d has its digest", i)
			return
		}
		if namesake < 0 && sameName(m.Name, d) || slices.ContainsFunc(wanted, func(id identity) bool { return id.compare(d.Digest) != unrelated }) {
			namesake = i
		}
	}
	c := check{test: test, outcome: NotMet, key: m.Name, fragment: "/predicate/buildDefinition/resolvedDependencies"}
	if namesake >= 0 {
		c.fragment = fmt.Sprintf("%s/%d", c.fragment, namesake)
	}
	switch {
	case namesake < 0:
		c.rule, c.reason = ruleMaterialAbsent, fmt.Sprintf("no dependency is the material %q", m.Name)
	case !p.ResolvedDependencies[namesake].Digest.pinned(true):
		c.rule, c.reason = ruleMaterialUnpinned, fmt.Sprintf("the dependency %s names the material %q without a digest that counts", quote(p.ResolvedDependencies[namesake].label()), m.Name)
	default:
		c.rule, c.reason = ruleMaterial, fmt.Sprintf("the statement names %s for the material %q, not the digest in hand", p.ResolvedDependencies[namesake].Digest.counted()[0], m.Name)
	}
	a.add(c)
}

// sameName reports whether a dependency seems to be the material, by the last
// segment of its name or address.
func sameName(name string, d *Descriptor) bool {
	base := func(s string) string { return path.Base(strings.TrimRight(s, "/")) }
	return d.Name != "" && base(d.Name) == base(name) || d.URI != "" && base(d.URI) == base(name)
}

func (s *session) judgeDenied(a *assessment, p *Provenance) {
	for i := range p.ResolvedDependencies {
		if d, bad := s.deniedDigest(p.ResolvedDependencies[i].Digest); bad {
			a.fail("denied", ruleDenied, fmt.Sprintf("/predicate/buildDefinition/resolvedDependencies/%d", i), "built from %s, which the policy denies", d)
			return
		}
	}
	a.pass("denied", "no dependency is denied")
}

func (s *session) deniedDigest(set DigestSet) (string, bool) {
	for _, d := range set.counted() {
		if s.denied[d] {
			return d, true
		}
	}
	return "", false
}

func judgeSummary(a *assessment, rule *Attestation, v *VSA) {
	want := Summary{}
	if rule.Summary != nil {
		want = *rule.Summary
	}
	policy, _ := splitDigest(string(want.Policy))
	missing := slices.IndexFunc(want.Levels, func(level string) bool { return !reaches(v.VerifiedLevels, level) })
	switch {
	case !v.Passed:
		a.fail("summary", ruleSummary, "/predicate/verificationResult", "the result is FAILED")
	case want.ResourceURI != "" && v.ResourceURI != want.ResourceURI:
		a.fail("summary", ruleSummary, "/predicate/resourceUri", "the summary is about %s, not %q", quote(v.ResourceURI), want.ResourceURI)
	case missing >= 0:
		a.fail("summary", ruleSummary, "/predicate/verifiedLevels", "the level %q is not reached", want.Levels[missing])
	case want.Policy != "" && identityOf(policy).compare(v.Policy.Digest) != same:
		a.fail("summary", ruleSummary, "/predicate/policy", "the summary was made by another policy than %s", want.Policy)
	default:
		a.pass("summary", "passed, with the levels %s", strings.Join(v.VerifiedLevels, ", "))
	}
}

// judgeAge tests the statement's own time and, signature by signature, every
// proven time. Enough signatures must pass by themselves, so that one more
// signature of another day does no harm.
func (s *session) judgeAge(g *group, rule *Attestation) (c *check, fresh []string) {
	c = &check{test: "age", outcome: NotMet, fragment: "/predicate/runDetails/metadata/finishedOn"}
	var stated time.Time
	if p := g.provenance; p != nil {
		stated = p.FinishedOn
	} else if v := g.vsa; v != nil {
		c.fragment, stated = "/predicate/timeVerified", v.TimeVerified
	}
	if !stated.IsZero() {
		if c.rule, c.reason = s.tooOld(rule, stated); c.reason != "" {
			return c, nil
		}
	}
	c.rule, c.reason = ruleAgeUnstated, "the statement states no time, and no time of signing is proven"
	fresh, distinct := signedBy(g, rule.Signers, func(signed *prerun.Signed) bool {
		for _, name := range slices.Sorted(maps.Keys(signed.Times)) {
			if r, reason := s.tooOld(rule, signed.Times[name]); reason != "" {
				c.rule, c.reason = r, reason
				return false
			}
		}
		return len(signed.Times) > 0 || !stated.IsZero()
	})
	if distinct < max(rule.Threshold, 1) {
		return c, nil
	}
	*c = check{test: "age", outcome: Met, reason: "the proven time of signing is within the limits"}
	if !stated.IsZero() {
		c.reason = stated.Format(time.RFC3339) + " is within the limits"
	}
	return c, fresh
}

func (s *session) tooOld(rule *Attestation, t time.Time) (prerun.Rule, string) {
	at := t.UTC().Format(time.RFC3339)
	switch {
	case t.After(s.now.Add(clockSkew)):
		return ruleAgeFuture, fmt.Sprintf("%s lies after %s", at, s.now.UTC().Format(time.RFC3339))
	case rule.MaxAge > 0 && s.now.Sub(t) > rule.MaxAge:
		return ruleAge, fmt.Sprintf("%s is more than %s before %s", at, rule.MaxAge, s.now.UTC().Format(time.RFC3339))
	case t.Before(rule.NotBefore):
		return ruleAge, fmt.Sprintf("%s lies before %s", at, rule.NotBefore.UTC().Format(time.RFC3339))
	}
	return prerun.Rule{}, ""
}

func splitDigest(s string) (DigestSet, bool) {
	algorithm, value, ok := strings.Cut(s, ":")
	return DigestSet{algorithm: value}, ok
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
