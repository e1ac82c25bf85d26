package provenance_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/provenance"
)

// world draws a handful of artefacts and signed statements about them, good and
// bad, so that verdicts of both kinds, cycles, conflicts and alternatives are
// common.
func world(rt *rapid.T, t *testing.T) [][]byte {
	names := []string{"model", "a", "b", "c", "data"}
	descriptor := rapid.Custom(func(rt *rapid.T) provenance.Descriptor {
		name := rapid.SampledFrom(names).Draw(rt, "name")
		switch rapid.IntRange(0, 9).Draw(rt, "form") {
		case 0:
			return provenance.Descriptor{Name: name} // unpinned
		case 1, 2:
			return two(name, rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "second digest"))
		case 3:
			return kind(dep(name), "dataset")
		}
		return dep(name)
	})
	document := rapid.Custom(func(rt *rapid.T) []byte {
		p := training(rapid.SliceOfN(descriptor, 0, 3).Draw(rt, "dependencies")...)
		p.FinishedOn = now.AddDate(0, 0, -rapid.IntRange(0, 3).Draw(rt, "days"))
		if rapid.IntRange(0, 5).Draw(rt, "builder") == 0 {
			p.BuilderID = "https://example.com/laptop"
		}
		subject := descriptor.Filter(func(d provenance.Descriptor) bool { return d.Digest != nil }).Draw(rt, "subject")
		out := payload(t, p, subject)
		labels := rapid.SliceOfN(rapid.SampledFrom([]string{"trainer", "trainer", "second", "third", "stranger"}), 0, 2).Draw(rt, "signers")
		switch {
		case len(labels) == 0:
			return out
		case rapid.IntRange(0, 19).Draw(rt, "cut") == 0:
			return envelope(t, out, labels...).Encode()[:40]
		}
		return envelope(t, out, labels...).Encode()
	})
	docs := rapid.SliceOfN(document, 0, 7).Draw(rt, "documents")
	if rapid.IntRange(0, 2).Draw(rt, "sound") > 0 { // so that many worlds meet their policy
		docs = append(docs,
			envelope(t, payload(t, training(dep("a"), kind(dep("data"), "dataset")), dep("model")), "trainer", "second").Encode(),
			envelope(t, payload(t, training(kind(dep("data"), "dataset")), dep("a")), "second", "trainer").Encode(),
			envelope(t, payload(t, training(), dep("data")), "trainer", "second").Encode(),
		)
	}
	return docs
}

func anyPolicy(rt *rapid.T) provenance.Policy {
	p := policy()
	a := &p.Attestations[0]
	if rapid.Bool().Draw(rt, "two signers") {
		a.Signers = []string{"trainer", "second"}
		a.Threshold = rapid.IntRange(0, 2).Draw(rt, "threshold")
	}
	a.MaxAge = time.Duration(rapid.IntRange(0, 3).Draw(rt, "max age")) * 24 * time.Hour
	if rapid.Bool().Draw(rt, "material") {
		a.Materials = []provenance.Item{{Name: "data", Digests: []digest.Digest{sum("data")}}}
	}
	if depth := rapid.IntRange(0, 4).Draw(rt, "depth"); depth > 0 {
		p.Lineage = &provenance.Lineage{Depth: depth}
		if rapid.Bool().Draw(rt, "leaf") {
			p.Lineage.Leaves = []provenance.Leaf{{Kind: "dataset"}}
		}
	}
	return p
}

// everything that a report says, as text, but for which file said it.
func everything(r *provenance.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n%+v\n%+v\n", r.Requirements, r.Accepted, *r.Lineage())
	for _, x := range r.Rejected {
		fmt.Fprintf(&b, "%+v\n", x)
	}
	for f := range r.Findings() {
		fmt.Fprintf(&b, "%+v %s\n", f, f.Fingerprint())
	}
	for g := range r.Gaps() {
		fmt.Fprintf(&b, "%+v\n", g)
	}
	return b.String()
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		docs, p := world(rt, t), anyPolicy(rt)
		var named []provenance.Evidence
		for i, d := range docs {
			named = append(named, provenance.Evidence{Name: fmt.Sprintf("%d.json", i), Data: d})
		}
		one := everything(verify(t, model(), provenance.Memory(named...), p))
		shuffled := rapid.Permutation(named).Draw(rt, "order")
		if diff := cmp.Diff(one, everything(verify(t, model(), provenance.Memory(shuffled...), p))); diff != "" {
			rt.Fatalf("(-one +other):\n%s", diff)
		}
	})
}

// Removing evidence never turns a no into a yes: whatever some of the evidence
// meets, all of it meets, requirement by requirement and as a verdict.
func TestMoreEvidenceNeverHurts(t *testing.T) {
	met := 0
	rapid.Check(t, func(rt *rapid.T) {
		docs, p := world(rt, t), anyPolicy(rt)
		var some [][]byte
		for _, d := range docs {
			if rapid.IntRange(0, 3).Draw(rt, "keep") > 0 {
				some = append(some, d)
			}
		}
		few, all := verify(t, model(), evidence(some...), p), verify(t, model(), evidence(docs...), p)
		if !few.Met() {
			return
		}
		met++
		if !all.Met() {
			rt.Fatalf("met by %d of %d documents, not by all:\n%+v", len(some), len(docs), all.Requirements)
		}
		for _, threshold := range []prerun.Severity{prerun.Low, prerun.Critical} {
			if few, all := prerun.Decide(few, threshold), prerun.Decide(all, threshold); few == prerun.Pass && all != prerun.Pass {
				rt.Fatalf("verdict at %s: %s became %s", threshold, few, all)
			}
		}
	})
	if met < 5 {
		t.Errorf("%d drawn worlds met their policy; the law was hardly tested", met)
	}
}

// What no trusted key signed meets nothing, whatever it says.
func TestUntrustedNeverMeets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		docs, p := world(rt, t), anyPolicy(rt)
		v := provenance.Verifier{Trust: trust(t, "keeper", "trainer", "second", "third"), Now: clock}
		for _, name := range []string{"trainer", "second", "third"} {
			v.Trust.Signers[name] = verifier(t, "nobody signs with this: "+name)
		}
		r, err := v.Verify(t.Context(), model(), evidence(docs...), p)
		if err != nil {
			rt.Fatal(err)
		}
		if r.Met() || prerun.Decide(r, prerun.High) == prerun.Pass {
			rt.Fatalf("met: %+v", r.Requirements)
		}
		for _, e := range r.Lineage().Edges {
			if e.Grade >= provenance.SignedUnpinned {
				rt.Fatalf("an edge of grade %s", e.Grade)
			}
		}
	})
}

func TestVerifyAcceptsWhatSignMade(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := training(dep(rapid.String().Filter(func(s string) bool { return !strings.ContainsAny(s, "/\\") && clean(s) }).Draw(rt, "dependency")))
		p.ExternalParameters = map[string]any{
			rapid.String().Draw(rt, "name"): rapid.OneOf(
				rapid.Just[any](nil), rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.Int64(), func(n int64) any { return n }),
			).Draw(rt, "value"),
		}
		want := policy()
		want.Attestations[0].Parameters = p.ExternalParameters
		want.Lineage = &provenance.Lineage{Depth: 1}
		if r := verify(t, model(), evidence(sign(t, statement(t, p, dep("model")), "trainer")), want); !r.Met() {
			rt.Fatalf("%+v", r.Requirements)
		}
	})
}

func clean(s string) bool {
	return !slices.ContainsFunc([]rune(s), func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 })
}

// FuzzEvidence feeds any bytes as evidence, whole and as lines: nothing may be
// met that the good document does not meet, and nothing may break.
func FuzzEvidence(f *testing.F) {
	good := sign(f, statement(f, training(dep("data")), dep("model")), "trainer")
	f.Add(good)
	f.Add(sign(f, statement(f, training(dep("model")), dep("model")), "stranger"))
	f.Add(payload(f, training(), dep("model")))
	f.Add([]byte("{}\n\n[1]\n{\"payloadType\":\"x\",\"payload\":\"e30=\",\"signatures\":[{\"sig\":\"AA==\"}]}"))
	p := policy()
	p.Lineage = &provenance.Lineage{Depth: 2}
	v := provenance.Verifier{Trust: trust(f, "trainer", "second"), Now: clock}
	f.Fuzz(func(t *testing.T, data []byte) {
		fsys := fstest.MapFS{"a.json": {Data: data}, "b.jsonl": {Data: data}}
		r, err := v.Verify(t.Context(), model(), provenance.Dir(fsys), p)
		if err != nil {
			t.Skip(err) // beyond a limit
		}
		if r.Met() && !bytes.Contains(data, []byte(`"payload`)) {
			t.Fatalf("met by %q", data)
		}
		for f := range r.Findings() {
			if err := f.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
