package scan

import (
	"fmt"
	"strings"
)

// An rPlace is where an item stands, which decides what evaluates it.
type rPlace uint8

const (
	rFree     rPlace = iota // in a list, an attribute, or by itself
	rVariable               // the value of a variable of an environment
	rLanguage               // in a call or formula
	rBody                   // in a function
	rPending                // in the expression of a promise
)

// An rScan is the reading of one file.
type rScan struct {
	rReader
	out  *Sink
	refs []string // names of symbols by reference, "" for other things
	held int64    // of the budget of memory

	workspace        bool // what comes next is the variables of a saved workspace
	functions, calls int
	packages         map[string]bool
}

// An rItem is what the reader of an item has to know of it.
type rItem struct {
	typ    int32
	name   string // of a symbol, or the text of a character vector of one
	last   string // of a call of :: the name behind it
	callee string // of a call
}

// Types of items.
const (
	rSymbol    = 1
	rPairlist  = 2
	rClosure   = 3
	rEnv       = 4
	rPromise   = 5
	rCall      = 6
	rSpecial   = 7
	rBuiltin   = 8
	rChars     = 9
	rLogical   = 10
	rInteger   = 13
	rReal      = 14
	rComplex   = 15
	rStrings   = 16
	rDots      = 17
	rList      = 19
	rExprs     = 20
	rBytecode  = 21
	rPointer   = 22
	rWeak      = 23
	rRaw       = 24
	rS4        = 25
	rAltrep    = 238
	rAttrList  = 239
	rAttrCall  = 240
	rBaseEnv   = 241
	rEmptyEnv  = 242
	rRepeat    = 243
	rDefine    = 244
	rPersist   = 247
	rPackage   = 248
	rNamespace = 249
	rBaseNS    = 250
	rMissing   = 251
	rUnbound   = 252
	rGlobal    = 253
	rNil       = 254
	rReference = 255
)

const (
	rDepth    = 5000    // a sum of a thousand terms nests a thousand deep
	rMaxRefs  = 1 << 20 // symbols and environments
	rMaxName  = 256     // bytes that are kept of a name
	rHasAttr  = 1 << 9
	rHasTag   = 1 << 10
	rShown    = 64 // packages in the facts
	rRefBytes = 32 // and of what else is kept for each
)

func (s *rScan) flags() (typ, flags int32, err error) {
	flags, err = s.int()
	return flags & 0xff, flags, err
}

// item reads one item with all below it.
func (s *rScan) item(place rPlace, depth int) (rItem, error) {
	at := s.off
	typ, flags, err := s.flags()
	if err != nil {
		return rItem{}, err
	}
	return s.typed(typ, flags, at, place, depth)
}

func (s *rScan) typed(typ, flags int32, at int64, place rPlace, depth int) (rItem, error) {
	if depth++; depth > rDepth {
		return rItem{}, fmt.Errorf("offset %d: nested more than %d deep", at, rDepth)
	}
	it := rItem{typ: typ}
	if place == rVariable && typ != rPromise && typ != rDots {
		place = rFree
	}
	switch typ {
	case rNil, rGlobal, rUnbound, rMissing, rBaseNS, rEmptyEnv, rBaseEnv:
		return it, nil
	case rReference:
		return s.reference(flags, at)
	case rPersist, rPackage, rNamespace:
		name, err := s.strings(depth)
		if err == nil {
			if typ != rPersist {
				s.needs(name)
			}
			err = s.keep("")
		}
		return it, err
	case rSymbol:
		c, err := s.item(place, depth)
		if err == nil {
			it.name, err = c.name, s.keep(c.name)
		}
		return it, err
	case rEnv:
		return it, s.environment(depth)
	case rPairlist, rCall, rClosure, rPromise, rDots:
		return s.pair(typ, flags, at, place, depth)
	case rPointer, rWeak:
		if err := s.keep(""); err != nil {
			return it, err
		}
		if typ == rPointer {
			for range 2 { // what it protects, and its tag
				if _, err := s.item(rFree, depth); err != nil {
					return it, err
				}
			}
		}
	case rSpecial, rBuiltin:
		n, err := s.length()
		if err != nil {
			return it, err
		}
		if it.name, err = s.chars(n, rMaxName); err != nil {
			return it, err
		}
	case rChars:
		n, err := s.int()
		if err != nil {
			return it, err
		}
		if n >= 0 {
			it.name, err = s.chars(uint64(n), rMaxName)
		} else if n != -1 { // missing
			err = fmt.Errorf("offset %d: a text of %d bytes", at, n)
		}
		if err != nil {
			return it, err
		}
	case rLogical, rInteger, rReal, rComplex, rRaw:
		n, err := s.length()
		if err == nil {
			width, words := rWidth(typ)
			err = s.numbers(n, width, words)
		}
		if err != nil {
			return it, err
		}
	case rStrings, rList, rExprs:
		n, err := s.length()
		if err == nil {
			err = s.room(n, 2) // of text; four bytes otherwise
		}
		if err != nil {
			return it, err
		}
		for i := range n {
			c, err := s.item(place, depth)
			if err != nil {
				return it, err
			}
			if i == 0 && typ == rStrings {
				it.name = c.name
			}
		}
	case rBytecode:
		if place < rBody {
			s.finding(ruleRBytecode, 0, at, "", "compiled code that is no body of a function")
			place = rBody
		}
		if err := s.bytecode(place, depth); err != nil {
			return it, err
		}
	case rS4:
	case rAltrep:
		return it, s.altrep(at, depth)
	default:
		return it, fmt.Errorf("offset %d: item of type %d", at, typ)
	}
	if flags&rHasAttr != 0 {
		if _, err := s.item(rFree, depth); err != nil {
			return it, err
		}
	}
	return it, nil
}

func rWidth(typ int32) (width int64, words int) {
	switch typ {
	case rReal:
		return 8, 1
	case rComplex:
		return 16, 2
	case rRaw:
		return 1, 1
	}
	return 4, 1
}

// reference finds the symbol that a number stands for.
func (s *rScan) reference(flags int32, at int64) (rItem, error) {
	i := flags >> 8
	if i == 0 {
		var err error
		if i, err = s.int(); err != nil {
			return rItem{}, err
		}
	}
	if i < 1 || int(i) > len(s.refs) {
		return rItem{}, fmt.Errorf("offset %d: reference to item %d of %d", at, i, len(s.refs))
	}
	return rItem{typ: rReference, name: s.refs[i-1]}, nil
}

func (s *rScan) keep(name string) error {
	if len(s.refs) == rMaxRefs {
		return fmt.Errorf("offset %d: more than %d symbols and environments", s.off, rMaxRefs)
	}
	cost := int64(rRefBytes + len(name))
	if err := s.a.Spend(Memory, cost); err != nil {
		return err
	}
	s.held += cost
	s.refs = append(s.refs, name)
	return nil
}

// strings reads the names that stand for a package or a persistent object.
func (s *rScan) strings(depth int) (string, error) {
	if _, err := s.int(); err != nil {
		return "", err
	}
	n, err := s.length()
	if err != nil {
		return "", err
	}
	first := ""
	for i := range n {
		c, err := s.item(rFree, depth)
		if err != nil {
			return "", err
		}
		if i == 0 {
			first = c.name
		}
	}
	return first, nil
}

func (s *rScan) environment(depth int) error {
	if _, err := s.int(); err != nil { // locked
		return err
	}
	if err := s.keep(""); err != nil {
		return err
	}
	if _, err := s.item(rFree, depth); err != nil { // enclosure
		return err
	}
	if err := s.frame(depth); err != nil {
		return err
	}
	if err := s.hashed(depth); err != nil {
		return err
	}
	_, err := s.item(rFree, depth) // attributes
	return err
}

// hashed reads the table of an environment: a vector of frames, or nothing.
func (s *rScan) hashed(depth int) error {
	at := s.off
	typ, flags, err := s.flags()
	if err != nil {
		return err
	}
	if typ != rList {
		_, err := s.typed(typ, flags, at, rFree, depth)
		return err
	}
	n, err := s.length()
	if err != nil {
		return err
	}
	if err := s.room(n, 2); err != nil {
		return err
	}
	for range n {
		if err := s.frame(depth); err != nil {
			return err
		}
	}
	if flags&rHasAttr != 0 {
		_, err = s.item(rFree, depth)
	}
	return err
}

// frame reads variables of an environment: a list of pairs.
func (s *rScan) frame(depth int) error {
	at := s.off
	typ, flags, err := s.flags()
	if err != nil {
		return err
	}
	if typ != rPairlist {
		_, err := s.typed(typ, flags, at, rFree, depth)
		return err
	}
	_, err = s.pairs(rPairlist, flags, at, rVariable, depth+1)
	return err
}

// pair reads what is made of pairs.
func (s *rScan) pair(typ, flags int32, at int64, place rPlace, depth int) (rItem, error) {
	switch typ {
	case rClosure:
		return rItem{typ: typ}, s.closure(flags, place, depth)
	case rPromise:
		return rItem{typ: typ}, s.promise(flags, at, place, depth)
	case rCall:
		s.calls++
		return s.pairs(typ, flags, at, max(place, rLanguage), depth)
	}
	return s.pairs(typ, flags, at, place, depth)
}

// pairs reads a list, or a call with its arguments, along its tail.
func (s *rScan) pairs(typ, flags int32, at int64, place rPlace, depth int) (rItem, error) {
	out := rItem{typ: typ}
	top := s.workspace // the variables of a saved workspace are in the outermost list
	s.workspace = false
	callee := ""
	for n := 0; ; n++ {
		tag, err := s.headOf(flags, depth)
		if err != nil {
			return out, err
		}
		car, err := s.item(place, depth)
		if err != nil {
			return out, err
		}
		switch out.last = car.name; {
		case top && car.typ == rClosure:
			s.global(tag, at)
		case typ != rCall:
		case n == 0 && car.typ == rCall:
			callee = car.last // base::system
			s.named(callee, at, place)
		case n == 0:
			callee = car.name
			s.named(callee, at, place)
		default:
			s.argument(rArgument{callee, n}, car, at, place)
		}
		if n == 0 {
			out.callee = callee
		}
		next := s.off
		t, f, err := s.flags()
		if err != nil || t == rNil {
			return out, err
		}
		if t != rPairlist {
			_, err := s.typed(t, f, next, place, depth)
			return out, err
		}
		flags = f
	}
}

// headOf reads attributes and tag, which stand before what is in a pair, and
// returns the name that the tag is.
func (s *rScan) headOf(flags int32, depth int) (tag string, err error) {
	for _, bit := range [...]int32{rHasAttr, rHasTag} {
		if flags&bit != 0 {
			it, err := s.item(rFree, depth)
			if err != nil {
				return "", err
			}
			tag = it.name
		}
	}
	return tag, nil
}

// closure reads environment, arguments and body of a function.
func (s *rScan) closure(flags int32, place rPlace, depth int) error {
	s.functions++
	if _, err := s.headOf(flags, depth); err != nil {
		return err
	}
	for range 2 {
		if _, err := s.item(max(place, rBody), depth); err != nil {
			return err
		}
	}
	return nil
}

// promise reads environment, value and expression, and reports what will be
// evaluated. R writes no promise without a value that has no environment.
func (s *rScan) promise(flags int32, at int64, place rPlace, depth int) error {
	if _, err := s.headOf(flags, depth); err != nil {
		return err
	}
	value, err := s.item(rFree, depth)
	if err != nil {
		return err
	}
	inner := rBody // was evaluated, and is not again
	if value.typ == rUnbound {
		inner = rPending
	}
	code, err := s.item(inner, depth)
	if err != nil || value.typ != rUnbound {
		return err
	}
	switch code.typ {
	case rCall, rBytecode, rSymbol, rReference, rPromise, rExprs:
	default:
		return nil // a constant
	}
	if place == rVariable && flags&rHasTag != 0 {
		s.finding(ruleRPending, 0, at, "pending", "a variable of an environment has an expression that was not evaluated")
		return nil
	}
	s.finding(ruleRPromise, 0, at, "promise", "a promise that no environment owns")
	return nil
}

func (s *rScan) altrep(at int64, depth int) error {
	info, err := s.altrepClass(depth)
	if err != nil {
		return err
	}
	state := s.off
	for range 2 { // state and attributes
		if _, err := s.item(rFree, depth); err != nil {
			return err
		}
	}
	switch class, pkg := info[0], info[1]; {
	case strings.HasPrefix(class, "mmap_"):
		s.finding(ruleRMapped, 0, state, class, "a vector of class %s is the content of a file", class)
	case pkg != "base":
		s.needs(pkg)
		shown := excerpt(pkg+"::"+class, 80)
		s.finding(ruleRClass, 0, at, shown, "a vector is of class %s", shown)
	}
	return nil
}

// altrepClass reads class and package, the first two of a list of symbols.
func (s *rScan) altrepClass(depth int) (info [2]string, err error) {
	for i := 0; ; i++ {
		typ, flags, err := s.flags()
		if err != nil || typ == rNil {
			return info, err
		}
		if typ != rPairlist || i > 8 {
			return info, fmt.Errorf("offset %d: a vector's class is item of type %d", s.off, typ)
		}
		if _, err := s.headOf(flags, depth); err != nil {
			return info, err
		}
		it, err := s.item(rFree, depth)
		if err != nil {
			return info, err
		}
		if i < len(info) {
			info[i] = it.name
		}
	}
}

// bytecode reads compiled code: it shares parts of expressions by number.
func (s *rScan) bytecode(place rPlace, depth int) error {
	n, err := s.int()
	if err != nil {
		return err
	}
	if n < 0 || int64(n) > s.left() {
		return fmt.Errorf("offset %d: compiled code with %d shared parts", s.off, n)
	}
	return s.code(place, depth, n)
}

func (s *rScan) code(place rPlace, depth int, shared int32) error {
	if depth++; depth > rDepth {
		return fmt.Errorf("offset %d: nested more than %d deep", s.off, rDepth)
	}
	if _, err := s.item(place, depth); err != nil { // the instructions
		return err
	}
	n, err := s.int()
	if err != nil {
		return err
	}
	if n < 0 || int64(n) > s.left() {
		return fmt.Errorf("offset %d: compiled code with %d constants", s.off, n)
	}
	for range n {
		typ, err := s.int()
		if err != nil {
			return err
		}
		switch typ {
		case rBytecode:
			err = s.code(place, depth, shared)
		case rCall, rPairlist, rDefine, rRepeat, rAttrCall, rAttrList:
			_, err = s.shared(typ, place, depth, shared, rArgument{})
		default:
			at := s.off
			var it rItem
			it, err = s.item(place, depth)
			if (it.typ == rSymbol || it.typ == rReference) && rReach[it.name].plain {
				s.named(it.name, at, place)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shared reads an expression among the constants of compiled code.
func (s *rScan) shared(typ int32, place rPlace, depth int, shared int32, in rArgument) (rItem, error) {
	at := s.off
	if depth++; depth > rDepth {
		return rItem{}, fmt.Errorf("offset %d: nested more than %d deep", at, rDepth)
	}
	switch typ {
	case rRepeat:
		i, err := s.int()
		if err == nil && (i < 0 || i >= shared) {
			err = fmt.Errorf("offset %d: shared part %d of %d", at, i, shared)
		}
		return rItem{typ: typ}, err
	case rCall, rPairlist, rDefine, rAttrCall, rAttrList:
	default:
		return s.item(place, depth)
	}
	if typ == rDefine {
		i, err := s.int()
		if err != nil {
			return rItem{}, err
		}
		if i < 0 || i >= shared {
			return rItem{}, fmt.Errorf("offset %d: shared part %d of %d", at, i, shared)
		}
		if typ, err = s.int(); err != nil {
			return rItem{}, err
		}
	}
	return s.sharedPair(typ, at, place, depth, shared, in)
}

// An rArgument is a place among the arguments of a call, counted from 1.
type rArgument struct {
	callee string
	n      int
}

// sharedPair reads a pair of an expression: attributes, tag, head and rest. It may
// be an argument.
func (s *rScan) sharedPair(typ int32, at int64, place rPlace, depth int, shared int32, in rArgument) (rItem, error) {
	out := rItem{typ: rPairlist}
	if typ == rAttrCall || typ == rCall {
		out.typ, in = rCall, rArgument{}
	}
	heads := 1
	if typ == rAttrCall || typ == rAttrList {
		heads = 2
	}
	for range heads {
		if _, err := s.item(rFree, depth); err != nil {
			return out, err
		}
	}
	var parts [2]rItem
	for i := range parts {
		t, err := s.int()
		if err == nil {
			var of rArgument
			if i > 0 {
				of = rArgument{in.callee, in.n + 1}
			}
			parts[i], err = s.shared(t, place, depth, shared, of)
		}
		if err != nil {
			return out, err
		}
		switch {
		case i > 0:
		case out.typ != rCall:
			s.argument(in, parts[0], at, place)
		default:
			if in.callee = parts[0].name; parts[0].typ == rCall {
				in.callee = parts[0].last // base::system
			}
			out.callee = in.callee
			s.named(in.callee, at, place)
		}
	}
	if out.last = parts[1].last; parts[1].typ != rPairlist {
		out.last = parts[0].name
	}
	return out, nil
}
