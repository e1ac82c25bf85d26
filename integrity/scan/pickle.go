package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/redact"
)

// pickleFormat executes pickles on an abstract machine and judges what loading
// them would import, call and change. Facts: "weights_only", and those of [pickler].
type pickleFormat struct{ policy globals.Policy }

var (
	rulePickleCall = prerun.Rule{
		ID: "scan.pickle.call-on-load", Title: "dangerous call on load", Severity: prerun.Critical,
		Help: "Loading the file calls a Python function that runs commands, code or other files, or reaches network or disk. The call happens before any check by the loader. Do not load the file; treat its source as hostile.",
		Refs: []prerun.Reference{
			refDeserialize, refUnsafeModel, refSupply,
			cve("2019-6446"), cve("2022-45907"), cve("2024-5480"), cve("2024-48063"),
			cve("2025-1716"), cve("2025-1889"), cve("2025-10155"), cve("2025-10157"),
		},
	}
	rulePickleDenied = prerun.Rule{
		ID: "scan.pickle.denied-global", Title: "dangerous name", Severity: prerun.High,
		Help: "The file names a Python object that no model needs and that gives control over the process. Even if this file does not call it, what it is handed to may. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	rulePickleCallUnlisted = prerun.Rule{
		ID: "scan.pickle.unlisted-call", Title: "call of an unknown function", Severity: prerun.Medium,
		Help: "Loading the file calls a Python object that is on no list of what models need. It may be a class of the model's own program; check what it does when it is built, or convert the model to safetensors.",
		Refs: []prerun.Reference{refDeserialize},
	}
	rulePickleChecked = prerun.Rule{
		ID: "scan.pickle.checked-call", Title: "known function with unusual arguments", Severity: prerun.Medium,
		Help: "Loading the file calls a function that models need with arguments that they do not give it, such as a function to be called in turn. Find out which program wrote the file, or convert the model to safetensors.",
		Refs: []prerun.Reference{refDeserialize},
	}
	rulePickleUnlisted = prerun.Rule{
		ID: "scan.pickle.unlisted-global", Title: "unknown name", Severity: prerun.Low,
		Help: "The file names a Python object that is on no list of what models need, without calling it. Importing its module runs that module's own code. Check what the name is, or convert the model to safetensors.",
		Refs: []prerun.Reference{refDeserialize},
	}
	rulePickleArguments = prerun.Rule{
		ID: "scan.pickle.dangerous-arguments", Title: "call with a payload", Severity: prerun.High,
		Help: "A call on load takes arguments that look like a shell command, an address, a path, program text or an encoded payload. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	rulePickleDynamic = prerun.Rule{
		ID: "scan.pickle.dynamic-import", Title: "import of a computed name", Severity: prerun.High,
		Help: "What the file imports is computed while it loads, so that no reader can tell the name beforehand. No pickler writes this; it is how scanners are evaded. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	rulePickleComputed = prerun.Rule{
		ID: "scan.pickle.computed-call", Title: "call of a computed object", Severity: prerun.Medium,
		Help: "Loading the file calls the result of another call, or something that cannot be known without loading. Ordinary models do not; convert the model to safetensors.",
		Refs: []prerun.Reference{refDeserialize},
	}
	rulePickleExtension = prerun.Rule{
		ID: "scan.pickle.extension-code", Title: "extension registry code", Severity: prerun.Medium,
		Help: "The file names an object by a number of Python's extension registry, which only the running process, or the file itself, fills. No model needs this. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize},
	}
	rulePickleWrite = prerun.Rule{
		ID: "scan.pickle.live-write", Title: "change to a module, class or function", Severity: prerun.High,
		Help: "Loading the file changes a live Python module, class or function. No pickler writes this; it is used to reach code through harmless names. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	rulePickleOddName = prerun.Rule{
		ID: "scan.pickle.odd-name", Title: "name that no import has", Severity: prerun.Low,
		Help: "The file names a Python object in a way that no pickler writes: empty, with blanks or control characters, or with letters that look like others. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize},
	}
	rulePickleDivergence = prerun.Rule{
		ID: "scan.pickle.divergence", Title: "bytes that loaders read differently", Severity: prerun.Medium,
		Help: "Python's own loaders disagree about these bytes, so a scanner that follows one of them sees another program than the one that runs. Every reading was followed here. The finding is informational where known programs write such pickles. Where it is not, do not load the file.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	rulePickleMemo = prerun.Rule{
		ID: "scan.pickle.memo-bomb", Title: "memo index that fills memory", Severity: prerun.Medium,
		Help: "The file numbers a remembered object far beyond how many there are. Python's C loader allocates an array up to that number, gigabytes for five bytes of the file. No pickler writes this. Do not load the file.",
		Refs: []prerun.Reference{cwe("CWE-789"), refUnsafeModel},
	}
	rulePicklePayload = prerun.Rule{
		ID: "scan.pickle.payload", Title: "program inside a literal", Severity: prerun.Medium,
		Help: "A string or bytes object of the pickle is a native program. Loading does not run it by itself, but models do not hold programs. Do not load the file; find out who put it there.",
		Refs: []prerun.Reference{refEmbedded},
	}
)

// pickleCauses is the rule for each cause of an assessment.
var pickleCauses = map[globals.Cause]prerun.Rule{
	globals.DeniedGlobal:   rulePickleDenied,
	globals.UnlistedGlobal: rulePickleUnlisted,
	globals.UnlistedCall:   rulePickleCallUnlisted,
	globals.CheckedCall:    rulePickleChecked,
	globals.DangerousArgs:  rulePickleArguments,
	globals.DynamicImport:  rulePickleDynamic,
	globals.ComputedCall:   rulePickleComputed,
	globals.ExtensionCode:  rulePickleExtension,
	globals.LiveWrite:      rulePickleWrite,
	globals.OddName:        rulePickleOddName,
}

// Pickles is the built-in format for Python pickles under another policy, to be
// put in the place of the one that [Builtin] lists as "pickle".
func Pickles(policy globals.Policy) Format { return pickleFormat{policy} }

func (pickleFormat) Info() Info {
	return Info{
		ID: "pickle", Within: []string{"text"},
		Extensions: []string{".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pth", ".ckpt", ".bin"},
		Rules: []prerun.Rule{
			rulePickleCall, rulePickleDenied, rulePickleCallUnlisted, rulePickleChecked, rulePickleUnlisted, rulePickleArguments,
			rulePickleDynamic, rulePickleComputed, rulePickleExtension, rulePickleWrite, rulePickleOddName,
			rulePickleDivergence, rulePickleMemo, rulePicklePayload, ruleTensorWrite, ruleTensorSize,
		},
	}
}

func (pickleFormat) Match(p Probe) Match {
	if pickle.Sniff(p.Head, p.Size) == pickle.Unlikely && !pickle.SniffLine(p.Head, p.Size) {
		return No
	}
	return Maybe
}

// maxFirstLine is how far the end of a line is looked for that nothing but its
// first letter makes the argument of an opcode. The length of a safetensors
// header starts with such a letter now and then, and its weights may hold no
// line end for gigabytes.
const maxFirstLine = 16 << 20

// lineEnds reports whether the line in which the head ends has an end.
func lineEnds(a *Artifact) (bool, error) {
	from := int64(len(a.Head))
	if p, err := a.held(from, a.Size-from); p != nil {
		return bytes.IndexByte(p, '\n') >= 0, err
	}
	buf := a.run.buffer()
	defer a.run.recycle(buf)
	for off := from; off < min(a.Size, maxFirstLine); off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), a.Size-off)]
		if _, err := a.ReadAt(p, off); err != nil {
			return false, err
		}
		if bytes.IndexByte(p, '\n') >= 0 {
			return true, nil
		}
	}
	return false, nil
}

func (f pickleFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	if pickle.Sniff(a.Head, a.Size) == pickle.Unlikely {
		if ok, err := lineEnds(a); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("pickle: a line without end: %w", ErrNotFormat)
		}
	}
	s := &pickleScan{a: a, out: out, policy: f.policy, ruled: a.run.rules != nil && a.run.rules.allow != nil}
	m := pickle.Machine{Limits: pickle.Limits{Ops: max(a.Left(Opcodes), 1)}, Literal: s.literal}
	t, err := m.Scan(ctx, a, a.Size)
	if spent := a.Spend(Opcodes, min(t.Ops, a.Left(Opcodes))); err == nil {
		err = spent
	}
	found := f.policy.Assess(t)
	if !s.isPickle(t, found) && err == nil {
		return fmt.Errorf("pickle: %w", ErrNotFormat)
	}
	s.ranges(t)
	s.globals(t, found)
	for _, as := range found {
		if !s.ownClass(as) {
			s.assessment(t, as)
		}
	}
	s.divergences(t)
	s.tensorWrites(t)
	s.overruns(t)
	s.storages(t)
	for _, x := range t.Exceeded {
		s.out.Gap(fmt.Sprintf("the pickle goes over the limit of %s", x.Limit), x.Offset, 0)
	}
	s.weightsOnly(t)
	pickler(t, s.out)
	if cerr := s.children(ctx, t, f.policy.Loaded(t)); cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	return s.broken(t)
}

// A pickleScan is the reading of one file of pickles.
type pickleScan struct {
	a        *Artifact
	out      *Sink
	literals []pickle.Literal // containers in literals, without their heads
	programs int
	policy   globals.Policy
	ruled    bool // a rule set allows names
}

// maxLiterals bounds the literals that are routed as files.
const maxLiterals = 64

// literal looks at the head of a string or bytes object.
func (s *pickleScan) literal(l pickle.Literal) {
	if kind := executable(s.a, l.Head, l.Offset); kind != "" && s.programs < maxLiterals {
		s.programs++
		s.out.Finding(prerun.Finding{
			Rule:       rulePicklePayload,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: l.Offset, Length: l.Length}},
			Message:    fmt.Sprintf("a literal of %d bytes is native code (%s)", l.Length, kind),
			Key:        kind,
		})
	}
	if len(s.literals) < maxLiterals && l.Length >= 64 &&
		(l.Type == pickle.Bytes && l.Head[0] != 0x80 && container(l.Head, l.Length) || boosterLiteral(l.Head)) {
		l.Head = nil
		s.literals = append(s.literals, l)
	}
}

// boosterLiteral reports a literal in which a library of boosted trees keeps its
// model: XGBoost and CatBoost as bytes, LightGBM as text.
func boosterLiteral(head []byte) bool {
	return startsUBJ(head) || startsLightGBM(head) || bytes.HasPrefix(head, []byte(catboostMagic))
}

// isPickle decides after the fact: a few bytes of almost anything can be read
// as opcodes.
func (s *pickleScan) isPickle(t *pickle.Trace, found []globals.Assessment) bool {
	if pickle.Sniff(s.a.Head, s.a.Size) == pickle.Certain {
		return true
	}
	for _, as := range found {
		if as.Level >= globals.Suspicious && !as.Dormant && identifier(as.Module) && identifier(as.Name) {
			return true
		}
	}
	if len(t.Streams) == 0 {
		return false
	}
	first, marked := t.Streams[0], s.a.Head[0] == byte(pickle.OpProto)
	return first.Start == 0 && (first.Complete && (marked || first.End == s.a.Size || first.Ops >= 8) || marked && len(t.Nested) > 0)
}

// ranges claims what the machine understood.
func (s *pickleScan) ranges(t *pickle.Trace) {
	for _, r := range t.Ranges {
		if r.Kind != pickle.Junk {
			s.out.Claim(r.Start, r.End-r.Start)
		}
	}
}

// ownClass reports whether an unlisted class is one that a TorchScript archive
// brings the source of. The loader compiles that, in a language without reach,
// and Python has no module of that name. The source is scanned by itself.
func (s *pickleScan) ownClass(as globals.Assessment) bool {
	if as.Cause != globals.UnlistedCall && as.Cause != globals.UnlistedGlobal {
		return false
	}
	if as.Module != "__torch__" && !strings.HasPrefix(as.Module, "__torch__.") {
		return false
	}
	top := path.Dir(s.a.Name)
	_, script := s.a.Tree.Lookup(path.Join(top, "constants.pkl"))
	_, source := s.a.Tree.Lookup(path.Join(top, "code", strings.ReplaceAll(as.Module, ".", "/")+".py"))
	return script && source
}

func (s *pickleScan) globals(t *pickle.Trace, found []globals.Assessment) {
	grades := make([]globals.Level, len(t.Globals))
	for _, as := range found {
		if as.Global >= 0 && as.Global < len(grades) && !s.ownClass(as) {
			grades[as.Global] = max(grades[as.Global], as.Level)
		}
	}
	allowed := make(map[string][]string)
	for i, g := range t.Globals {
		if s.ruled {
			if p := s.policy.Grade(g.Module, g.Name).Profile; strings.HasPrefix(p, setProfile) {
				allowed[p] = append(allowed[p], excerpt(g.Module+"."+g.Name, 120))
			}
		}
		s.out.global(Global{Module: g.Module, Name: g.Name, Grade: gradeNames[min(int(grades[i]), len(gradeNames)-1)], Called: g.Calls > 0}, prerun.Location{Offset: g.Offset, Length: 1})
	}
	s.insecureAllowed(allowed)
}

var gradeNames = [...]string{"allowed", "unlisted", "suspicious", "dangerous"}

func (s *pickleScan) assessment(t *pickle.Trace, as globals.Assessment) {
	rule, ok := pickleCauses[as.Cause]
	if !ok || as.Level == globals.Allowed {
		return
	}
	if as.Cause == globals.DeniedGlobal && as.Call >= 0 {
		rule = rulePickleCall
	}
	sev := [...]prerun.Severity{
		globals.Low: prerun.Low, globals.Suspicious: prerun.Medium, globals.Malicious: prerun.High,
	}[as.Level]
	if as.Level == globals.Malicious && rule.Severity == prerun.Critical {
		sev = prerun.Critical
	}
	f := prerun.Finding{
		Rule:       rule,
		Severity:   sev,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: as.Offset, Length: 1}},
		Message:    as.Detail,
		Key:        prerun.EscapePath(as.Module + "." + as.Name),
		Evidence:   map[string]string{},
	}
	if as.Args != "" {
		f.Evidence["arguments"] = as.Args
	}
	if as.Reading != pickle.Linear {
		f.Evidence["reading"] = as.Reading.String()
	}
	s.out.Finding(f)
}

// weightsOnly states whether torch.load opens the file with weights_only; the
// reason is the first of several.
func (s *pickleScan) weightsOnly(t *pickle.Trace) {
	ok, blockers := globals.WeightsOnly(t)
	switch {
	case ok:
		s.out.Fact(factWeightsOnly, "yes")
	case len(blockers) > 0:
		s.out.Fact(factWeightsOnly, "no: "+redact.Text(blockers[0].Reason))
	default:
		s.out.Fact(factWeightsOnly, "no: not read to the end")
	}
}

// divergences reports what picklers do not write. Where known programs write
// it, it is informational.
func (s *pickleScan) divergences(t *pickle.Trace) {
	for _, d := range t.Divergences {
		rule, sev := rulePickleDivergence, prerun.Medium
		switch d.Kind {
		case pickle.MemoGap:
			rule = rulePickleMemo
		case pickle.StringEncoding, pickle.ArrayData, pickle.NameEncoding,
			pickle.ProtocolMoved, pickle.MemoRedefined, pickle.StackLeftover:
			sev = prerun.Info // Python 2, joblib, hand-optimised picklers
		}
		s.out.Finding(prerun.Finding{
			Rule:       rule,
			Severity:   sev,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: d.Offset, Length: 1}},
			Message:    fmt.Sprintf("%s: %s", d.Kind, d.Detail),
			Key:        string(d.Kind),
		})
	}
}

// children hands over what literals hold. It is dormant unless a call hands it
// to something that loads pickles.
func (s *pickleScan) children(ctx context.Context, t *pickle.Trace, loaded map[int64]bool) error {
	for _, n := range t.Nested {
		data, err := n.Extract(s.a, s.a.Left(Memory)/2)
		if errors.Is(err, ErrBudget) {
			return err
		}
		if err != nil && len(data) == 0 {
			s.out.Gap(err.Error(), n.Offset, n.Length)
			continue
		}
		held := int64(len(data))
		marked := held > 0 && data[0] == byte(pickle.OpProto)
		if ok, err := s.a.run.tryPickle(ctx, bytes.NewReader(data), held, marked); !ok && err == nil {
			continue // numbers that happen to be opcodes
		}
		if err := s.a.Spend(Memory, held); err != nil {
			return err
		}
		err = s.out.Child(ctx, Child{
			Name: fmt.Sprintf("offset-%d", n.Offset), Reader: bytes.NewReader(data), Size: held, Dormant: !loaded[n.Offset],
		})
		s.a.run.release(Memory, held)
		if err != nil {
			return err
		}
	}
	for _, l := range s.literals {
		err := s.out.Child(ctx, Child{
			Name: fmt.Sprintf("offset-%d", l.Offset), Reader: s.a.Section(l.Offset, l.Length), Size: l.Length, Dormant: true,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// broken reports the first stream that no loader reads to its end.
func (s *pickleScan) broken(t *pickle.Trace) error {
	for _, st := range t.Streams {
		if st.Complete || st.Recovered || st.Reading != pickle.Linear {
			continue // other readings are of those who use the wrong loader
		}
		if len(st.Faults) > 0 {
			return fmt.Errorf("offset %d: %s", st.Faults[0].Offset, st.Faults[0].Reason)
		}
		return fmt.Errorf("offset %d: the stream ends without STOP: %w", st.End, io.ErrUnexpectedEOF)
	}
	return nil
}

// hiddenPickle reports whether a range of size bytes that starts with w may be a
// pickle with its marker byte; tryPickle decides.
func hiddenPickle(w []byte, size int64) bool {
	return len(w) >= 4 && w[0] == 0x80 && w[1] >= 2 && w[1] <= 5 &&
		pickle.Sniff(w[:min(len(w), ProbeSize)], max(size, int64(len(w)))) == pickle.Certain
}

// tryPickle executes a little of something that merely looks like a pickle.
// Random data passes for a few opcodes, and even for imports and calls, but it
// does not spell a name before its first fault; nor do computed names and
// extension codes count, unless the stream is whole. A whole stream also counts
// that holds other pickles, and where one is expected any whole stream, and any
// that holds others.
func (r *run) tryPickle(ctx context.Context, in io.ReaderAt, size int64, expected bool) (bool, error) {
	m := pickle.Machine{Limits: pickle.Limits{Ops: min(max(r.left(Opcodes), 1), 100_000), Records: 256, Streams: 1, Resync: 1}}
	t, err := m.Scan(ctx, in, size)
	if err != nil {
		return false, err
	}
	if err := r.spend(Opcodes, min(t.Ops, r.left(Opcodes))); err != nil {
		return false, err
	}
	if len(t.Streams) == 0 || t.Streams[0].Start != 0 {
		return false, nil
	}
	for _, g := range t.Globals {
		if t.Streams[g.Stream].Start == 0 && !g.AfterFault && identifier(g.Module) && identifier(g.Name) {
			return true, nil
		}
	}
	endless := slices.ContainsFunc(t.Exceeded, func(x pickle.Excess) bool { return x.Limit == "Ops" })
	whole := t.Streams[0].Complete && (expected || len(t.Globals) > 0 || len(t.Nested) > 0)
	return endless || whole || expected && len(t.Nested) > 0, nil
}

// identifier reports whether a text is a dotted name of at least two ASCII
// letters, digits and underscores.
func identifier(s string) bool {
	return len(s) > 1 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == ""
}
