package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A drawing is a graph laid out, and the same as a list for who cannot see it.
type drawing struct {
	Title         string
	ID            string
	Width, Height int
	Nodes         []drawnNode
	Edges         []drawnEdge
	Sideways      bool
	Grades        []gradeLegend // those that occur
	List          []listedEdge
	Left          int // nodes that are in the list but not in the drawing
	Cut           int // edges that are in neither
}

type drawnNode struct {
	X, Y, W, H   int
	TextX        int
	KindY, NameY int
	DigestY      int
	Kind, Name   string // as fits
	Digest       string
	Full         string // for a tooltip
	Root         bool
}

type drawnEdge struct {
	Path        string
	Class       string
	Head        string // arrow head, a polygon
	LabelX      int
	LabelY      int
	BackX       int // a rectangle behind the label
	BackY       int
	BackW       int
	Label, Full string
}

type gradeLegend struct{ Class, Grade, Meaning string }

type listedEdge struct{ From, To, Grade, Label string }

// Sizes in pixels, and how much a page shows.
const (
	nodeWidth   = 182
	nodeHeight  = 62
	pageWidth   = 820 // of a drawing that fits a desktop
	drawnNodes  = 60
	listedEdges = 400
)

// A frame says how layers are put on the page: from top to bottom, which suits
// a telephone, or from left to right where that would get too wide. Across is
// along a layer, depth is from layer to layer.
type frame struct {
	sideways        bool
	node, gap       int // across
	thread          int // across: room for an edge that passes through a layer
	depth, between  int
	slotGap, labels int // between ends of edges on a node; letters of a label
}

var (
	downwards = frame{node: nodeWidth, gap: 28, thread: 28, depth: nodeHeight, between: 104, slotGap: 64, labels: 26}
	rightward = frame{
		sideways: true, node: nodeHeight, gap: 22, thread: 22, depth: nodeWidth, between: 122, slotGap: 17, labels: 15,
	}
)

// at is the place on the page of a place in the frame.
func (f frame) at(across, depth int) (x, y int) {
	if f.sideways {
		return depth, across
	}
	return across, depth
}

var grades = []gradeLegend{
	{"verified", "verified", "a trusted statement names the parent by digest"},
	{"unpinned", "signed-unpinned", "a trusted statement names the parent, but by no digest that counts"},
	{"claimed", "claimed", "written down, without a signature that counts"},
	{"observed", "observed", "found in the bytes, without a statement"},
	{"refused", "refused", "a statement contradicts what was found"},
}

// Size says how much there is to see.
func (d drawing) Size() string {
	return plural(len(d.Nodes), "thing") + " and " + plural(len(d.Edges), "link") + " between them"
}

func legendOf(e Edge) gradeLegend {
	if strings.HasPrefix(e.Label, "refused") {
		return grades[len(grades)-1]
	}
	for _, g := range grades {
		if g.Grade == e.Grade {
			return g
		}
	}
	return gradeLegend{"claimed", clean(e.Grade), "a grade of the producer"}
}

func draw(g Graph) drawing {
	d := drawing{Title: clean(g.Title)}
	if d.Title == "" {
		d.Title = "Lineage"
	}
	l := newLayout(g)
	d.list(l)
	d.Left = l.prune(drawnNodes)
	l.assign()
	l.insertPassages()
	if d.Sideways = l.widest() > pageWidth; d.Sideways {
		l.frame = rightward
	}
	l.order()
	l.place()
	d.render(l)
	return d
}

func (d *drawing) list(l *layout) {
	seen := make(map[string]bool)
	for _, e := range l.edges {
		legend := legendOf(e.edge)
		if !seen[legend.Grade] {
			seen[legend.Grade] = true
			d.Grades = append(d.Grades, legend)
		}
		if len(d.List) == listedEdges {
			d.Cut++
			continue
		}
		d.List = append(d.List, listedEdge{l.name(e.from), l.name(e.to), legend.Grade, clean(e.edge.Label)})
	}
	rank := func(g gradeLegend) int {
		return slices.IndexFunc(grades, func(h gradeLegend) bool { return h.Grade == g.Grade })
	}
	slices.SortStableFunc(d.Grades, func(a, b gradeLegend) int { return cmp.Compare(rank(a), rank(b)) })
}

// render writes the drawing in whole numbers.
func (d *drawing) render(l *layout) {
	first, last := 0.0, 0.0
	for i, p := range l.points {
		if i == 0 || p.x-l.width(i)/2 < first {
			first = p.x - l.width(i)/2
		}
		if i == 0 || p.x+l.width(i)/2 > last {
			last = p.x + l.width(i)/2
		}
	}
	const margin = 12
	across := func(p int) int { return int(l.points[p].x-first+0.5) + margin }
	depth := func(p int) int { return l.points[p].layer*(l.depth+l.between) + margin }
	d.Width, d.Height = l.at(int(last-first+0.5)+2*margin, len(l.layers)*(l.depth+l.between)-l.between+2*margin)
	for i, n := range l.nodes {
		x, y := l.at(across(i)-l.node/2, depth(i))
		d.Nodes = append(d.Nodes, l.box(i, n, x, y))
	}
	slots := l.slots()
	for i, e := range l.edges {
		d.Edges = append(d.Edges, l.line(e, slots[i], across, depth))
	}
}

// A slot is where on the near side of a node an edge ends.
type slot struct{ at, of int }

// slots spreads the edges that end on the same node, in the order they come from.
func (l *layout) slots() []slot {
	out := make([]slot, len(l.edges))
	ends := make(map[int][]int) // edges by lower end
	for i, e := range l.edges {
		last := e.route[len(e.route)-1]
		ends[last] = append(ends[last], i)
	}
	above := func(i int) float64 {
		route := l.edges[i].route
		return l.points[route[len(route)-2]].x
	}
	for _, edges := range ends {
		slices.SortStableFunc(edges, func(a, b int) int { return cmp.Compare(above(a), above(b)) })
		for k, i := range edges {
			out[i] = slot{k, len(edges)}
		}
	}
	return out
}

// port is the distance of a slot from the middle of the node.
func (f frame) port(s slot) int {
	if s.of < 2 {
		return 0
	}
	step := min(f.slotGap, (f.node-14)/(s.of-1))
	return s.at*step - (s.of-1)*step/2
}

func (l *layout) box(i int, n Node, x, y int) drawnNode {
	kind := clean(n.Kind)
	if kind == "" {
		kind = "artefact"
	}
	out := drawnNode{
		X: x, Y: y, W: nodeWidth, H: nodeHeight, TextX: x + 14, KindY: y + 19, NameY: y + 37, DigestY: y + 53,
		Kind: kind, Name: middle(l.name(i), 18), Root: len(l.points[i].up) == 0,
	}
	full := []string{l.name(i)}
	if digest := clean(n.Digest); digest != "" {
		out.Digest = digest
		if algorithm, hex, ok := strings.Cut(digest, ":"); ok && len(hex) > 12 {
			out.Digest = algorithm + ":" + hex[:min(12, len(hex))] + "…"
		}
		out.Digest = middle(out.Digest, 22)
		full = append(full, digest)
	}
	out.Full = strings.Join(full, ", ")
	return out
}

// middle cuts s to so many columns, leaving both its ends.
func middle(s string, columns int) string {
	if displayWidth(s) <= columns {
		return s
	}
	r := []rune(s)
	head, tail := 0, len(r)
	for used := 1; head < tail; {
		end := head <= len(r)-tail // in turn
		next := r[head]
		if !end {
			next = r[tail-1]
		}
		if used += displayWidth(string(next)); used > columns {
			break
		}
		if end {
			head++
		} else {
			tail--
		}
	}
	return string(r[:head]) + "…" + string(r[tail:])
}

// displayWidth is roughly how many columns s takes: from the Hangul letters
// on, most scripts are as wide as two Latin letters.
func displayWidth(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x1100 && (r < 0x2000 || r > 0x206f) {
			n++
		}
	}
	return n
}

// line draws an edge from the far side of the child to the near side of the
// parent, with an arrow that points to the parent.
func (l *layout) line(e layoutEdge, s slot, across, depth func(int) int) drawnEdge {
	legend := legendOf(e.edge)
	out := drawnEdge{Class: legend.Class, Label: legend.Grade, Full: legend.Grade}
	if label := clean(e.edge.Label); label != "" {
		out.Full = legend.Grade + ": " + label
		if legend.Class != "refused" && !l.sideways {
			out.Label = legend.Grade + " · " + label
		}
	}
	out.Label = middle(out.Label, l.labels)
	out.Full = l.name(e.from) + " from " + l.name(e.to) + ", " + out.Full
	const arrow, row = 8, 18
	straight := 26 + row*(min(s.of, 3)-1) // where the labels stand
	if l.sideways {
		straight = displayWidth(out.Label)*6 + 16
	}
	var b strings.Builder
	write := func(command string, places ...int) { // pairs of across and depth
		b.WriteString(command)
		for i := 0; i < len(places); i += 2 {
			x, y := l.at(places[i], places[i+1])
			fmt.Fprintf(&b, "%d %d ", x, y)
		}
	}
	head := func(across, tip, back int) string {
		x1, y1 := l.at(across, tip)
		x2, y2 := l.at(across-5, back)
		x3, y3 := l.at(across+5, back)
		return fmt.Sprintf("%d,%d %d,%d %d,%d", x1, y1, x2, y2, x3, y3)
	}
	first, last := e.route[0], e.route[len(e.route)-1]
	at, in := across(first), depth(first)+l.depth
	if e.flipped {
		out.Head = head(at, in, in+arrow)
		in += arrow
	}
	write("M", at, in)
	for _, p := range e.route[1:] {
		to, near := across(p), depth(p)
		if p == last {
			to, near = to+l.port(s), near-straight-arrow
		}
		mid := (in + near) / 2
		write("C", at, mid, to, mid, to, near)
		at, in = to, near+l.depth
		if p != last {
			write("L", at, in)
		}
	}
	end := depth(last)
	if !e.flipped {
		out.Head = head(at, end, end-arrow)
		end -= arrow
	}
	write("L", at, end)
	out.Path = strings.TrimRight(b.String(), " ")
	out.BackW = displayWidth(out.Label)*6 + 8
	if l.sideways {
		out.LabelX, out.LabelY = depth(last)-arrow-straight/2, at+4
	} else {
		out.LabelX, out.LabelY = at, depth(last)-arrow-9-row*(s.at%3)
	}
	out.BackX, out.BackY = out.LabelX-out.BackW/2, out.LabelY-12
	if l.sideways && s.of > 4 { // no room; the tooltip and the list have it
		out.Label = ""
	}
	return out
}
