package globals

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/redact"
)

// A Cause is the kind of an assessment, one for each kind of finding.
type Cause string

// Causes.
const (
	DeniedGlobal   Cause = "denied-global"   // on a deny list, named or called
	UnlistedGlobal Cause = "unlisted-global" // on no list, only named
	UnlistedCall   Cause = "unlisted-call"   // on no list and called
	CheckedCall    Cause = "checked-call"    // allowed with some arguments, which these are not or may not be
	DangerousArgs  Cause = "dangerous-args"  // not allowed, and arguments like a command, address, code or payload
	DynamicImport  Cause = "dynamic-import"  // a name is computed while loading
	ComputedCall   Cause = "computed-call"   // the result of a call, or something unknown, is called
	ExtensionCode  Cause = "extension-code"  // copyreg's registry decides what is named
	LiveWrite      Cause = "live-write"      // a module, class, function or live mapping is changed
	OddName        Cause = "odd-name"        // a name that no import statement has
)

// Causes lists them all.
func Causes() []Cause {
	return []Cause{
		DeniedGlobal, UnlistedGlobal, UnlistedCall, CheckedCall, DangerousArgs,
		DynamicImport, ComputedCall, ExtensionCode, LiveWrite, OddName,
	}
}

// An Assessment is one thing to report about a trace.
type Assessment struct {
	Level   Level
	Cause   Cause
	Offset  int64
	Module  string // as written; empty when not known
	Name    string
	Effect  Effect // of a denied object
	Detail  string // one sentence; outside text in it is quoted and redacted
	Args    string // of the call, rendered and redacted
	Classes []Class
	Calls   int64 // how often it is called
	Global  int   // index in Trace.Globals, or -1
	Call    int   // index in Trace.Calls, or -1
	Write   int   // index in Trace.Writes, or -1
	Reading pickle.Reading
	Dormant bool // behind a fault that stops every known loader
}

// Assess judges everything in a trace, by offset. Allowed objects that are used
// as they may be yield nothing: no assessment means that nothing is wrong with
// what the trace holds, not that the trace is complete.
func (p Policy) Assess(t *pickle.Trace) []Assessment {
	a := &assessor{t: t, tables: p.tables(), calls: make([][]int, len(t.Globals)), judged: make(map[int]bool), payloads: make(map[int64]bool)}
	for i, c := range t.Calls {
		if c.Global >= 0 {
			a.calls[c.Global] = append(a.calls[c.Global], i)
		}
	}
	for _, n := range t.Nested {
		a.payloads[n.Offset] = true
	}
	a.grades = make([]Grade, len(t.Globals))
	for i, g := range t.Globals {
		a.grades[i] = a.tables.grade(g.Module, g.Name)
	}
	a.judge()
	for i := range t.Globals {
		a.global(i)
	}
	for i := range t.Calls {
		if t.Calls[i].Global < 0 {
			a.computed(i)
		}
	}
	for i := range t.Writes {
		a.write(i)
	}
	slices.SortStableFunc(a.out, func(x, y Assessment) int {
		return cmp.Or(cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Cause, y.Cause), cmp.Compare(x.Global, y.Global))
	})
	return a.out
}

type assessor struct {
	*tables
	t        *pickle.Trace
	grades   []Grade
	calls    [][]int        // by global
	judged   map[int]bool   // globals that another call calls
	payloads map[int64]bool // literals that are scanned as nested pickles
	out      []Assessment
}

// judge marks the globals that are handed to something that calls them. An
// allowed class that is called with a global, instead of being made empty and
// filled by its state as picklers do, may call that as well.
func (a *assessor) judge() {
	for i, g := range a.grades {
		if g.Level != Allowed || g.Need != NeedJudged && g.Need != NeedNothing {
			continue
		}
		for _, c := range a.calls[i] {
			if g.Need == NeedNothing {
				a.handed(&a.t.Calls[c])
				continue
			}
			walk(a.t.Calls[c].Args, func(v pickle.Value) bool {
				if v.Type == pickle.GlobalRef {
					a.judged[int(v.Int)] = true
				}
				return true
			})
		}
	}
}

// handed marks the globals that are themselves arguments of a call.
func (a *assessor) handed(c *pickle.Call) {
	if c.Method != "" {
		return
	}
	args := c.Args.Items
	if c.Op == pickle.OpNewobjEx {
		args = nil
		for _, v := range c.Args.Items {
			args = append(args, v.Items...)
		}
	}
	for _, v := range args {
		if v.Type == pickle.GlobalRef {
			a.judged[int(v.Int)] = true
		}
	}
}

// walk visits v and all kept below it until f returns false.
func walk(v pickle.Value, f func(pickle.Value) bool) bool {
	if !f(v) {
		return false
	}
	for _, item := range v.Items {
		if !walk(item, f) {
			return false
		}
	}
	return true
}

func (a *assessor) add(x Assessment) {
	if !x.Reading.Skips() && x.Level == Suspicious && !(identifier(x.Module) && identifier(x.Name)) {
		x.Level = Low // array data of joblib makes odd opcodes when it is run as such, but spells no names
	}
	if x.Dormant && x.Level > Low {
		x.Level--
		x.Detail += ", behind a fault at which every known loader stops"
	}
	a.out = append(a.out, x)
}

func (a *assessor) global(i int) {
	g := &a.t.Globals[i]
	grade := a.grades[i]
	x := Assessment{
		Offset: g.Offset, Module: g.Module, Name: g.Name, Global: i, Call: -1, Write: -1,
		Effect: grade.Effect, Calls: g.Calls, Reading: g.Reading, Dormant: g.AfterFault,
	}
	path := shown(g.Module + "." + g.Name)
	switch {
	case g.How == pickle.Computed:
		x.Level, x.Cause = Malicious, DynamicImport
		x.Detail = fmt.Sprintf("the name to import is computed while loading, from %s and %s", operand(g, 0), operand(g, 1))
		a.withCalls(&x, i)
		if g.Reading == pickle.Plain && (g.AfterFault || a.noText(g)) {
			// The memo of an array's own pickle is numbered afresh, so that the
			// loader that runs on into it takes other values for the names.
			x.Level = Low
			x.Detail += ", at which a loader stops that reads joblib's array data as opcodes"
		}
		a.add(x)
		return
	case g.How == pickle.Extension:
		x.Level, x.Cause = Suspicious, ExtensionCode
		x.Detail = fmt.Sprintf("extension code %d names whatever copyreg's registry holds", g.Code)
		if g.Module != "" || g.Name != "" {
			x.Detail = fmt.Sprintf("extension code %d names %s, which this stream registered itself", g.Code, path)
			x.Level = Malicious // no pickler writes a registration
		}
		a.withCalls(&x, i)
		a.add(x)
		return
	}
	if why, ok := a.odd(g.Module, g.Name); ok {
		x.Level, x.Cause = Suspicious, OddName
		x.Detail = fmt.Sprintf("%s is no name that an import statement has: %s", path, why)
		a.withCalls(&x, i)
		if grade.Level == Malicious {
			x.Level, x.Cause = Malicious, DeniedGlobal
		}
		a.add(x)
		return
	}
	called := g.Calls > 0 || a.judged[i]
	verb := "named"
	if g.Calls > 0 {
		verb = "called"
	} else if called {
		verb = "handed to something that calls it"
	}
	switch grade.Level {
	case Allowed:
		a.allowed(i, x)
		return
	case Malicious:
		x.Level, x.Cause = Malicious, DeniedGlobal
		x.Detail = fmt.Sprintf("%s is %s: %s", path, verb, grade.Reason)
	case Suspicious:
		x.Level, x.Cause = Suspicious, OddName
		x.Detail = fmt.Sprintf("%s is %s: %s", path, verb, grade.Reason)
	default:
		x.Level, x.Cause = Low, UnlistedGlobal
		if called {
			x.Level, x.Cause = Suspicious, UnlistedCall
		}
		x.Detail = fmt.Sprintf("%s is %s and on no list", path, verb)
	}
	a.withCalls(&x, i)
	if x.Level == Suspicious && len(x.Classes) > 0 {
		x.Level, x.Cause = Malicious, DangerousArgs
		x.Detail += fmt.Sprintf("; its arguments look like %s", list(x.Classes))
	}
	a.add(x)
}

// noText reports whether an operand of a computed name is an instance of a
// framework's class. Every loader wants a text there, and none of a subclass.
func (a *assessor) noText(g *pickle.Global) bool {
	return slices.ContainsFunc(g.Operands, func(v pickle.Value) bool {
		if v.Type != pickle.Object {
			return false
		}
		c := &a.t.Calls[v.Int]
		if c.Op != pickle.OpNewobj || c.Global < 0 {
			return false
		}
		grade := a.grades[c.Global]
		return grade.Level == Allowed && grade.Profile != "builtins" && grade.Profile != "std"
	})
}

// allowed checks the calls of an object that is harmless with some arguments.
func (a *assessor) allowed(i int, x Assessment) {
	g, grade := &a.t.Globals[i], a.grades[i]
	path := shown(g.Module + "." + g.Name)
	if grade.Need == NeedNothing || grade.Need == NeedJudged && !strings.HasSuffix(g.Name, "FunctionTransformer") {
		if grade.Need == NeedJudged && g.Unseen > 0 {
			x.Level, x.Cause, x.Detail = Suspicious, CheckedCall, path.String()+" is called with arguments that were too many to keep"
			a.add(x)
		}
		return
	}
	worst := Allowed
	why := ""
	for _, ci := range a.calls[i] {
		c := &a.t.Calls[ci]
		level, reason := a.check(grade.Need, c)
		if level > worst {
			worst, why = level, reason
			x.Call, x.Args, x.Offset = ci, c.Args.String(), c.Offset
			x.Dormant, x.Reading = c.AfterFault, c.Reading
		}
	}
	switch {
	case g.Unseen > 0 && worst < Suspicious && grade.Need != NeedJudged:
		worst, why = Suspicious, "some of its arguments were too many to keep"
	case worst == Allowed && (grade.Need == NeedAttr || grade.Need == NeedPayload) && g.Calls == 0:
		worst, why = Malicious, "named without a call whose arguments could be checked"
	}
	if worst == Allowed {
		return
	}
	x.Level, x.Cause = worst, CheckedCall
	x.Detail = fmt.Sprintf("%s: %s", path, why)
	a.add(x)
}

// check judges one call of an allowed object with a need.
func (a *assessor) check(need Need, c *pickle.Call) (Level, string) {
	switch need {
	case NeedPlain:
		level, why := Allowed, ""
		walk(c.Args, func(v pickle.Value) bool {
			switch {
			case v.Type == pickle.GlobalRef, v.Type == pickle.Object, v.Type == pickle.Unknown, v.Type == pickle.Persistent:
				level, why = Suspicious, fmt.Sprintf("called with %s, which it may call", v)
			case v.Cut():
				level, why = Suspicious, "called with more arguments than were kept"
			}
			return level == Allowed
		})
		return level, why
	case NeedAttr:
		args := c.Args.Items
		if c.Method == "" && len(args) >= 2 && len(args) <= 3 && args[0].Type == pickle.GlobalRef &&
			a.grades[args[0].Int].Level == Allowed && args[1].Type == pickle.Str && !args[1].Cut() {
			name := args[1].Text
			_, deny := a.deny.Components[name]
			if !deny && !strings.HasPrefix(name, "_") && identifier(name) && !strings.Contains(name, ".") {
				return Low, fmt.Sprintf("reads attribute %q of an allowed class", name)
			}
		}
		return Malicious, "reads an attribute that could be anything"
	case NeedPayload:
		args := c.Args.Items
		if c.Method == "" && len(args) == 1 && args[0].Type == pickle.Bytes && a.payloads[args[0].Offset] {
			return Low, "loads a payload that stands in the file and is scanned itself"
		}
		return Malicious, "loads a payload that cannot be seen"
	case NeedSibling:
		return a.sibling(c)
	case NeedJudged: // FunctionTransformer: what it holds runs when the model does
		level, why := Allowed, ""
		walk(c.Args, func(v pickle.Value) bool {
			if v.Type == pickle.GlobalRef && a.grades[v.Int].Level != Allowed {
				level, why = Suspicious, fmt.Sprintf("holds %s, which runs with the model", v)
			}
			return level == Allowed
		})
		return level, why
	}
	return Allowed, ""
}

// sibling judges a wrapper of joblib that stands for an array in another file.
// joblib reads that file, pickles in it included, wherever its name leads.
func (a *assessor) sibling(c *pickle.Call) (Level, string) {
	level, why := Allowed, ""
	worse := func(l Level, reason string, v pickle.Value) {
		if l > level {
			level, why = l, fmt.Sprintf("%s %s", reason, v)
		}
	}
	if args := c.Args.Items; c.Method == "" && len(args) > 0 && args[0].Type != pickle.Str {
		worse(Suspicious, "reads the file", args[0])
	}
	walk(c.Args, func(v pickle.Value) bool {
		switch {
		case v.Cut() && v.Type != pickle.Bytes:
			worse(Suspicious, "is handed more than was kept:", v)
		case v.Type == pickle.Str && (strings.ContainsAny(v.Text, `/\:`) || v.Text == ".."):
			worse(Malicious, "reads a file elsewhere,", v)
		case v.Type == pickle.GlobalRef && a.grades[v.Int].Level != Allowed:
			worse(Suspicious, "is handed", v)
		case v.Type == pickle.Dict:
			for i := 0; i+1 < len(v.Items); i += 2 {
				if v.Items[i].Text == "filename" && v.Items[i+1].Type != pickle.Str {
					worse(Suspicious, "reads the file", v.Items[i+1])
				}
			}
		}
		return true
	})
	return level, why
}

// withCalls adds what is called with what: the classes of all texts handed to
// the global, and the arguments of the call that shows most of them.
func (a *assessor) withCalls(x *Assessment, i int) {
	best := -1
	for _, ci := range a.calls[i] {
		c := &a.t.Calls[ci]
		classes := classesOf(c)
		if len(classes) > best {
			best = len(classes)
			x.Call, x.Args, x.Classes = ci, c.Args.String(), classes
			x.Offset = c.Offset
		}
		if !c.AfterFault {
			x.Dormant = false
		}
	}
}

// classesOf says what the texts in the arguments of a call look like. States
// are data that a class fills itself with, so paths in them mean nothing.
func classesOf(c *pickle.Call) []Class {
	if c.Method != "" {
		return nil
	}
	var classes []Class
	walk(c.Args, func(v pickle.Value) bool {
		if v.Type == pickle.Str || v.Type == pickle.Bytes {
			for _, class := range Classify(v.Text) {
				if !slices.Contains(classes, class) {
					classes = append(classes, class)
				}
			}
		}
		return true
	})
	slices.Sort(classes)
	return classes
}

// computed judges a call of something that has no name.
func (a *assessor) computed(i int) {
	c := &a.t.Calls[i]
	x := Assessment{
		Level: Suspicious, Cause: ComputedCall, Offset: c.Offset, Global: -1, Call: i, Write: -1, Calls: c.Count,
		Args: c.Args.String(), Classes: classesOf(c), Reading: c.Reading, Dormant: c.AfterFault,
	}
	what := "called"
	if c.Method != "" {
		what = c.Method + " is called on it"
	}
	x.Detail = fmt.Sprintf("%s is %s", c.Callee, what)
	switch c.Callee.Type {
	case pickle.Object, pickle.Unknown, pickle.Persistent, pickle.OutOfBand:
	default:
		x.Level = Low // plain data: every loader raises
	}
	if len(x.Classes) > 0 && x.Level == Suspicious {
		x.Level = Malicious
		x.Detail += fmt.Sprintf("; its arguments look like %s", list(x.Classes))
	}
	a.add(x)
}

func (a *assessor) write(i int) {
	w := &a.t.Writes[i]
	g := &a.t.Globals[w.Global]
	x := Assessment{
		Level: Malicious, Cause: LiveWrite, Offset: w.Offset, Module: g.Module, Name: g.Name, Global: w.Global,
		Call: -1, Write: i, Args: w.Value.String(), Reading: w.Reading, Dormant: w.AfterFault,
	}
	x.Detail = fmt.Sprintf("%s writes to %s itself, not to an instance", w.Op, show(g.Module+"."+g.Name))
	if len(w.Keys) > 0 {
		x.Detail += fmt.Sprintf(": %s", show(strings.Join(w.Keys[:min(len(w.Keys), 8)], ", ")))
	}
	a.add(x)
}

// Loaded are the offsets of literals that a call on load hands to something
// that loads pickles.
func (p Policy) Loaded(t *pickle.Trace) map[int64]bool {
	if len(t.Nested) == 0 {
		return nil
	}
	tables, loaded := p.tables(), make(map[int64]bool)
	for _, c := range t.Calls {
		if c.Global < 0 || c.AfterFault {
			continue
		}
		g := tables.grade(t.Globals[c.Global].Module, t.Globals[c.Global].Name)
		if g.Effect != Load && g.Need != NeedPayload {
			continue
		}
		walk(c.Args, func(v pickle.Value) bool {
			if v.Type == pickle.Bytes || v.Type == pickle.Str {
				loaded[v.Offset] = true
			}
			return true
		})
	}
	return loaded
}

func operand(g *pickle.Global, i int) string {
	if i < len(g.Operands) {
		return g.Operands[i].String()
	}
	return "an unknown value"
}

// A shown text is redacted when it is printed: of names that are allowed,
// which are most, nothing is.
type shown string

func (s shown) String() string { return show(string(s)) }

func show(s string) string { return fmt.Sprintf("\"%s\"", redact.Excerpt([]byte(s), 120)) }

func list(classes []Class) string {
	words := make([]string, len(classes))
	for i, c := range classes {
		words[i] = string(c)
	}
	return strings.Join(words, ", ")
}
