package oci

import (
	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

func refs(cwe string) []prerun.Reference {
	return append([]prerun.Reference{catalogue.CWE(cwe)}, catalogue.SupplyChain()...)
}

var (
	ruleDigest = prerun.Rule{
		ID: "integrity.image.digest-mismatch", Title: "Content under a wrong digest", Severity: prerun.Critical,
		Help: "The registry or layout returned something else than the digest names. It is broken or hostile; whoever does not check gets what it likes. Do not load the model, and fetch it from elsewhere.",
		Refs: refs("CWE-354"),
	}
	ruleMalformed = prerun.Rule{
		ID: "integrity.image.malformed", Title: "Malformed image manifest", Severity: prerun.High,
		Help: "A manifest of the image or of its signature is not well-formed, or can be read in two ways. Tools will disagree on what the model is. Have the image built again.",
		Refs: refs("CWE-345"),
	}
	ruleName = prerun.Rule{
		ID: "integrity.image.layer-name", Title: "Unsafe layer name", Severity: prerun.High,
		Help: "A layer is named such that it would be written outside of the model's folder, over another layer, or elsewhere on another system. Do not fetch the image with a tool that follows such names; find out who built it.",
		Refs: refs("CWE-22"),
	}
	ruleUnsigned = prerun.Rule{
		ID: "integrity.image.unsigned", Title: "Image without a model signature", Severity: prerun.High,
		Help: "No model signature refers to the image, so nothing says who made it. Either it was never signed, or the signature was lost in copying: copy referrers along with the image, or have it signed.",
		Refs: refs("CWE-353"),
	}
	ruleUncovered = prerun.Rule{
		ID: "integrity.image.layer-unsigned", Title: "Layer that no signature covers", Severity: prerun.Low,
		Help: "The layer lies under a path that model signatures leave out, such as .git, so it can be added or exchanged unnoticed. Make sure that nothing uses it, have the image built without it, or have the whole image signed.",
		Refs: refs("CWE-353"),
	}
	ruleForeign = prerun.Rule{
		ID: "integrity.image.foreign-referrer", Title: "Signature of another image", Severity: prerun.Low,
		Help: "The store lists a signature for this image that states another image as its subject. It was passed over. Lists of referrers are kept by clients where the registry has none, and can be written by whoever can push: check who did.",
		Refs: refs("CWE-345"),
	}
)

var ruleOfKind = []struct {
	kind error
	rule prerun.Rule
}{
	{ErrDigest, ruleDigest},
	{ErrMalformed, ruleMalformed},
	{ErrName, ruleName},
	{ErrUnsigned, ruleUnsigned},
}

// Rules is everything that this package can report besides the rules of package
// integrity, by ID.
func Rules() []prerun.Rule {
	return []prerun.Rule{ruleDigest, ruleForeign, ruleName, ruleUncovered, ruleMalformed, ruleUnsigned}
}
