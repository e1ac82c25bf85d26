package pickle_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/pickle/evade"
)

// payload is what evading pickles call here.
var payload = evade.Call{
	Module: "prerun_mark", Name: "Hit", Host: "prerun_host", Alias: [2]string{"ConfigParser", "Hit"}, Argument: "x",
}

// evasions calls f for every technique and, if asked to, for every pair of them
// that composes.
func evasions(paired bool, f func(name string, data []byte)) (pairs int) {
	all := evade.Techniques()
	for _, t := range all {
		if d, ok := evade.Build(payload, t); ok {
			f(t.Name, d.Data)
		}
	}
	if !paired {
		return 0
	}
	for a, b := range evade.Pairs(all) {
		if d, ok := evade.Build(payload, a, b); ok {
			pairs++
			f(a.Name+"+"+b.Name, d.Data)
		}
	}
	return pairs
}

// However the payload is hidden, the trace, or that of a pickle nested in it,
// holds the callee, an import whose name is computed, or a call that is handed
// the callee's name.
func TestEvasions(t *testing.T) {
	pairs := evasions(true, func(name string, data []byte) {
		if !reached(t, data, 0) {
			t.Errorf("%s: the trace of %q does not hold the callee", name, data[:min(len(data), 400)])
		}
	})
	if pairs < 9000 {
		t.Errorf("%d pairs compose, want 9000 or more", pairs)
	}
	t.Logf("%d techniques, %d pairs", len(evade.Techniques()), pairs)
}

// reached reports whether the callee is in the trace of data, or nested in it.
func reached(t testing.TB, data []byte, depth int) bool {
	names := []string{
		payload.Module + "." + payload.Name, "mac" + payload.Module + "." + payload.Name, payload.Host + "." + payload.Module + "." + payload.Name, strings.Join(payload.Alias[:], "."),
	}
	trace := scan(t, data)
	for _, g := range trace.Globals {
		if g.How == pickle.Computed || slices.Contains(names, g.Module+"."+g.Name) {
			return true
		}
	}
	for _, c := range trace.Calls {
		if handed(c.Args) {
			return true
		}
	}
	for _, n := range trace.Nested {
		inner, err := n.Extract(bytes.NewReader(data), 1<<20)
		if err == nil && depth < 4 && reached(t, inner, depth+1) {
			return true
		}
	}
	return false
}

// handed reports whether arguments hold the callee's name.
func handed(v pickle.Value) bool {
	return v.Type == pickle.Str && strings.Contains(v.Text, payload.Name) || slices.ContainsFunc(v.Items, handed)
}
