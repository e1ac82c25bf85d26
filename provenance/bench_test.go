package provenance_test

import (
	"fmt"
	"testing"

	"github.com/prerun/prerun/provenance"
)

func BenchmarkParseStatement(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("subjects=%d", n), func(b *testing.B) {
			var subjects []provenance.Descriptor
			for i := range n {
				subjects = append(subjects, dep(fmt.Sprintf("shard-%05d.safetensors", i)))
			}
			data := payload(b, training(dep("train.jsonl")), subjects...)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := provenance.ParseStatement(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	p := policy()
	p.Lineage = &provenance.Lineage{Depth: 8, Leaves: []provenance.Leaf{{Kind: "dataset"}, {URI: "git+https://github.com/example/"}}}
	v := provenance.Verifier{Trust: trust(b, "trainer"), Now: clock}
	src := family(b)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := v.Verify(b.Context(), model(), src, p); err != nil || !r.Met() {
			b.Fatal(err)
		}
	}
}

// BenchmarkLineage is the search and the drawing over many statements: a chain
// with two parents at each step.
func BenchmarkLineage(b *testing.B) {
	bs := []build{{name: "model", from: deps("0a", "0b")}}
	for i := range 30 {
		above := deps(fmt.Sprintf("%da", i+1), fmt.Sprintf("%db", i+1))
		bs = append(bs, build{name: fmt.Sprintf("%da", i), from: above}, build{name: fmt.Sprintf("%db", i), from: above})
	}
	p := policy()
	p.Lineage = &provenance.Lineage{Depth: 31}
	v := provenance.Verifier{Trust: trust(b, "trainer"), Now: clock}
	src := builds(b, bs...)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := v.Verify(b.Context(), model(), src, p); err != nil || !r.Met() {
			b.Fatal(err)
		}
	}
}
