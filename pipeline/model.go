package pipeline

import "github.com/prerun/prerun"

// Ids of the checks that standard profiles require.
const (
	CheckIntegrity  = "integrity.verify"
	CheckProvenance = "provenance.verify"
	CheckValidate   = "validate.run"
)

// Ids of the other checks of this package, unless they are told another.
const (
	checkScan       = "scan.model"
	checkWeights    = "weights.scan"
	checkDataset    = "datasec.scan"
	checkEmbeddings = "embeddings.scan"
	checkPrompts    = "prompts.lock"
)

// ModelInfo is what a verified signature says that the model consists of.
type ModelInfo struct {
	Name   string
	Folder string           // where it lies, in the paths of the vocabulary; "." is the gate's root
	Root   string           // root digest, algorithm:hex
	Files  []prerun.Subject // every file that was signed with a digest of its own, by path in the model
}

// ModelFact is given by the check that verified the model's signature, and by
// no other: what needs it does not run on a model that nobody vouches for.
const ModelFact Fact[*ModelInfo] = "integrity.model"
