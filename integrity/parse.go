package integrity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// shardedInfix stands between algorithm and shard size in the Python tool's
// name for the digest of a shard: sha256-sharded-1000000000.
const shardedInfix = "-sharded-"

// A Leniency is a departure from the specification that a verification let
// pass, because signers in use write it. [Verifier.Strict] refuses all of them.
type Leniency struct {
	Code   string // a stable word, one of the constants
	Detail string
}

// Codes of leniencies.
const (
	LenientUnknownMember = "unknown-member"     // a JSON member that the format does not know
	LenientShardName     = "python-shard-name"  // an algorithm called sha256-sharded-N
	LenientShardSize     = "float-shard-size"   // a shard size written 8.0
	LenientSelfName      = "python-single-file" // the only file called "."
	LenientUpperCase     = "upper-case-digest"  // a digest in upper case
	LenientOrder         = "python-order"       // resources in another order than the specification's
	LenientCertificate   = "certificate-field"  // one certificate in the field of keyless signing
	LenientTrust         = "trust"              // what the trust verifier let pass
	LenientV02           = "legacy-v0.2"        // a bundle of version 0.2
)

// A statement is what was signed, decoded.
type statement struct {
	name     string // of the subject
	manifest *Manifest
	old      bool // of version 0.2
	lenient  []Leniency
}

// A statementParser collects the leniencies of one statement, or refuses them.
type statementParser struct {
	strict    bool
	legacy    bool // version 0.2 is accepted
	lenient   []Leniency
	seen      map[string]bool
	resources []rawResource
}

// A rawResource is a resource as it is written. There may be very many, and what
// they mean stands elsewhere in the statement, so they are kept in this form and
// not as a tree.
type rawResource struct {
	name, digest string
	algorithm    string // one string for neighbours that are equal

	offset, line, column int
}

func at(v *strictjson.Value, format string, args ...any) error {
	return &Error{Kind: ErrStatement, Err: position(v, fmt.Sprintf(format, args...))}
}

func position(v *strictjson.Value, msg string) error {
	return &strictjson.Error{Offset: v.Offset, Line: v.Line, Column: v.Column, Msg: msg}
}

// let records a leniency once for each code, or refuses it.
func (p *statementParser) let(kind error, v *strictjson.Value, code, detail string) error {
	if p.strict {
		return &Error{Kind: kind, Err: position(v, "not as the specification has it: "+detail)}
	}
	if !p.seen[code] {
		p.seen[code] = true
		p.lenient = append(p.lenient, Leniency{code, detail})
	}
	return nil
}

// parseStatement reads a signed statement and checks its manifest. Errors are
// of kind ErrStatement for what is wrong with the statement's form, ErrManifest
// for a manifest that contradicts itself, and ErrUnsupported; or the context's
// cause.
func parseStatement(ctx context.Context, payload []byte, strict, legacy bool) (*statement, error) {
	p := &statementParser{strict: strict, legacy: legacy, seen: make(map[string]bool)}
	p.resources = make([]rawResource, 0, min(bytes.Count(payload, []byte(`"digest"`)), MaxResources))
	tree, err := strictjson.ParseEach(payload, strictjson.Limits{Bytes: limits.MaxBundle, Depth: 16}, []string{"predicate", "resources"}, func(v *strictjson.Value) error {
		if len(p.resources)%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return p.collect(v)
	})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, ErrStatement) || errors.Is(err, ErrManifest): // from collect
		return nil, err
	case err != nil:
		return nil, &Error{Kind: ErrStatement, Err: err}
	}
	s, err := p.statement(tree)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	s.lenient = p.lenient
	return s, nil
}

// members checks an object's names: the required ones are there, none is a
// case variant of a known one, and unknown ones are let pass or ignored.
func (p *statementParser) members(v *strictjson.Value, what string, open bool, required, optional string) error {
	if v.Kind != strictjson.Object {
		return at(v, "%s is no object", what)
	}
	found := 0
	for i := range v.Members {
		m := &v.Members[i]
		switch known, exact := lookup(m.Name, required, optional); {
		case exact == "required":
			found++
		case exact == "optional":
		case known != "":
			return at(&m.Value, "%s: %q must be spelled %q", what, m.Name, known)
		case !open:
			if err := p.let(ErrStatement, &m.Value, LenientUnknownMember, what+" has the unknown member "+strconv.Quote(m.Name)); err != nil {
				return err
			}
		}
	}
	if found < strings.Count(required, " ")+1 {
		for name := range strings.SplitSeq(required, " ") {
			if v.Get(name) == nil {
				return at(v, "%s has no %q", what, name)
			}
		}
	}
	return nil
}

// lookup finds name in two space-separated lists, or a name that differs from
// it in case only.
func lookup(name, required, optional string) (known, exact string) {
	for word := range strings.SplitSeq(required, " ") {
		if word == name {
			return word, "required"
		}
		if strings.EqualFold(word, name) {
			known = word
		}
	}
	for word := range strings.SplitSeq(optional, " ") {
		if word == name {
			return word, "optional"
		}
		if strings.EqualFold(word, name) {
			known = word
		}
	}
	return known, ""
}

func (p *statementParser) statement(v *strictjson.Value) (*statement, error) {
	if err := p.members(v, "the statement", false, "_type subject predicateType predicate", ""); err != nil {
		return nil, err
	}
	if t := v.Get("_type"); t.Kind != strictjson.String || t.Text != statementType {
		return nil, at(t, "_type is %q, want %q", t.Text, statementType)
	}
	kind := v.Get("predicateType")
	switch {
	case kind.Kind == strictjson.String && kind.Text == predicateType:
	case kind.Kind == strictjson.String && kind.Text == predicateV02:
		if !p.legacy {
			return nil, newError(ErrUnsupported, "", "a bundle of version 0.2, which commits to less")
		}
		return p.legacyStatement(v)
	default:
		return nil, at(kind, "predicateType is %q, want %q", kind.Text, predicateType)
	}
	name, root, err := p.subject(v.Get("subject"))
	if err != nil {
		return nil, err
	}
	m, err := p.predicate(v.Get("predicate"))
	if err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	if got := m.Root(); got != root {
		return nil, newError(ErrManifest, "", "root digest is %s, the statement says %s", got, root)
	}
	return &statement{name: name, manifest: m}, p.checkOrder(v, m)
}

// checkOrder looks for another order than the specification's. The root digest
// was computed in the order of the bundle; demanding the specification's would
// refuse what the Python tool writes.
func (p *statementParser) checkOrder(v *strictjson.Value, m *Manifest) error {
	prev := ""
	for _, r := range m.Resources {
		name := r.Name()
		if name < prev {
			return p.let(ErrManifest, v, LenientOrder, strconv.Quote(name)+" is listed after "+strconv.Quote(prev))
		}
		prev = name
	}
	return nil
}

// subject reads the one subject. Its name is the signer's word for the model.
func (p *statementParser) subject(v *strictjson.Value) (name string, root digest.Digest, err error) {
	if v.Kind != strictjson.Array || len(v.Items) != 1 {
		return "", "", at(v, "%d subjects, want one", len(v.Items))
	}
	s := &v.Items[0]
	if err := p.members(s, "the subject", true, "digest name", ""); err != nil {
		return "", "", err
	}
	if n := s.Get("name"); n.Kind != strictjson.String || n.Text == "" {
		return "", "", at(n, "the subject has no name")
	}
	d := s.Get("digest")
	sum := d.Get(SHA256)
	if sum == nil || sum.Kind != strictjson.String {
		return "", "", at(d, "the subject has no sha256 digest")
	}
	text, err := p.hexadecimal(sum, sum.Text)
	if err != nil {
		return "", "", err
	}
	if root, err = digestx.Parse(SHA256 + ":" + text); err != nil {
		return "", "", at(sum, "the subject's digest is %q", sum.Text)
	}
	return s.Get("name").Text, root, nil
}

func (p *statementParser) hexadecimal(v *strictjson.Value, text string) (string, error) {
	lower := strings.ToLower(text)
	if lower == text {
		return lower, nil
	}
	return lower, p.let(ErrStatement, v, LenientUpperCase, "a digest is written in upper case")
}

func (p *statementParser) predicate(v *strictjson.Value) (*Manifest, error) {
	if err := p.members(v, "the predicate", false, "resources serialization", ""); err != nil {
		return nil, err
	}
	params, err := p.serialization(v.Get("serialization"))
	if err != nil {
		return nil, err
	}
	list := v.Get("resources")
	if list.Kind != strictjson.Array || len(p.resources) == 0 {
		return nil, at(list, "no resources")
	}
	m := &Manifest{Parameters: *params, Resources: make([]Resource, len(p.resources))}
	for i := range p.resources {
		if m.Resources[i], err = p.resource(&p.resources[i], params); err != nil {
			return nil, err
		}
		if m.Resources[i].Path == selfName {
			m.SingleFile = true
		}
	}
	if m.SingleFile {
		err = p.let(ErrManifest, list, LenientSelfName, `the only file is called "."`)
	}
	return m, err
}

func (p *statementParser) serialization(v *strictjson.Value) (*Parameters, error) {
	if err := p.members(v, "the serialization", false, "method hash_type allow_symlinks", "shard_size ignore_paths"); err != nil {
		return nil, err
	}
	var params Parameters
	alg := v.Get("hash_type")
	if _, ok := algorithms[alg.Text]; !ok || alg.Kind != strictjson.String {
		return nil, at(alg, "unknown hash_type %q", alg.Text)
	}
	params.Algorithm = alg.Text
	allow := v.Get("allow_symlinks")
	if allow.Kind != strictjson.Bool {
		return nil, at(allow, "allow_symlinks is no boolean")
	}
	params.AllowSymlinks = allow.Text == "true"
	size := v.Get("shard_size")
	switch method := v.Get("method"); {
	case method.Kind == strictjson.String && method.Text == "files":
		if size != nil {
			return nil, at(size, "shard_size under method files")
		}
	case method.Kind == strictjson.String && method.Text == "shards":
		if size == nil {
			return nil, at(v, "no shard_size under method shards")
		}
		var err error
		if params.ShardSize, err = p.shardSize(size); err != nil {
			return nil, err
		}
	default:
		return nil, at(method, "unknown method %q", method.Text)
	}
	ignore, err := p.ignorePaths(v.Get("ignore_paths"))
	params.Ignore = ignore
	return &params, err
}

// shardSize takes a positive integer. The Python tool writes a float, which is
// exact up to 2^53.
func (p *statementParser) shardSize(v *strictjson.Value) (int64, error) {
	if v.Kind != strictjson.Number {
		return 0, at(v, "shard_size is no number")
	}
	if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil && n > 0 {
		return n, nil
	}
	x, err := strconv.ParseFloat(v.Text, 64)
	if err != nil || x < 1 || x > 1<<53 || x != math.Trunc(x) || !strings.ContainsAny(v.Text, ".eE") {
		return 0, at(v, "shard_size is %s, want a positive integer", v.Text)
	}
	return int64(x), p.let(ErrStatement, v, LenientShardSize, "shard_size is written "+v.Text)
}

func (p *statementParser) ignorePaths(v *strictjson.Value) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	if v.Kind != strictjson.Array {
		return nil, at(v, "ignore_paths is no array")
	}
	var out []string
	for i := range v.Items {
		entry := &v.Items[i]
		if entry.Kind != strictjson.String {
			return nil, at(entry, "an ignored path is no string")
		}
		if err := checkPath(entry.Text); err != nil {
			return nil, at(entry, "ignored path %q: %v", entry.Text, err)
		}
		out = append(out, entry.Text)
	}
	return out, nil
}

// collect checks the form of one resource and notes it.
func (p *statementParser) collect(v *strictjson.Value) error {
	if len(p.resources) == MaxResources {
		return newError(ErrManifest, "", "more than %d resources", MaxResources)
	}
	if err := p.members(v, "a resource", true, "name digest algorithm", ""); err != nil {
		return err
	}
	name, sum, alg := v.Get("name"), v.Get("digest"), v.Get("algorithm")
	for _, m := range []*strictjson.Value{name, sum, alg} {
		if m.Kind != strictjson.String || m.Text == "" {
			return at(m, "name, digest and algorithm of a resource are strings, and not empty")
		}
	}
	r := rawResource{name.Text, sum.Text, alg.Text, v.Offset, v.Line, v.Column}
	if n := len(p.resources); n > 0 && p.resources[n-1].algorithm == r.algorithm {
		r.algorithm = p.resources[n-1].algorithm
	}
	p.resources = append(p.resources, r)
	return nil
}

// resource says what a resource means under the parameters.
func (p *statementParser) resource(raw *rawResource, params *Parameters) (r Resource, err error) {
	r.Path = raw.name
	if params.ShardSize > 0 {
		if r.Path, r.Start, r.End, err = splitShard(raw.name); err != nil {
			return r, &Error{Kind: ErrManifest, Path: raw.name, Err: err}
		}
	}
	where := &strictjson.Value{Offset: raw.offset, Line: raw.line, Column: raw.column}
	if err := p.algorithm(where, raw, params); err != nil {
		return r, err
	}
	text, err := p.hexadecimal(where, raw.digest)
	r.Digest = digest.Digest(params.Algorithm + ":" + text)
	return r, err
}

// algorithm takes the manifest's own, or for a shard the Python tool's name
// with the shard size in it.
func (p *statementParser) algorithm(v *strictjson.Value, raw *rawResource, params *Parameters) error {
	if raw.algorithm == params.Algorithm {
		return nil
	}
	base, size, ok := strings.Cut(raw.algorithm, shardedInfix)
	if !ok || base != params.Algorithm || params.ShardSize == 0 || size != strconv.FormatInt(params.ShardSize, 10) {
		return newError(ErrManifest, raw.name, "digest by %q in a manifest by %q", raw.algorithm, params.Algorithm)
	}
	return p.let(ErrManifest, v, LenientShardName, "the algorithm of a shard is called "+strconv.Quote(raw.algorithm))
}
