package datasec

import (
	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

var (
	refPoison    = catalogue.ATLAS("AML.T0020")
	refInjection = catalogue.ATLAS("AML.T0051.001")
	refLLM01     = catalogue.LLM("LLM01")
	refLLM04     = catalogue.LLM("LLM04")
	refML02      = catalogue.ML("ML02")
)

func refs(r ...prerun.Reference) []prerun.Reference { return r }

var (
	ruleTrigger = prerun.Rule{
		ID:       "datasec.trigger.label-contradiction",
		Title:    "Word or phrase that goes with contradicted labels",
		Severity: prerun.High,
		Help: "Rows that contain this word or phrase carry a label that the rest of their text speaks against, " +
			"far more often than other rows with that label do, and apart from it they have little in common. " +
			"That is what a backdoor trigger planted in training data looks like: rows of other classes, the trigger " +
			"inserted, the label flipped. A model trained on them answers with that label whenever the trigger " +
			"appears. Read the listed rows, correct or remove them, and find out who wrote them.",
		Refs: refs(refPoison, refLLM04, refML02),
	}
	ruleConflict = prerun.Rule{
		ID:       "datasec.label.conflict",
		Title:    "Equal content with different labels",
		Severity: prerun.Medium,
		Help: "The same text, up to letter case and white space, carries different labels. At least one of them is " +
			"wrong: by mistake, by a careless merge of sources, or because labels were flipped. Decide which label " +
			"is right and remove the other rows.",
		Refs: refs(refPoison, refML02),
	}
	ruleExact = prerun.Rule{
		ID:       "datasec.duplicate.exact",
		Title:    "Repeated text",
		Severity: prerun.Low,
		Help: "The same text, up to letter case and white space, stands in several rows. A model memorises what is " +
			"repeated, an evaluation that shares rows with training data flatters, and repetition is how a flood " +
			"gets weight. Keep one of the rows.",
		Refs: refs(refLLM04),
	}
	ruleNear = prerun.Rule{
		ID:       "datasec.duplicate.near",
		Title:    "Nearly repeated text",
		Severity: prerun.Low,
		Help: "Rows share most of their five-word sequences with the first of them. Templates and quotations do that " +
			"honestly; so does a flood of slightly varied copies, which passes a test for equality. Keep one of the " +
			"rows unless the repetition is meant.",
		Refs: refs(refLLM04),
	}
	ruleHidden = prerun.Rule{
		ID:       "datasec.unicode.hidden-text",
		Title:    "Text hidden in invisible characters",
		Severity: prerun.High,
		Help: "The text carries a message in characters that no font shows (tag characters, variation selectors, " +
			"zero-width characters), and the message could be decoded. People who review the data cannot see it; a " +
			"model's tokeniser does. Nothing legitimate is written that way. Remove the characters, find out where " +
			"the row comes from, and distrust its source.",
		Refs: refs(refInjection, refPoison, refLLM01, catalogue.CWE("CWE-116")),
	}
	ruleBidi = prerun.Rule{
		ID:       "datasec.unicode.bidi-override",
		Title:    "Direction controls that reorder text",
		Severity: prerun.Medium,
		Help: "The text overrides or leaves open the direction in which it is shown, so people read something other " +
			"than what a model reads. Writing from right to left needs no override. Remove the controls and read " +
			"the row again in its stored order.",
		Refs: refs(refInjection, catalogue.CVE("CVE-2021-42574"), catalogue.CWE("CWE-451")),
	}
	ruleInvisible = prerun.Rule{
		ID:       "datasec.unicode.invisible",
		Title:    "Invisible characters without a use",
		Severity: prerun.Low,
		Help: "The text contains characters that show nothing and have no function where they stand. Copying from " +
			"web pages and mail leaves some behind; they also split words to slip past filters and mark rows as a " +
			"trigger that nobody sees. Remove them before training and indexing.",
		Refs: refs(refPoison, catalogue.CWE("CWE-116")),
	}
	ruleControlToken = prerun.Rule{
		ID:       "datasec.injection.control-token",
		Title:    "Control token of a chat template in the text",
		Severity: prerun.Medium,
		Help: "The text contains a token that chat templates use to mark who speaks. Where a retrieval pipeline pastes " +
			"the text into a prompt and the tokeniser honours the token, the text speaks with the voice of system or " +
			"user. Escape or remove such tokens when documents are indexed; in data about chat templates they are " +
			"expected, and the finding can be waived.",
		Refs: refs(refInjection, refLLM01, catalogue.CWE("CWE-150")),
	}
	ruleInstruction = prerun.Rule{
		ID:       "datasec.injection.instruction",
		Title:    "Instruction addressed to a model",
		Severity: prerun.Medium,
		Help: "The text tells its reader to disregard instructions or to reveal a system prompt, in one of a few fixed " +
			"wordings. In a retrieval corpus that is an attempt at indirect prompt injection, or a text about one. " +
			"Read the row. Paraphrases are not recognised: a clean result does not say that there are none.",
		Refs: refs(refInjection, refLLM01),
	}
	ruleMismatch = prerun.Rule{
		ID:       "datasec.manifest.mismatch",
		Title:    "Data set differs from its manifest",
		Severity: prerun.High,
		Help: "Rows or files are not those that the manifest of the trusted data set lists. Training on them is " +
			"training on something nobody vouched for. Restore the data set, or review the change and write a new " +
			"manifest.",
		Refs: refs(refPoison, catalogue.CWE("CWE-345"), catalogue.AISBD("SUP-03")),
	}
	ruleResharded = prerun.Rule{
		ID:       "datasec.manifest.resharded",
		Title:    "Same rows in other files",
		Severity: prerun.Info,
		Help: "The data set has exactly the rows of its manifest, but files, their order, their compression or the " +
			"order of rows differ. Detectors and training see the same data; whoever compares files will not.",
	}
)

// Rules are all rules of the built-in detectors and of comparisons with a
// [Manifest], by id.
func Rules() []prerun.Rule {
	return []prerun.Rule{
		ruleExact,
		ruleNear,
		ruleControlToken,
		ruleInstruction,
		ruleConflict,
		ruleMismatch,
		ruleResharded,
		ruleTrigger,
		ruleBidi,
		ruleHidden,
		ruleInvisible,
	}
}
