package pipeline

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
	"github.com/prerun/prerun/provenance"
	"github.com/prerun/prerun/validate"
)

// ConfigSchema is the schema field of a gate configuration.
const ConfigSchema = "prerun/gate/v1"

// ErrConfig is wrapped by every error about a gate configuration.
var ErrConfig = errors.New("gate configuration")

// A Config is the file form of a gate, in JSON or YAML. Every path in it is
// relative to the root that [Config.Gate] is given, slash-separated. Unknown
// names are errors.
//
//	schema: prerun/gate/v1
//	name: mailtriage
//	profile: LOW                      # LOW, MEDIUM, HIGH, CRITICAL
//	resource_uri: pkg:generic/mailtriage@1.0.0
//	verifier: https://example.com/gate
//	as_of: 2026-11-01T00:00:00Z       # optional; the caller's clock otherwise
//	fail_on: low                      # optional; may only ask for more than the profile
//	seed: 1                           # optional
//	keys:                             # PEM files: who may sign what
//	  model: keys/model.pub
//	  approver: keys/approver.pub
//	  trainer: keys/trainer.pub       # any other name: signers of provenance
//	                                  # the approver's key must have no second role
//	evidence: evidence                # folder of signed evidence documents
//	waivers: [waivers.json]           # signed files of waivers
//	skip: []                          # ids of checks not to run
//	checks:
//	  - {kind: integrity, path: model, signature: model.sig}
//	  - {kind: scan, path: model}
//	  - {kind: weights, path: model}
//	  - {kind: provenance, path: provenance, policy: policy.yaml,
//	     inputs: {train.jsonl: data/train.jsonl}, require: [train.jsonl]}
//	  - {kind: dataset, files: [data/train.jsonl], text: [text], label: label}
//	  - {kind: embeddings, file: corpus/embeddings.npy, queries: corpus/queries.npy}
//	  - {kind: validate, suite: suite.yaml, target: mailtriage, require: [error rate]}
//	  - {kind: prompts, path: prompts, lock: prompts.lock}
//
// The fields of a check are those of [CheckConfig].
type Config struct {
	Schema      string            `json:"schema,required"`
	Name        string            `json:"name,required"`
	Profile     Tier              `json:"profile,required"`
	ResourceURI string            `json:"resource_uri,required"`
	Verifier    string            `json:"verifier,required"`
	AsOf        time.Time         `json:"as_of"`
	FailOn      prerun.Severity   `json:"fail_on"`
	Seed        uint64            `json:"seed"`
	Keys        map[string]string `json:"keys"`
	Evidence    string            `json:"evidence"`
	Waivers     []string          `json:"waivers"`
	Skip        []string          `json:"skip"`
	Checks      []CheckConfig     `json:"checks,required"`

	digest string
	keysAt *strictjson.Value // for the lines of errors
}

// A CheckConfig is one check of a configuration. Kind decides which of the
// other fields apply; one that does not apply is an error.
type CheckConfig struct {
	Kind string `json:"kind,required"` // integrity, scan, weights, provenance, dataset, embeddings, validate, prompts
	ID   string `json:"id"`            // optional; two checks of one kind need it

	Path      string   `json:"path"`      // integrity, scan, weights, provenance, prompts: a folder
	Signature string   `json:"signature"` // integrity
	Ignore    []string `json:"ignore"`    // integrity
	Strict    bool     `json:"strict"`    // integrity

	Policy string            `json:"policy"` // provenance
	Inputs map[string]string `json:"inputs"` // provenance: name in the policy to file

	Files     []string  `json:"files"`     // dataset
	Text      []string  `json:"text"`      // dataset: fields that a model reads
	Label     string    `json:"label"`     // dataset
	RowID     string    `json:"row_id"`    // dataset
	Detectors *[]string `json:"detectors"` // scan (formats), dataset: by name; absent means all, empty is an error

	File    string `json:"file"`    // embeddings
	Queries string `json:"queries"` // embeddings, optional

	Suite  string `json:"suite"`  // validate
	Target string `json:"target"` // validate: a name in Deps.Targets

	// Require keeps, of what a policy or suite asks for, what is named:
	// materials of a provenance policy, requirements of a suite. Absent keeps
	// everything.
	Require *[]string `json:"require"`

	Lock string `json:"lock"` // prompts

	line int
}

// ParseConfig reads a configuration. Errors wrap [ErrConfig] and name the line.
func ParseConfig(data []byte) (*Config, error) {
	tree, err := strictjson.ParseConfig(data, strictjson.Limits{Bytes: limits.MaxConfig, Depth: 16, Nodes: 1 << 16})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	var c Config
	if _, err := strictjson.Decode(tree, &c, strictjson.Options{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.Schema != ConfigSchema {
		return nil, c.errorf(tree.Get("schema"), "schema %q, want %q", c.Schema, ConfigSchema)
	}
	if least := ProfileOf(c.Profile).failOn(); c.FailOn > least {
		return nil, c.errorf(tree.Get("fail_on"), "fail_on %s lets through what counts in profile %s, which is %s and above", c.FailOn, c.Profile, least)
	}
	items := tree.Get("checks").Items
	for i := range c.Checks {
		c.Checks[i].line = items[i].Line
		if err := c.Checks[i].check(&items[i]); err != nil {
			return nil, err
		}
	}
	c.keysAt = tree.Get("keys")
	c.digest = digestx.Of(data).String()
	return &c, nil
}

// errorf is an error about the configuration at a place in it, which may be nil.
func (c *Config) errorf(at *strictjson.Value, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if at != nil {
		return fmt.Errorf("%w: line %d: %w", ErrConfig, at.Line, err)
	}
	return fmt.Errorf("%w: %w", ErrConfig, err)
}

// fieldsOf says which fields each kind takes, those that it must have first.
var fieldsOf = map[string]struct{ required, optional []string }{
	"integrity":  {[]string{"path", "signature"}, []string{"ignore", "strict"}},
	"scan":       {[]string{"path"}, []string{"detectors"}},
	"weights":    {[]string{"path"}, nil},
	"provenance": {[]string{"path", "policy"}, []string{"inputs", "require"}},
	"dataset":    {[]string{"files"}, []string{"text", "label", "row_id", "detectors"}},
	"embeddings": {[]string{"file"}, []string{"queries"}},
	"validate":   {[]string{"suite", "target"}, []string{"require"}},
	"prompts":    {[]string{"path", "lock"}, nil},
}

// kindOf says which kind a well-known id belongs to: under it, no other kind may
// pose as what a profile requires.
var kindOf = map[string]string{
	CheckIntegrity: "integrity", CheckProvenance: "provenance", CheckValidate: "validate",
	checkScan: "scan", checkWeights: "weights", checkDataset: "dataset", checkEmbeddings: "embeddings", checkPrompts: "prompts",
}

func (c *CheckConfig) check(tree *strictjson.Value) error {
	fields, known := fieldsOf[c.Kind]
	if !known {
		return c.errorf("kind %q is none of %q", c.Kind, sortedKeys(fieldsOf))
	}
	if owner, reserved := kindOf[c.ID]; reserved && owner != c.Kind {
		return c.errorf("id %q belongs to kind %s", c.ID, owner)
	}
	allowed := map[string]bool{"kind": true, "id": true}
	for _, name := range fields.required {
		if tree.Get(name) == nil {
			return c.errorf("kind %s needs %q", c.Kind, name)
		}
		allowed[name] = true
	}
	for _, name := range fields.optional {
		allowed[name] = true
	}
	for _, m := range tree.Members {
		if !allowed[m.Name] {
			return c.errorf("kind %s does not take %q", c.Kind, m.Name)
		}
	}
	return nil
}

func (c *CheckConfig) errorf(format string, args ...any) error {
	return fmt.Errorf("%w: line %d: check: %s", ErrConfig, c.line, fmt.Sprintf(format, args...))
}

func (c *CheckConfig) wrap(err error) error {
	return fmt.Errorf("%w: line %d: check: %w", ErrConfig, c.line, err)
}

// Digest is the SHA-256 digest of the configuration's bytes, as any other tool
// computes it. The verdict names it as the policy that was applied, and the files
// that the configuration names, each with its digest, under [PoliciesExtension].
// It is empty for a configuration that was not parsed.
func (c *Config) Digest() string { return c.digest }

// Info is what the verdict says about the gate.
func (c *Config) Info(file string) VerdictInfo {
	return VerdictInfo{
		Verifier: c.Verifier, ResourceURI: c.ResourceURI,
		PolicyURI: file, PolicyDigest: c.digest,
	}
}

// Deps are what a configuration cannot name.
type Deps struct {
	Targets map[string]validate.Target // by the name that the configuration uses
	Now     time.Time                  // for a configuration without as_of
	Checks  []Check                    // of the caller's own, besides the configured ones
}

// Gate builds the gate. What the configuration names is read here where it is
// small (keys, policies, suites, evidence, waivers); models and data are read
// when the gate runs, and must exist. Errors wrap [ErrConfig].
func (c *Config) Gate(ctx context.Context, fsys fs.FS, deps Deps) (*Gate, error) {
	g := &Gate{
		Name: c.Name, Profile: ProfileOf(c.Profile), Skip: c.Skip,
		Now: c.AsOf, Seed: c.Seed, Checks: deps.Checks,
	}
	if g.Now.IsZero() {
		g.Now = deps.Now
	}
	if c.FailOn != prerun.Unrated {
		g.Profile.FailOn = c.FailOn
	}
	b := &builder{
		config: c, fsys: fsys, deps: deps,
		trust: make(map[string]prerun.Verifier), read: make(map[string]string),
	}
	if err := b.readKeys(); err != nil {
		return nil, err
	}
	if err := b.readEvidence(ctx, g); err != nil {
		return nil, err
	}
	for i := range c.Checks {
		check, err := b.build(&c.Checks[i])
		if err != nil {
			return nil, err
		}
		g.Checks = append(g.Checks, check)
	}
	for _, name := range sortedKeys(b.read) {
		g.Policies = append(g.Policies, prerun.Subject{Path: prerun.EscapePath(name), Digest: b.read[name]})
	}
	return g, nil
}

type builder struct {
	config *Config
	fsys   fs.FS
	deps   Deps
	trust  map[string]prerun.Verifier // by role
	read   map[string]string          // digests of files that decide, by name
}

// file reads a file that decides.
func (b *builder) file(name string) ([]byte, error) {
	data, err := limits.ReadFile(b.fsys, name, limits.MaxConfig)
	if err == nil {
		b.read[name] = digestx.Of(data).String()
	}
	return data, err
}

// Roles of keys that the gate itself asks for.
const (
	roleModel    = "model"
	roleApprover = "approver"
)

func (b *builder) readKeys() error {
	public := make(map[string]crypto.PublicKey)
	for _, role := range sortedKeys(b.config.Keys) {
		name := b.config.Keys[role]
		fail := func(err error) error {
			return b.config.errorf(b.config.keysAt.Get(role), "key %q: %q: %w", role, name, err)
		}
		data, err := b.file(name)
		if err != nil {
			return fail(err)
		}
		if public[role], err = keys.ParsePublic(data); err != nil {
			return fail(err)
		}
		if b.trust[role], err = dsse.NewKeyVerifier(public[role]); err != nil {
			return fail(err)
		}
	}
	approver, ok := public[roleApprover]
	for _, role := range sortedKeys(public) {
		if ok && role != roleApprover && keys.Equal(approver, public[role]) {
			return b.config.errorf(b.config.keysAt.Get(role), "key %q is the approver's: nobody approves what they made", role)
		}
	}
	return nil
}

func (b *builder) key(role string) (prerun.Verifier, error) {
	v, ok := b.trust[role]
	if !ok {
		return nil, fmt.Errorf("%w: keys name none for %q", ErrConfig, role)
	}
	return v, nil
}

func (b *builder) readEvidence(ctx context.Context, g *Gate) error {
	if b.config.Evidence == "" && len(b.config.Waivers) == 0 {
		return nil
	}
	approver, err := b.key(roleApprover)
	if err != nil {
		return err
	}
	if b.config.Evidence != "" {
		if g.Evidence, err = ReadEvidence(ctx, b.fsys, b.config.Evidence, approver); err != nil {
			return fmt.Errorf("%w: evidence: %w", ErrConfig, err)
		}
	}
	for _, name := range b.config.Waivers {
		data, err := limits.ReadFile(b.fsys, name, limits.MaxBundle)
		if err != nil {
			return fmt.Errorf("%w: waivers: %w", ErrConfig, err)
		}
		g.Waivers = append(g.Waivers, OpenWaivers(ctx, name, data, approver))
	}
	return nil
}

func (b *builder) build(c *CheckConfig) (Check, error) {
	for _, name := range slices.Concat([]string{c.Path, c.Signature, c.File, c.Queries}, c.Files) {
		if name == "" {
			continue
		}
		if _, err := fs.Stat(b.fsys, name); err != nil {
			return nil, c.wrap(err)
		}
	}
	switch c.Kind {
	case "integrity":
		trust, err := b.key(roleModel)
		if err != nil {
			return nil, err
		}
		return VerifyModel{
			ID: c.ID, FS: b.fsys, Model: c.Path, Signature: c.Signature, Trust: trust,
			Strict: c.Strict, Ignore: c.Ignore, Name: b.config.Name,
		}, nil
	case "scan":
		return b.scan(c)
	case "weights":
		return ScanWeights{ID: c.ID, FS: b.fsys, Path: c.Path}, nil
	case "provenance":
		return b.provenance(c)
	case "dataset":
		return b.dataset(c)
	case "embeddings":
		return b.embeddings(c)
	case "validate":
		return b.validate(c)
	case "prompts":
		if _, err := b.file(c.Lock); err != nil {
			return nil, c.wrap(err)
		}
		return LockPrompts{ID: c.ID, FS: b.fsys, Path: c.Path, Lock: c.Lock}, nil
	}
	return nil, c.errorf("kind %q is not known", c.Kind)
}

func (b *builder) provenance(c *CheckConfig) (Check, error) {
	data, err := b.file(c.Policy)
	if err != nil {
		return nil, c.wrap(err)
	}
	policy, err := provenance.ParsePolicy(data)
	if err != nil {
		return nil, c.wrap(fmt.Errorf("%q: %w", c.Policy, err))
	}
	if c.Require != nil {
		if policy, err = dropMaterials(policy, *c.Require); err != nil {
			return nil, c.wrap(err)
		}
	}
	signers := make(map[string]prerun.Verifier)
	for role, v := range b.trust {
		if _, own := policy.Trust.Signers[role]; !own && role != roleModel && role != roleApprover {
			signers[role] = v
		}
	}
	check := VerifyProvenance{
		ID: c.ID, FS: b.fsys, Evidence: c.Path, Policy: policy,
		Trust: provenance.Trust{Signers: signers},
	}
	for _, name := range sortedKeys(c.Inputs) {
		if _, err := fs.Stat(b.fsys, c.Inputs[name]); err != nil {
			return nil, c.wrap(err)
		}
		check.Inputs = append(check.Inputs, InputFile{name, c.Inputs[name]})
	}
	return check, nil
}

func (b *builder) dataset(c *CheckConfig) (Check, error) {
	check := ScanDataset{
		ID: c.ID, FS: b.fsys, Files: c.Files,
		Schema: datasec.Schema{Text: c.Text, Label: c.Label, ID: c.RowID},
	}
	if c.Detectors == nil {
		return check, nil
	}
	byName := make(map[string]datasec.Detector)
	for _, d := range datasec.Builtin() {
		byName[d.Info().Name] = d
	}
	var err error
	check.Scanner.Detectors, err = selected(c, byName)
	return check, err
}

// selected picks by name, in the order of the configuration.
func selected[T any](c *CheckConfig, byName map[string]T) ([]T, error) {
	if len(*c.Detectors) == 0 {
		return nil, c.errorf("detectors names none; leave it out to have all")
	}
	out := make([]T, 0, len(*c.Detectors))
	for _, name := range *c.Detectors {
		d, ok := byName[name]
		if !ok {
			return nil, c.errorf("detector %q is none of %q", name, sortedKeys(byName))
		}
		out = append(out, d)
	}
	return out, nil
}

func (b *builder) scan(c *CheckConfig) (Check, error) {
	check := ScanModel{ID: c.ID, FS: b.fsys, Path: c.Path}
	if c.Detectors == nil {
		return check, nil
	}
	byName := make(map[string]scan.Format)
	for _, f := range scan.Builtin() {
		byName[f.Info().ID] = f
	}
	var err error
	check.Scanner.Formats, err = selected(c, byName)
	return check, err
}

func (b *builder) embeddings(c *CheckConfig) (Check, error) {
	return ScanEmbeddings{ID: c.ID, FS: b.fsys, File: c.File, Queries: c.Queries}, nil
}

func (b *builder) validate(c *CheckConfig) (Check, error) {
	target, ok := b.deps.Targets[c.Target]
	if !ok {
		return nil, c.errorf("no target %q was handed in (have %q)", c.Target, sortedKeys(b.deps.Targets))
	}
	data, err := b.file(c.Suite)
	if err != nil {
		return nil, c.wrap(err)
	}
	cases := &opened{FS: b.fsys}
	suite, err := validate.ParseSuite(data, cases)
	if err != nil {
		return nil, c.wrap(fmt.Errorf("%q: %w", c.Suite, err))
	}
	for _, name := range cases.names {
		if b.read[name], err = fileDigest(b.fsys, name); err != nil {
			return nil, c.wrap(err)
		}
	}
	if c.Require != nil {
		if suite, err = keepRequirements(suite, *c.Require); err != nil {
			return nil, c.wrap(err)
		}
	}
	return RunSuite{ID: c.ID, Suite: suite, Target: target}, nil
}

// keepRequirements keeps of a suite only the requirements that are named.
func keepRequirements(s *validate.Suite, keep []string) (*validate.Suite, error) {
	kept := *s
	kept.Requirements = nil
	for _, name := range keep {
		i := slices.IndexFunc(s.Requirements, func(r validate.Requirement) bool { return r.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: %q", ErrRequirement, name)
		}
		kept.Requirements = append(kept.Requirements, s.Requirements[i])
	}
	return &kept, nil
}

// opened is a file system that remembers what was opened in it.
type opened struct {
	fs.FS
	names []string
}

func (o *opened) Open(name string) (fs.File, error) {
	o.names = append(o.names, name)
	return o.FS.Open(name)
}
