package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/provenance"
)

// VerifyProvenance judges the verified model's provenance against a policy. It
// needs [ModelFact]: the artefact is the root digest and every file that the
// model's signature names. Its facts are those of the provenance command:
// requirements[]{name, outcome, reason}, lineage.
type VerifyProvenance struct {
	ID       string // "" means CheckProvenance
	FS       fs.FS
	Evidence string // folder of statements in FS
	Policy   provenance.Policy
	Trust    provenance.Trust
	Inputs   []InputFile // what the caller holds of what went in
}

// An InputFile is a file that provenance must name by digest.
type InputFile struct {
	Name string // as the policy's materials call it
	Path string // in the gate's FS
}

// Meta implements [Check].
func (c VerifyProvenance) Meta() Meta {
	return Meta{
		ID: cmp.Or(c.ID, CheckProvenance), Version: "1",
		Needs:    []string{string(ModelFact)},
		Items:    []string{"ALL-2"},
		Controls: []string{"SUP-01", "SUP-04"},
	}
}

// Run implements [Check].
func (c VerifyProvenance) Run(ctx context.Context, in *Input) (*Result, error) {
	model, err := Get(in, ModelFact)
	if err != nil {
		return nil, err
	}
	artifact := provenance.Artifact{Name: model.Name, Digests: []digest.Digest{digest.Digest(model.Root)}}
	for _, f := range model.Files {
		artifact.Files = append(artifact.Files, provenance.Item{Name: f.Path, Digests: []digest.Digest{digest.Digest(f.Digest)}})
	}
	for _, f := range c.Inputs {
		sum, err := fileDigest(c.FS, f.Path)
		if err != nil {
			return nil, err
		}
		artifact.Inputs = append(artifact.Inputs, provenance.Item{Name: f.Name, Digests: []digest.Digest{digest.Digest(sum)}})
	}
	tree, err := subTree(c.FS, c.Evidence)
	if err != nil {
		return nil, err
	}
	v := provenance.Verifier{Trust: c.Trust, Now: func() time.Time { return in.Now }}
	rep, err := v.Verify(ctx, artifact, provenance.Dir(tree), c.Policy)
	if err != nil {
		return nil, err
	}
	out := &Result{
		Source: under(c.Evidence, rep, model.Name),
		Facts:  ProvenanceFacts(rep),
		Graphs: []report.Graph{LineageGraph(rep.Lineage())},
	}
	met, failed := 0, false
	for _, r := range rep.Requirements {
		switch r.Outcome {
		case provenance.Met:
			met++
		case provenance.NotMet, provenance.Absent:
			failed = true
		}
	}
	if out.Inputs, err = c.accepted(tree, rep); err != nil {
		return nil, err
	}
	out.Reason = fmt.Sprintf("%d of %d requirements met", met, len(rep.Requirements))
	if met < len(rep.Requirements) && !failed {
		out.Err = errUnreadableEvidence
	}
	return out, nil
}

// accepted lists the documents that met a requirement.
func (c VerifyProvenance) accepted(tree fs.FS, rep *provenance.Report) ([]prerun.Subject, error) {
	byName := make(map[string]string)
	for _, a := range rep.Accepted {
		for _, place := range a.Evidence {
			name := place
			if i := strings.LastIndexByte(place, ':'); i >= 0 && strings.HasSuffix(place[:i], ".jsonl") {
				name = place[:i]
			}
			raw, err := prerun.SplitPath(name)
			if err != nil {
				return nil, err
			}
			if byName[name], err = fileDigest(tree, raw[0]); err != nil {
				return nil, err
			}
		}
	}
	var out []prerun.Subject
	for _, name := range sortedKeys(byName) {
		out = append(out, prerun.Subject{Path: path.Join(prerun.EscapePath(c.Evidence), name), Digest: byName[name]})
	}
	return out, nil
}

var errUnreadableEvidence = errors.New("evidence that the policy asks for could not be read")

// ProvenanceFacts are the facts of a report as reports show them:
// requirements[]{name, outcome, reason}, rejected[]{evidence, reason}, and lineage,
// a [report.Graph].
func ProvenanceFacts(rep *provenance.Report) map[string]any {
	requirements := []map[string]any{}
	for _, r := range rep.Requirements {
		requirements = append(requirements, map[string]any{"name": r.Name, "outcome": r.Outcome.String(), "reason": r.Reason})
	}
	rejected := []map[string]any{}
	for _, r := range rep.Rejected {
		rejected = append(rejected, map[string]any{"evidence": r.Evidence, "reason": r.Reason})
	}
	return map[string]any{"requirements": requirements, "rejected": rejected, "lineage": LineageGraph(rep.Lineage())}
}

// LineageGraph is a lineage as reports draw it.
func LineageGraph(g *provenance.Graph) report.Graph {
	out := report.Graph{Title: "Lineage"}
	if g == nil {
		return out
	}
	for _, n := range g.Nodes {
		label := n.ID
		if len(n.Names) > 0 {
			label = n.Names[0]
		}
		node := report.Node{ID: n.ID, Label: label, Kind: n.Kind}
		if len(n.Digests) > 0 {
			node.Digest = n.Digests[0]
		}
		out.Nodes = append(out.Nodes, node)
	}
	for _, e := range g.Edges {
		label := strings.Join(e.Signers, ", ")
		if e.Refused != "" {
			label = "refused: " + e.Refused
		}
		out.Edges = append(out.Edges, report.Edge{From: e.Child, To: e.Parent, Grade: e.Grade.String(), Label: label})
	}
	return out
}

// ErrRequirement is returned for a requirement to select that is not there.
var ErrRequirement = errors.New("no such requirement")

// dropMaterials keeps of a policy only the materials that are named.
func dropMaterials(p provenance.Policy, keep []string) (provenance.Policy, error) {
	p.Attestations = slices.Clone(p.Attestations)
	known := make(map[string]bool)
	for i := range p.Attestations {
		a := &p.Attestations[i]
		a.Materials = slices.DeleteFunc(slices.Clone(a.Materials), func(m provenance.Item) bool {
			known[m.Name] = true
			return !slices.Contains(keep, m.Name)
		})
	}
	for _, name := range keep {
		if !known[name] {
			return p, fmt.Errorf("%w: material %q", ErrRequirement, name)
		}
	}
	return p, nil
}
