package provenance

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// PolicySchema is the value of the member "schema" of a policy file.
const PolicySchema = "prerun/provenance-policy/v1"

// The wire structs are the schema. A name that is not here is an error.
type (
	wirePolicy struct {
		Schema       string            `json:"schema,required"`
		Name         string            `json:"name"`
		Expires      time.Time         `json:"expires"`
		Signers      []wireSigner      `json:"signers"`
		Builders     []wireBuilder     `json:"builders"`
		Attestations []wireAttestation `json:"attestations,required"`
		Lineage      *wireLineage      `json:"lineage"`
		Denied       []digest.Digest   `json:"denied"`
	}
	wireSigner struct {
		Name string `json:"name,required"`
		Key  string `json:"key,required"`
	}
	wireBuilder struct {
		ID      string   `json:"id,required"`
		Signers []string `json:"signers,required"`
		Level   int      `json:"level"`
	}
	wireAttestation struct {
		Name           string                      `json:"name,required"`
		PredicateType  string                      `json:"predicateType,required"`
		Signers        []string                    `json:"signers,required"`
		Threshold      int                         `json:"threshold"`
		Builders       []string                    `json:"builders"`
		MinLevel       int                         `json:"minLevel"`
		BuildTypes     []string                    `json:"buildTypes"`
		Parameters     map[string]strictjson.Value `json:"parameters"`
		FreeParameters []string                    `json:"freeParameters"`
		Materials      []wireItem                  `json:"materials"`
		Summary        *wireSummary                `json:"summary"`
		SubjectName    string                      `json:"subjectName"`
		MaxAge         time.Duration               `json:"maxAge"`
		NotBefore      time.Time                   `json:"notBefore"`
	}
	wireItem struct {
		Name    string          `json:"name,required"`
		Digests []digest.Digest `json:"digests"`
	}
	wireSummary struct {
		ResourceURI string        `json:"resourceUri"`
		Levels      []string      `json:"levels"`
		Policy      digest.Digest `json:"policy"`
	}
	wireLineage struct {
		Depth           int        `json:"depth,required"`
		Signers         []string   `json:"signers"`
		Threshold       int        `json:"threshold"`
		Builders        []string   `json:"builders"`
		MinLevel        int        `json:"minLevel"`
		Leaves          []wireLeaf `json:"leaves"`
		InsecureGitSHA1 bool       `json:"insecureGitSHA1"`
	}
	wireLeaf struct {
		Kind      string `json:"kind"`
		URI       string `json:"uri"`
		MediaType string `json:"mediaType"`
		Material  string `json:"material"`
	}
)

// ParsePolicy reads a policy file, JSON (when it starts with a brace) or YAML
// without anchors and tags. Unknown names, duplicate names and a policy that
// [Policy.Check] refuses are errors that wrap [ErrPolicy].
//
//	schema: prerun/provenance-policy/v1
//	name: mailtriage              # optional, shown in reports
//	expires: 2027-01-01T00:00:00Z # optional
//	signers:                      # keys that the policy itself brings
//	  - name: trainer
//	    key: |                    # PEM: a public key or a certificate
//	      -----BEGIN PUBLIC KEY-----
//	      …
//	builders:                     # who may speak for which builder
//	  - {id: "https://example.com/trainer", signers: [trainer], level: 2}
//	attestations:                 # all must be met; the fields are those of Attestation
//	  - name: training
//	    predicateType: https://slsa.dev/provenance/v1
//	    signers: [trainer]
//	    threshold: 1
//	    builders: ["https://example.com/trainer"]
//	    minLevel: 2
//	    buildTypes: ["https://github.com/prerun/prerun/buildtypes/training/v1"]
//	    parameters: {recipe: train.py}
//	    freeParameters: [hyperparameters]
//	    materials:
//	      - name: train.jsonl     # without digests: the caller's input of this name
//	      - {name: base, digests: ["sha256:…"]}
//	    maxAge: 2160h
//	    notBefore: 2026-01-01T00:00:00Z
//	    subjectName: model.safetensors
//	lineage:                      # optional; the fields are those of Lineage
//	  depth: 2
//	  leaves: [{kind: dataset}, {uri: "git+https://github.com/example/"}, {material: train.jsonl}]
//	denied: ["sha256:…"]
//
// An attestation of type https://slsa.dev/verification_summary/v1 may have
// summary: {resourceUri, levels, policy}.
func ParsePolicy(data []byte) (Policy, error) {
	parse := strictjson.ParseYAML
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		parse = strictjson.Parse
	}
	tree, err := parse(data, strictjson.Limits{Bytes: limits.MaxConfig, Depth: maxDepth, Nodes: maxNodes})
	if err != nil {
		return Policy{}, fileError(err)
	}
	var wire wirePolicy
	if _, err := strictjson.Decode(tree, &wire, strictjson.Options{}); err != nil {
		return Policy{}, fileError(err)
	}
	if wire.Schema != PolicySchema {
		return Policy{}, policyError("schema", "%q is not %q", clip(wire.Schema), PolicySchema)
	}
	p, err := wire.policy()
	if err != nil {
		return Policy{}, err
	}
	return p, p.Check()
}

func fileError(err error) error {
	if e, ok := errors.AsType[*strictjson.Error](err); ok && e.Line > 0 {
		return &PolicyError{Msg: fmt.Sprintf("line %d column %d: %s", e.Line, e.Column, e.Msg)}
	}
	return &PolicyError{Msg: err.Error()}
}

func (w *wirePolicy) policy() (Policy, error) {
	p := Policy{Name: w.Name, Denied: w.Denied, Expires: w.Expires}
	for i, s := range w.Signers {
		field := fmt.Sprintf("signers/%d", i)
		pub, err := keys.ParsePublic([]byte(s.Key))
		if err != nil {
			return Policy{}, policyError(field+"/key", "%v", err)
		}
		v, err := NewKeyVerifier(pub)
		if err != nil {
			return Policy{}, policyError(field+"/key", "%v", err)
		}
		if _, dup := p.Trust.Signers[s.Name]; dup || s.Name == "" {
			return Policy{}, policyError(field+"/name", "%q is empty or not unique", s.Name)
		}
		if p.Trust.Signers == nil {
			p.Trust.Signers = make(map[string]prerun.Verifier)
		}
		p.Trust.Signers[s.Name] = v
	}
	for _, b := range w.Builders {
		p.Trust.Builders = append(p.Trust.Builders, Builder(b))
	}
	for i := range w.Attestations {
		p.Attestations = append(p.Attestations, w.Attestations[i].attestation())
	}
	if l := w.Lineage; l != nil {
		p.Lineage = &Lineage{
			Depth:           l.Depth,
			Signers:         l.Signers,
			Threshold:       l.Threshold,
			Builders:        l.Builders,
			MinLevel:        l.MinLevel,
			InsecureGitSHA1: l.InsecureGitSHA1,
		}
		for _, leaf := range l.Leaves {
			p.Lineage.Leaves = append(p.Lineage.Leaves, Leaf(leaf))
		}
	}
	return p, nil
}

func (w *wireAttestation) attestation() Attestation {
	a := Attestation{
		Name:           w.Name,
		PredicateType:  w.PredicateType,
		Signers:        w.Signers,
		Threshold:      w.Threshold,
		Builders:       w.Builders,
		MinLevel:       w.MinLevel,
		BuildTypes:     w.BuildTypes,
		Parameters:     plainMap(w.Parameters),
		FreeParameters: w.FreeParameters,
		SubjectName:    w.SubjectName,
		MaxAge:         w.MaxAge,
		NotBefore:      w.NotBefore,
	}
	for _, m := range w.Materials {
		a.Materials = append(a.Materials, Item(m))
	}
	if w.Summary != nil {
		a.Summary = new(Summary(*w.Summary))
	}
	return a
}
