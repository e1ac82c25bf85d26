package provenance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/strictjson"
)

// Types that statements and their parts carry.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PayloadType   = dsse.InTotoType // of the signed envelope

	ProvenanceType = "https://slsa.dev/provenance/v1"
	VSAType        = "https://slsa.dev/verification_summary/v1"
)

// Bounds on one statement. They are generous for a model of many shards and
// keep a hostile statement from being expensive.
const (
	MaxStatement   = 16 << 20 // bytes of the payload
	MaxSubjects    = 100_000
	MaxDescriptors = 100_000 // resolved dependencies, by-products or input attestations

	maxDigests = 64 // in one set
	maxNodes   = 1 << 20
	maxDepth   = 64
)

var statementLimits = strictjson.Limits{Bytes: MaxStatement, Nodes: maxNodes, Depth: maxDepth}

// ErrStatement is wrapped by every error about a statement or predicate that
// cannot be used. [*StatementError] says where.
var ErrStatement = errors.New("malformed statement")

// A StatementError says what is wrong with a statement and where: Offset is in
// bytes from the start of the payload, or of the predicate where Part is
// "predicate".
type StatementError struct {
	Part   string // "statement" or "predicate"
	Offset int
	Msg    string
}

func (e *StatementError) Error() string {
	return fmt.Sprintf("%s: offset %d: %s", e.Part, e.Offset, e.Msg)
}

func (e *StatementError) Unwrap() error { return ErrStatement }

func statementError(part string, err error) error {
	if e, ok := errors.AsType[*strictjson.Error](err); ok {
		return &StatementError{part, e.Offset, e.Msg}
	}
	return &StatementError{Part: part, Msg: err.Error()}
}

// A Statement is an in-toto statement, version 1. Reading one says nothing
// about who signed it.
type Statement struct {
	Subjects      []Descriptor
	PredicateType string
	Predicate     json.RawMessage // as written, so that numbers stay exact; nil when absent
}

// A Descriptor is a resource as in-toto describes it: a subject, a dependency,
// a by-product, a policy.
type Descriptor struct {
	Name             string
	URI              string
	Digest           DigestSet
	Content          []byte
	DownloadLocation string
	MediaType        string
	Annotations      map[string]any // numbers are [json.Number]
}

// label names the descriptor in a sentence.
func (d *Descriptor) label() string {
	switch {
	case d.Name != "":
		return d.Name
	case d.URI != "":
		return d.URI
	}
	if counted := d.Digest.counted(); len(counted) > 0 {
		return counted[0]
	}
	return "unnamed"
}

type wireStatement struct {
	Type          string            `json:"_type,required"`
	Subject       []wireDescriptor  `json:"subject,required"`
	PredicateType string            `json:"predicateType,required"`
	Predicate     *strictjson.Value `json:"predicate"`
}

// Pointers stand where null is legal and means absent.
type wireDescriptor struct {
	Name             *string                     `json:"name"`
	URI              *string                     `json:"uri"`
	Digest           map[string]string           `json:"digest"`
	Content          *string                     `json:"content"`
	DownloadLocation *string                     `json:"downloadLocation"`
	MediaType        *string                     `json:"mediaType"`
	Annotations      map[string]strictjson.Value `json:"annotations"`
}

// Names of more than one word, which are the ones with a second spelling.
var (
	statementNames  = []string{"_type", "predicateType"}
	descriptorNames = []string{"downloadLocation", "mediaType"}
)

// ParseStatement reads the payload of an in-toto attestation. Errors wrap
// [ErrStatement]. Memory is bounded by [MaxStatement] and the number of values
// in it.
func ParseStatement(payload []byte) (*Statement, error) {
	tree, err := strictjson.Parse(payload, statementLimits)
	if err != nil {
		return nil, statementError("statement", err)
	}
	var wire wireStatement
	if err := decode(tree, &wire, slices.Concat(statementNames, descriptorNames)); err != nil {
		return nil, statementError("statement", err)
	}
	s := &Statement{PredicateType: wire.PredicateType}
	switch {
	case wire.Type != StatementType:
		err = at(tree.Get("_type"), "the statement type is %q, not %q", clip(wire.Type), StatementType)
	case wire.PredicateType == "":
		err = at(tree.Get("predicateType"), "empty predicate type")
	case len(wire.Subject) == 0:
		err = at(tree.Get("subject"), "no subject")
	case len(wire.Subject) > MaxSubjects:
		err = at(tree.Get("subject"), "%d subjects, the limit is %d", len(wire.Subject), MaxSubjects)
	default:
		s.Subjects, err = descriptors(wire.Subject, tree.Get("subject"))
	}
	if err == nil {
		err = checkSubjects(s.Subjects, tree.Get("subject"))
	}
	if err == nil {
		s.Predicate, err = rawPredicate(payload, wire.Predicate)
	}
	if err != nil {
		return nil, statementError("statement", err)
	}
	return s, nil
}

func at(v *strictjson.Value, format string, args ...any) error {
	e := &strictjson.Error{Msg: fmt.Sprintf(format, args...)}
	if v != nil {
		e.Offset, e.Line, e.Column = v.Offset, v.Line, v.Column
	}
	return e
}

// decode fills a wire struct. Unknown names are ignored, but not those that
// another decoder takes for one of names: the JSON form of protobuf reads
// predicate_type as predicateType, and type as _type. Case variants are refused
// below.
func decode(tree *strictjson.Value, into any, names []string) error {
	ignored, err := strictjson.Decode(tree, into, strictjson.Options{AllowUnknown: true})
	if err != nil {
		return err
	}
	for _, pointer := range ignored {
		found := pointer[strings.LastIndexByte(pointer, '/')+1:]
		for _, name := range names {
			if protobufName(name) == found {
				return at(tree, "%s: %q must be spelled %q", clip(pointer), clip(found), name)
			}
		}
	}
	return nil
}

// protobufName is the name of the field in the protobuf definition.
func protobufName(name string) string {
	if name == "_type" {
		return "type"
	}
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func descriptors(wire []wireDescriptor, tree *strictjson.Value) ([]Descriptor, error) {
	if len(wire) > MaxDescriptors {
		return nil, at(tree, "%d descriptors, the limit is %d", len(wire), MaxDescriptors)
	}
	var out []Descriptor
	for i := range wire {
		d, err := wire[i].descriptor()
		if err != nil {
			return nil, at(&tree.Items[i], "descriptor %d: %v", i, err)
		}
		out = append(out, *d)
	}
	return out, nil
}

func (w *wireDescriptor) descriptor() (*Descriptor, error) {
	d := &Descriptor{
		Name:             deref(w.Name),
		URI:              deref(w.URI),
		Digest:           w.Digest,
		DownloadLocation: deref(w.DownloadLocation),
		MediaType:        deref(w.MediaType),
	}
	if len(d.Digest) > maxDigests {
		return nil, fmt.Errorf("%d digests, the limit is %d", len(d.Digest), maxDigests)
	}
	if err := d.Digest.check(); err != nil {
		return nil, err
	}
	if err := checkName(d.Name); err != nil {
		return nil, err
	}
	if w.Content != nil {
		content, err := base64.StdEncoding.DecodeString(*w.Content)
		if err != nil {
			return nil, fmt.Errorf("content is not base64")
		}
		d.Content = content
	}
	if w.Annotations != nil {
		d.Annotations = make(map[string]any, len(w.Annotations))
		for name, v := range w.Annotations {
			d.Annotations[name] = plain(&v)
		}
	}
	return d, nil
}

// checkName refuses names that mean another place once somebody joins them to
// a path, and names that draw on a terminal.
func checkName(name string) error {
	for segment := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == ".." {
			return fmt.Errorf("the name %q climbs out of its folder", clip(name))
		}
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("the name %q holds control characters", clip(name))
	}
	return nil
}

// checkSubjects holds for subjects only: a dependency may lack a digest, and is
// unpinned then.
func checkSubjects(subjects []Descriptor, tree *strictjson.Value) error {
	for i := range subjects {
		if len(subjects[i].Digest) == 0 {
			return at(&tree.Items[i], "subject %d has no digest", i)
		}
	}
	return nil
}

func rawPredicate(payload []byte, v *strictjson.Value) (json.RawMessage, error) {
	switch {
	case v == nil || v.Kind == strictjson.Null:
		return nil, nil
	case v.Kind != strictjson.Object:
		return nil, at(v, "the predicate is a %s, not an object", v.Kind)
	}
	var raw json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(payload[v.Offset:])).Decode(&raw); err != nil {
		return nil, at(v, "predicate: %v", err)
	}
	return raw, nil
}

// predicate parses the predicate of the wanted type into a wire struct and
// returns its tree.
func (s *Statement) predicate(predicateType string, into any, names []string) (*strictjson.Value, error) {
	switch {
	case s.PredicateType != predicateType:
		return nil, statementError("predicate", fmt.Errorf("the predicate type is %q, not %q", clip(s.PredicateType), predicateType))
	case s.Predicate == nil:
		return nil, statementError("predicate", errors.New("no predicate"))
	}
	tree, err := strictjson.Parse(s.Predicate, statementLimits)
	if err == nil {
		err = decode(tree, into, slices.Concat(names, descriptorNames))
	}
	if err != nil {
		return nil, statementError("predicate", err)
	}
	return tree, nil
}

// Encode writes the statement as compact JSON: the same statement always gives
// the same bytes. It fails on what [ParseStatement] would refuse. An absent
// predicate is written as an empty object, because other readers ask for one.
func (s *Statement) Encode() ([]byte, error) {
	head, err := marshal(struct {
		Type          string           `json:"_type"`
		Subject       []jsonDescriptor `json:"subject"`
		PredicateType string           `json:"predicateType"`
	}{StatementType, jsonDescriptors(s.Subjects), s.PredicateType})
	if err != nil {
		return nil, statementError("statement", err)
	}
	b := bytes.NewBuffer(bytes.TrimSuffix(head, []byte("}")))
	b.WriteString(`,"predicate":`)
	if s.Predicate == nil {
		b.WriteString("{}")
	} else if err := json.Compact(b, s.Predicate); err != nil {
		return nil, statementError("predicate", err)
	}
	b.WriteByte('}')
	if _, err := ParseStatement(b.Bytes()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Sign encodes the statement and has it signed; the bundle is what signer
// returns.
func (s *Statement) Sign(ctx context.Context, signer prerun.Signer) ([]byte, error) {
	payload, err := s.Encode()
	if err != nil {
		return nil, err
	}
	return signer.Sign(ctx, PayloadType, payload)
}

type jsonDescriptor struct {
	Name             string         `json:"name,omitempty"`
	URI              string         `json:"uri,omitempty"`
	Digest           DigestSet      `json:"digest,omitempty"`
	Content          []byte         `json:"content,omitempty"`
	DownloadLocation string         `json:"downloadLocation,omitempty"`
	MediaType        string         `json:"mediaType,omitempty"`
	Annotations      map[string]any `json:"annotations,omitempty"`
}

func jsonDescriptors(ds []Descriptor) []jsonDescriptor {
	out := make([]jsonDescriptor, len(ds))
	for i, d := range ds {
		out[i] = jsonDescriptor(d)
	}
	return out
}

// marshal is encoding/json without the escapes meant for HTML and without the
// final newline: names sorted in maps, in order of declaration in structs.
// Strings that are not UTF-8 are refused; encoding/json would change them.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	if replaced(b.Bytes()) {
		return nil, errors.New("a string is not valid UTF-8")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// replaced reports whether encoding/json wrote the escape that it uses for a
// bad byte; a replacement character that was there is written as itself.
func replaced(text []byte) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if bytes.HasPrefix(text[i:], []byte(`\ufffd`)) {
			return true
		}
		i++ // the escaped character
	}
	return false
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// plain turns a tree into the types of encoding/json, numbers as written.
func plain(v *strictjson.Value) any {
	switch v.Kind {
	case strictjson.Bool:
		return v.Text == "true"
	case strictjson.Number:
		return json.Number(v.Text)
	case strictjson.String:
		return v.Text
	case strictjson.Array:
		out := make([]any, len(v.Items))
		for i := range v.Items {
			out[i] = plain(&v.Items[i])
		}
		return out
	case strictjson.Object:
		out := make(map[string]any, len(v.Members))
		for i := range v.Members {
			out[v.Members[i].Name] = plain(&v.Members[i].Value)
		}
		return out
	}
	return nil
}
