package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/strictjson"
)

// skopsFormat recognises the archives of skops by their name: a zip with
// schema.json and arrays as members, which the zip format routes, or what is
// loaded in its place. Facts: "framework".
type skopsFormat struct{}

// skopsSchemaFormat reads the schema of such an archive, whatever that is
// called: a tree of nodes that each name a class, the module it comes from and
// the node's loader. The library imports those names and builds the objects
// after it has asked whether each is trusted. They are reported as the names
// that a pickle would import, and graded by the same tables. Facts:
// "framework", "protocol", "version" of skops.
//
// What a node does not name is not seen: numpy's dtypes and generators find
// their classes by text, of which only that of a generator is held against what
// numpy has. Of a schema larger than 16 MiB nothing is read, which is a gap.
type skopsSchemaFormat struct{ policy globals.Policy }

var (
	ruleSkopsConfusion = prerun.Rule{
		ID: "scan.skops.type-confusion", Title: "node that is not what it says", Severity: prerun.High,
		Help: "A node for a method or an operator names another class than the one that it builds or calls. skops up to 0.11 shows and checks the former and runs the latter, so that a harmless list of types hides a call. No program writes such a file. Do not load it.",
		Refs: []prerun.Reference{refDeserialize, cwe("CWE-351"), cve("2025-54412"), cve("2025-54413")},
	}
	ruleSkopsDenied = prerun.Rule{
		ID: "scan.skops.dangerous-type", Title: "dangerous name", Severity: prerun.High,
		Help: "The file names a Python object that no model needs and that gives control over the process. skops refuses it unless it is on the list of trusted types: do not put it there. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	ruleSkopsUnlisted = prerun.Rule{
		ID: "scan.skops.unlisted-type", Title: "unknown name", Severity: prerun.Low,
		Help: "The file names a Python object that is on no list of what models need. skops imports and builds it once it is trusted. Make sure that you know the class before you put it on the list.",
		Refs: []prerun.Reference{refDeserialize},
	}
	ruleSkopsFallback = prerun.Rule{
		ID: "scan.skops.joblib-fallback", Title: "file named as skops that is a pickle", Severity: prerun.Medium,
		Help: "The file has the name of a skops archive and is none. Card.get_model of skops before 0.13 loads it by joblib without a word, which runs whatever it holds. What the pickle does is reported beside this. Do not load the file as skops.",
		Refs: []prerun.Reference{refDeserialize, cve("2025-54886")},
	}
)

func (skopsFormat) Info() Info {
	return Info{ID: "skops", Within: []string{"zip", "pickle"}, Extensions: []string{".skops"}, Rules: []prerun.Rule{ruleSkopsFallback}}
}

const skopsSchema = "schema.json"

func (skopsFormat) Match(p Probe) Match {
	if p.Ext() == ".skops" && (zipAtStart(p) || (pickleFormat{}).Match(p) == Maybe) {
		return Maybe
	}
	return No
}

func (skopsFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	if zipAtStart(a.Probe) {
		out.Fact("framework", "skops")
		return nil
	}
	if ok, err := a.run.tryPickle(ctx, a, a.Size, true); !ok {
		return errors.Join(err, fmt.Errorf("skops: %w", ErrNotFormat))
	}
	out.Finding(prerun.Finding{Rule: ruleSkopsFallback, Confidence: prerun.ConfidenceHigh, Message: "a pickle under the name of a skops archive"})
	return nil
}

func (skopsSchemaFormat) Info() Info {
	return Info{
		ID: "skops-schema", Within: []string{"text", "json"},
		Rules: []prerun.Rule{ruleSkopsConfusion, ruleSkopsDenied, ruleSkopsUnlisted},
	}
}

func (skopsSchemaFormat) Match(p Probe) Match {
	if p.Base() == skopsSchema {
		return (configFormat{}).Match(p)
	}
	return No
}

func (f skopsSchemaFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	seen := bytes.Contains(jsonText(a.Head), []byte(`"__loader__"`))
	if a.Size > maxConfig {
		if !seen {
			return fmt.Errorf("skops: %w", ErrNotFormat)
		}
		out.Gap(fmt.Sprintf("a schema of %d bytes; %d are read", a.Size, maxConfig), 0, 0)
		return nil
	}
	data, err := a.peek(0, a.Size)
	if err != nil {
		return err
	}
	data = jsonText(data)
	seen = seen || bytes.Contains(data, []byte(`"__loader__"`))
	root, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxConfig, Nodes: 1 << 19})
	switch {
	case err != nil && seen:
		return fmt.Errorf("skops: %w", err)
	case err != nil, root.Get("__loader__") == nil, root.Get("__module__") == nil:
		return fmt.Errorf("skops: %w", ErrNotFormat)
	}
	out.Claim(0, a.Size)
	out.Fact("framework", "skops")
	out.Fact("version", excerpt(textOf(root.Get("_skops_version")), 40))
	if p := root.Get("protocol"); p != nil {
		out.Fact("protocol", excerpt(p.Text, 10))
	}
	s := &skopsScan{policy: f.policy, out: out, seen: make(map[[2]string]bool)}
	s.node(root, "", 0)
	return nil
}

// A skopsScan is the reading of one schema.
type skopsScan struct {
	policy globals.Policy
	out    *Sink
	seen   map[[2]string]bool // names that were graded
}

// node looks at a node and all below it, wherever its loader keeps them.
func (s *skopsScan) node(v *strictjson.Value, at string, depth int) {
	if depth > 256 {
		return // the parser's own limit on depth is lower
	}
	if loader := v.Get("__loader__"); loader != nil {
		s.loader(v, textOf(loader), at)
	}
	for i := range v.Items {
		s.node(&v.Items[i], at+"/"+strconv.Itoa(i), depth+1)
	}
	for i := range v.Members {
		s.node(&v.Members[i].Value, at+"/"+pointerEscaper.Replace(v.Members[i].Name), depth+1)
	}
}

// loader looks at what the loader of a node takes from it.
func (s *skopsScan) loader(v *strictjson.Value, loader, at string) {
	module, class := textOf(v.Get("__module__")), textOf(v.Get("__class__"))
	content := v.Get("content")
	switch loader {
	case "JsonNode":
		return // text, whatever class it states
	case "OperatorFuncNode":
		if module != "operator" || class != "attrgetter" && class != "itemgetter" && class != "methodcaller" {
			s.finding(ruleSkopsConfusion, v, at, module+"."+class, "a node for an operator states %q, and calls operator.%s", module+"."+class, class)
			return
		}
		s.operator(class, v, at)
		return
	case "MethodNode":
		owner, method := content.Get("obj"), textOf(content.Get("func"))
		if owner != nil && !s.shared(owner) {
			m, c := textOf(owner.Get("__module__")), textOf(owner.Get("__class__"))
			if m != module || c != class {
				s.finding(ruleSkopsConfusion, v, at, m+"."+c, "a node for a method of %q holds an object of %q", module+"."+class, m+"."+c)
			}
			module, class = m, c
		}
		s.name(module, class+"."+method, v, at)
		return
	case "FunctionNode":
		if m := content.Get("module_path"); m != nil { // protocol 0
			s.name(textOf(m), textOf(content.Get("function")), v, at)
		}
	case "RandomGeneratorNode":
		s.generator(content, at, 0)
	}
	s.name(module, class, v, at)
}

// operator reports a getter. In a pickle these stand for reaching code by plain
// names; here they are built of literals and called by the model only.
func (s *skopsScan) operator(class string, v *strictjson.Value, at string) {
	key := [2]string{"operator", class}
	if s.seen[key] {
		return
	}
	s.seen[key] = true
	s.out.Global(Global{Module: "operator", Name: class, Grade: skopsGrades[globals.Suspicious]})
	sev := prerun.Medium
	if class == "itemgetter" {
		sev = prerun.Low
	}
	s.rated(ruleSkopsUnlisted, sev, v, at, "operator."+class, "operator.%s is built, which the model may call", class)
}

// shared reports a node that only refers to one that stands elsewhere.
func (s *skopsScan) shared(v *strictjson.Value) bool {
	return textOf(v.Get("__loader__")) == "CachedNode"
}

// generator holds the name of a bit generator, a text of JSON somewhere in the
// state, against those of numpy: it is looked up among all of numpy.random.
func (s *skopsScan) generator(v *strictjson.Value, at string, depth int) {
	if v == nil || depth > 8 {
		return
	}
	if name := v.Get("bit_generator"); name != nil {
		if c := name.Get("content"); c != nil && c.Kind == strictjson.String {
			switch class := strings.Trim(c.Text, `"`); class {
			case "MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64":
			default:
				s.finding(ruleSkopsConfusion, name, at, class, "a random generator is made of numpy.random.%s", excerpt(class, 60))
			}
		}
	}
	for i := range v.Members {
		s.generator(&v.Members[i].Value, at+"/"+pointerEscaper.Replace(v.Members[i].Name), depth+1)
	}
}

var skopsGrades = [...]string{globals.Allowed: "allowed", globals.Low: "unlisted", globals.Suspicious: "suspicious", globals.Malicious: "dangerous"}

// name grades a name, once.
func (s *skopsScan) name(module, name string, v *strictjson.Value, at string) {
	key := [2]string{module, name}
	if module == "" || name == "" || s.seen[key] || len(s.seen) >= maxGlobals {
		return
	}
	s.seen[key] = true
	g := s.policy.Grade(module, name)
	s.out.Global(Global{Module: module, Name: name, Grade: skopsGrades[g.Level]})
	full := module + "." + name
	switch g.Level {
	case globals.Malicious:
		s.finding(ruleSkopsDenied, v, at, full, "%q is named: %s", full, g.Reason)
	case globals.Suspicious, globals.Low:
		s.finding(ruleSkopsUnlisted, v, at, full, "%q is named: %s", full, g.Reason)
	}
}

func (s *skopsScan) finding(rule prerun.Rule, v *strictjson.Value, at, key, format string, args ...any) {
	s.rated(rule, 0, v, at, key, format, args...)
}

func (s *skopsScan) rated(rule prerun.Rule, sev prerun.Severity, v *strictjson.Value, at, key, format string, args ...any) {
	if s.out.full(rule, sev) {
		return
	}
	s.out.Finding(prerun.Finding{
		Rule:       rule,
		Severity:   sev,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Line: v.Line, Column: v.Column, Fragment: at}},
		Message:    excerpt(fmt.Sprintf(format, args...), 300),
		Key:        excerpt(key, 120),
	})
}

// skopsBytesFormat recognises members that hold the bytes objects of a model,
// by their place and name. Any bytes may stand there; nothing loads them.
type skopsBytesFormat struct{}

func (skopsBytesFormat) Info() Info {
	return Info{ID: "skops-bytes", Within: []string{"*"}, Extensions: []string{".bin"}}
}

func (skopsBytesFormat) Match(p Probe) Match {
	uuid, ok := strings.CutSuffix(p.Name, ".bin")
	if !ok || len(uuid) != 36 || strings.Trim(uuid, "0123456789abcdef-") != "" {
		return No
	}
	if _, ok := p.Tree.Lookup(skopsSchema); ok {
		return Maybe
	}
	return No
}

func (skopsBytesFormat) Scan(context.Context, *Artifact, *Sink) error { return nil }
