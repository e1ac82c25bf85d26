package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/strictjson"
)

// ResultSchema is the schema member of an encoded [Result].
const ResultSchema = "prerun/scan-result/v1"

// ErrResult is wrapped by every error about an encoded result.
var ErrResult = errors.New("scan result")

// maxResult bounds an encoded result, in bytes.
const maxResult = 64 << 20

// The wire form of a result. Members stand in this order; those marked
// omitempty are left out when they are empty.
type (
	wireResult struct {
		Schema   string        `json:"schema,required"`
		RuleSets []wireRuleSet `json:"rule_sets,omitempty"`
		Rules    []wireRule    `json:"rules,omitempty"` // that findings name, by id
		Files    []wireFile    `json:"files,required"`
	}
	wireRuleSet struct {
		Name   string `json:"name,required"`
		Digest string `json:"digest,required"`
	}
	wireRule struct {
		ID       string          `json:"id,required"`
		Title    string          `json:"title,required"`
		Severity prerun.Severity `json:"severity,required"`
		Help     string          `json:"help,required"`
		Refs     []wireRef       `json:"refs,omitempty"`
	}
	wireRef struct {
		Catalogue string `json:"catalogue,required"`
		Edition   string `json:"edition,omitempty"`
		ID        string `json:"id,required"`
	}
	wireFile struct {
		Path         string            `json:"path,required"`
		Size         int64             `json:"size,required"`
		Digest       string            `json:"digest,omitempty"`
		Verdict      Verdict           `json:"verdict,required"`
		Completeness Completeness      `json:"completeness,required"`
		Formats      []string          `json:"formats,omitempty"`
		Facts        map[string]string `json:"facts,omitempty"`
		Findings     []wireFinding     `json:"findings,omitempty"`
		Gaps         []wireGap         `json:"gaps,omitempty"`
		Globals      []wireGlobal      `json:"globals,omitempty"`
		Inside       []wireFile        `json:"inside,omitempty"`
	}
	wireFinding struct {
		Rule       string            `json:"rule,required"`
		Severity   prerun.Severity   `json:"severity,required"`
		Confidence prerun.Confidence `json:"confidence,required"`
		Subject    string            `json:"subject,omitempty"` // path, where it is not the file's
		Locations  []wireLocation    `json:"locations,omitempty"`
		Message    string            `json:"message,required"`
		Evidence   map[string]string `json:"evidence,omitempty"`
		Key        string            `json:"key,omitempty"`
	}
	wireLocation struct {
		Path     string `json:"path,omitempty"` // where it is not the file's
		Offset   int64  `json:"offset,omitempty"`
		Length   int64  `json:"length,omitempty"`
		Line     int    `json:"line,omitempty"`
		Column   int    `json:"column,omitempty"`
		Fragment string `json:"fragment,omitempty"`
	}
	wireGap struct {
		Location wireLocation `json:"location,required"`
		Reason   string       `json:"reason,required"`
	}
	wireGlobal struct {
		Module string `json:"module,required"`
		Name   string `json:"name,required"`
		Grade  string `json:"grade,required"`
		Called bool   `json:"called,omitempty"`
	}
)

// Encode writes the result as JSON, the same bytes for the same result: one
// line, members in a fixed order, maps by key, without what is empty. It holds
// the rules that findings name, so that it can be read where the format or rule
// set that has them is not at hand. [ParseResult] reads it.
//
//	{"schema": "prerun/scan-result/v1",
//	 "rule_sets": [{"name": "acme", "digest": "sha256:..."}],
//	 "rules": [{"id": "scan.pickle.call-on-load", "title": "...", "severity": "critical", "help": "...",
//	            "refs": [{"catalogue": "CWE", "edition": "4.16", "id": "CWE-502"}]}],
//	 "files": [{"path": "m.zip", "size": 9, "digest": "sha256:...", "verdict": "malicious", "completeness": "complete",
//	            "formats": ["zip"], "facts": {}, "findings": [], "gaps": [{"location": {}, "reason": "..."}],
//	            "globals": [{"module": "os", "name": "system", "grade": "dangerous", "called": true}],
//	            "inside": [{"path": "m.zip!/data.pkl", ..., "findings": [{"rule": "scan.pickle.call-on-load",
//	              "severity": "critical", "confidence": "high", "locations": [{"offset": 2, "length": 1}],
//	              "message": "...", "evidence": {}, "key": "os.system"}]}]}]}
//
// A finding's subject, and the path of a location, are those of the file that
// it stands in unless stated.
func (r *Result) Encode() ([]byte, error) {
	w, err := r.wire()
	if err != nil {
		return nil, err
	}
	return canonical(w)
}

func (r *Result) wire() (wireResult, error) {
	w := wireResult{Schema: ResultSchema, Files: []wireFile{}}
	for _, s := range r.RuleSets {
		w.RuleSets = append(w.RuleSets, wireRuleSet{s.Name, string(s.Digest)})
	}
	rules := make(map[string]prerun.Rule)
	for i := range r.Files {
		for f := range r.Files[i].All() {
			for _, x := range f.Findings {
				if known, ok := rules[x.Rule.ID]; ok && !reflect.DeepEqual(known, x.Rule) {
					return w, fmt.Errorf("%w: two rules are called %q", ErrResult, x.Rule.ID)
				}
				rules[x.Rule.ID] = x.Rule
			}
		}
		w.Files = append(w.Files, toWire(&r.Files[i]))
	}
	for _, id := range sortedKeys(rules) {
		rule := wireRule{ID: id, Title: rules[id].Title, Severity: rules[id].Severity, Help: rules[id].Help}
		for _, ref := range rules[id].Refs {
			rule.Refs = append(rule.Refs, wireRef{ref.Catalogue, ref.Edition, ref.ID})
		}
		w.Rules = append(w.Rules, rule)
	}
	return w, nil
}

func canonical(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResult, err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func toWire(f *FileResult) wireFile {
	w := wireFile{
		Path: f.Path, Size: f.Size, Digest: string(f.Digest), Verdict: f.Verdict, Completeness: f.Completeness,
		Formats: f.Formats, Facts: f.Facts,
	}
	location := func(l prerun.Location) wireLocation {
		out := wireLocation{l.Path, l.Offset, l.Length, l.Line, l.Column, l.Fragment}
		if l.Path == f.Path {
			out.Path = ""
		}
		return out
	}
	for _, x := range f.Findings {
		out := wireFinding{
			Rule: x.Rule.ID, Severity: x.Severity, Confidence: x.Confidence, Subject: x.Subject.Path,
			Message: x.Message, Evidence: x.Evidence, Key: x.Key,
		}
		if x.Subject.Path == f.Path {
			out.Subject = ""
		}
		for _, l := range x.Locations {
			out.Locations = append(out.Locations, location(l))
		}
		w.Findings = append(w.Findings, out)
	}
	for _, g := range f.Gaps {
		w.Gaps = append(w.Gaps, wireGap{location(g.Location), g.Reason})
	}
	for _, g := range f.Globals {
		w.Globals = append(w.Globals, wireGlobal(g))
	}
	for i := range f.Inside {
		w.Inside = append(w.Inside, toWire(&f.Inside[i]))
	}
	return w
}

// ParseResult reads what [Result.Encode] wrote, byte for byte: there is one
// encoding of a result, and any other is an error, as is a result that no scan
// gives: a clean file with a finding or a gap, an incomplete one without a gap,
// a verdict better than that of what lies inside. Errors wrap [ErrResult].
//
// Nothing says that a scan took place. [OpenScan] does, for a signed one.
func ParseResult(data []byte) (*Result, error) {
	var w wireResult
	tree, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxResult, Depth: 512})
	if err == nil {
		_, err = strictjson.Decode(tree, &w, strictjson.Options{})
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResult, err)
	}
	r, err := w.result()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResult, err)
	}
	again, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: it is not in the one form that this version writes", ErrResult)
	}
	return r, nil
}

func (w *wireResult) result() (*Result, error) {
	if w.Schema != ResultSchema {
		return nil, fmt.Errorf("schema %q, want %q", w.Schema, ResultSchema)
	}
	rules := make(map[string]prerun.Rule)
	for _, r := range w.Rules {
		rule := prerun.Rule{ID: r.ID, Title: r.Title, Severity: r.Severity, Help: r.Help}
		for _, ref := range r.Refs {
			rule.Refs = append(rule.Refs, prerun.Reference{Catalogue: ref.Catalogue, Edition: ref.Edition, ID: ref.ID})
		}
		rules[r.ID] = rule
	}
	files := make([]FileResult, 0, len(w.Files))
	for i := range w.Files {
		f, err := w.Files[i].file(rules)
		if err != nil {
			return nil, err
		}
		if i > 0 && files[i-1].Path >= f.Path {
			return nil, fmt.Errorf("%q comes after %q", f.Path, files[i-1].Path)
		}
		files = append(files, f)
	}
	r := newResult(files, nil)
	for _, s := range w.RuleSets {
		d, err := digestx.Parse(s.Digest)
		if err != nil {
			return nil, err
		}
		r.RuleSets = append(r.RuleSets, RuleSetID{s.Name, d})
	}
	return r, nil
}

func (w *wireFile) file(rules map[string]prerun.Rule) (FileResult, error) {
	f := FileResult{
		Path: w.Path, Size: w.Size, Verdict: w.Verdict, Completeness: w.Completeness,
		Formats: w.Formats, Facts: w.Facts,
	}
	if _, err := prerun.SplitPath(w.Path); err != nil {
		return f, err
	}
	if w.Digest != "" {
		d, err := digestx.Parse(w.Digest)
		if err != nil {
			return f, err
		}
		f.Digest = d
	}
	location := func(l wireLocation) prerun.Location {
		out := prerun.Location{Path: l.Path, Offset: l.Offset, Length: l.Length, Line: l.Line, Column: l.Column, Fragment: l.Fragment}
		if l.Path == "" {
			out.Path = f.Path
		}
		return out
	}
	for _, x := range w.Findings {
		rule, ok := rules[x.Rule]
		if !ok {
			return f, fmt.Errorf("%q: a finding names rule %q, which is not there", f.Path, x.Rule)
		}
		out := prerun.Finding{
			Rule: rule, Severity: x.Severity, Confidence: x.Confidence, Subject: prerun.Subject{Path: x.Subject},
			Message: x.Message, Evidence: x.Evidence, Key: x.Key,
		}
		if x.Subject == "" {
			out.Subject.Path = f.Path
		}
		for _, l := range x.Locations {
			out.Locations = append(out.Locations, location(l))
		}
		f.Findings = append(f.Findings, out)
	}
	for _, g := range w.Gaps {
		f.Gaps = append(f.Gaps, prerun.Gap{Location: location(g.Location), Reason: g.Reason})
	}
	for _, g := range w.Globals {
		f.Globals = append(f.Globals, Global(g))
	}
	for i := range w.Inside {
		in, err := w.Inside[i].file(rules)
		if err != nil {
			return f, err
		}
		f.Inside = append(f.Inside, in)
	}
	return f, f.plausible()
}

// plausible reports an error for a result that contradicts itself.
func (f *FileResult) plausible() error {
	findings, gaps := prerun.Info, 0
	least := Complete
	for g := range f.All() {
		gaps += len(g.Gaps)
		for _, x := range g.Findings {
			findings = max(findings, rank(x.Severity))
		}
		if g != f {
			least = worse(least, g.Completeness)
		}
	}
	want := Unknown
	switch {
	case findings >= prerun.High:
		want = Malicious
	case findings == prerun.Medium:
		want = Suspicious
	}
	switch {
	case f.Size < 0:
		return fmt.Errorf("%q: size %d", f.Path, f.Size)
	case f.Verdict < want, f.Verdict == Clean && (f.Completeness != Complete || len(f.Formats) == 0):
		return fmt.Errorf("%q: its verdict is %s, which what stands in it contradicts", f.Path, f.Verdict)
	case worse(f.Completeness, least) != f.Completeness, f.Completeness == Complete && gaps > 0:
		return fmt.Errorf("%q: it is said to be %s, which what stands in it contradicts", f.Path, f.Completeness)
	case f.Completeness != Complete && gaps == 0 && !strings.Contains(f.Path, "!/"):
		return fmt.Errorf("%q: it is %s and nothing says why", f.Path, f.Completeness)
	}
	return nil
}

// UnmarshalText reads what [Verdict.MarshalText] writes, exactly.
func (v *Verdict) UnmarshalText(text []byte) error {
	i := slices.Index(verdictNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is not a verdict", text)
	}
	*v = Verdict(i)
	return nil
}

// UnmarshalText reads what [Completeness.MarshalText] writes, exactly.
func (c *Completeness) UnmarshalText(text []byte) error {
	i := slices.Index(completenessNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is not a completeness", text)
	}
	*c = Completeness(i)
	return nil
}

// Digest is the SHA-256 digest of the encoded result. It fails as
// [Result.Encode] does.
func (r *Result) Digest() (digest.Digest, error) {
	data, err := r.Encode()
	if err != nil {
		return "", err
	}
	return digestx.Of(data), nil
}

// utf8Only makes text of a result fit for every encoding of it.
func utf8Only(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
