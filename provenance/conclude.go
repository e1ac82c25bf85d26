package provenance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

// A conclusion is a report in the making.
type conclusion struct {
	*session
	report   *Report
	subject  prerun.Subject
	findings []prerun.Finding
	gaps     []prerun.Gap
	nearest  map[*group]*assessment // for each statement, its best assessment
	used     map[*group]bool
}

// report evaluates the policy over the collected evidence.
func (s *session) report(ctx context.Context) (*Report, error) {
	c := &conclusion{
		session: s,
		report:  &Report{Policy: s.policy.Name},
		subject: s.target.subject(),
		nearest: make(map[*group]*assessment),
		used:    make(map[*group]bool),
	}
	c.policyItself()
	var roots [][]step
	var rules []*Attestation
	met := true
	for i := range s.policy.Attestations {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		rule := &s.policy.Attestations[i]
		accepted := c.attestation(rule)
		met = met && len(accepted) > 0
		if rule.PredicateType == ProvenanceType {
			roots, rules = append(roots, accepted), append(rules, rule)
		}
	}
	c.report.graph = s.draw()
	if s.policy.Lineage != nil {
		c.lineage(roots, rules)
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	c.refused()
	c.rejected()
	c.report.source = prerun.NewSource([]prerun.Subject{c.subject}, c.findings, c.gaps)
	return c.report, nil
}

func (t *target) subject() prerun.Subject {
	sub := prerun.Subject{Path: cmp.Or(prerun.EscapePath(t.Name), "artifact")}
	if len(t.Digests) > 0 {
		sub.Digest = string(t.Digests[0])
	}
	return sub
}

// policyItself makes the tests that need no evidence.
func (c *conclusion) policyItself() {
	if end := c.policy.Expires; !end.IsZero() {
		q := Requirement{Name: "policy/expiry", Outcome: Met, Reason: "the policy holds"}
		if !c.now.Before(end) {
			q.Outcome, q.Reason = NotMet, fmt.Sprintf("the policy expired on %s", end.UTC().Format("2006-01-02 15:04:05Z"))
			c.find(ruleExpired, nil, "", "", "The policy: "+q.Reason+".")
		}
		c.require(q)
	}
	if len(c.denied) > 0 {
		q := Requirement{Name: "policy/denied", Outcome: Met, Reason: "the artefact is not denied"}
		for d := range c.target.own {
			if c.denied[d] {
				q.Outcome, q.Reason = NotMet, "the policy denies the artefact's digest"
			}
		}
		if q.Outcome == NotMet {
			c.find(ruleDenied, nil, "", "", "The policy denies the artefact's digest.")
		}
		c.require(q)
	}
}

func (c *conclusion) require(q Requirement) { c.report.Requirements = append(c.report.Requirements, q) }

// find adds a finding, located in the statement that it is about or in the
// artefact.
func (c *conclusion) find(rule prerun.Rule, g *group, fragment, key, message string) *prerun.Finding {
	f := prerun.Finding{
		Rule:       rule,
		Severity:   rule.Severity,
		Confidence: prerun.ConfidenceHigh,
		Subject:    c.subject,
		Message:    message,
		Key:        key,
	}
	if g != nil {
		d := g.where()
		f.Locations = []prerun.Location{{Path: d.path, Line: d.line, Fragment: fragment}}
		f.Evidence = map[string]string{"statement": g.id}
	}
	c.findings = append(c.findings, f)
	return &c.findings[len(c.findings)-1]
}

// attestation evaluates one attestation and returns the statements that meet
// it, with their matching subjects.
func (c *conclusion) attestation(rule *Attestation) []step {
	var accepted []step
	var best *assessment
	for _, g := range c.groups {
		a := c.assess(rule, g)
		if near := c.nearest[g]; near == nil || better(a, near) {
			c.nearest[g] = a
		}
		if best == nil || better(a, best) {
			best = a
		}
		if !a.met() {
			continue
		}
		from := step{group: g}
		for _, i := range a.subjects {
			from.subjects = append(from.subjects, &g.statement.Subjects[i])
		}
		accepted = append(accepted, from)
		c.accept(rule.Name, g, a.subjects)
	}
	switch {
	case best != nil && best.tier > elsewhere, best != nil && best.tier == elsewhere && c.unread == 0:
		c.explained(rule, best)
	default:
		c.unexplained(rule)
	}
	return accepted
}

// better prefers the nearer miss, then fewer failures, then the statement that
// was there first.
func better(a, b *assessment) bool {
	return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(b.failed, a.failed)) > 0
}

func (c *conclusion) accept(what string, g *group, subjects []int) {
	c.used[g] = true
	c.report.Accepted = append(c.report.Accepted, Accepted{what, g.id, g.evidence(), g.signers(), subjects})
}

// explained reports the tests of the nearest statement, and what rests on the
// one that stopped it.
func (c *conclusion) explained(rule *Attestation, a *assessment) {
	outcome := make(map[string]check)
	for _, ch := range a.checks {
		outcome[ch.test] = ch
	}
	stopped := ""
	for _, test := range c.tests(rule) {
		name := rule.Name + "/" + test
		ch, done := outcome[test]
		if !done {
			c.require(Requirement{name, Absent, "not judged, because " + stopped + " is not met", ""})
			continue
		}
		c.require(Requirement{name, ch.outcome, ch.reason, a.group.id})
		switch ch.outcome {
		case Met:
		case Unreadable:
			c.gap(a.group.where(), name, ch.reason)
		default:
			stopped = name
			c.find(ch.rule, a.group, ch.fragment, cmp.Or(ch.key, rule.Name), fmt.Sprintf("%s: %s.", name, ch.reason))
		}
	}
}

func (c *conclusion) gap(d *document, name, reason string) {
	at := prerun.Location{Path: c.subject.Path}
	if d != nil {
		at = prerun.Location{Path: d.path, Line: d.line}
	}
	c.gaps = append(c.gaps, prerun.Gap{Location: at, Reason: name + ": " + reason})
}

// unexplained reports that no statement came near.
func (c *conclusion) unexplained(rule *Attestation) {
	first := rule.Name + "/statement"
	q := Requirement{Name: first, Outcome: Absent}
	if c.unread > 0 {
		q.Outcome = Unreadable
		q.Reason = fmt.Sprintf("no statement of type %q about the artefact, but %s could not be read", clip(rule.PredicateType), plural(c.unread, "document"))
		for _, d := range c.docs {
			if d.unread {
				c.gap(d, first, d.reason)
			}
		}
	} else {
		q.Reason = fmt.Sprintf("no statement of type %q about the artefact in %s", clip(rule.PredicateType), plural(len(c.docs), "document"))
		c.find(ruleAbsent, nil, "", rule.Name, first+": "+q.Reason+".")
	}
	c.require(q)
	for _, test := range c.tests(rule)[1:] {
		c.require(Requirement{Name: rule.Name + "/" + test, Outcome: q.Outcome, Reason: "not judged, because " + first + " is not met"})
	}
}

// maxProblems bounds how many problems of a lineage become findings.
const maxProblems = 100

// lineage evaluates the policy's lineage. It starts at the statements that met
// the attestations of type provenance; where one has none, there is nothing to
// start from.
func (c *conclusion) lineage(roots [][]step, rules []*Attestation) {
	const name = "lineage"
	for i, accepted := range roots {
		if len(accepted) == 0 {
			c.require(Requirement{Name: name, Outcome: c.unmet(rules[i]), Reason: fmt.Sprintf("not judged, because the attestation %q is not met", rules[i].Name)})
			return
		}
	}
	up := &climb{session: c.session, lineage: c.policy.Lineage, climbed: make(map[string]int)}
	done, ok := up.start(roots, rules, nil)
	switch {
	case ok:
		c.require(Requirement{Name: name, Outcome: Met, Reason: fmt.Sprintf("every edge up to depth %d is verified", c.policy.Lineage.Depth)})
		c.carry(done)
	case up.steps > c.limits.Steps:
		q := Requirement{Name: name, Reason: fmt.Sprintf("not decided within %d steps", c.limits.Steps)}
		c.require(q)
		c.gap(nil, name, q.Reason)
	default:
		c.broken(up, roots, rules)
	}
}

// unmet is the outcome of what rests on an attestation that is not met: it
// could not be decided either where that is all that is known of the
// attestation.
func (c *conclusion) unmet(rule *Attestation) Outcome {
	for _, q := range c.report.Requirements {
		if strings.HasPrefix(q.Name, rule.Name+"/") && (q.Outcome == NotMet || q.Outcome == Absent) {
			return Absent
		}
	}
	return Unreadable
}

// carry notes the statements about ancestors that the lineage rests on.
func (c *conclusion) carry(done *trail) {
	var groups []*group
	for ; done != nil; done = done.next {
		if done.via != nil {
			groups = append(groups, done.via)
		}
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	for _, g := range slices.Compact(groups) {
		c.accept("lineage", g, nil)
	}
}

// broken reports why there is no lineage.
func (c *conclusion) broken(up *climb, roots [][]step, rules []*Attestation) {
	up.steps = 0
	var problems []problem
	for i, accepted := range roots {
		var best []problem
		for n, from := range accepted {
			if p := up.explain(from, nil, up.lineage.Depth, rules[i]); n == 0 || len(p) < len(best) {
				best = p
			}
		}
		problems = append(problems, best...)
	}
	if len(problems) == 0 && up.clash != nil {
		problems = []problem{*up.clash}
	}
	problems = distinct(problems)
	q := Requirement{Name: "lineage", Outcome: Absent}
	for _, p := range problems {
		if p.rule.ID != ruleParent.ID {
			q.Outcome = NotMet
		}
	}
	if q.Outcome == Absent && c.unread > 0 {
		q.Outcome = Unreadable // the missing statement may be in what could not be read
	}
	for i, p := range problems {
		switch {
		case i == 0:
			q.Reason, q.Statement = p.reason, p.link.group.id
			if len(problems) > 1 {
				q.Reason += fmt.Sprintf("; and %s", plural(len(problems)-1, "further problem"))
			}
		case i == maxProblems:
			c.gap(nil, "lineage", plural(len(problems)-maxProblems, "further problem")+" not listed")
		}
		if i >= maxProblems {
			break
		}
		if q.Outcome == Unreadable {
			c.gap(p.link.group.where(), "lineage", p.reason)
			continue
		}
		c.find(p.rule, p.link.group, p.link.fragment(), redact.Excerpt([]byte(p.link.parent().label()), 160), "lineage: "+p.reason+".")
	}
	c.require(q)
}

// distinct keeps one of the problems that several ways up to the same edge
// have in common.
func distinct(problems []problem) []problem {
	type edge struct {
		rule  string
		group *group
		index int
	}
	seen := make(map[edge]bool)
	return slices.DeleteFunc(problems, func(p problem) bool {
		e := edge{p.rule.ID, p.link.group, p.link.index}
		again := seen[e]
		seen[e] = true
		return again
	})
}

// refused adds what the drawing shows and no requirement stumbled over: a
// trusted edge that cannot be true.
func (c *conclusion) refused() {
	for _, e := range c.report.graph.Edges {
		if e.Refused == "" {
			continue
		}
		rule := ruleConflict
		if e.Refused == refusedCycle {
			rule = ruleCycle
		}
		known := slices.ContainsFunc(c.findings, func(f prerun.Finding) bool { return f.Rule.ID == rule.ID })
		if known {
			continue
		}
		i := slices.IndexFunc(c.groups, func(g *group) bool { return g.id == e.Statement && g.provenance != nil })
		f := c.find(rule, c.groups[i], e.Fragment, e.Parent, "An edge of the lineage is refused: "+e.Refused+".")
		f.Severity = prerun.Info
	}
}

// rejected lists the documents that were not used.
func (c *conclusion) rejected() {
	for _, d := range c.docs {
		r := Rejected{Evidence: d.name, Digest: d.digest, Reason: d.reason}
		used := false
		for _, g := range d.groups {
			used = used || c.used[g]
			r.Rule, r.Reason = c.whyNot(g)
		}
		if !used {
			c.report.Rejected = append(c.report.Rejected, r)
		}
	}
}

// whyNot is why a statement was not used.
func (c *conclusion) whyNot(g *group) (rule, reason string) {
	if a := c.nearest[g]; a != nil {
		for _, ch := range a.checks {
			if ch.outcome != Met {
				return ch.rule.ID, ch.reason
			}
		}
	}
	switch {
	case g.payloadType != PayloadType:
		return "", quoteError(g.err)
	case g.statement == nil:
		return ruleMalformed.ID, quoteError(g.err)
	case !g.signed:
		return ruleUnsigned.ID, "not signed"
	case len(g.signatures) == 0:
		return ruleUntrusted.ID, "no valid signature by anybody who is trusted"
	}
	return "", "nothing in the policy asks for a statement of type " + strconv.Quote(clip(g.statement.PredicateType)) + " by its signers about this artefact"
}
