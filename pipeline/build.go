package pipeline

import (
	"context"
	"crypto"
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
	"github.com/prerun/prerun/provenance"
	"github.com/prerun/prerun/validate"
)

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
	roleScanner  = "scanner"
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
	for _, name := range slices.Concat([]string{c.Path, c.Signature, c.File, c.Queries, c.Result}, c.Files) {
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
		if _, own := policy.Trust.Signers[role]; !own && role != roleModel && role != roleApprover && role != roleScanner {
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
	if c.Result != "" {
		trust, err := b.key(roleScanner)
		if err != nil {
			return nil, err
		}
		return VerifyScan{
			ID: c.ID, FS: b.fsys, Path: c.Path, File: c.Result, Trust: trust,
			MaxAge: ProfileOf(b.config.Profile).MaxEvidenceAge,
		}, nil
	}
	check := ScanModel{ID: c.ID, FS: b.fsys, Path: c.Path}
	for _, name := range c.Rules {
		data, err := b.file(name)
		if err != nil {
			return nil, c.wrap(err)
		}
		set, err := scan.ParseRuleSet(data)
		if err != nil {
			return nil, c.wrap(fmt.Errorf("%q: %w", name, err))
		}
		check.Scanner.RuleSets = append(check.Scanner.RuleSets, set)
	}
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
