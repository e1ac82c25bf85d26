package scan

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
)

// openvinoFormat reads the XML of OpenVINO models: layers, wherever bodies of
// loops nest them, and the ranges of the weights file beside it, which has the
// same name but for its ending. Of models before version 10, whose layers do
// not say where they are defined, only ranges are checked.
//
// Facts: "framework", "version" of the format, "operators" the number of
// layers, "extensions" official extensions that the model needs.
type openvinoFormat struct{}

var (
	ruleOVLayer = prerun.Rule{
		ID: "scan.openvino.custom-layer", Title: "layer that needs foreign code", Severity: prerun.Medium,
		Help: "The model has a layer that is in none of OpenVINO's operation sets. It only runs together with an extension library from somewhere else, which is native code. Review where that library comes from.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleOVLibrary = prerun.Rule{
		ID: "scan.openvino.library-reference", Title: "model that names a native library", Severity: prerun.High,
		Help: "An attribute of the model names a native library. A model describes a graph; what runs it is chosen by who loads it. Do not load the model together with that library.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
	ruleOVRange = prerun.Rule{
		ID: "scan.openvino.weights-range", Title: "weights beyond their file", Severity: prerun.Medium,
		Help: "A layer claims bytes beyond the end of the weights file, or an unreadable range. Loaders crash, or read memory they should not. Do not load the model; convert it again.",
		Refs: []prerun.Reference{cwe("CWE-125")},
	}
)

func (openvinoFormat) Info() Info {
	return Info{ID: "openvino", Within: []string{"text"}, Operators: []string{"openvino"}, Rules: []prerun.Rule{ruleOVLayer, ruleOVLibrary, ruleOVRange, ruleXMLDocType}}
}

func (openvinoFormat) Match(p Probe) Match {
	if xmlLike(p) && (p.Ext() == ".xml" || strings.Contains(string(p.Head[:min(512, len(p.Head))]), "<net")) {
		return Maybe
	}
	return No
}

type openvinoScan struct {
	a   *Artifact
	out *Sink

	root       bool
	version    int64
	layers     int
	weights    Entry // the file beside it
	found      bool
	missing    bool
	seen       map[string]bool // layers reported
	extensions map[string]bool
}

func (openvinoFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &openvinoScan{a: a, out: out, seen: map[string]bool{}, extensions: map[string]bool{}}
	var linked bool
	s.weights, linked, s.found = a.sibling(strings.TrimSuffix(a.Base(), path.Ext(a.Base())) + ".bin")
	s.found = s.found && !linked
	err := walkXML(a, out, s.element)
	if !s.root {
		return s.foreign(err)
	}
	if err != nil {
		return fmt.Errorf("openvino: %w", err)
	}
	out.Fact("framework", "openvino")
	out.Fact("version", strconv.FormatInt(s.version, 10))
	out.Fact("operators", strconv.Itoa(s.layers))
	if len(s.extensions) > 0 {
		out.Fact("extensions", strings.Join(sortedKeys(s.extensions), " "))
	}
	if s.version < 10 {
		out.Gap(fmt.Sprintf("layers of models of version %d do not say whether they are OpenVINO's own", s.version), 0, 0)
	}
	out.Claim(0, a.Size)
	return nil
}

// foreign decides about a document whose root is another, or that could not be
// read up to its root, such as one in UTF-16: beside weights of its name, or
// with a root that shows, it was meant for OpenVINO.
func (s *openvinoScan) foreign(err error) error {
	shows := strings.Contains(strings.ReplaceAll(string(s.a.Head), "\x00", ""), "<net")
	if err != nil && (s.found || shows) && err != errForeignRoot {
		return fmt.Errorf("openvino: %w", err)
	}
	return fmt.Errorf("openvino: %w", ErrNotFormat)
}

var errForeignRoot = fmt.Errorf("another root: %w", ErrNotFormat)

func (s *openvinoScan) element(elements []xmlElement) error {
	e := elements[len(elements)-1]
	if len(elements) == 1 {
		if e.Name != "net" || s.root {
			return errForeignRoot
		}
		s.root = true
		s.version, _ = natural(e.Attr("version"))
	}
	for _, a := range e.Attrs {
		if library(a.Value) {
			shown := excerpt(a.Value, 120)
			s.finding(ruleOVLibrary, e, shown, "%s %s is the library %q", excerpt(e.Name, 40), excerpt(a.Name.Local, 40), shown)
		}
	}
	switch e.Name {
	case "layer":
		s.layer(e)
	case "data", "weights", "biases", "custom", "blob":
		s.data(e)
	}
	return nil
}

func (s *openvinoScan) finding(rule prerun.Rule, e xmlElement, key, format string, args ...any) {
	s.out.report(rule, 0, prerun.Location{Offset: e.At, Length: min(1, s.a.Size-e.At)}, key, format, args...)
}

// library reports the name of a native library for one of the usual systems.
func library(name string) bool {
	return slices.Contains([]string{".so", ".dll", ".dylib"}, strings.ToLower(path.Ext(strings.ReplaceAll(name, `\`, "/")))) ||
		strings.Contains(name, ".so.")
}

// openvinoTokenizers are the layers of the official extension for tokenizers.
var openvinoTokenizers = []string{
	"StringTensorPack", "StringTensorUnpack", "RaggedTensorPack", "RaggedToDense", "RaggedToSparse", "RaggedToRagged", "FuzeRagged",
	"RegexNormalization", "RegexSplit", "SpecialTokensSplit", "CharsMapNormalization", "NormalizeUnicode", "CaseFold", "UTF8Validate",
	"BPETokenizer", "WordpieceTokenizer", "WordLevelTokenizer", "UnigramTokenizer", "TrieTokenizer", "SentencepieceTokenizer",
	"SentencepieceDetokenizer", "SentencepieceStreamDetokenizer", "VocabEncoder", "VocabDecoder", "BytesToChars", "CharsToBytes",
	"CombineSegments", "Truncate", "EqualStr", "StringToHashBucket", "ByteFallback",
}

func (s *openvinoScan) layer(e xmlElement) {
	s.layers++
	set, kind := e.Attr("version"), e.Attr("type")
	s.out.Operator(Operator{Kind: "openvino", Domain: set, Name: kind, Location: prerun.Location{Offset: e.At, Length: 1}})
	if number, ok := strings.CutPrefix(set, "opset"); ok && number != "" && decimal([]byte(number)) {
		return
	}
	switch {
	case set == "ie_internal_opset", set == "type_relaxed_opset":
		return
	case set == "" && s.version < 10:
		return // a gap
	case set == "extension" && slices.Contains(openvinoTokenizers, kind):
		s.extensions["openvino_tokenizers"] = true
		return
	}
	key := excerpt(set+":"+kind, 120)
	if s.seen[key] || len(s.seen) >= 10_000 {
		return
	}
	s.seen[key] = true
	s.finding(ruleOVLayer, e, key, "layer %q of type %q is from %q", excerpt(e.Attr("name"), 80), excerpt(kind, 80), excerpt(set, 80))
}

// data checks the range of a constant.
func (s *openvinoScan) data(e xmlElement) {
	from, size := e.Attr("offset"), e.Attr("size")
	if from == "" || size == "" {
		return
	}
	off, ok1 := natural(from)
	n, ok2 := natural(size)
	switch {
	case ok1 && ok2 && n == 0:
	case ok1 && ok2 && !s.found:
		if !s.missing {
			s.missing = true
			s.out.Gap("the weights file of the same name is not here", 0, 0)
		}
	case !ok1 || !ok2 || off > s.weights.Size || n > s.weights.Size-off:
		s.finding(ruleOVRange, e, "range", "bytes %q+%q of the weights file, which has %d", excerpt(from, 24), excerpt(size, 24), s.weights.Size)
	}
}

// A placedFormat recognises raw weights, which have no structure of their own,
// by what lies beside them. Its bytes stay unclaimed and so are searched for
// programs and hidden files.
type placedFormat struct {
	id   string
	here func(p Probe) bool
}

func (f placedFormat) Info() Info { return Info{ID: f.id, Within: []string{"*"}} }

func (f placedFormat) Match(p Probe) Match {
	if f.here(p) {
		return Maybe
	}
	return No
}

func (placedFormat) Scan(context.Context, *Artifact, *Sink) error { return nil }

// openvinoWeights are the weights beside an XML of the same name. Whether that
// is a model turns out when it is scanned itself, see [orphans].
func openvinoWeights(p Probe) bool {
	stem, ok := strings.CutSuffix(p.Name, ".bin")
	if !ok {
		return false
	}
	_, ok = p.Tree.Lookup(stem + ".xml")
	return ok
}

const openvinoWeightsID = "openvino-weights"

// orphans makes it a gap where nothing but its place says what a file is, and
// the XML there is no model after all: loaders of other kinds may open it.
// Results are those of one folder or container, by path within it or with it.
func orphans(results []FileResult) (changed bool) {
	models := make(map[string]bool)
	for i := range results {
		f := &results[i]
		if orphans(f.Inside) {
			for j := range f.Inside {
				f.Completeness = worse(f.Completeness, f.Inside[j].Completeness)
			}
			f.conclude()
			changed = true
		}
		if slices.Contains(f.Formats, "openvino") {
			models[f.Path] = true
		}
	}
	for i := range results {
		f := &results[i]
		if !slices.Contains(f.Formats, openvinoWeightsID) || len(f.Formats) > 1 || models[strings.TrimSuffix(f.Path, ".bin")+".xml"] {
			continue
		}
		f.Gaps = append(f.Gaps, prerun.Gap{Location: prerun.Location{Path: f.Path}, Reason: "no format recognised this file, and the XML of its name is no OpenVINO model"})
		f.Completeness = worse(f.Completeness, Inconclusive)
		f.conclude()
		changed = true
	}
	return changed
}
