package report

import (
	"cmp"
	"slices"
)

// A point is a node, or a place in a layer that a long edge passes through.
type point struct {
	node  int // -1 for a passage
	layer int
	x     float64 // of the centre, across
	up    []int   // points of the layer above that lead here
	down  []int
}

// A layout places nodes in layers, each below all that was made out of it,
// after Sugiyama, Tagawa and Toda (1981): longest paths give the layers,
// medians of neighbours the order. Every step breaks ties by position, so the
// same graph gives the same drawing.
type layout struct {
	frame
	nodes  []Node
	edges  []layoutEdge
	points []point
	layers [][]int
}

func (l *layout) width(p int) float64 {
	if l.points[p].node < 0 {
		return float64(l.thread)
	}
	return float64(l.node)
}

// widest is how much room the fullest layer takes.
func (l *layout) widest() float64 {
	widest := 0.0
	for _, layer := range l.layers {
		sum := 0.0
		for _, p := range layer {
			sum += l.width(p) + float64(l.gap)
		}
		widest = max(widest, sum)
	}
	return widest
}

type layoutEdge struct {
	edge     Edge
	from, to int
	route    []int // points from the upper end to the lower one
	flipped  bool  // it closes a cycle and is laid out upside down
}

// newLayout numbers the nodes; an edge to a node that is not listed gets one.
func newLayout(g Graph) *layout {
	l := &layout{frame: downwards}
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
			l.points[p].x = x + l.width(p)/2
			x += l.width(p) + float64(l.gap)
		}
		for _, p := range layer {
			l.points[p].x -= (x - float64(l.gap)) / 2
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
		r := run{want/float64(n) - l.width(p)/2, 1, l.width(p) + float64(l.gap)}
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
			p := layer[next]
			l.points[p].x = x + l.width(p)/2
			x += l.width(p) + float64(l.gap)
			next++
		}
	}
}
