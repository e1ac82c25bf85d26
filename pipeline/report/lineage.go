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

// Sizes in the drawing's own units, which are pixels until it has to shrink.
const (
	nodeWidth   = 196
	nodeHeight  = 62
	nodeGap     = 28
	layerGap    = 104
	thread      = 28 // room for an edge that passes through a layer
	drawnNodes  = 60
	listedEdges = 400
)

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

// A point is a node, or a place in a layer that a long edge passes through.
type point struct {
	node  int // -1 for a passage
	layer int
	x     float64 // centre
	up    []int   // points of the layer above that lead here
	down  []int
}

func (p point) width() float64 {
	if p.node < 0 {
		return thread
	}
	return nodeWidth
}

// A layout places nodes in layers, each below all that was made out of it,
// after Sugiyama, Tagawa and Toda (1981): longest paths give the layers,
// medians of neighbours the order. Every step breaks ties by position, so the
// same graph gives the same drawing.
type layout struct {
	nodes  []Node
	edges  []layoutEdge
	points []point
	layers [][]int
}

type layoutEdge struct {
	edge     Edge
	from, to int
	route    []int // points from the upper end to the lower one
	flipped  bool  // it closes a cycle and is laid out upside down
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
	l.order()
	l.place()
	d.render(l)
	return d
}

// newLayout numbers the nodes; an edge to a node that is not listed gets one.
func newLayout(g Graph) *layout {
	l := new(layout)
	index := make(map[string]int)
	number := func(n Node) int {
		if i, known := index[n.ID]; known {
			return i
		}
		index[n.ID] = len(l.nodes)
		l.nodes = append(l.nodes, n)
		return index[n.ID]
	}
	for _, n := range g.Nodes {
		number(n)
	}
	for _, e := range g.Edges {
		from, to := number(Node{ID: e.From, Label: e.From}), number(Node{ID: e.To, Label: e.To})
		l.edges = append(l.edges, layoutEdge{edge: e, from: from, to: to})
	}
	return l
}

func (l *layout) name(i int) string {
	if l.nodes[i].Label != "" {
		return clean(l.nodes[i].Label)
	}
	return clean(l.nodes[i].ID)
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

// prune keeps the nodes that are nearest to what the lineage is about, which
// is what nothing else was made of, and returns how many it drops.
func (l *layout) prune(keep int) int {
	if len(l.nodes) <= keep {
		return 0
	}
	made := make([]bool, len(l.nodes)) // something was made out of it
	next := make([][]int, len(l.nodes))
	for _, e := range l.edges {
		if e.from != e.to {
			made[e.to] = true
			next[e.from] = append(next[e.from], e.to)
		}
	}
	var queue []int
	taken := make([]bool, len(l.nodes))
	take := func(i int) {
		if !taken[i] && len(queue) < keep {
			taken[i] = true
			queue = append(queue, i)
		}
	}
	for i := range l.nodes {
		if !made[i] {
			take(i)
		}
	}
	take(0) // where all is one cycle
	for head := 0; head < len(queue); head++ {
		for _, to := range next[queue[head]] {
			take(to)
		}
	}
	renumber := make([]int, len(l.nodes))
	var nodes []Node
	for i, n := range l.nodes {
		renumber[i] = -1
		if taken[i] {
			renumber[i] = len(nodes)
			nodes = append(nodes, n)
		}
	}
	var edges []layoutEdge
	for _, e := range l.edges {
		if e.from, e.to = renumber[e.from], renumber[e.to]; e.from >= 0 && e.to >= 0 {
			edges = append(edges, e)
		}
	}
	dropped := len(l.nodes) - len(nodes)
	l.nodes, l.edges = nodes, edges
	return dropped
}

// assign turns round the edges that close a cycle, drops those from a node to
// itself, and puts each node into the layer below all that it is a parent of.
func (l *layout) assign() {
	l.edges = slices.DeleteFunc(l.edges, func(e layoutEdge) bool { return e.from == e.to })
	out := make([][]int, len(l.nodes)) // edges by upper end
	for i, e := range l.edges {
		out[e.from] = append(out[e.from], i)
	}
	const unseen, open, closed = 0, 1, 2
	state := make([]int, len(l.nodes))
	var visit func(n int) // at most drawnNodes deep
	visit = func(n int) {
		state[n] = open
		for _, i := range out[n] {
			switch e := &l.edges[i]; state[e.to] {
			case open:
				e.flipped = true
			case unseen:
				visit(e.to)
			}
		}
		state[n] = closed
	}
	for n := range l.nodes {
		if state[n] == unseen {
			visit(n)
		}
	}
	layer := make([]int, len(l.nodes))
	for range l.nodes { // a path is no longer than there are nodes
		moved := false
		for _, e := range l.edges {
			if up, down := e.ends(); layer[down] <= layer[up] {
				layer[down] = layer[up] + 1
				moved = true
			}
		}
		if !moved {
			break
		}
	}
	for n := range l.nodes {
		l.add(point{node: n, layer: layer[n]})
	}
}

func (e layoutEdge) ends() (upper, lower int) {
	if e.flipped {
		return e.to, e.from
	}
	return e.from, e.to
}

func (l *layout) add(p point) int {
	i := len(l.points)
	l.points = append(l.points, p)
	for len(l.layers) <= p.layer {
		l.layers = append(l.layers, nil)
	}
	l.layers[p.layer] = append(l.layers[p.layer], i)
	return i
}

// insertPassages gives an edge over several layers a place in each.
func (l *layout) insertPassages() {
	for i := range l.edges {
		e := &l.edges[i]
		upper, lower := e.ends()
		e.route = []int{upper}
		for layer := l.points[upper].layer + 1; layer < l.points[lower].layer; layer++ {
			e.route = append(e.route, l.add(point{node: -1, layer: layer}))
		}
		e.route = append(e.route, lower)
		for k, p := range e.route[1:] {
			above := e.route[k]
			l.points[above].down = append(l.points[above].down, p)
			l.points[p].up = append(l.points[p].up, above)
		}
	}
}

// order sorts each layer by where its neighbours stand, downwards and upwards
// in turn, and keeps the order with the fewest crossings.
func (l *layout) order() {
	best, least := l.snapshot(), l.crossings()
	for round := range 8 {
		for k := range l.layers {
			layer := l.layers[k]
			if round%2 == 1 {
				layer = l.layers[len(l.layers)-1-k]
			}
			l.sortLayer(layer, round%2 == 0)
		}
		if n := l.crossings(); n < least {
			best, least = l.snapshot(), n
		}
	}
	l.layers = best
}

func (l *layout) snapshot() [][]int {
	out := make([][]int, len(l.layers))
	for i, layer := range l.layers {
		out[i] = slices.Clone(layer)
	}
	return out
}

func (l *layout) positions() []int {
	at := make([]int, len(l.points))
	for _, layer := range l.layers {
		for i, p := range layer {
			at[p] = i
		}
	}
	return at
}

func (l *layout) sortLayer(layer []int, down bool) {
	at := l.positions()
	weight := make(map[int]float64, len(layer))
	for _, p := range layer {
		near := l.points[p].down
		if down {
			near = l.points[p].up
		}
		weight[p] = float64(at[p])
		if len(near) > 0 {
			sum := 0
			for _, q := range near {
				sum += at[q]
			}
			weight[p] = float64(sum) / float64(len(near))
		}
	}
	slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(weight[a], weight[b]) })
}

func (l *layout) crossings() int {
	at := l.positions()
	n := 0
	for _, layer := range l.layers {
		type segment struct{ up, down int }
		var segments []segment
		for _, p := range layer {
			for _, q := range l.points[p].down {
				segments = append(segments, segment{at[p], at[q]})
			}
		}
		for i, a := range segments {
			for _, b := range segments[i+1:] {
				if (a.up-b.up)*(a.down-b.down) < 0 {
					n++
				}
			}
		}
	}
	return n
}

// place moves each point towards the middle of its neighbours without
// changing the order of its layer.
func (l *layout) place() {
	for _, layer := range l.layers {
		x := 0.0
		for _, p := range layer {
			l.points[p].x = x + l.points[p].width()/2
			x += l.points[p].width() + nodeGap
		}
		for _, p := range layer {
			l.points[p].x -= (x - nodeGap) / 2
		}
	}
	for round := range 16 {
		for k := range l.layers {
			layer := l.layers[k]
			if round%2 == 1 {
				layer = l.layers[len(l.layers)-1-k]
			}
			l.settle(layer)
		}
	}
}

// settle gives the points of a layer the places nearest to those they want
// that leave room between them: runs that collide are moved as one, to the
// mean of what their members want.
func (l *layout) settle(layer []int) {
	type run struct {
		sum   float64 // of wanted starts, each less its distance in the run
		n     int
		width float64
	}
	var runs []run
	start := func(r run) float64 { return r.sum / float64(r.n) }
	for _, p := range layer {
		pt := l.points[p]
		want, n := 0.0, 0
		for _, q := range slices.Concat(pt.up, pt.down) {
			want += l.points[q].x
			n++
		}
		if n == 0 {
			want, n = pt.x, 1
		}
		r := run{want/float64(n) - pt.width()/2, 1, pt.width() + nodeGap}
		for len(runs) > 0 {
			last := runs[len(runs)-1]
			if start(last)+last.width <= start(r) {
				break
			}
			r = run{last.sum + r.sum - float64(r.n)*last.width, last.n + r.n, last.width + r.width}
			runs = runs[:len(runs)-1]
		}
		runs = append(runs, r)
	}
	next := 0
	for _, r := range runs {
		x := start(r)
		for range r.n {
			p := &l.points[layer[next]]
			p.x = x + p.width()/2
			x += p.width() + nodeGap
			next++
		}
	}
}

// render writes the drawing in whole numbers.
func (d *drawing) render(l *layout) {
	left, right := 0.0, 0.0
	for i, p := range l.points {
		if i == 0 || p.x-p.width()/2 < left {
			left = p.x - p.width()/2
		}
		if i == 0 || p.x+p.width()/2 > right {
			right = p.x + p.width()/2
		}
	}
	const margin = 12
	x := func(p int) int { return int(l.points[p].x-left+0.5) + margin }
	y := func(p int) int { return l.points[p].layer*(nodeHeight+layerGap) + margin }
	d.Width = int(right-left+0.5) + 2*margin
	d.Height = len(l.layers)*(nodeHeight+layerGap) - layerGap + 2*margin
	for i, n := range l.nodes {
		d.Nodes = append(d.Nodes, l.box(i, n, x(i)-nodeWidth/2, y(i)))
	}
	slots := l.slots()
	for i, e := range l.edges {
		d.Edges = append(d.Edges, l.line(e, slots[i], x, y))
	}
}

// A slot is where on a node's upper side an edge ends.
type slot struct{ at, of int }

// slots spreads the edges that end on the same node, from left to right.
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

// port is the distance of the slot from the middle of the node.
func (s slot) port() int {
	if s.of < 2 {
		return 0
	}
	step := min(64, (nodeWidth-48)/(s.of-1))
	return s.at*step - (s.of-1)*step/2
}

func (l *layout) box(i int, n Node, x, y int) drawnNode {
	kind := clean(n.Kind)
	if kind == "" {
		kind = "artefact"
	}
	out := drawnNode{
		X: x, Y: y, W: nodeWidth, H: nodeHeight, TextX: x + 14, KindY: y + 19, NameY: y + 37, DigestY: y + 53,
		Kind: kind, Name: middle(l.name(i), 20), Root: len(l.points[i].up) == 0,
	}
	full := []string{l.name(i)}
	if digest := clean(n.Digest); digest != "" {
		out.Digest = digest
		if algorithm, hex, ok := strings.Cut(digest, ":"); ok && len(hex) > 12 {
			out.Digest = algorithm + ":" + hex[:min(12, len(hex))] + "…"
		}
		out.Digest = middle(out.Digest, 24)
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

// line draws an edge from the child's lower side to the parent's upper side,
// with an arrow that points to the parent.
func (l *layout) line(e layoutEdge, s slot, x, y func(int) int) drawnEdge {
	legend := legendOf(e.edge)
	out := drawnEdge{Class: legend.Class, Label: legend.Grade, Full: legend.Grade}
	if label := clean(e.edge.Label); label != "" {
		out.Full = legend.Grade + ": " + label
		if legend.Class != "refused" {
			out.Label = legend.Grade + " · " + label
		}
	}
	out.Label = middle(out.Label, 26)
	out.Full = l.name(e.from) + " from " + l.name(e.to) + ", " + out.Full
	const arrow, row = 8, 18
	straight := 26 + row*(min(s.of, 3)-1) // where the labels stand
	var b strings.Builder
	first, last := e.route[0], e.route[len(e.route)-1]
	px, py := x(first), y(first)+nodeHeight
	if e.flipped {
		out.Head = fmt.Sprintf("%d,%d %d,%d %d,%d", px, py, px-5, py+arrow, px+5, py+arrow)
		py += arrow
	}
	fmt.Fprintf(&b, "M%d %d", px, py)
	for _, p := range e.route[1:] {
		qx, qy := x(p), y(p)
		if p == last {
			qx, qy = qx+s.port(), qy-straight-arrow
		}
		mid := (py + qy) / 2
		fmt.Fprintf(&b, "C%d %d %d %d %d %d", px, mid, qx, mid, qx, qy)
		px, py = qx, qy+nodeHeight
		if p != last {
			fmt.Fprintf(&b, "V%d", py)
		}
	}
	end := y(last)
	if !e.flipped {
		out.Head = fmt.Sprintf("%d,%d %d,%d %d,%d", px, end, px-5, end-arrow, px+5, end-arrow)
		end -= arrow
	}
	fmt.Fprintf(&b, "V%d", end)
	out.Path = b.String()
	out.LabelX, out.LabelY = px, y(last)-arrow-9-row*(s.at%3)
	out.BackW = displayWidth(out.Label)*6 + 8
	out.BackX, out.BackY = px-out.BackW/2, out.LabelY-12
	return out
}
