package report_test

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

// drawn returns the attributes of the elements of one class inside elements of
// another.
func drawn(t testing.TB, page, outer, element, class string) (out []map[string]string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	depth := 0 // inside outer
	for {
		token, err := d.Token()
		if err != nil {
			return out
		}
		switch e := token.(type) {
		case xml.StartElement:
			attrs := map[string]string{}
			for _, a := range e.Attr {
				attrs[a.Name.Local] = a.Value
			}
			if depth > 0 || strings.HasPrefix(attrs["class"], outer) {
				depth++
			}
			if depth > 0 && e.Name.Local == element && strings.HasPrefix(attrs["class"], class) {
				out = append(out, attrs)
			}
		case xml.EndElement:
			depth = max(0, depth-1)
		}
	}
}

func number(t rapid.TB, s string) float64 {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Whatever the graph: things do not lie on each other, stand inside the
// drawing, and are all there.
func TestLineageLayout(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 25).Draw(r, "nodes")
		var g report.Graph
		for i := range n {
			g.Nodes = append(g.Nodes, report.Node{ID: fmt.Sprint(i)})
		}
		for range rapid.IntRange(0, 40).Draw(r, "edges") {
			from, to := rapid.IntRange(0, n-1).Draw(r, "from"), rapid.IntRange(0, n-1).Draw(r, "to")
			g.Edges = append(g.Edges, report.Edge{From: fmt.Sprint(from), To: fmt.Sprint(to)})
		}
		page := render(t, "html", report.Document{Graphs: []report.Graph{g}})
		box := drawn(t, page, "graph", "svg", "")[0]
		width, height := number(r, box["width"]), number(r, box["height"])
		boxes := drawn(t, page, "node", "rect", "")
		if len(boxes) != n {
			r.Fatalf("%d of %d things are drawn", len(boxes), n)
		}
		for i, a := range boxes {
			ax, ay, aw, ah := number(r, a["x"]), number(r, a["y"]), number(r, a["width"]), number(r, a["height"])
			if ax < 0 || ay < 0 || ax+aw > width || ay+ah > height {
				r.Errorf("%v is not inside %g by %g", a, width, height)
			}
			for _, b := range boxes[:i] {
				bx, by := number(r, b["x"]), number(r, b["y"])
				if ax < bx+aw && bx < ax+aw && ay < by+ah && by < ay+ah {
					r.Errorf("%v lies on %v", a, b)
				}
			}
		}
	})
}

// Whatever the figures: all stand on the axis, in their order, and the hatched
// side is the one that the requirement rules out.
func TestIntervalPlot(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		i := report.Interval{
			Low: rapid.Float64Range(-1e6, 1e6).Draw(r, "low"), Threshold: rapid.Float64Range(-1e6, 1e6).Draw(r, "threshold"),
			AtMost: rapid.Bool().Draw(r, "at most"),
		}
		i.Estimate = i.Low + rapid.Float64Range(0, 1e6).Draw(r, "up")
		i.High = i.Estimate + rapid.Float64Range(0, 1e6).Draw(r, "more")
		page := render(t, "html", report.Document{Intervals: []report.Interval{i}})
		interval := drawn(t, page, "axis", "line", "range")[0]
		limit := number(r, drawn(t, page, "axis", "line", "limit")[0]["x1"])
		dot := number(r, drawn(t, page, "axis", "circle", "dot")[0]["cx"])
		bad := drawn(t, page, "axis", "rect", "bad")[0]
		low, high := number(r, interval["x1"]), number(r, interval["x2"])
		for _, x := range []float64{low, high, dot, limit} {
			if x < 0 || x > 100 {
				r.Errorf("%+v: a figure stands at %g%%", i, x)
			}
		}
		if low > dot || dot > high {
			r.Errorf("%+v: drawn as %g, %g, %g", i, low, dot, high)
		}
		from := number(r, bad["x"])
		to := from + number(r, bad["width"])
		if i.AtMost && (from != limit || to < 99.98) || !i.AtMost && (from != 0 || to != limit) {
			r.Errorf("%+v: limit at %g, hatched from %g to %g", i, limit, from, to)
		}
		if ticks := len(drawn(t, page, "axis", "text", "tick")); ticks < 2 || ticks > 12 {
			r.Errorf("%+v: %d ticks", i, ticks)
		}
	})
}

// Figures of one requirement may all be equal, zero, or far apart.
func TestIntervalPlotExtremes(t *testing.T) {
	for _, i := range []report.Interval{
		{},
		{Estimate: 1, Low: 1, High: 1, Threshold: 1},
		{High: 1e300, Threshold: 1e-300},
		{Low: -1e300, High: 1e300},
		{Estimate: 1e-12, Low: 0, High: 1e-9, Threshold: 5e-10, AtMost: true},
		{Estimate: -5, Low: -6, High: -4, Threshold: -5},
	} {
		page := render(t, "html", report.Document{Source: prerun.NewSource(nil, nil, nil), Intervals: []report.Interval{i}})
		if err := checkPage(page); err != nil {
			t.Errorf("%+v: %v", i, err)
		}
		if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
			t.Errorf("%+v: a position is no number", i)
		}
	}
}
