package provenance

import (
	"time"

	"github.com/prerun/prerun/internal/strictjson"
)

// BuildTypeTraining is a build type for statements about trained models. Its
// external parameters are "recipe" (what is run: a path in the code
// dependency, or a name) and "hyperparameters" (an object); its resolved
// dependencies are every data set file, base model and code tree that went in,
// each with a digest and with the annotation "kind" set to "dataset", "model",
// "code" or "image".
const BuildTypeTraining = "https://github.com/prerun/prerun/buildtypes/training/v1"

// KindAnnotation names the annotation by which a statement says what kind of
// thing a dependency is; see [Leaf].
const KindAnnotation = "kind"

// A Provenance is the predicate of SLSA build provenance, version 1.
type Provenance struct {
	BuildType            string
	ExternalParameters   map[string]any // numbers are [json.Number] when read
	InternalParameters   map[string]any
	ResolvedDependencies []Descriptor

	BuilderID           string
	BuilderVersion      map[string]string
	BuilderDependencies []Descriptor

	InvocationID string
	StartedOn    time.Time // zero when not stated
	FinishedOn   time.Time // zero when not stated
	Byproducts   []Descriptor
}

type wireProvenance struct {
	Definition struct {
		BuildType string                      `json:"buildType,required"`
		External  map[string]strictjson.Value `json:"externalParameters,required"`
		Internal  map[string]strictjson.Value `json:"internalParameters"`
		Resolved  *strictjson.Value           `json:"resolvedDependencies"`
	} `json:"buildDefinition,required"`
	Details struct {
		Builder struct {
			ID           string            `json:"id,required"`
			Version      map[string]string `json:"version"`
			Dependencies *strictjson.Value `json:"builderDependencies"`
		} `json:"builder,required"`
		Metadata *struct {
			InvocationID *string    `json:"invocationId"`
			OldSpelling  *string    `json:"invocationID"` // older producers; decides nothing
			StartedOn    *time.Time `json:"startedOn"`
			FinishedOn   *time.Time `json:"finishedOn"`
		} `json:"metadata"`
		Byproducts *strictjson.Value `json:"byproducts"`
	} `json:"runDetails,required"`
}

var provenanceNames = []string{
	"buildDefinition", "buildType", "externalParameters", "internalParameters", "resolvedDependencies",
	"runDetails", "builderDependencies", "invocationId", "startedOn", "finishedOn",
}

// Provenance decodes the predicate of a statement of type [ProvenanceType], as
// strictly as the statement. Errors wrap [ErrStatement].
func (s *Statement) Provenance() (*Provenance, error) {
	var wire wireProvenance
	tree, err := s.predicate(ProvenanceType, &wire, provenanceNames)
	if err != nil {
		return nil, err
	}
	p, err := wire.provenance(tree)
	if err != nil {
		return nil, statementError("predicate", err)
	}
	return p, nil
}

func (w *wireProvenance) provenance(tree *strictjson.Value) (*Provenance, error) {
	definition, details := tree.Get("buildDefinition"), tree.Get("runDetails")
	builder := details.Get("builder")
	switch {
	case w.Definition.BuildType == "":
		return nil, at(definition.Get("buildType"), "empty build type")
	case w.Definition.External == nil:
		return nil, at(definition.Get("externalParameters"), "externalParameters is not an object")
	case w.Details.Builder.ID == "":
		return nil, at(builder.Get("id"), "empty builder id")
	}
	p := &Provenance{
		BuildType:          w.Definition.BuildType,
		ExternalParameters: plainMap(w.Definition.External),
		InternalParameters: plainMap(w.Definition.Internal),
		BuilderID:          w.Details.Builder.ID,
		BuilderVersion:     w.Details.Builder.Version,
	}
	if m := w.Details.Metadata; m != nil {
		if m.InvocationID != nil && m.OldSpelling != nil {
			return nil, at(details.Get("metadata"), "invocationId in two spellings")
		}
		p.InvocationID = deref(m.InvocationID) + deref(m.OldSpelling)
		p.StartedOn, p.FinishedOn = derefTime(m.StartedOn), derefTime(m.FinishedOn)
	}
	var err error
	if p.ResolvedDependencies, err = descriptors(w.Definition.Resolved); err != nil {
		return nil, err
	}
	if p.BuilderDependencies, err = descriptors(w.Details.Builder.Dependencies); err != nil {
		return nil, err
	}
	p.Byproducts, err = descriptors(w.Details.Byproducts)
	return p, err
}

// Statement makes a statement that the build p made the subjects.
func (p Provenance) Statement(subjects ...Descriptor) (*Statement, error) {
	if p.ExternalParameters == nil {
		p.ExternalParameters = map[string]any{}
	}
	type builder struct {
		ID           string            `json:"id"`
		Version      map[string]string `json:"version,omitempty"`
		Dependencies []jsonDescriptor  `json:"builderDependencies,omitempty"`
	}
	type metadata struct {
		InvocationID string    `json:"invocationId,omitempty"`
		StartedOn    time.Time `json:"startedOn,omitzero"`
		FinishedOn   time.Time `json:"finishedOn,omitzero"`
	}
	type definition struct {
		BuildType string           `json:"buildType"`
		External  map[string]any   `json:"externalParameters"`
		Internal  map[string]any   `json:"internalParameters,omitempty"`
		Resolved  []jsonDescriptor `json:"resolvedDependencies,omitempty"`
	}
	type details struct {
		Builder    builder          `json:"builder"`
		Metadata   metadata         `json:"metadata"`
		Byproducts []jsonDescriptor `json:"byproducts,omitempty"`
	}
	raw, err := marshal(struct {
		Definition definition `json:"buildDefinition"`
		Details    details    `json:"runDetails"`
	}{
		definition{p.BuildType, p.ExternalParameters, p.InternalParameters, jsonDescriptors(p.ResolvedDependencies)},
		details{
			builder{p.BuilderID, p.BuilderVersion, jsonDescriptors(p.BuilderDependencies)},
			metadata{p.InvocationID, p.StartedOn.UTC(), p.FinishedOn.UTC()},
			jsonDescriptors(p.Byproducts),
		},
	})
	if err != nil {
		return nil, statementError("predicate", err)
	}
	return typedStatement(subjects, ProvenanceType, raw, func(s *Statement) error {
		_, err := s.Provenance()
		return err
	})
}

// typedStatement makes a statement and reads it back, so that nothing is
// signed that this package would refuse.
func typedStatement(subjects []Descriptor, predicateType string, raw []byte, check func(*Statement) error) (*Statement, error) {
	s := &Statement{Subjects: subjects, PredicateType: predicateType, Predicate: raw}
	payload, err := s.Encode()
	if err != nil {
		return nil, err
	}
	if s, err = ParseStatement(payload); err != nil {
		return nil, err
	}
	return s, check(s)
}

func plainMap(m map[string]strictjson.Value) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for name, v := range m {
		out[name] = plain(&v)
	}
	return out
}

func derefTime(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
