package provenance_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/provenance"
)

// A build is one signed edge set: name was made from the names in from.
type build struct {
	name, by string
	from     []provenance.Descriptor
}

func builds(t testing.TB, bs ...build) provenance.EvidenceSource {
	t.Helper()
	var docs [][]byte
	for _, b := range bs {
		if b.by == "" {
			b.by = "trainer"
		}
		docs = append(docs, sign(t, statement(t, training(b.from...), dep(b.name)), b.by))
	}
	return evidence(docs...)
}

func deps(names ...string) []provenance.Descriptor {
	var out []provenance.Descriptor
	for _, n := range names {
		out = append(out, dep(n))
	}
	return out
}

func kind(d provenance.Descriptor, k string) provenance.Descriptor {
	d.Annotations = map[string]any{provenance.KindAnnotation: k}
	return d
}

// two names one artefact by two digests.
func two(a, b string) provenance.Descriptor {
	return provenance.Descriptor{Name: a, Digest: provenance.DigestSet{
		"sha256": string(sum(a))[7:],
		"sha512": strings.Repeat(string(sum(b))[7:], 2),
	}}
}

// The model of the tests: quantised from a merge of an adapter and a base, each
// with data.
func family(t testing.TB) provenance.EvidenceSource {
	return builds(
		t,
		build{name: "model", from: deps("merge")},
		build{name: "merge", from: deps("adapter", "base")},
		build{name: "adapter", from: append(deps("base"), kind(dep("tuning data"), "dataset"))},
		build{name: "base", from: []provenance.Descriptor{
			kind(dep("web crawl"), "dataset"),
			{URI: "git+https://github.com/example/code", Digest: provenance.DigestSet{"gitCommit": strings.Repeat("ab", 32)}},
		}},
	)
}

func TestLineage(t *testing.T) {
	leaves := []provenance.Leaf{{Kind: "dataset"}, {URI: "git+https://github.com/example/"}}
	sha1 := provenance.Descriptor{Name: "code", Digest: provenance.DigestSet{"gitCommit": strings.Repeat("ab", 20)}}
	for _, tt := range []struct {
		name     string
		evidence provenance.EvidenceSource
		lineage  provenance.Lineage
		want     []string // rules; nil means met
	}{
		{"family", family(t), provenance.Lineage{Depth: 10, Leaves: leaves}, nil},
		{"family_without_code_leaf", family(t), provenance.Lineage{Depth: 10, Leaves: leaves[:1]}, []string{"provenance.lineage.missing"}},
		{"family_to_depth_3", family(t), provenance.Lineage{Depth: 3}, nil},
		{"family_to_depth_4", family(t), provenance.Lineage{Depth: 4, Leaves: leaves[1:]}, []string{"provenance.lineage.missing", "provenance.lineage.missing"}},
		{"depth_1_asks_no_more", builds(t, build{name: "model", from: deps("base")}), provenance.Lineage{Depth: 1}, nil},
		{"depth_2_asks_for_the_base", builds(t, build{name: "model", from: deps("base")}), provenance.Lineage{Depth: 2}, []string{"provenance.lineage.missing"}},
		{
			"base_by_stranger", builds(t, build{name: "model", from: deps("base")}, build{name: "base", by: "stranger"}),
			provenance.Lineage{Depth: 2},
			[]string{"provenance.lineage.missing"},
		},
		{
			"base_by_another_known_signer", builds(t, build{name: "model", from: deps("base")}, build{name: "base", by: "second"}),
			provenance.Lineage{Depth: 2},
			[]string{"provenance.lineage.missing"},
		},
		{
			"unpinned", builds(t, build{name: "model", from: []provenance.Descriptor{{URI: "pkg:huggingface/example/base"}}}),
			provenance.Lineage{Depth: 1},
			[]string{"provenance.lineage.unpinned"},
		},
		{
			"weak_digest", builds(t, build{name: "model", from: []provenance.Descriptor{{Name: "base", Digest: provenance.DigestSet{"sha1": strings.Repeat("a", 40)}}}}),
			provenance.Lineage{Depth: 1},
			[]string{"provenance.lineage.unpinned"},
		},
		{"git_sha1", builds(t, build{name: "model", from: []provenance.Descriptor{sha1}}), provenance.Lineage{Depth: 1}, []string{"provenance.lineage.unpinned"}},
		{"git_sha1_accepted", builds(t, build{name: "model", from: []provenance.Descriptor{sha1}}), provenance.Lineage{Depth: 1, InsecureGitSHA1: true}, nil},
		{"self_parent", builds(t, build{name: "model", from: deps("model")}), provenance.Lineage{Depth: 1}, []string{"provenance.lineage.cycle"}},
		{
			"cycle", builds(t, build{name: "model", from: deps("base")}, build{name: "base", from: deps("model")}),
			provenance.Lineage{Depth: 3},
			[]string{"provenance.lineage.cycle"},
		},
		{
			"cycle_above", builds(t, build{name: "model", from: deps("a")}, build{name: "a", from: deps("b")}, build{name: "b", from: deps("c")}, build{name: "c", from: deps("a")}),
			provenance.Lineage{Depth: 8},
			[]string{"provenance.lineage.cycle"},
		},
		{
			"cycle_beside_another_statement", builds(t, build{name: "model", from: deps("base")}, build{name: "base", from: deps("model")}, build{name: "base", from: deps("data")}),
			provenance.Lineage{Depth: 2},
			nil,
		},
		{
			"diamond", builds(t, build{name: "model", from: deps("a", "b")}, build{name: "a", from: deps("base")}, build{name: "b", from: deps("base")}, build{name: "base"}),
			provenance.Lineage{Depth: 5},
			nil,
		},
		{"conflicting_diamond", builds(
			t,
			build{name: "model", from: deps("a", "b")},
			build{name: "a", from: []provenance.Descriptor{two("base", "x")}},
			build{name: "b", from: []provenance.Descriptor{two("base", "y")}},
		), provenance.Lineage{Depth: 2}, []string{"provenance.lineage.conflict"}},
		{"statement_disagrees_on_a_digest", evidence(
			sign(t, statement(t, training(two("base", "x")), dep("model")), "trainer"),
			sign(t, statement(t, training(), two("base", "y")), "trainer"),
		), provenance.Lineage{Depth: 2}, []string{"provenance.lineage.conflict"}},
		{
			"two_problems", builds(t, build{name: "model", from: append(deps("a"), provenance.Descriptor{Name: "b"})}),
			provenance.Lineage{Depth: 2},
			[]string{"provenance.lineage.missing", "provenance.lineage.unpinned"},
		},
		{"leaf_prefix_is_not_climbed_out_of", builds(t, build{name: "model", from: []provenance.Descriptor{
			{URI: "git+https://github.com/example/../evil/code", Digest: provenance.DigestsOf(sum("evil"))},
		}}), provenance.Lineage{Depth: 2, Leaves: leaves}, []string{"provenance.lineage.missing"}},
		{"leaf_prefix_ends_at_a_slash", builds(t, build{name: "model", from: []provenance.Descriptor{
			{URI: "git+https://github.com/example-evil/code", Digest: provenance.DigestsOf(sum("evil"))},
		}}), provenance.Lineage{Depth: 2, Leaves: leaves}, []string{"provenance.lineage.missing"}},
		{
			"unpinned_leaf", builds(t, build{name: "model", from: []provenance.Descriptor{kind(provenance.Descriptor{Name: "live data"}, "dataset")}}),
			provenance.Lineage{Depth: 2, Leaves: leaves},
			[]string{"provenance.lineage.unpinned"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := policy()
			p.Lineage = &tt.lineage
			r := verify(t, model(), tt.evidence, p)
			if diff := cmp.Diff(tt.want, ruleIDs(r)); diff != "" {
				t.Errorf("rules (-want +got):\n%s\n%+v", diff, r.Requirements)
			}
			if r.Met() != (tt.want == nil) {
				t.Errorf("met %v: %+v", r.Met(), r.Requirements)
			}
		})
	}
}

// An ancestor is held to the root's rule in full unless the policy says
// otherwise: signers, threshold, builders and level.
func TestAncestorsAreHeldToTheRule(t *testing.T) {
	other := training()
	other.BuilderID = "https://example.com/laptop"
	src := evidence(
		sign(t, statement(t, training(dep("base")), dep("model")), "trainer"),
		sign(t, statement(t, other, dep("base")), "trainer"),
	)
	for _, tt := range []struct {
		name   string
		change func(p *provenance.Policy)
		met    bool
	}{
		{"any_trusted_pair", func(*provenance.Policy) {}, true},
		{"level", func(p *provenance.Policy) { p.Attestations[0].MinLevel = 2 }, false},
		{"builder", func(p *provenance.Policy) { p.Attestations[0].Builders = []string{trainerID} }, false},
		{"own_rule", func(p *provenance.Policy) {
			p.Attestations[0].MinLevel = 2
			p.Lineage.Signers, p.Lineage.Builders = []string{"trainer"}, []string{other.BuilderID}
		}, true},
		{"own_rule_builder", func(p *provenance.Policy) {
			p.Lineage.Signers, p.Lineage.Builders = []string{"trainer"}, []string{trainerID}
		}, false},
		{"own_rule_level", func(p *provenance.Policy) {
			p.Lineage.Signers, p.Lineage.MinLevel = []string{"trainer"}, 1
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := policy()
			p.Trust.Builders = []provenance.Builder{{ID: other.BuilderID, Signers: []string{"trainer"}}}
			p.Lineage = &provenance.Lineage{Depth: 2}
			tt.change(&p)
			if r := verify(t, model(), src, p); r.Met() != tt.met {
				t.Errorf("%+v", r.Requirements)
			}
		})
	}
}

func TestLineageOwnSigners(t *testing.T) {
	src := builds(t, build{name: "model", from: deps("base")}, build{name: "base", by: "second"})
	p := policy()
	p.Lineage = &provenance.Lineage{Depth: 2, Signers: []string{"second"}}
	p.Trust.Builders = []provenance.Builder{{ID: trainerID, Signers: []string{"second"}}}
	r := verify(t, model(), src, p)
	if !r.Met() {
		t.Errorf("%+v", r.Requirements)
	}
	if len(r.Accepted) != 2 || r.Accepted[1].For != "lineage" {
		t.Errorf("accepted %+v", r.Accepted)
	}
}

func TestLineageMaterialLeaf(t *testing.T) {
	src := builds(t, build{name: "model", from: deps("train.jsonl")})
	p := policy()
	p.Lineage = &provenance.Lineage{Depth: 2, Leaves: []provenance.Leaf{{Material: "train.jsonl"}}}
	a := model()
	if r := verify(t, a, src, p); r.Met() {
		t.Error("met without the material")
	}
	a.Inputs = []provenance.Item{{Name: "train.jsonl", Digests: []digest.Digest{sum("train.jsonl")}}}
	if r := verify(t, a, src, p); !r.Met() {
		t.Errorf("%+v", r.Requirements)
	}
}

func TestDenied(t *testing.T) {
	src := family(t)
	for _, tt := range []struct {
		name, denied string
		lineage      bool
		want         []string
	}{
		{"artefact", "model", false, []string{"provenance.digest.denied"}},
		{"parent", "merge", false, []string{"provenance.digest.denied"}},
		{"ancestor_nobody_asks_about", "base", false, nil},
		{"ancestor", "base", true, []string{"provenance.digest.denied", "provenance.digest.denied"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := policy()
			p.Denied = []digest.Digest{sum(tt.denied)}
			if tt.lineage {
				p.Lineage = &provenance.Lineage{Depth: 9, Leaves: []provenance.Leaf{{Kind: "dataset"}, {URI: "git+https://github.com/example/"}}}
			}
			if diff := cmp.Diff(tt.want, ruleIDs(verify(t, model(), src, p))); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// claims is a third party's source of unsigned parents.
type claims struct {
	provenance.EvidenceSource
	list []provenance.Claim
}

func (c claims) Claims(context.Context) iter.Seq2[provenance.Claim, error] {
	return func(yield func(provenance.Claim, error) bool) {
		for _, claim := range c.list {
			if !yield(claim, nil) {
				return
			}
		}
	}
}

func TestGraph(t *testing.T) {
	stranger := sign(t, statement(t, training(dep("laundered")), dep("model")), "stranger")
	signed := sign(t, statement(t, training(two("base", "base"), provenance.Descriptor{URI: "https://user:secret@example.com/live"}), dep("model")), "trainer")
	parent := sign(t, statement(t, training(dep("crawl")), provenance.Descriptor{
		Name: "published base", Digest: provenance.DigestSet{"sha512": two("base", "base").Digest["sha512"]},
	}), "trainer")
	src := provenance.Sources{claims{evidence(parent, stranger, signed), []provenance.Claim{
		{Parent: provenance.Descriptor{Name: "org/base"}, Source: "README.md base_model"},
		{Child: two("base", "base"), Parent: dep("older"), Observed: true, Source: "equal tensors"},
	}}}
	p := policy()
	p.Lineage = &provenance.Lineage{Depth: 1}
	g := verify(t, model(), src, p).Lineage()

	type edge struct{ child, parent, grade, evidence string }
	var got []edge
	short := func(id string) string {
		for _, name := range []string{"model", "base", "crawl", "laundered", "older"} {
			id = strings.ReplaceAll(id, string(sum(name)), name)
		}
		return id
	}
	for _, e := range g.Edges {
		got = append(got, edge{short(e.Child), short(e.Parent), e.Grade.String(), e.Evidence})
	}
	slices.SortFunc(got, func(a, b edge) int { return strings.Compare(a.child+a.parent, b.child+b.parent) })
	want := []edge{
		{"base", "crawl", "verified", "a.sigstore.json"},
		{"base", "older", "observed", "equal tensors"},
		{"model", "base", "verified", "c.sigstore.json"},
		{"model", "laundered", "claimed", "b.sigstore.json"},
		{"model", "unpinned:https://[credential]@example.com/live", "signed-unpinned", "c.sigstore.json"},
		{"model", "unpinned:org/base", "claimed", "README.md base_model"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(edge{})); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if n := g.Nodes[0]; n.Depth != 0 || short(n.ID) != "model" {
		t.Errorf("first node %+v", n)
	}
	for _, n := range g.Nodes {
		if short(n.ID) == "base" && len(n.Digests) != 2 {
			t.Errorf("aliases %v", n.Digests)
		}
	}
	for _, n := range g.Nodes {
		for _, name := range n.Names {
			if strings.Contains(name, "secret") {
				t.Errorf("name %q", name)
			}
		}
	}
}

// An edge that trusted signers drew and that cannot be true is shown even when
// no requirement stumbles over it, below every threshold but info.
func TestRefusedEdgeIsShown(t *testing.T) {
	src := builds(t, build{name: "model", from: deps("base")}, build{name: "base", from: deps("model")})
	r := verify(t, model(), src, policy())
	if !r.Met() || prerun.Decide(r, prerun.Low) != prerun.Pass {
		t.Errorf("%+v", r.Requirements)
	}
	var ids []string
	for f := range r.Findings() {
		ids = append(ids, f.Rule.ID+" "+f.Severity.String())
	}
	if diff := cmp.Diff([]string{"provenance.lineage.cycle info"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if refused := slices.IndexFunc(r.Lineage().Edges, func(e provenance.Edge) bool { return e.Refused != "" }); refused < 0 {
		t.Error("no edge is refused")
	}
}

// Many ways up: the search must not take exponential time on stacked diamonds,
// and must give up, not pass, where it would.
func TestLineageSearchIsBounded(t *testing.T) {
	var bs []build
	bs = append(bs, build{name: "model", from: deps("0a", "0b")})
	for i := range 28 {
		n, m := string(rune('A'+i)), string(rune('A'+i+1))
		if i == 0 {
			bs = append(bs, build{name: "0a", from: deps("Aa", "Ab")}, build{name: "0b", from: deps("Aa", "Ab")})
		}
		bs = append(bs, build{name: n + "a", from: deps(m+"a", m+"b")}, build{name: n + "b", from: deps(m+"a", m+"b")})
	}
	p := policy()
	p.Lineage = &provenance.Lineage{Depth: 29}
	if r := verify(t, model(), builds(t, bs...), p); !r.Met() {
		t.Errorf("%+v", r.Requirements)
	}
	v := provenance.Verifier{Trust: trust(t, "trainer"), Now: clock, Limits: provenance.Limits{Steps: 10}}
	r, err := v.Verify(t.Context(), model(), builds(t, bs...), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Met() || prerun.Decide(r, prerun.Medium) != prerun.Incomplete {
		t.Errorf("verdict %s: %+v", prerun.Decide(r, prerun.Medium), r.Requirements)
	}
}
