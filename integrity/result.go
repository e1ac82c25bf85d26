package integrity

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
)

// A Result is what a verification found. It is a [prerun.Source]: an error of
// Verify that [Rejected] knows is a finding here, any other is a gap. Fields
// are filled as far as the verification came, and none of them is from a
// statement whose signature did not verify.
type Result struct {
	Bundle      digest.Digest  // of the bundle's bytes
	Signed      *prerun.Signed // method, signer, times; nil unless the signature verified
	Name        string         // what the signer calls the model; informational
	Manifest    *Manifest      // as signed, with a single file under its own name; nil unless valid
	Differences []Difference   // between manifest and model, by path
	Ignored     []string       // paths left out that exist, by path
	Unsigned    []string       // files that InsecureIgnoreUnsigned let pass, by path
	Uncovered   []string       // paths that the format cannot cover, by path
	HardLinks   []string       // signed files that have another name as well, by path; see [Linker]
	Leniencies  []Leniency     // departures from the specification that were let pass

	verified bool
	subjects []prerun.Subject // besides those of model
	model    *Manifest        // what was looked at: the manifest, or a part of it
	findings []prerun.Finding
	gaps     []prerun.Gap
}

// Verified reports whether everything was verified: the twin of a nil error.
func (r *Result) Verified() bool { return r != nil && r.verified }

// Subjects ranges over the bundle, and, once the signature is verified, over
// the model as "." with its signed root digest and over its signed files.
func (r *Result) Subjects() iter.Seq[prerun.Subject] {
	if r == nil {
		return prerun.NewSource(nil, nil, nil).Subjects()
	}
	subjects := slices.Clone(r.subjects)
	if r.model != nil {
		if len(r.model.Resources) == len(r.Manifest.Resources) {
			subjects = append(subjects, prerun.Subject{Path: ".", Digest: r.model.Root().String()})
		}
		for name, d := range r.model.Files() {
			subjects = append(subjects, prerun.Subject{Path: prerun.EscapePath(name), Digest: d.String()})
		}
	}
	return prerun.NewSource(subjects, nil, nil).Subjects()
}

// Findings ranges over what is wrong, and what was let pass, by path.
func (r *Result) Findings() iter.Seq[prerun.Finding] { return r.rest().Findings() }

// Gaps ranges over what could not be checked, by path.
func (r *Result) Gaps() iter.Seq[prerun.Gap] { return r.rest().Gaps() }

// rest is a source without the subjects of the model, of which there may be
// very many.
func (r *Result) rest() prerun.Source {
	if r == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return prerun.NewSource(r.subjects, r.findings, r.gaps)
}

func (r *Result) find(rule prerun.Rule, path, key, message string, evidence map[string]string, where ...prerun.Location) {
	r.findings = append(r.findings, newFinding(rule, path, key, message, evidence, where...))
}

func newFinding(rule prerun.Rule, path, key, message string, evidence map[string]string, where ...prerun.Location) prerun.Finding {
	path = prerun.EscapePath(path)
	if len(where) == 0 {
		where = []prerun.Location{{}}
	}
	for i := range where {
		where[i].Path = path
	}
	return prerun.Finding{
		Rule: rule, Severity: rule.Severity, Confidence: prerun.ConfidenceHigh,
		Subject: prerun.Subject{Path: path}, Locations: where,
		Message: message, Evidence: evidence, Key: key,
	}
}

// fail files err as a finding or as a gap, and returns it.
func (r *Result) fail(path string, err error) error {
	for _, k := range ruleOfKind {
		if !errors.Is(err, k.kind) {
			continue
		}
		key := ""
		if e, ok := errors.AsType[*Error](err); ok && e.Path != "" {
			key = prerun.EscapePath(e.Path)
		}
		r.find(k.rule, path, key, err.Error(), nil)
		return err
	}
	r.gaps = append(r.gaps, prerun.Gap{Location: prerun.Location{Path: prerun.EscapePath(path)}, Reason: err.Error()})
	return err
}

// accept fills in what the verified statement says.
func (r *Result) accept(s *statement) {
	r.Name, r.Manifest = s.name, s.manifest
	r.Leniencies = append(r.Leniencies, s.lenient...)
}

// describe notes what is about to be looked at, the whole model or a part of it,
// and files what can be said of its names, and the leniencies.
func (r *Result) describe(bundle string, m *Manifest) {
	r.model = m
	r.findings = slices.AppendSeq(r.findings, m.Findings())
	for _, l := range r.Leniencies {
		r.find(ruleLeniency, bundle, l.Code, l.Detail, nil)
	}
}

const maxRanges = 32 // locations of one finding; the message has the count

// report files a difference.
func (r *Result) report(d Difference) {
	message := map[Change]string{
		Missing:     "the file was signed and is not there",
		Extra:       "the file is not signed",
		Modified:    "the content is not what was signed",
		KindChanged: "something else stands where a file was signed",
	}[d.Change]
	if d.Detail != "" {
		message += ": " + d.Detail
	}
	var where []prerun.Location
	if n := len(d.Shards); n > 0 {
		message += fmt.Sprintf(" in %d shards", n)
		for _, s := range d.Shards[:min(n, maxRanges)] {
			where = append(where, prerun.Location{Offset: s.Start, Length: s.End - s.Start})
		}
	}
	evidence := make(map[string]string)
	if d.Want != "" {
		evidence["signed"] = d.Want.String()
	}
	if d.Got != "" {
		evidence["found"] = d.Got.String()
	}
	r.find(ruleOfChange[d.Change], d.Path, "", message, evidence, where...)
}

// loadable reports whether a file's name says weights or code.
func loadable(name string) bool {
	name = strings.ToLower(name)
	for _, suffix := range []string{
		".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz",
		".onnx", ".gguf", ".ggml", ".h5", ".hdf5", ".keras", ".pb", ".tflite", ".mlmodel", ".pmml", ".engine",
		".nemo", ".mar", ".skops", ".msgpack", ".llamafile", ".pte", ".ptl", ".ubj", ".rds",
		".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".jar", ".exe", ".sh", ".whl", ".jinja",
	} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
