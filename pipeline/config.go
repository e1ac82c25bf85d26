package pipeline

import (
	"errors"
	"fmt"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
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
//	  scanner: keys/scanner.pub       # signers of scans that are taken as they are
//	  trainer: keys/trainer.pub       # any other name: signers of provenance
//	                                  # the approver's key must have no second role
//	evidence: evidence                # folder of signed evidence documents
//	waivers: [waivers.json]           # signed files of waivers
//	skip: []                          # ids of checks not to run
//	checks:
//	  - {kind: integrity, path: model, signature: model.sig}
//	  - {kind: scan, path: model, rules: [rules.yaml]}   # or result: scan.sig
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

	Result string   `json:"result"` // scan: a signed scan to take instead of scanning, see [VerifyScan]
	Rules  []string `json:"rules"`  // scan: files of rule sets, see [scan.ParseRuleSet]

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
	"scan":       {[]string{"path"}, []string{"detectors", "rules", "result"}},
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
	if c.Kind == "scan" && tree.Get("result") != nil && (tree.Get("detectors") != nil || tree.Get("rules") != nil) {
		return c.errorf("a scan with a result is not made here, and takes neither detectors nor rules")
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
