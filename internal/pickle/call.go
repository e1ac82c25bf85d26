package pickle

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// name returns the text of an operand of STACK_GLOBAL, if it is a literal.
func (m *machine) name(v value) (s string, cut, ok bool) {
	if v.typ() != Str && v.typ() != Bytes {
		return "", false, false
	}
	off, n := m.span(v)
	b := m.in.bytes(off, min(n, int64(m.lim.Text)), &m.scratch)
	m.walked += 1 + int64(len(b)/16)
	return v.enc().decode(b), n > int64(m.lim.Text), true
}

// A globalKey is what makes two globals one.
type globalKey struct {
	how          How
	module, name string
	code         int64
}

// A known is what is known of a global besides what the trace says.
type known struct {
	text           string // its name with that of the module
	torch, copyreg bool   // it is of that module
	builds         int    // calls of __setstate__ of its instances that are kept
}

// named interns a global and returns a reference to it.
func (m *machine) named(g Global, operands ...value) value {
	key := globalKey{g.How, g.Module, g.Name, g.Code}
	i, ok := m.globals[key]
	fresh := m.opAt >= m.replay
	if !ok {
		if len(m.t.Globals) >= m.lim.Records {
			m.exceed("Records")
			return unknown
		}
		i = len(m.t.Globals)
		put(&m.globals, key, i)
		g.Offset, g.Stream, g.Op, g.Reading, g.AfterFault = m.opAt, m.stream, m.op, m.reading, m.faulty
		g.Protocol, g.MinProtocol = m.proto, m.proto
		for _, v := range operands {
			g.Operands = append(g.Operands, m.materialise(v))
		}
		m.t.Globals = append(m.t.Globals, g)
		m.known = append(m.known, known{
			text:    g.Module + "." + g.Name,
			torch:   g.Module == "torch" || strings.HasPrefix(g.Module, "torch."),
			copyreg: g.Module == "copyreg" || g.Module == "copy_reg",
		})
		fresh = true
	}
	p := &m.t.Globals[i]
	if fresh {
		p.Count++
	}
	if !m.faulty {
		p.AfterFault = false
	}
	p.Protocol, p.MinProtocol = max(p.Protocol, m.proto), min(p.MinProtocol, m.proto)
	override := 0
	if o, ok := m.overrides[[2]string{g.Module, g.Name}]; ok {
		switch n := len(m.alts); {
		case n > 0 && m.alts[n-1] == o:
			override = n
		case n < maxAlts:
			m.alts = append(m.alts, o)
			override = n + 1
		default:
			m.exceed("Values")
		}
	}
	return globalRef(i, override)
}

// maxAlts is how many times an overridden object is named in turn with others.
const maxAlts = 1 << 22

// alternative is what the stream wrote over the object that v refers to.
func (m *machine) alternative(v value) (value, bool) {
	if v.typ() != GlobalRef || v.override() == 0 {
		return unknown, false
	}
	return m.alts[v.override()-1], true
}

// lines reads the two lines of GLOBAL and INST.
func (m *machine) lines() (g Global, ok bool) {
	var text [2]string
	for i := range text {
		off, n := m.readLine()
		b := m.in.bytes(off, min(n, int64(m.lim.Text)), &m.scratch)
		if n > int64(len(b)) {
			g.Cut = true
		} else if !validName(b) {
			m.fail("%s %q is no name", m.op, clip(b))
			return g, false
		}
		if !ascii(b) {
			m.diverge(NameEncoding, "%s %q", m.op, clip(b))
		}
		text[i] = string(b)
	}
	g.Module, g.Name = text[0], text[1]
	return g, true
}

func (m *machine) global() {
	if g, ok := m.lines(); ok {
		m.push(m.named(g))
	}
}

func (m *machine) stackGlobal() {
	nameOp := m.pop()
	moduleOp := m.pop()
	module, cut1, ok1 := m.name(moduleOp)
	name, cut2, ok2 := m.name(nameOp)
	if ok1 && ok2 {
		if moduleOp.typ() == Bytes || nameOp.typ() == Bytes {
			m.fault("STACK_GLOBAL of bytes")
		}
		m.push(m.named(Global{Module: module, Name: name, Cut: cut1 || cut2}))
		return
	}
	for _, v := range []value{moduleOp, nameOp} {
		if t := v.typ(); v.plain() && t != Str || t == Tuple || t == List || t == Dict || t == Set {
			m.fault("STACK_GLOBAL of a %s", t)
			break
		}
	}
	// What the loader would find is only known by running it. Where an operand
	// is an attribute that this stream overwrote, the text is known after all.
	m1, n1 := module, name
	rewritten := false
	if alt, ok := m.alternative(moduleOp); ok {
		m1, _, ok1 = m.name(alt)
		rewritten = rewritten || ok1
	}
	if alt, ok := m.alternative(nameOp); ok {
		n1, _, ok2 = m.name(alt)
		rewritten = rewritten || ok2
	}
	ref := m.named(Global{How: Computed, Module: module, Name: name}, moduleOp, nameOp)
	if rewritten && ok1 && ok2 {
		ref = m.named(Global{How: Rewritten, Module: m1, Name: n1})
	}
	m.push(ref)
}

func (m *machine) extension(code int64) {
	x := m.registry[code]
	m.push(m.named(Global{How: Extension, Module: x.module, Name: x.name, Code: code}))
}

// register notes what a call or a write puts into copyreg's registry.
func (m *machine) register(module, name, code value) {
	mod, _, ok1 := m.name(module)
	nam, _, ok2 := m.name(name)
	if code.typ() != Int || !ok1 || !ok2 {
		return
	}
	n, ok := m.integer(code)
	if !ok {
		return
	}
	if _, known := m.registry[n]; known || m.affords(len(m.registry), mod, nam) {
		put(&m.registry, n, extension{mod, nam})
	}
}

func (m *machine) inst() {
	g, ok := m.lines()
	if !ok {
		return
	}
	ref := m.named(g)
	args := m.tuple(m.popMark())
	m.push(m.call(ref, "", args))
}

// construct is REDUCE, NEWOBJ, NEWOBJ_EX and OBJ.
func (m *machine) construct() {
	var callee, args value
	switch m.op {
	case OpObj:
		items := m.popMark()
		if len(items) == 0 {
			m.fault("stack underflow")
			items = []value{unknown}
		}
		callee, args = items[0], m.tuple(items[1:])
	case OpNewobjEx:
		kwargs := m.pop()
		positional := m.pop()
		callee = m.pop()
		m.arguments(positional, Tuple)
		m.arguments(kwargs, Dict)
		args = m.tuple([]value{positional, kwargs})
	default:
		args = m.pop()
		callee = m.pop()
		m.arguments(args, Tuple)
	}
	if callee.plain() || m.heapHolds(callee) || callee.typ() == Dict {
		m.fault("%s calls a %s", m.op, callee.typ())
	}
	m.push(m.call(callee, "", args))
}

// arguments checks what is handed to a call: C wants a tuple, Python takes
// whatever it can iterate over.
func (m *machine) arguments(v value, want Type) {
	switch v.typ() {
	case want, Unknown, Object, GlobalRef, Persistent, OutOfBand:
	case None, Bool, Int, Float:
		m.fault("%s with a %s for arguments", m.op, v.typ())
	default:
		m.diverge(ArgumentType, "%s with a %s for arguments", m.op, v.typ())
	}
}

func (m *machine) build() {
	args := m.pop()
	target := m.peek()
	switch target.typ() {
	case GlobalRef:
		m.write(target, []value{args})
	case Object, Unknown, Persistent, OutOfBand:
		m.call(target, "__setstate__", args)
		if target.typ() == Object && target.class() >= 0 {
			g := &m.t.Globals[target.class()]
			if g.Name == "NumpyArrayWrapper" && strings.HasPrefix(g.Module, "joblib.") {
				m.array(args)
			}
		}
	default:
		if !m.empty(args) { // loaders pass over an empty state whatever the object is
			m.fault("BUILD on a %s", target.typ())
		}
	}
}

// empty reports whether Python takes v for false, or for a pair of such.
func (m *machine) empty(v value) bool {
	if m.falsy(v) {
		return true
	}
	var pair [3]value
	return v.typ() == Tuple && m.heap.len(v) == 2 && m.first(v, pair[:]) == 2 && m.falsy(pair[0]) && m.falsy(pair[1])
}

func (m *machine) falsy(v value) bool {
	switch v.typ() {
	case None:
		return true
	case Bool:
		return v == boolean(false)
	case Int:
		n, ok := m.integer(v)
		return ok && n == 0
	case Float:
		bits, ok := m.float(v)
		return ok && bits == 0
	case Str, Bytes:
		_, n := m.span(v)
		return n == 0
	case Tuple, List, Dict, Set:
		return m.heap.len(v) == 0
	}
	return false
}

// write records a change to a live object.
func (m *machine) write(target value, items []value) {
	g := &m.t.Globals[target.global()]
	path := g.Module + "." + g.Name
	w := Write{
		Offset: m.opAt, Stream: m.stream, Op: m.op, Global: target.global(),
		Reading: m.reading, AfterFault: m.faulty,
	}
	recorded := m.opAt >= m.replay
	if recorded && len(m.t.Writes) >= m.lim.Records {
		m.exceed("Records")
		recorded = false
	}
	set := func(k, v value) {
		if m.exhausted() {
			return
		}
		key, _, ok := m.name(k)
		if ok {
			if recorded && len(w.Keys) < 64 && m.charge(key) {
				w.Keys = append(w.Keys, key)
			}
			kept := unknown
			if v.typ() == Str || v.typ() == GlobalRef {
				kept = v
			}
			m.override(path, key, kept)
			if g.Name == "__dict__" || g.Name == "__builtins__" {
				m.override(g.Module, key, kept)
			}
		}
		if k.typ() == Int && (g.Name == "_inverted_registry") && v.typ() == Tuple {
			module, _ := m.heap.at(v, 0)
			name, _ := m.heap.at(v, 1)
			m.register(module, name, k)
		}
	}
	switch m.op {
	case OpBuild:
		states := []value{items[0]}
		if items[0].typ() == Tuple && m.heap.len(items[0]) == 2 { // attributes, slots
			states = states[:0]
			m.heap.each(items[0], func(v value) bool { states = append(states, v); return true })
		}
		for _, s := range states {
			if s.typ() == Dict {
				m.eachPair(s, set)
			}
		}
		w.Value = m.materialise(items[0])
	case OpSetitem, OpSetitems:
		for i := 0; i+1 < len(items); i += 2 {
			set(items[i], items[i+1])
		}
		w.Value = m.materialise(m.tuple(items))
	default:
		w.Value = m.materialise(m.tuple(items))
	}
	if recorded {
		m.t.Writes = append(m.t.Writes, w)
	}
}

// override notes what was written over an attribute.
func (m *machine) override(object, key string, v value) {
	at := [2]string{object, key}
	if _, known := m.overrides[at]; !known && !m.affords(len(m.overrides), object, key) {
		return
	}
	put(&m.overrides, at, v)
}

// affords reports whether another entry may be kept beside n, and charges it.
func (m *machine) affords(n int, texts ...string) bool {
	if n >= m.lim.Records {
		m.exceed("Records")
		return false
	}
	return m.charge(texts...)
}

// charge reports whether texts may be kept.
func (m *machine) charge(texts ...string) bool {
	m.texts += valueSize
	for _, s := range texts {
		m.texts += int64(len(s))
	}
	if m.texts > m.lim.Texts {
		m.exceed("Texts")
		return false
	}
	return true
}

// exhausted reports that no more can be looked at, and notes it.
func (m *machine) exhausted() bool {
	if m.tired() {
		m.exceed("Ops")
		return true
	}
	return false
}

func (m *machine) eachPair(d value, f func(k, v value)) {
	var key value
	odd := false
	m.heap.each(d, func(v value) bool {
		if odd = !odd; odd {
			key = v
		} else {
			f(key, v)
		}
		return true
	})
}

// buildsKept is how many states of one class are kept apart.
const buildsKept = 16

// call records a call and returns its result: that of callee, or of a method of
// the instance that callee is.
func (m *machine) call(callee value, method string, args value) value {
	class := -1 // the global called, or the class of the object
	via := -1
	switch callee.typ() {
	case GlobalRef:
		class = callee.global()
	case Object:
		via = callee.call()
		if method != "" {
			class = callee.class()
		}
	}
	made := class // the class of the result
	if class >= 0 {
		made = m.effects(class, args)
	}
	fresh := m.opAt >= m.replay
	if fresh && class >= 0 {
		m.t.Globals[class].Calls++
		m.tensor(class, args)
	}
	if alt, ok := m.alternative(callee); ok && alt.typ() == GlobalRef && fresh {
		m.t.Globals[alt.global()].Calls++
	}

	build := method == "__setstate__" && class >= 0 && fresh
	full := build && m.known[class].builds >= buildsKept
	if full {
		args = unknown // one entry for all further states of the class
		m.t.Globals[class].Unseen++
	}
	h := m.hash(callee, method, class, args)
	i, again := m.calls.find(h)
	if build && !full && !again {
		m.known[class].builds++
	}
	if again {
		c := &m.t.Calls[i]
		if fresh {
			c.Count++
		}
		c.AfterFault = c.AfterFault && m.faulty
		return object(i, made)
	}
	if len(m.t.Calls) >= m.lim.Records && (class < 0 || !changes(method)) {
		if class >= 0 {
			m.t.Globals[class].Unseen++
		} else {
			m.exceed("Records")
		}
		return object(-1, made)
	}
	i = len(m.t.Calls)
	m.calls.add(h)
	if n := len(m.t.Calls); n == cap(m.t.Calls) {
		m.t.Calls = slices.Grow(m.t.Calls, max(3*n, 4))
	}
	m.t.Calls = append(m.t.Calls, Call{
		Offset: m.opAt, Stream: m.stream, Op: m.op, Callee: m.materialise(callee), Method: method,
		Global: class, Via: via, Args: m.materialise(args), Count: 1,
		Reading: m.reading, AfterFault: m.faulty,
	})
	return object(i, made)
}

// changes reports a method that adds to an instance. Such calls are kept without
// what is added: those of one class are one entry, and none is dropped.
func changes(method string) bool { return method != "" && method != "__setstate__" }

// effects follows the few calls whose result the machine must know, and returns
// the class of the result.
func (m *machine) effects(class int, args value) int {
	g := &m.t.Globals[class]
	if !m.known[class].copyreg || args.typ() != Tuple {
		return class
	}
	switch g.Name {
	case "add_extension":
		module, _ := m.heap.at(args, 0)
		name, _ := m.heap.at(args, 1)
		code, _ := m.heap.at(args, 2)
		m.register(module, name, code)
	case "_reconstructor", "__newobj__", "__newobj_ex__":
		if c, ok := m.heap.at(args, 0); ok && c.typ() == GlobalRef {
			return c.global()
		}
	}
	return class
}

// walkItems and walkDepth bound what is hashed and kept of arguments, and
// walkTired bounds the items once walking has become out of proportion to the
// file: a memoised tuple can be handed to a call in ten bytes.
const (
	walkItems = 512
	walkDepth = 6
	walkTired = 16
	valueSize = 72 // bytes that a kept value is charged for, apart from its text
)

// room is how many values may be walked now.
func (m *machine) room() int {
	if m.tired() {
		return walkTired
	}
	return walkItems
}

func (m *machine) tired() bool { return m.walked > 8*m.t.Size+1<<20 }

// hash identifies a call up to the numbers in its arguments. The seed is not
// known to the file, so it cannot make two calls look like one.
func (m *machine) hash(callee value, method string, class int, args value) uint64 {
	h := m.mix(uint64(m.op)<<8|uint64(len(method)), uint64(int64(class)))
	room := m.room()
	if method == "" || class < 0 {
		h = m.hashValue(h, callee, 0, &room)
	}
	return m.hashValue(h, args, 0, &room)
}

// mix folds v into h by a 128-bit product with secret factors.
func (m *machine) mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^m.secret[0], v^m.secret[1])
	return hi ^ lo ^ m.secret[2]
}

func (m *machine) hashValue(h uint64, v value, depth int, room *int) uint64 {
	h = m.mix(h, uint64(v.typ()))
	m.walked++
	if *room--; *room < 0 || depth > walkDepth {
		return h
	}
	switch v.typ() {
	case Str, Bytes:
		off, n := m.span(v)
		h = m.mix(h, uint64(n)<<8|uint64(v.enc()))
		if n > int64(m.lim.Text) || n > valueSize && m.tired() {
			return m.mix(h, uint64(off)) // what is not compared is the same where it stands
		}
		m.walked += n / 16
		return m.mix(h, m.hashText(off, n))
	case GlobalRef:
		return m.mix(h, uint64(v.global()))
	case Object:
		return m.mix(h, uint64(v))
	case Tuple, List, Dict, Set, Persistent:
		h = m.mix(h, uint64(m.heap.len(v)))
		m.heap.each(v, func(item value) bool {
			h = m.hashValue(h, item, depth+1, room)
			return *room >= 0
		})
	}
	return h
}

// A textHash is the hash of a text of the file.
type textHash struct {
	off, n int64
	hash   uint64
}

// hashText hashes n bytes of the file. Arguments that were memoised long before
// are read once and not for each call.
func (m *machine) hashText(off, n int64) uint64 {
	if off >= m.in.base {
		return maphash.Bytes(m.seed, m.in.bytes(off, n, &m.scratch))
	}
	const size = 1 << 10
	if m.hashes == nil {
		m.hashes = make([]textHash, size)
	}
	kept := &m.hashes[(uint64(off)*0x9e3779b97f4a7c15)>>54]
	if kept.off != off || kept.n != n || n == 0 {
		*kept = textHash{off, n, maphash.Bytes(m.seed, m.in.bytes(off, n, &m.scratch))}
	}
	return kept.hash
}

// materialise turns an abstract value into one that outlives the machine.
func (m *machine) materialise(v value) Value {
	room := m.room()
	return m.keep(v, 0, &room)
}

func (m *machine) keep(v value, depth int, room *int) Value {
	out := Value{Type: v.typ()}
	*room--
	m.walked++
	if m.texts += valueSize; m.texts > m.lim.Texts {
		m.exceed("Texts")
		*room = 0
	}
	switch v.typ() {
	case Bool:
		if v == boolean(true) {
			out.Int = 1
		}
	case Int:
		if n, ok := m.integer(v); ok {
			out.Int = n
			break
		}
		out.Offset, out.Len = m.span(v)
		out.Text = m.bigInt(v)
	case Float:
		if bits, ok := m.float(v); ok {
			out.Text = strconv.FormatFloat(math.Float64frombits(bits), 'g', -1, 64)
			break
		}
		off, n := m.span(v)
		out.Offset = off
		out.Text = string(m.in.bytes(off, min(n, 64), &m.scratch))
	case Str, Bytes:
		out.Offset, out.Len = m.span(v)
		n := min(out.Len, int64(m.lim.Text))
		if m.texts+n > m.lim.Texts {
			m.exceed("Texts")
			n = min(n, 32)
		}
		m.texts += n
		m.walked += n / 16
		out.Text = v.enc().decode(m.in.bytes(out.Offset, n, &m.scratch))
		if n == out.Len {
			out.Len = int64(len(out.Text)) // decoded, nothing cut
		}
	case GlobalRef:
		out.Int, out.Text = int64(v.global()), m.known[v.global()].text
		if m.t.Globals[v.global()].How == Computed {
			out.Text = "computed global"
		}
	case Object:
		out.Int = int64(v.call())
		out.Text = "unknown"
		if v.class() >= 0 {
			out.Text = m.known[v.class()].text
		}
	case Tuple, List, Dict, Set, Persistent:
		out.Len = m.heap.len(v)
		if out.Type == Dict {
			out.Len /= 2
		}
		if depth >= walkDepth || *room <= 0 {
			break
		}
		if v.node() != noNode {
			out.Items = make([]Value, 0, min(m.heap.kept(v), *room))
		}
		m.heap.each(v, func(item value) bool {
			if *room <= 0 {
				return false
			}
			out.Items = append(out.Items, m.keep(item, depth+1, room))
			return true
		})
		if out.Type == Dict && len(out.Items)%2 != 0 {
			out.Items = out.Items[:len(out.Items)-1]
		}
	}
	return out
}

// bigInt is an integer of more than 64 bits: as written in a line, else in
// hexadecimal.
func (m *machine) bigInt(v value) string {
	const most = 128
	off, n := m.span(v)
	b := m.in.bytes(off, min(n, most), &m.scratch)
	if v.enc() == eight && n <= maxNumber {
		return string(b)
	}
	if n > most {
		return "integer of " + strconv.FormatInt(n, 10) + " bytes"
	}
	be := make([]byte, len(b))
	for i, c := range b {
		be[len(b)-1-i] = c
	}
	x := new(big.Int).SetBytes(be)
	if len(be) > 0 && be[0] >= 0x80 {
		x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*len(be))))
	}
	return fmt.Sprintf("%#x", x)
}

func (m *machine) persidLine() {
	off, n := m.readLine()
	if !ascii(m.in.bytes(off, min(n, sniffSize), &m.scratch)) {
		m.fault("PERSID that is not ASCII")
	}
	v := m.literal(Str, eight, off, uint64(n))
	if n >= 6 {
		m.inspect(Str, eight, off, uint64(n))
	}
	m.persistent(v)
}

func (m *machine) persistent(id value) {
	if class, ok := m.torchClass(id); ok {
		m.push(class)
	} else {
		m.push(m.heap.of(Persistent, []value{id}))
	}
	if m.opAt < m.replay {
		return
	}
	if len(m.t.PersistentIDs) >= m.lim.Records {
		m.exceed("Records")
		return
	}
	m.t.PersistentIDs = append(m.t.PersistentIDs, PersistentID{m.opAt, m.stream, m.materialise(id)})
}

// torchClass returns the class that a torch file of the old layout names by a
// persistent id, together with its source: ('module', class, file, source).
// torch.load takes the class for it; a loader that knows no such ids stops.
func (m *machine) torchClass(id value) (class value, ok bool) {
	const object = 3 // behind magic number, protocol version and system
	if id.typ() != Tuple || m.stream != object || m.t.Streams[0].Start != 0 || m.t.Streams[0].Result.Text != torchMagic {
		return unknown, false
	}
	i := 0
	m.heap.each(id, func(v value) bool {
		switch i {
		case 0:
			kind, cut, text := m.name(v)
			ok = text && !cut && kind == "module"
		case 1:
			class, ok = v, ok && v.typ() == GlobalRef
		}
		i++
		return i < 2 && ok
	})
	return class, ok && i == 2
}

func (m *machine) buffer() {
	m.push(value(OutOfBand))
	if m.opAt < m.replay {
		return
	}
	if len(m.t.Buffers) >= m.lim.Records {
		m.exceed("Records")
		return
	}
	m.t.Buffers = append(m.t.Buffers, Buffer{m.opAt, m.stream})
}
