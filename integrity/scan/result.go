package scan

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
)

// A Verdict says what was found in a file. The zero value is Unknown.
type Verdict uint8

// Verdicts, from nothing known to worst. Unknown means that no format
// recognised the file, or that nothing was found but not all of it could be
// looked at. Clean means recognised, read to the end, and no finding of medium
// severity or above. Suspicious is a finding of medium severity, Malicious one
// of high or critical severity.
const (
	Unknown Verdict = iota
	Clean
	Suspicious
	Malicious
)

var verdictNames = [...]string{"unknown", "clean", "suspicious", "malicious"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// MarshalText writes the lower-case name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// A Completeness says how much of a file was looked at. The zero value is
// Inconclusive: what nobody said to be complete is not.
type Completeness uint8

// Completeness values. Inconclusive: a budget ran out, content is encrypted or
// uses a codec that is not supported. Failed: unreadable, malformed, or a
// format panicked.
const (
	Inconclusive Completeness = iota
	Complete
	Failed
)

var completenessNames = [...]string{"inconclusive", "complete", "error"}

func (c Completeness) String() string {
	if int(c) < len(completenessNames) {
		return completenessNames[c]
	}
	return fmt.Sprintf("completeness(%d)", uint8(c))
}

// MarshalText writes the lower-case name.
func (c Completeness) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// worse is the less complete of two, Failed being the least.
func worse(a, b Completeness) Completeness {
	order := [...]int{Complete: 0, Inconclusive: 1, Failed: 2}
	if order[b] > order[a] {
		return b
	}
	return a
}

// rank orders severities for the verdict: unrated is above all.
func rank(s prerun.Severity) prerun.Severity {
	if s == prerun.Unrated {
		return prerun.Critical
	}
	return s
}

// A Global is a name that loading a pickle would import.
type Global struct {
	Module, Name string
	Grade        string // built-in formats say allowed, unlisted, suspicious or dangerous
	Called       bool   // some reference to it is called on load
}

// maxGlobals bounds the distinct globals kept for one artefact.
const maxGlobals = 10_000

// A FileResult is what was found in one file, or in one thing nested inside a
// file.
type FileResult struct {
	Path         string // nested path, see prerun.NestPath
	Size         int64
	Digest       digest.Digest // SHA-256 of a top-level file; empty with NoDigests and for nested content
	Verdict      Verdict       // the worst of the file and all inside
	Completeness Completeness  // the least of the file and all inside
	Formats      []string      // that recognised it, sorted

	// Facts by key, as the built-in formats state them where they apply:
	//
	//	weights_only   "yes", or "no: " and a reason: whether torch.load with
	//	               weights_only opens it; of all pickles inside together
	//	insecure_allowed names that only a rule set allows, by set
	//	link           what a symbolic link leads to
	//	snapshot       of a blob in a Hugging Face cache: the first name under
	//	               which it was scanned; its findings stand there
	//	chat_template  digest of a chat template, sha256:hex
	//	external_data  number of ONNX tensors kept in other files
	//	soft_links     number of links within an HDF5 file
	//	layout         of torch files: "legacy" or "tar" where they are no zip archive
	//	pickler        library whose helpers a pickle names: dill, cloudpickle, joblib
	//	shards         number of files that an index of weights names
	//	handler        what TorchServe runs
	//	handlers, value_types, node_types: names that restoring a JAX
	//	               checkpoint asks for, sorted
	//	operators      number of operators, layers or nodes of a graph; of TFLite
	//	               and ExecuTorch models the number of kinds
	//	custom_operators, delegates, extensions, plugins: what a graph needs
	//	               beside its runtime's own operators, sorted
	//	models, shards number of models in a Core ML pipeline, of data files of a
	//	               TensorFlow checkpoint
	//	trees, functions, calls, objects: their number in models of trees, R data
	//	               and Lua Torch; of PMML functions are names, sorted
	//	vocabulary     number of words in a GGML model
	//	packages, classes: what R data and Lua Torch take from elsewhere, sorted
	//	byteorder, format_version: of torch archives
	//	framework, backend, producer, version, ir_version, opsets, architecture,
	//	model_type, base_model, dtype, tensors, container, booster, objective,
	//	protocol, application, ort_version: as the file says
	Facts map[string]string

	Findings []prerun.Finding // of this file, not of what is inside
	Gaps     []prerun.Gap     // likewise
	Globals  []Global         // likewise, by module and name
	Inside   []FileResult     // in the order of the container

	worst   prerun.Severity
	hurried bool // the wall clock ran out, which says nothing about the file
}

// All yields the result and everything nested in it, outermost first.
func (f *FileResult) All() iter.Seq[*FileResult] {
	return func(yield func(*FileResult) bool) { f.walk(yield) }
}

func (f *FileResult) walk(yield func(*FileResult) bool) bool {
	if !yield(f) {
		return false
	}
	for i := range f.Inside {
		if !f.Inside[i].walk(yield) {
			return false
		}
	}
	return true
}

// conclude sets the verdict from what was gathered.
func (f *FileResult) conclude() {
	switch {
	case f.worst >= prerun.High:
		f.Verdict = Malicious
	case f.worst == prerun.Medium:
		f.Verdict = Suspicious
	case len(f.Formats) > 0 && f.Completeness == Complete:
		f.Verdict = Clean
	default:
		f.Verdict = Unknown
	}
}

// A Result is what was found in a folder or file. It implements
// [prerun.Source]; its subjects are the top-level files.
type Result struct {
	Files   []FileResult // by path
	Globals []Global     // of all files, by module and name

	RuleSets []RuleSetID // that the scan applied besides the built-in rules, in their order

	source prerun.Source
}

var _ prerun.Source = (*Result)(nil)

// A RuleSetID names a [RuleSet] that a scan applied.
type RuleSetID struct {
	Name   string
	Digest digest.Digest // of its file
}

// newResult sorts, merges and projects the results of files.
func newResult(files []FileResult, sets []*RuleSet) *Result {
	slices.SortStableFunc(files, func(a, b FileResult) int { return cmp.Compare(a.Path, b.Path) })
	var (
		subjects []prerun.Subject
		findings []prerun.Finding
		gaps     []prerun.Gap
		globals  []Global
		ids      []RuleSetID
	)
	for _, s := range sets {
		ids = append(ids, RuleSetID{s.name, s.digest})
	}
	for i := range files {
		top := &files[i]
		subjects = append(subjects, prerun.Subject{Path: top.Path, Digest: string(top.Digest)})
		for f := range top.All() {
			for _, finding := range f.Findings {
				if finding.Subject.Path == f.Path {
					// The subject is the file that has a digest, the location says
					// where in it.
					finding.Subject = prerun.Subject{Path: top.Path, Digest: string(top.Digest)}
				}
				findings = append(findings, finding)
			}
			gaps = append(gaps, f.Gaps...)
			globals = append(globals, f.Globals...)
		}
	}
	if len(files) > 0 && len(gaps) == 0 && nothingKnown(files) {
		where := "."
		if len(files) == 1 {
			where = files[0].Path
		}
		gaps = []prerun.Gap{{Location: prerun.Location{Path: where}, Reason: "nothing was recognised"}}
	}
	return &Result{
		Files:    files,
		Globals:  mergeGlobals(globals),
		RuleSets: ids,
		source:   prerun.NewSource(subjects, findings, gaps),
	}
}

// nothingKnown reports whether nothing is known of any file. One of a kind that
// no loader opens may lie beside a model; where nothing else lies there, no
// model was looked at.
func nothingKnown(files []FileResult) bool {
	return !slices.ContainsFunc(files, func(f FileResult) bool { return f.Verdict != Unknown })
}

// mergeGlobals sorts by module and name and joins equal ones.
func mergeGlobals(in []Global) []Global {
	type key struct{ module, name string }
	merged := make(map[key]Global)
	for _, g := range in {
		k := key{g.Module, g.Name}
		g.Called = g.Called || merged[k].Called
		merged[k] = g
	}
	return slices.SortedFunc(maps.Values(merged), func(a, b Global) int {
		return cmp.Or(cmp.Compare(a.Module, b.Module), cmp.Compare(a.Name, b.Name))
	})
}

// Verdict is the worst verdict of all files: Clean only when every file is
// clean or unknown without a gap, and one at least is clean.
func (r *Result) Verdict() Verdict {
	v := Unknown
	for i := range r.Files {
		v = max(v, r.Files[i].Verdict)
	}
	if v == Clean && r.Completeness() != Complete {
		return Unknown
	}
	return v
}

// Completeness is the least completeness of all files, and at most Inconclusive
// when nothing is known of any: that is a gap of the result, where none of the
// files has one.
func (r *Result) Completeness() Completeness {
	c := Complete
	if nothingKnown(r.Files) {
		c = Inconclusive
	}
	for i := range r.Files {
		c = worse(c, r.Files[i].Completeness)
	}
	return c
}

// Subjects yields the top-level files by path.
func (r *Result) Subjects() iter.Seq[prerun.Subject] { return r.projection().Subjects() }

// Findings yields the findings of all files and of all nested in them, in the
// order of [prerun.Sort].
func (r *Result) Findings() iter.Seq[prerun.Finding] { return r.projection().Findings() }

// Gaps yields what could not be checked, by location.
func (r *Result) Gaps() iter.Seq[prerun.Gap] { return r.projection().Gaps() }

// projection makes the zero value speak: it looked at nothing.
func (r *Result) projection() prerun.Source {
	if r == nil || r.source == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return r.source
}
