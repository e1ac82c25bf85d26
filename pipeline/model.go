package pipeline

import "github.com/prerun/prerun"

// Ids of the checks that standard profiles require.
const (
	CheckIntegrity  = "integrity.verify"
	CheckProvenance = "provenance.verify"
	CheckValidate   = "validate.run"
)

// ModelInfo is what a verified signature says that the model consists of.
type ModelInfo struct {
	Name  string
	Root  string           // root digest, algorithm:hex
	Files []prerun.Subject // every file with its digest, by path
}

// ModelFact is given by the check that verified the model's signature, and by
// no other: what needs it does not run on a model that nobody vouches for.
const ModelFact Fact[*ModelInfo] = "integrity.model"
