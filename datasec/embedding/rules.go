package embedding

import (
	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

var (
	retrieval = []prerun.Reference{
		catalogue.LLM("LLM08"),
		catalogue.ATLAS("AML.T0070"),
	}
	malformed = []prerun.Reference{
		catalogue.CWE("CWE-1287"),
		catalogue.LLM("LLM08"),
	}
)

var (
	ruleNaN = prerun.Rule{
		ID: "embedding.vector.nan", Title: "Vectors that are not numbers", Severity: prerun.High,
		Help: "Vectors hold NaN. Their distance to anything is undefined: depending on the index they are never found, always found, or make it fail. Embed these documents again.",
		Refs: malformed,
	}
	ruleInf = prerun.Rule{
		ID: "embedding.vector.inf", Title: "Infinite vectors", Severity: prerun.High,
		Help: "Vectors hold an infinity. With an inner product such a vector is the nearest of every query that agrees in sign; with other metrics its distance is undefined. Embed these documents again.",
		Refs: malformed,
	}
	ruleDimension = prerun.Rule{
		ID: "embedding.vector.dimension", Title: "Vectors of another dimension", Severity: prerun.Medium,
		Help: "Some vectors have another number of elements than the rest. They come from another model or were cut, and loaders refuse, pad or misread them. Embed these documents again with the model of the rest.",
		Refs: malformed,
	}
	ruleZero = prerun.Rule{
		ID: "embedding.vector.zero", Title: "Zero vectors", Severity: prerun.Low,
		Help: "Vectors are all zero. They have no direction, so what they are near to depends on the index. Empty documents and documents without a known word look like this.",
		Refs: malformed,
	}
	ruleDuplicate = prerun.Rule{
		ID: "embedding.vector.duplicate", Title: "Equal vectors", Severity: prerun.Info,
		Help: "Vectors are equal in every element. Equal texts have equal vectors; equal vectors with different texts were not made by embedding these texts.",
		Refs: retrieval,
	}
	ruleNorm = prerun.Rule{
		ID: "embedding.vector.norm", Title: "Vectors of unusual length", Severity: prerun.Low,
		Help: "A few vectors are far longer or shorter than the rest. With an inner product a long vector wins queries that it has little to do with. Another model, a missing normalisation or an edit explains it. Look at these documents, or normalise all vectors.",
		Refs: retrieval,
	}
	ruleHub = prerun.Rule{
		ID: "embedding.hub.anomalous", Title: "Hub that no topic explains", Severity: prerun.High,
		Help: "One vector is among the nearest neighbours of far more unrelated vectors or queries than the rest of the set makes plausible. Retrieval returns its document whatever is asked; attackers plant such vectors to put a text before the model in every conversation. Read the document, and embed its text again: a planted vector does not match it.",
		Refs: retrieval,
	}
	ruleFrequent = prerun.Rule{
		ID: "embedding.hub.frequent", Title: "Popular vector", Severity: prerun.Low,
		Help: "One vector is among the nearest neighbours of more others than a negative binomial distribution of hits explains, but these are related to each other. The middle of a dense topic looks like this; so does a vector planted for one topic. Read the document.",
		Refs: retrieval,
	}
)

// Rules returns everything that this package can say.
func Rules() []prerun.Rule {
	return []prerun.Rule{ruleNaN, ruleInf, ruleDimension, ruleZero, ruleDuplicate, ruleNorm, ruleHub, ruleFrequent}
}
