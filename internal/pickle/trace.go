package pickle

// A Trace is what executing the pickles of a file would do. Slices are in
// order of discovery: the linear reading of the file first, then what other
// readings add. It shares no memory with the machine.
type Trace struct {
	Size          int64
	Streams       []Stream
	Globals       []Global
	Calls         []Call
	Writes        []Write
	PersistentIDs []PersistentID
	Overruns      []Overrun
	Buffers       []Buffer // out-of-band buffers asked for
	Divergences   []Divergence
	Nested        []Nested
	Ranges        []Range // what each byte is, ascending, without overlap or hole
	Exceeded      []Excess
	Ops           int64 // opcodes executed, over all readings
}

// A Reading is a way to read the same bytes. Everything is read [Linear]; the
// others follow where a loader would leave that path.
type Reading uint8

// Readings.
const (
	// Linear takes the bytes one after the other, as pickle.loads does.
	Linear Reading = iota
	// CFile is C _pickle reading from an unbuffered file before 3.13.15 and
	// 3.14.7: when an argument crosses the end of a frame, the bytes left in
	// the frame are dropped and the argument is read from its end
	// (python/cpython#154848).
	CFile
	// Plain reads the array data that joblib would skip as opcodes, as
	// pickle.load does with such a file.
	Plain
	// PlainCFile is both at once.
	PlainCFile
)

var readingNames = [...]string{"linear", "C file", "plain", "plain C file"}

// Skips reports whether the reading skips array data, as joblib does.
func (r Reading) Skips() bool { return r != Plain && r != PlainCFile }

func (r Reading) String() string { return nameOf(readingNames[:], int(r)) }

// A Stream is one pickle: from its first opcode to STOP, or to where it broke.
type Stream struct {
	Start, End int64 // bytes consumed: [Start, End)
	Protocol   int   // the highest that a PROTO opcode states; -1 without one
	Complete   bool  // STOP was reached, and no fault before it
	Recovered  bool  // found behind bytes that belong to no stream
	Inner      bool  // read by the loader in the middle of another (joblib)
	Reading    Reading
	Ops        int64
	Opcodes    OpSet
	Faults     []Fault // at most 16; the first is where loaders stop
	Result     Value   // what the loader returns
}

// A Fault is a place where every known loader stops.
type Fault struct {
	Offset int64
	Op     Op
	Reason string // outside text in it is quoted
}

// A How says where the names of a global come from.
type How uint8

// Hows.
const (
	// Verbatim: both names stand in the file.
	Verbatim How = iota
	// Computed: an operand is no literal string, so the loader imports what
	// only running the file would tell. Names that are not known are empty.
	Computed
	// Extension: the code of an EXT opcode. The names are those the stream
	// registered, or empty.
	Extension
	// Rewritten: an operand is an attribute that the stream overwrote before
	// with a literal string.
	Rewritten
)

var howNames = [...]string{"verbatim", "computed", "extension", "rewritten"}

func (h How) String() string { return nameOf(howNames[:], int(h)) }

// A Global is a Python object that the stream names. Equal ones are one entry.
type Global struct {
	Offset       int64 // of the opcode that names it first
	Stream       int
	Op           Op
	Module, Name string // as written, before Python 2 renames; see [Renamed]
	Cut          bool   // a name is longer than Limits.Text and was cut
	How          How
	Code         int64   // of an Extension
	Operands     []Value // of a Computed one: module, name
	Protocol     int     // highest in force where it is named; dotted names need 4
	MinProtocol  int     // lowest in force; Python 2 renames need less than 3
	Count        int64   // times named
	Calls        int64   // times called, or its instances built
	Unseen       int64   // calls of these whose arguments were not kept
	Reading      Reading
	AfterFault   bool // named only behind a fault
}

// A Call is a call that loading performs. Calls that differ in nothing but
// numbers are one entry.
type Call struct {
	Offset int64
	Stream int
	Op     Op
	// Callee is a GlobalRef, an Object when the result of an earlier call is
	// called, or anything else that the stream presents as callable.
	Callee Value
	// Method is set where the opcode calls a method of Callee's instance, if
	// it has one: "__setstate__", "__setitem__", "append", "extend", "add".
	Method string
	// Global is the index in Trace.Globals of what is called, or of the class
	// whose method is called; -1 when that is not known.
	Global int
	// Via is the index in Trace.Calls of the call whose result is called or
	// changed; -1 when Callee does not come from a call.
	Via int
	// Args is the tuple of arguments; for NEWOBJ_EX the pair of tuple and
	// keywords; for BUILD the state.
	Args       Value
	Count      int64
	Reading    Reading
	AfterFault bool
}

// A Write changes a live object that the stream names: an attribute of a
// module, class or function, or an item of a mapping. No pickler writes one.
type Write struct {
	Offset     int64
	Stream     int
	Op         Op
	Global     int      // index in Trace.Globals
	Keys       []string // attributes or keys, where literal
	Value      Value
	Reading    Reading
	AfterFault bool
}

// A PersistentID is a value that the loader's own code interprets.
type PersistentID struct {
	Offset int64
	Stream int
	ID     Value
}

// A Buffer is a NEXT_BUFFER: data that travels outside the stream.
type Buffer struct {
	Offset int64
	Stream int
}

// A Kind names a way in which loaders disagree about bytes, or something that
// no pickler writes.
type Kind string

// Divergences. Those of the first group change which instructions run.
const (
	FrameStraddle    Kind = "frame-straddle"    // an argument crosses a frame's end: three readings
	FrameOverrun     Kind = "frame-overrun"     // longer than the data: C stops, Python runs on
	FrameNested      Kind = "frame-nested"      // inside a frame: C runs it before 3.13.15, Python stops
	IntegerLiteral   Kind = "integer-literal"   // a base that not every reader takes
	StringEncoding   Kind = "string-encoding"   // non-ASCII bytes in a STRING: pickletools stops
	NameEncoding     Kind = "name-encoding"     // non-ASCII bytes in a GLOBAL: pickletools stops
	UnterminatedLine Kind = "unterminated-line" // the file ends in a line: Python cuts its last byte
	ProtocolUnknown  Kind = "protocol-unknown"  // above 5: pickletools goes on
	MemoKey          Kind = "memo-key"          // beyond 2^63-1: C stops, Python runs
	MemoGap          Kind = "memo-gap"          // far beyond the entries: C allocates up to the key, Python does not
	ArgumentType     Kind = "argument-type"     // no tuple: C stops, Python calls with its items
	ArrayData        Kind = "array-data"        // joblib skips bytes that pickle.load executes

	ProtocolMoved Kind = "protocol-moved" // PROTO repeated, or not first
	MemoRedefined Kind = "memo-redefined" // pickletools.dis stops
	StackLeftover Kind = "stack-leftover" // items or marks left at STOP: pickletools.dis stops
)

// Changes reports whether readers that disagree here may run different
// instructions.
func (k Kind) Changes() bool {
	switch k {
	case ProtocolMoved, MemoRedefined, StackLeftover:
		return false
	}
	return true
}

// A Divergence is one kind of disagreement in one stream.
type Divergence struct {
	Offset int64 // of the first
	Stream int
	Kind   Kind
	Detail string // outside text in it is quoted
	Count  int64
}

// A Nested is a string or bytes literal that holds a pickle, as it stands or
// encoded. The machine looks at its head only; [Nested.Extract] returns all of
// it for another scan.
type Nested struct {
	Offset, Length int64 // of the literal's bytes
	Stream         int
	Op             Op
	Encodings      []string // outermost first: "base64", "hex", "zlib", "gzip", "latin1"
}

// A RangeKind says what bytes are.
type RangeKind string

// Ranges.
const (
	Opcodes RangeKind = "pickle"  // a stream, or the part of it between array data
	Data    RangeKind = "data"    // raw array or storage bytes that the stream describes
	Junk    RangeKind = "unknown" // belongs to no stream
)

// A Range is the bytes [Start, End) of the file.
type Range struct {
	Start, End int64
	Kind       RangeKind
}

// An Excess is a limit that the file went over. What lies behind it was not
// checked, or not kept; the caller reports it as a gap.
type Excess struct {
	Offset int64
	Limit  string // the field of [Limits]
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}
