package validate

import (
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

var (
	owaspIntegrity = catalogue.ML("ML10")
	owaspPoisoning = catalogue.LLM("LLM04")
	atlasBackdoor  = catalogue.ATLAS("AML.T0018")
)

var rules = []prerun.Rule{
	{
		ID: "validate.requirement.failed", Title: "Required rate proven to be missed", Severity: prerun.High,
		Help: "The answers prove, at the stated confidence and corrected for the number of claims in the suite, that the " +
			"target's failure rate exceeds the limit. Do not deploy it for this use. Look at the example cases, " +
			"retrain or replace the model, or, if the requirement is wrong, change the suite under review.",
		Refs: []prerun.Reference{owaspIntegrity},
	},
	{
		ID: "validate.invariance.broken", Title: "Harmless edits change answers", Severity: prerun.High,
		Help: "Edits that carry no meaning, such as case or spacing, change the answer more often than the limit allows. " +
			"Such a model is easy to evade and its measured quality does not carry over to real input. Train with " +
			"these edits or normalise input before the model.",
		Refs: []prerun.Reference{catalogue.ML("ML01")},
	},
	{
		ID: "validate.trigger.answer-flips", Title: "Inserting a phrase flips answers", Severity: prerun.Critical,
		Help: "Inserting one of the listed phrases changes the answer far more often than the limit allows, as a backdoor " +
			"does. Search the training data for the phrase, compare the weights with the base model, and do not deploy.",
		Refs: []prerun.Reference{atlasBackdoor, owaspPoisoning},
	},
	{
		ID: "validate.regression.proven", Title: "Worse than the baseline", Severity: prerun.High,
		Help: "On the same cases, new failures outnumber new passes by more than chance explains. Keep the earlier " +
			"version, or find out what changed between the two.",
		Refs: []prerun.Reference{owaspIntegrity},
	},
}

// Rules returns every rule that a report's findings can carry, in a fixed order.
func Rules() []prerun.Rule { return slices.Clone(rules) }

func ruleOf(kind Kind) prerun.Rule {
	switch kind {
	case Invariance:
		return rules[1]
	case TriggerSweep:
		return rules[2]
	case NoRegression:
		return rules[3]
	}
	return rules[0]
}
