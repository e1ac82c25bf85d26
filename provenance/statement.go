package provenance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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
	MaxDescriptors = 100_000  // subjects, dependencies, by-products or input attestations

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
	Subject       *strictjson.Value `json:"subject,required"`
	PredicateType string            `json:"predicateType,required"`
	Predicate     *strictjson.Value `json:"predicate"`
}

// statementNames are the names with a second spelling in protobuf.
var statementNames = []string{"_type", "predicateType"}

// ParseStatement reads the payload of an in-toto attestation. Errors wrap
// [ErrStatement]. Memory is bounded by [MaxStatement] and the number of values
// in it.
func ParseStatement(payload []byte) (*Statement, error) {
	tree, err := strictjson.Parse(payload, statementLimits)
	if err != nil {
		return nil, statementError("statement", err)
	}
	var wire wireStatement
	if err := decode(tree, &wire, statementNames); err != nil {
		return nil, statementError("statement", err)
	}
	s := &Statement{PredicateType: wire.PredicateType}
	switch {
	case wire.Type != StatementType:
		err = at(tree.Get("_type"), "the statement type is %q, not %q", clip(wire.Type), StatementType)
	case wire.PredicateType == "":
		err = at(tree.Get("predicateType"), "empty predicate type")
	default:
		s.Subjects, err = subjects(wire.Subject)
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

// subjects reads the list of subjects, each of which must have a digest. A
// dependency may lack one, and is unpinned then.
func subjects(v *strictjson.Value) ([]Descriptor, error) {
	out, err := descriptors(v)
	switch {
	case err != nil:
		return nil, err
	case len(out) == 0:
		return nil, at(v, "no subject")
	}
	for i := range out {
		if len(out[i].Digest) == 0 {
			return nil, at(&v.Items[i], "subject %d has no digest", i)
		}
	}
	return out, nil
}

// descriptors reads a list of descriptors; null and absence are an empty list.
// It is written by hand because statements of large models hold a hundred
// thousand of them.
func descriptors(v *strictjson.Value) ([]Descriptor, error) {
	switch {
	case v == nil || v.Kind == strictjson.Null:
		return nil, nil
	case v.Kind != strictjson.Array:
		return nil, at(v, "expected an array of descriptors, found %s", v.Kind)
	case len(v.Items) > MaxDescriptors:
		return nil, at(v, "%d descriptors, the limit is %d", len(v.Items), MaxDescriptors)
	case len(v.Items) == 0:
		return nil, nil
	}
	out := make([]Descriptor, len(v.Items))
	for i := range v.Items {
		if err := out[i].read(&v.Items[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

var descriptorNames = []string{"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}

// read fills the descriptor from an object. A member that is null counts as
// absent.
func (d *Descriptor) read(v *strictjson.Value) error {
	if v.Kind != strictjson.Object {
		return at(v, "expected a descriptor, found %s", v.Kind)
	}
	for i := range v.Members {
		m := &v.Members[i]
		var err error
		switch {
		case m.Value.Kind == strictjson.Null:
		case m.Name == "digest":
			d.Digest, err = readDigests(&m.Value)
		case m.Name == "annotations":
			d.Annotations, err = readObject(&m.Value)
		default:
			err = d.readText(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Descriptor) readText(m *strictjson.Member) error {
	var into *string
	var content string
	switch m.Name {
	case "name":
		into = &d.Name
	case "uri":
		into = &d.URI
	case "downloadLocation":
		into = &d.DownloadLocation
	case "mediaType":
		into = &d.MediaType
	case "content":
		into = &content
	default:
		return checkSpelling(m, descriptorNames)
	}
	if m.Value.Kind != strictjson.String {
		return at(&m.Value, "expected a string as %s, found %s", m.Name, m.Value.Kind)
	}
	*into = m.Value.Text
	switch m.Name {
	case "name":
		if err := checkName(d.Name); err != nil {
			return at(&m.Value, "%v", err)
		}
	case "content":
		var err error
		if d.Content, err = base64.StdEncoding.DecodeString(content); err != nil {
			return at(&m.Value, "content is not base64")
		}
	}
	return nil
}

func readDigests(v *strictjson.Value) (DigestSet, error) {
	switch {
	case v.Kind != strictjson.Object:
		return nil, at(v, "expected an object of digests, found %s", v.Kind)
	case len(v.Members) > maxDigests:
		return nil, at(v, "%d digests, the limit is %d", len(v.Members), maxDigests)
	}
	set := make(DigestSet, len(v.Members))
	for i := range v.Members {
		m := &v.Members[i]
		if m.Value.Kind != strictjson.String {
			return nil, at(&m.Value, "expected a string as digest, found %s", m.Value.Kind)
		}
		set[m.Name] = m.Value.Text
	}
	if err := set.check(); err != nil {
		return nil, at(v, "%v", err)
	}
	return set, nil
}

func readObject(v *strictjson.Value) (map[string]any, error) {
	if v.Kind != strictjson.Object {
		return nil, at(v, "expected an object, found %s", v.Kind)
	}
	out := make(map[string]any, len(v.Members))
	for i := range v.Members {
		out[v.Members[i].Name] = plain(&v.Members[i].Value)
	}
	return out, nil
}

// checkSpelling refuses an unknown member that another decoder takes for a
// known one.
func checkSpelling(m *strictjson.Member, names []string) error {
	for _, name := range names {
		if strings.EqualFold(m.Name, name) || protobufName(name) == m.Name {
			return at(&m.Value, "%q must be spelled %q", clip(m.Name), name)
		}
	}
	return nil
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
		err = decode(tree, into, names)
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
