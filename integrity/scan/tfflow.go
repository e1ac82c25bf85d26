package scan

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

// tfNamed are operators of ordinary graphs that take the names of files, with
// the inputs that hold them. What they are given is followed back through the
// graph and its functions.
var tfNamed = map[string][]int{
	"InitializeTableFromTextFile": {1}, "InitializeTableFromTextFileV2": {1},
	"Save": {0}, "SaveSlices": {0}, "SaveV2": {0}, "Restore": {0}, "RestoreSlice": {0}, "RestoreV2": {0}, "MergeV2Checkpoints": {0, 1},
	"CacheDataset": {1}, "CacheDatasetV2": {1}, "CreateSummaryFileWriter": {1}, "CreateSummaryDbWriter": {1},
	"LoadAndRemapMatrix": {0}, "GenerateVocabRemapping": {0, 1},
}

// tfPasses are operators that hand on texts as they are, or in the way that
// savers put names together.
var tfPasses = set(`Identity IdentityN StringJoin Select SelectV2 Switch RefSwitch Merge RefMerge Enter RefEnter Exit RefExit NextIteration
	ShardedFilename PlaceholderWithDefault Pack ExpandDims Reshape Squeeze Concat ConcatV2 StridedSlice StopGradient PreventGradient
	Snapshot EnsureShape StaticRegexFullMatch RegexFullMatch PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile Case
	StatelessCase Const HostConst`)

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// A tfScopeNode is what is kept of a node to follow names.
type tfScopeNode struct {
	op     string
	inputs []string // without those that only order
	calls  []string // functions that it names
	texts  []string // of a constant: those that may be names
	at     wire.Field
}

// A tfScope is a graph or the body of a function.
type tfScope struct {
	nodes   map[string]*tfScopeNode
	args    []string // of a function
	returns []string // inputs of its end
}

// A tfFlow keeps the nodes of a file.
type tfFlow struct {
	scopes  map[string]*tfScope // "" is the graph
	named   []tfUse
	callers map[string][]tfCall // of functions
	assigns []tfCall            // nodes that write variables
	savers  map[string]bool     // nodes to which a saver feeds the name of its file
	assets  map[string]bool     // nodes to which the names of assets are fed
	kept    int64               // bytes of memory that were taken from the budget
	lost    bool                // nodes were not kept
	steps   int
}

// A tfUse is an operator that takes the name of a file, and a tfCall one that
// calls a function or writes a variable.
type (
	tfUse  struct{ scope, node string }
	tfCall = tfUse
)

func newTFFlow() *tfFlow {
	return &tfFlow{
		scopes: map[string]*tfScope{"": {nodes: make(map[string]*tfScopeNode)}}, callers: make(map[string][]tfCall),
		savers: make(map[string]bool), assets: make(map[string]bool),
	}
}

// keep remembers a node, as long as the budget has memory for it.
func (f *tfFlow) keep(a *Artifact, scope, name string, n *tfScopeNode) {
	size := int64(len(name) + len(n.op) + 160)
	for _, list := range [][]string{n.inputs, n.calls, n.texts} {
		for _, s := range list {
			size += int64(len(s)) + 24
		}
	}
	if f.lost || size > a.Left(Memory)/2 || a.Spend(Memory, size) != nil {
		f.lost = true
		return
	}
	f.kept += size
	sc := f.scopes[scope]
	if sc == nil {
		sc = &tfScope{nodes: make(map[string]*tfScopeNode)}
		f.scopes[scope] = sc
	}
	if sc.nodes[name] != nil && tfNamed[n.op] != nil {
		name += "\x00" + string(binary.AppendVarint(nil, n.at.At)) // a name that is used twice
	}
	sc.nodes[name] = n
	if tfNamed[n.op] != nil {
		f.named = append(f.named, tfUse{scope, name})
	}
	for _, c := range append(slices.Clip(n.calls), n.op) {
		f.callers[c] = append(f.callers[c], tfCall{scope, name})
	}
	if strings.HasPrefix(n.op, "Assign") {
		f.assigns = append(f.assigns, tfCall{scope, name})
	}
}

// tfOrigin is what a name is made of.
type tfOrigin struct {
	outside  string // a constant that leads out of the model
	computed string // an operator whose result is not known
	fed      string // an input of the graph that no saver feeds
	table    bool   // the name is of a table, to which an asset is fed
}

// maxTFSteps bounds the steps in which names are followed, for all operators of a
// file together.
const maxTFSteps = 200_000

// origin follows an input back to where it comes from.
func (f *tfFlow) origin(scope, input string, o *tfOrigin, seen map[tfUse]bool) {
	stack := []tfUse{{scope, input}}
	push := func(scope, input string) {
		base, _, _ := strings.Cut(input, ":")
		if u := (tfUse{scope, base}); base != "" && !seen[u] {
			seen[u] = true
			stack = append(stack, u)
		}
	}
	for len(stack) > 0 {
		u := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if f.steps++; f.steps > maxTFSteps {
			return
		}
		base, _, _ := strings.Cut(u.node, ":")
		sc := f.scopes[u.scope]
		if sc == nil {
			continue
		}
		n := sc.nodes[base]
		if n == nil {
			f.argument(u.scope, slices.Index(sc.args, base), push)
			continue
		}
		f.source(u.scope, base, n, o)
		for _, in := range n.inputs {
			push(u.scope, in)
		}
		for _, c := range append(slices.Clip(n.calls), n.op) {
			if called := f.scopes[c]; called != nil && c != "" {
				for _, r := range called.returns {
					push(c, r)
				}
			}
		}
		if strings.HasPrefix(n.op, "ReadVariable") || strings.HasPrefix(n.op, "Variable") || n.op == "VarHandleOp" {
			for _, as := range f.assigns {
				if w := f.scopes[as.scope].nodes[as.node]; len(w.inputs) > 1 {
					push(as.scope, w.inputs[1])
				}
			}
		}
	}
}

// argument follows an argument of a function to what its callers hand over.
func (f *tfFlow) argument(function string, i int, push func(scope, input string)) {
	if i < 0 {
		return
	}
	for _, c := range f.callers[function] {
		n := f.scopes[c.scope].nodes[c.node]
		k := i
		switch n.op {
		case "If", "StatelessIf", "Case", "StatelessCase":
			k++ // the first input chooses
		case "PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", function:
		default: // of data sets, and what else maps functions
			for _, in := range n.inputs {
				push(c.scope, in)
			}
			continue
		}
		if k < len(n.inputs) {
			push(c.scope, n.inputs[k])
		}
	}
}

// source judges one node on the way.
func (f *tfFlow) source(scope, name string, n *tfScopeNode, o *tfOrigin) {
	switch {
	case n.op == "Placeholder" || n.op == "PlaceholderV2":
		if scope == "" && !f.savers[name] && !f.assets[name] && o.fed == "" {
			o.fed = name
		}
	case n.op == "Const" || n.op == "HostConst":
		for _, text := range n.texts {
			switch {
			case text == "":
			case outside(text) && !(scope == "" && o.table && f.assets[name]):
				if o.outside == "" {
					o.outside = text
				}
			case tfPart(text) && o.computed == "":
				o.computed = "parts such as " + excerpt(text, 40)
			}
		}
	case !tfPasses[n.op] && f.scopes[n.op] == nil && o.computed == "":
		o.computed = "operator " + n.op
	}
}

// tfPart reports a text that makes a path which leads elsewhere when others
// stand before or behind it.
func tfPart(text string) bool {
	return strings.HasSuffix(text, ".") || strings.Trim(text, `./\:~`) == ""
}

// files reports operators that are given the name of a file of the host, or one
// that the model computes. Ordinary ones get an asset, or a name of the program
// that loads the model.
func (f *tfFlow) files(out *Sink) {
	told := make(map[string]bool)
	tell := func(n *tfScopeNode, sev prerun.Severity, key, format string, args ...any) {
		if !told[key] {
			told[key] = true
			graphFinding(out, ruleTFFile, sev, flatbuf.Range{Off: n.at.At, Len: n.at.End() - n.at.At}, key, format, args...)
		}
	}
	for _, u := range f.named {
		n := f.scopes[u.scope].nodes[u.node]
		o := tfOrigin{table: strings.HasPrefix(n.op, "InitializeTable")} // or it lies in a variable
		for _, i := range tfNamed[n.op] {
			if i < len(n.inputs) {
				f.origin(u.scope, n.inputs[i], &o, make(map[tfUse]bool))
			}
		}
		shown := excerpt(o.outside, 120)
		switch {
		case o.outside != "":
			tell(n, 0, shown, "operator %s takes the file %q", n.op, shown)
		case o.table:
		case o.computed != "":
			tell(n, prerun.Medium, n.op, "operator %s takes a file whose name the model computes (%s)", n.op, o.computed)
		case o.fed != "":
			tell(n, prerun.Medium, n.op, "operator %s takes a file that an input of the model names (%s)", n.op, excerpt(o.fed, 80))
		}
	}
	if len(f.named) > 0 && (f.lost || f.steps > maxTFSteps) {
		out.Gap("the names of files are not followed through the whole graph", 0, 0)
	}
}

// tfTexts decodes the texts of a tensor that keeps them as one content: the
// lengths of all, then all.
func tfTexts(p []byte) []string {
	var lengths []uint64
	sum := uint64(0)
	for rest := p; len(rest) > 0 && len(lengths) < 1000; {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(p)) {
			return nil
		}
		rest = rest[k:]
		lengths = append(lengths, n)
		if sum += n; sum == uint64(len(rest)) {
			out := make([]string, len(lengths))
			for i, n := range lengths {
				out[i], rest = string(rest[:n]), rest[n:]
			}
			return out
		}
	}
	return nil
}
