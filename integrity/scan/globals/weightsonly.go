package globals

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/prerun/prerun/internal/pickle"
)

// A Blocker is something that torch's weights-only loader refuses.
type Blocker struct {
	Offset int64
	Reason string // one sentence; outside text in it is quoted
}

// WeightsOnly says whether torch.load(weights_only=True), as of PyTorch 2.8
// without names added by the caller, reads the pickles of a trace, and what
// stops it. Blockers come by offset; no blocker and a complete trace mean that
// it loads.
func WeightsOnly(t *pickle.Trace) (loadable bool, blockers []Blocker) {
	w := &weightsOnly{t: t}
	if len(t.Streams) == 0 {
		w.block(0, "there is no pickle")
	}
	for _, s := range t.Streams {
		if s.Reading != pickle.Linear {
			continue
		}
		for op := range 256 {
			if op := pickle.Op(op); s.Opcodes.Has(op) && !weightsOnlyOps.Has(op) {
				w.block(s.Start, "%s is no opcode that it takes", op)
			}
		}
		if !s.Complete {
			w.block(s.End, "the pickle that starts at offset %d is broken", s.Start)
		}
	}
	for i, g := range t.Globals {
		switch {
		case g.Op != pickle.OpGlobal:
			w.block(g.Offset, "%s names %s", g.Op, show(g.Module+"."+g.Name))
		case !w.allowed(i):
			w.block(g.Offset, "%s is not among the names that it allows", show(g.Module+"."+g.Name))
		}
	}
	for _, c := range t.Calls {
		w.call(&c)
	}
	for _, x := range t.Writes {
		w.block(x.Offset, "%s on %s", x.Op, show(t.Globals[x.Global].Module+"."+t.Globals[x.Global].Name))
	}
	for _, p := range t.PersistentIDs {
		if id := p.ID; id.Type != pickle.Int && (id.Type != pickle.Tuple || len(id.Items) == 0 || id.Items[0].Text != "storage") {
			w.block(p.Offset, "persistent id %s is no storage", id)
		}
	}
	for _, e := range t.Exceeded {
		w.block(e.Offset, "not read to the end: limit %s", e.Limit)
	}
	slices.SortStableFunc(w.blockers, func(a, b Blocker) int { return cmp.Compare(a.Offset, b.Offset) })
	return len(w.blockers) == 0, w.blockers
}

type weightsOnly struct {
	t        *pickle.Trace
	blockers []Blocker
}

func (w *weightsOnly) block(off int64, format string, args ...any) {
	w.blockers = append(w.blockers, Blocker{off, fmt.Sprintf(format, args...)})
}

// name is the global's Python 3 name: torch applies the renames always.
func (w *weightsOnly) name(i int) [2]string {
	g := &w.t.Globals[i]
	m, n, _ := pickle.Renamed(g.Module, g.Name)
	return [2]string{m, n}
}

func (w *weightsOnly) allowed(i int) bool {
	_, ok := weightsOnlyNames()[w.name(i)]
	return ok
}

func (w *weightsOnly) call(c *pickle.Call) {
	if c.Global < 0 {
		w.block(c.Offset, "%s of %s", c.Op, c.Callee)
		return
	}
	name := w.name(c.Global)
	switch c.Method {
	case "__setstate__":
		if name == [2]string{"_codecs", "encode"} || name == [2]string{"torch.serialization", "_get_layout"} {
			w.block(c.Offset, "%s on a result of %s", c.Op, show(name[0]+"."+name[1]))
		}
	case "append", "extend", "add":
		w.block(c.Offset, "%s on an instance of %s, which is no list", c.Op, show(name[0]+"."+name[1]))
	case "__setitem__":
		if name[0] != "collections" || name[1] != "OrderedDict" && name[1] != "Counter" {
			w.block(c.Offset, "%s on an instance of %s, which is no dict", c.Op, show(name[0]+"."+name[1]))
		}
	}
}

// weightsOnlyNames is the profile of that name, by module and name.
var weightsOnlyNames = sync.OnceValue(func() map[[2]string]allowed {
	for _, p := range Profiles() {
		if p.Name == "torch-weights-only" {
			return compile([]Profile{p}, &DenyList{}).allow
		}
	}
	return nil
})

var weightsOnlyOps = func() (s pickle.OpSet) {
	for _, op := range []pickle.Op{
		pickle.OpMark, pickle.OpStop, pickle.OpProto, pickle.OpGlobal, pickle.OpNewobj, pickle.OpReduce,
		pickle.OpBuild, pickle.OpAppend, pickle.OpAppends, pickle.OpSetitem, pickle.OpSetitems, pickle.OpTuple,
		pickle.OpTuple1, pickle.OpTuple2, pickle.OpTuple3, pickle.OpNone, pickle.OpNewtrue, pickle.OpNewfalse,
		pickle.OpEmptyTuple, pickle.OpEmptyList, pickle.OpEmptyDict, pickle.OpEmptySet, pickle.OpBinint,
		pickle.OpBinint1, pickle.OpBinint2, pickle.OpBinfloat, pickle.OpBinunicode, pickle.OpShortBinstring,
		pickle.OpLong1, pickle.OpBinpersid, pickle.OpBinget, pickle.OpBinput, pickle.OpLongBinget, pickle.OpLongBinput,
	} {
		s.Add(op)
	}
	return s
}()
