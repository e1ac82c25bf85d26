package provenance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prerun/prerun/internal/redact"
)

// A Grade says how good the word for an edge is. The zero value is Claimed.
type Grade uint8

// Grades. Only Verified meets a policy.
const (
	Claimed        Grade = iota // written down without a signature that counts
	Observed                    // found in the bytes, without a statement
	SignedUnpinned              // by a trusted statement, but the parent has no digest that counts
	Verified                    // by a trusted statement, which names the parent by digest
)

var gradeNames = [...]string{"claimed", "observed", "signed-unpinned", "verified"}

func (g Grade) String() string {
	if int(g) < len(gradeNames) {
		return gradeNames[g]
	}
	return fmt.Sprintf("grade(%d)", g)
}

// MarshalText writes the name.
func (g Grade) MarshalText() ([]byte, error) {
	if int(g) >= len(gradeNames) {
		return nil, fmt.Errorf("grade %d is not defined", g)
	}
	return []byte(gradeNames[g]), nil
}

// UnmarshalText reads what [Grade.MarshalText] writes, exactly.
func (g *Grade) UnmarshalText(text []byte) error {
	for i, name := range gradeNames {
		if name == string(text) {
			*g = Grade(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a grade", text)
}

// A Graph is the lineage as the evidence tells it, trusted or not: nodes are
// artefacts, edges run from child to parent, and a node may have any number of
// parents. Order does not depend on the order of the evidence.
type Graph struct {
	Nodes     []Node // the artefact first, then by depth and id
	Edges     []Edge // by child, parent, grade and statement
	Truncated bool   // [Limits] cut the drawing short; the requirements are not affected
}

// A Node is an artefact.
type Node struct {
	ID      string   // its strongest digest, or "unpinned:" and its name or address
	Digests []string // all aliases, sorted; trusted statements alone make aliases
	Names   []string // names and addresses that statements give it, redacted, sorted
	Kind    string   // as a statement says: "dataset", "model"; empty where none does
	Depth   int      // edges from the artefact, which has 0
}

// An Edge says that Child was made from Parent.
type Edge struct {
	Child, Parent string // ids of nodes
	Grade         Grade
	Statement     string   // digest of the payload that says so; empty for claims
	Evidence      string   // where it was found: "name" or "name:line", or the claim's source
	Fragment      string   // JSON pointer into the statement
	Signers       []string // trusted ones that signed it; the edge's rule is that of the policy
	Builder       string   // id of the builder that the statement names; unauthenticated where Signers is empty
	Refused       string   // why it cannot count although it is signed: it closes a cycle, or conflicts
}

// refusedCycle is the reason given for an edge that closes a cycle.
const refusedCycle = "it closes a cycle"

// maxGraphDepth bounds how far up the graph is drawn.
const maxGraphDepth = 64

// A drawing is a graph in the making.
type drawing struct {
	*session
	rules []edgeRule
	names *aliases
	root  *Node
	nodes map[string]*Node // by id
	queue []*Node
	edges []Edge
	cut   bool
}

// draw follows every statement and claim upwards from the artefact.
func (s *session) draw() *Graph {
	d := &drawing{session: s, rules: s.edgeRules(), names: newAliases(), nodes: make(map[string]*Node)}
	for _, g := range s.groups {
		if !d.trusted(g) {
			continue
		}
		for i := range g.statement.Subjects {
			d.names.join(g.statement.Subjects[i].Digest)
		}
		for i := range g.provenance.ResolvedDependencies {
			d.names.join(g.provenance.ResolvedDependencies[i].Digest)
		}
	}
	d.root = d.artefact()
	d.nodes[d.root.ID] = d.root
	for d.queue = []*Node{d.root}; len(d.queue) > 0; d.queue = d.queue[1:] {
		n := d.queue[0]
		if n.Depth == maxGraphDepth {
			d.cut = true
			continue
		}
		for _, g := range d.about(n) {
			d.statement(n, g)
		}
		d.claimed(n)
	}
	return d.finish()
}

// edgeRules are all rules under which an edge may count.
func (s *session) edgeRules() []edgeRule {
	var out []edgeRule
	for i := range s.policy.Attestations {
		if a := &s.policy.Attestations[i]; a.PredicateType == ProvenanceType {
			out = append(out, s.rootRule(a), s.ancestorRule(a))
		}
	}
	return out
}

func (d *drawing) trusted(g *group) bool {
	return slices.ContainsFunc(d.rules, func(r edgeRule) bool { return d.trusts(g, r) })
}

func (d *drawing) artefact() *Node {
	n := &Node{ID: unpinned(d.target.Name), Names: nonEmpty(d.target.Name)}
	for algorithm, values := range d.target.id {
		for _, v := range values {
			n.Digests = append(n.Digests, algorithm+":"+v)
		}
	}
	if len(n.Digests) > 0 {
		n.ID = slices.MinFunc(n.Digests, byStrength)
	}
	slices.Sort(n.Digests)
	return n
}

func unpinned(name string) string { return "unpinned:" + redact.Excerpt([]byte(name), 160) }

func byStrength(a, b string) int {
	rank := func(s string) int {
		algorithm, _, _ := strings.Cut(s, ":")
		return slices.Index(strength, algorithm)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

// nonEmpty makes names from outside fit to be shown.
func nonEmpty(names ...string) []string {
	var out []string
	for _, name := range names {
		if name != "" {
			out = append(out, redact.Excerpt([]byte(name), 160))
		}
	}
	return out
}

// about finds the statements about a node. Those about the artefact cover all
// of it; the others share a digest with the node.
func (d *drawing) about(n *Node) []*group {
	var out []*group
	if n == d.root {
		for _, g := range d.groups {
			if g.provenance == nil {
				continue
			}
			if subjects, _ := d.target.match(g.statement, ""); subjects != nil {
				out = append(out, g)
			}
		}
		return out
	}
	for _, digest := range n.Digests {
		set, _ := splitDigest(digest)
		out = append(out, d.groupsAbout(set)...)
	}
	slices.SortFunc(out, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	return slices.Compact(out)
}

// statement draws the edges of one statement about a node.
func (d *drawing) statement(n *Node, g *group) {
	e := Edge{
		Child:     n.ID,
		Statement: g.id,
		Evidence:  g.where().name,
		Signers:   g.signers(),
		Builder:   redact.Excerpt([]byte(g.provenance.BuilderID), 160),
	}
	trusted := d.trusted(g)
	sha1 := d.policy.Lineage != nil && d.policy.Lineage.InsecureGitSHA1
	for i := range g.provenance.ResolvedDependencies {
		parent := &g.provenance.ResolvedDependencies[i]
		e.Grade, e.Refused = Claimed, ""
		if trusted {
			e.Grade = SignedUnpinned
			if parent.Digest.pinned(sha1) {
				e.Grade = Verified
			}
			if d.conflicting(n.Digests) || d.conflicting(parent.Digest.counted()) {
				e.Refused = "trusted statements disagree on a digest"
			}
		}
		e.Fragment = fmt.Sprintf("/predicate/buildDefinition/resolvedDependencies/%d", i)
		d.edge(e, n, parent)
	}
}

func (d *drawing) conflicting(digests []string) bool {
	return slices.ContainsFunc(digests, d.names.conflict)
}

// claimed draws what nobody signed for. A claim whose child has no digest is
// about the artefact.
func (d *drawing) claimed(n *Node) {
	for i := range d.claims {
		c := &d.claims[i]
		child := c.Child.Digest.counted()
		about := n == d.root && (len(child) == 0 || d.isTarget(c.Child.Digest)) ||
			slices.ContainsFunc(child, func(digest string) bool { return slices.Contains(n.Digests, digest) })
		if !about {
			continue
		}
		e := Edge{Child: n.ID, Grade: Claimed, Evidence: redact.Excerpt([]byte(c.Source), 160)}
		if c.Observed {
			e.Grade = Observed
		}
		d.edge(e, n, &c.Parent)
	}
}

func (d *drawing) edge(e Edge, child *Node, parent *Descriptor) {
	if len(d.edges) == d.limits.Edges {
		d.cut = true
		return
	}
	e.Parent = d.node(parent, child.Depth+1).ID
	d.edges = append(d.edges, e)
}

// node finds or makes the node of a descriptor.
func (d *drawing) node(desc *Descriptor, depth int) *Node {
	counted := desc.Digest.counted()
	id := unpinned(desc.label())
	var digests []string
	switch {
	case d.isTarget(desc.Digest):
		id = d.root.ID
	case len(counted) > 0:
		digests = d.names.all(counted[0])
		id = slices.MinFunc(digests, byStrength)
	}
	n := d.nodes[id]
	if n == nil {
		n = &Node{ID: id, Digests: digests, Depth: depth}
		d.nodes[id] = n
		d.queue = append(d.queue, n)
	}
	for _, name := range nonEmpty(desc.Name, desc.URI) {
		if !slices.Contains(n.Names, name) && len(n.Names) < maxDigests {
			n.Names = append(n.Names, name)
		}
	}
	if kind, _ := desc.Annotations[KindAnnotation].(string); n.Kind == "" && kind != "" {
		n.Kind = redact.Excerpt([]byte(kind), 40)
	}
	return n
}

func (d *drawing) finish() *Graph {
	g := &Graph{Edges: d.edges, Truncated: d.cut}
	for _, n := range d.nodes {
		slices.Sort(n.Names)
		g.Nodes = append(g.Nodes, *n)
	}
	slices.SortFunc(g.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(g.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Child, b.Child), cmp.Compare(a.Parent, b.Parent), cmp.Compare(b.Grade, a.Grade),
			cmp.Compare(a.Statement, b.Statement), cmp.Compare(a.Fragment, b.Fragment), cmp.Compare(a.Evidence, b.Evidence))
	})
	refuseCycles(g.Edges, d.root.ID)
	return g
}

// refuseCycles marks each trusted edge that leads back to an artefact which it
// is above of.
func refuseCycles(edges []Edge, root string) {
	const (
		open   = 1
		closed = 2
	)
	from := make(map[string][]int)
	for i := range edges {
		if edges[i].Grade >= SignedUnpinned {
			from[edges[i].Child] = append(from[edges[i].Child], i)
		}
	}
	state := make(map[string]int)
	var visit func(id string)
	visit = func(id string) {
		state[id] = open
		for _, i := range from[id] {
			switch state[edges[i].Parent] {
			case open:
				edges[i].Refused = refusedCycle
			case closed:
			default:
				visit(edges[i].Parent)
			}
		}
		state[id] = closed
	}
	visit(root)
}
