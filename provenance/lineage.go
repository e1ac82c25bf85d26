package provenance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prerun/prerun"
)

// An edgeRule says whose statements about an ancestor, or about the artefact,
// draw verified edges.
type edgeRule struct {
	signers   []string
	threshold int
	builders  []string
	minLevel  int
}

func (s *session) rootRule(a *Attestation) edgeRule {
	return edgeRule{a.Signers, a.Threshold, a.Builders, a.MinLevel}
}

func (s *session) ancestorRule(a *Attestation) edgeRule {
	if l := s.policy.Lineage; l != nil && len(l.Signers) > 0 {
		return edgeRule{l.Signers, l.Threshold, l.Builders, l.MinLevel}
	}
	return s.rootRule(a)
}

// trusts reports whether a statement is provenance, signed as the rule asks, by
// somebody who may speak for its builder.
func (s *session) trusts(g *group, r edgeRule) bool {
	if g.provenance == nil {
		return false
	}
	signers, distinct := signedBy(g, r.signers, nil)
	level, ok := s.speaksFor(signers, g.provenance.BuilderID)
	return ok && distinct >= max(r.threshold, 1) && level >= r.minLevel &&
		(len(r.builders) == 0 || slices.Contains(r.builders, g.provenance.BuilderID))
}

// A link is a dependency of a trusted statement, on the way up from the
// artefact.
type link struct {
	group    *group
	index    int           // of the dependency
	children []*Descriptor // the subjects that the edge starts from
	depth    int           // edges still to go, this one included
	down     *link         // the link that this one continues; nil at the artefact
	root     *Attestation
}

func (l *link) parent() *Descriptor { return &l.group.provenance.ResolvedDependencies[l.index] }

func (l *link) fragment() string {
	return fmt.Sprintf("/predicate/buildDefinition/resolvedDependencies/%d", l.index)
}

// A problem is why a link does not hold.
type problem struct {
	rule   prerun.Rule
	link   *link
	reason string
}

// A climb searches for a lineage: for each link upwards a statement or a leaf,
// such that all of them together hold no cycle and no conflict. More statements
// give it more to choose from and never less, which is what makes the answer
// monotonic; a statement that closes a cycle is passed over, not fatal.
type climb struct {
	*session
	lineage *Lineage
	steps   int
	climbed map[string]int // by ancestor, the depth that the present try climbs from it
	clash   *problem       // the last cycle or conflict of a lineage that was else complete
}

// queue and trail are persistent lists, so that going back is forgetting. The
// map of what was climbed is put back by hand.
type queue struct {
	link *link
	next *queue
}

type trail struct {
	link *link
	via  *group // the statement about the link's parent; nil where it ends
	next *trail
}

// links are the goals that a statement adds in front of rest.
func (c *climb) links(from step, down *link, depth int, root *Attestation, rest *queue) *queue {
	for i := len(from.group.provenance.ResolvedDependencies) - 1; i >= 0; i-- {
		rest = &queue{&link{from.group, i, from.subjects, depth, down, root}, rest}
	}
	return rest
}

// start tries every choice of one accepted statement for each attestation that
// is provenance.
func (c *climb) start(roots [][]step, rules []*Attestation, todo *queue) (*trail, bool) {
	if len(roots) == 0 {
		return c.prove(todo, nil)
	}
	for _, from := range roots[0] {
		more := c.links(from, nil, c.lineage.Depth, rules[0], todo)
		if t, ok := c.start(roots[1:], rules[1:], more); ok || c.steps > c.limits.Steps {
			return t, ok
		}
	}
	return nil, false
}

func (c *climb) prove(todo *queue, done *trail) (*trail, bool) {
	if todo == nil {
		c.clash = c.contradiction(done)
		return done, c.clash == nil
	}
	if c.steps++; c.steps > c.limits.Steps {
		return nil, false
	}
	l := todo.link
	if c.obstacle(l) != nil {
		return nil, false
	}
	if c.ends(l) {
		return c.prove(todo.next, &trail{l, nil, done})
	}
	key := strings.Join(l.parent().Digest.counted(), " ")
	before := c.climbed[key]
	if before >= l.depth { // a diamond is climbed once
		return c.prove(todo.next, &trail{l, nil, done})
	}
	c.climbed[key] = l.depth
	for _, from := range c.statementsAbout(l) {
		more := c.links(from, l, l.depth-1, l.root, todo.next)
		if t, ok := c.prove(more, &trail{l, from.group, done}); ok || c.steps > c.limits.Steps {
			return t, ok
		}
	}
	c.climbed[key] = before
	return nil, false
}

// obstacle is what is wrong with a link by itself.
func (c *climb) obstacle(l *link) *problem {
	p := l.parent()
	if !p.Digest.pinned(c.lineage.InsecureGitSHA1) {
		return &problem{ruleUnpinned, l, fmt.Sprintf("%s has no digest that counts", quote(p.label()))}
	}
	if d, bad := c.deniedDigest(p.Digest); bad {
		return &problem{ruleDenied, l, fmt.Sprintf("%s has the digest %s, which the policy denies", quote(p.label()), d)}
	}
	if c.isTarget(p.Digest) {
		return &problem{ruleCycle, l, fmt.Sprintf("%s is the artefact itself", quote(p.label()))}
	}
	related := func(d *Descriptor) bool { return identityOf(d.Digest).compare(p.Digest) != unrelated }
	for d := l; d != nil; d = d.down {
		if slices.ContainsFunc(d.children, related) || d.down != nil && related(d.down.parent()) {
			return &problem{ruleCycle, l, fmt.Sprintf("%s is made from itself", quote(p.label()))}
		}
	}
	return nil
}

func (s *session) isTarget(set DigestSet) bool {
	return slices.ContainsFunc(set.counted(), func(d string) bool { return s.target.own[d] })
}

// ends reports whether nothing is asked about the ancestor itself.
func (c *climb) ends(l *link) bool {
	return l.depth == 1 || slices.ContainsFunc(c.lineage.Leaves, func(leaf Leaf) bool { return c.isLeaf(leaf, l.root, l.parent()) })
}

func (c *climb) isLeaf(leaf Leaf, root *Attestation, d *Descriptor) bool {
	if leaf.Kind != "" && d.Annotations[KindAnnotation] != leaf.Kind {
		return false
	}
	if leaf.MediaType != "" && d.MediaType != leaf.MediaType {
		return false
	}
	if leaf.URI != "" && !leafURI(leaf.URI, d.URI) {
		return false
	}
	return leaf.Material == "" || c.isMaterial(leaf.Material, root, d)
}

// leafURI matches exactly, or by a prefix that ends in a slash. An address that
// steps back out of the prefix does not match it.
func leafURI(want, have string) bool {
	if !strings.HasSuffix(want, "/") {
		return want == have
	}
	rest, ok := strings.CutPrefix(have, want)
	return ok && !slices.Contains(strings.Split(rest, "/"), "..") && !strings.Contains(rest, "%")
}

func (c *climb) isMaterial(name string, root *Attestation, d *Descriptor) bool {
	if id, ok := c.target.inputs[name]; ok && id.compare(d.Digest) == same {
		return true
	}
	for _, m := range root.Materials {
		id, _ := parseDigests(m.Digests)
		if m.Name == name && id.compare(d.Digest) == same {
			return true
		}
	}
	return false
}

// A step is a trusted statement and those of its subjects that it is about.
type step struct {
	group    *group
	subjects []*Descriptor
}

func (c *climb) statementsAbout(l *link) []step {
	rule := c.ancestorRule(l.root)
	var out []step
	for _, g := range c.groupsAbout(l.parent().Digest) {
		if !c.trusts(g, rule) {
			continue
		}
		for i := range g.statement.Subjects {
			if identityOf(l.parent().Digest).compare(g.statement.Subjects[i].Digest) == same {
				out = append(out, step{g, []*Descriptor{&g.statement.Subjects[i]}})
				break
			}
		}
	}
	return out
}

// groupsAbout finds provenance one of whose subjects shares a digest with set.
func (s *session) groupsAbout(set DigestSet) []*group {
	if s.bySubject == nil {
		s.bySubject = make(map[string][]*group)
		for _, g := range s.groups {
			if g.provenance == nil {
				continue
			}
			for i := range g.statement.Subjects {
				for _, d := range g.statement.Subjects[i].Digest.counted() {
					if about := s.bySubject[d]; len(about) == 0 || about[len(about)-1] != g {
						s.bySubject[d] = append(about, g)
					}
				}
			}
		}
	}
	var out []*group
	for _, d := range set.counted() {
		out = append(out, s.bySubject[d]...)
	}
	slices.SortFunc(out, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	return slices.Compact(out)
}

// contradiction looks at a complete lineage as a whole: no artefact may have
// two digests of one algorithm, and none may be above itself.
func (c *climb) contradiction(done *trail) *problem {
	names := newAliases()
	var links []*link
	for ; done != nil; done = done.next {
		links = append(links, done.link)
		names.join(done.link.parent().Digest)
		for _, child := range done.link.children {
			names.join(child.Digest)
		}
	}
	node := func(d *Descriptor) string { return names.find(d.Digest.counted()[0]) }
	const artefact = "the artefact"
	parents := make(map[string][]string)
	byParent := make(map[string]*link)
	for _, l := range links {
		p := node(l.parent())
		if names.conflict(p) {
			return &problem{ruleConflict, l, fmt.Sprintf("statements disagree on a digest of %s", quote(l.parent().label()))}
		}
		child := artefact
		if l.down != nil {
			child = node(l.children[0])
		}
		parents[child] = append(parents[child], p)
		byParent[p] = l
	}
	if n, found := findCycle(artefact, parents); found {
		return &problem{ruleCycle, byParent[n], fmt.Sprintf("%s is made from itself", quote(byParent[n].parent().label()))}
	}
	return nil
}

// findCycle reports a node that can be reached from itself.
func findCycle(start string, next map[string][]string) (string, bool) {
	const (
		open   = 1
		closed = 2
	)
	state := make(map[string]int)
	var visit func(n string) (string, bool)
	visit = func(n string) (string, bool) {
		state[n] = open
		for _, p := range next[n] {
			switch state[p] {
			case open:
				return p, true
			case closed:
				continue
			}
			if at, found := visit(p); found {
				return at, true
			}
		}
		state[n] = closed
		return "", false
	}
	return visit(start)
}

// explain lists what is wrong with the lineage above one statement, where each
// ancestor is given the statement with the fewest problems. Its depth and steps
// are bounded as those of the search are.
func (c *climb) explain(from step, down *link, depth int, root *Attestation) []problem {
	var out []problem
	for q := c.links(from, down, depth, root, nil); q != nil; q = q.next {
		c.steps++
		l := q.link
		if p := c.obstacle(l); p != nil {
			out = append(out, *p)
			continue
		}
		if c.ends(l) {
			continue
		}
		steps := c.statementsAbout(l)
		if len(steps) == 0 {
			out = append(out, c.noStatement(l))
			continue
		}
		var best []problem
		for i, from := range steps {
			problems := c.explain(from, l, l.depth-1, root)
			if i == 0 || len(problems) < len(best) {
				best = problems
			}
			if len(best) == 0 || c.steps > c.limits.Steps {
				break
			}
		}
		out = append(out, best...)
	}
	return out
}

// noStatement tells an ancestor that nobody speaks for from one whose only
// statement disagrees on a digest.
func (c *climb) noStatement(l *link) problem {
	rule := c.ancestorRule(l.root)
	for _, g := range c.groupsAbout(l.parent().Digest) {
		if c.trusts(g, rule) {
			return problem{ruleConflict, l, fmt.Sprintf("the statement about %s agrees on one digest and disagrees on another", quote(l.parent().label()))}
		}
	}
	return problem{ruleParent, l, fmt.Sprintf("no trusted statement says where %s came from", quote(l.parent().label()))}
}

// aliases joins digests that name the same artefact.
type aliases struct {
	up map[string]string
	// values are, by root, the digests that were joined.
	values map[string][]string
}

func newAliases() *aliases {
	return &aliases{make(map[string]string), make(map[string][]string)}
}

func (a *aliases) find(d string) string {
	if _, known := a.up[d]; !known {
		a.up[d] = d
		a.values[d] = []string{d}
	}
	for a.up[d] != d {
		a.up[d] = a.up[a.up[d]]
		d = a.up[d]
	}
	return d
}

// join says that all digests of a set name one artefact. Git ids join nothing:
// two commits may well have the same tree.
func (a *aliases) join(set DigestSet) {
	counted := set.counted()
	for i, d := range counted {
		x, y := a.find(counted[0]), a.find(d)
		if i == 0 || x == y || strings.HasPrefix(d, "git") {
			continue
		}
		if len(a.values[x]) < len(a.values[y]) {
			x, y = y, x
		}
		a.up[y] = x
		a.values[x] = append(a.values[x], a.values[y]...)
		delete(a.values, y)
	}
}

// conflict reports whether the artefact that d names has two digests of one
// algorithm.
func (a *aliases) conflict(d string) bool {
	seen := make(map[string]bool)
	for _, v := range a.values[a.find(d)] {
		algorithm, _, _ := strings.Cut(v, ":")
		if seen[algorithm] {
			return true
		}
		seen[algorithm] = true
	}
	return false
}

// all are the digests of the artefact that d names, sorted.
func (a *aliases) all(d string) []string { return slices.Sorted(slices.Values(a.values[a.find(d)])) }
