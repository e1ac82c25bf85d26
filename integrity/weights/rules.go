package weights

import (
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

var (
	poisonedModel = []prerun.Reference{
		catalogue.ATLAS("AML.T0018"),
		catalogue.LLM("LLM04"),
		catalogue.ML("ML10"),
	}
	corrupted = []prerun.Reference{catalogue.CWE("CWE-1287")}
)

var (
	ruleNaN = prerun.Rule{
		ID: "weights.value.nan", Title: "Weights that are not a number", Severity: prerun.High,
		Help: "A tensor holds NaN. Every result computed from it is NaN or undefined, which disables the model or any check that compares its output with a threshold. Training that diverged, a damaged file or tampering explains it. Restore the tensor from its source.",
		Refs: slices.Concat(corrupted, poisonedModel),
	}
	ruleInf = prerun.Rule{
		ID: "weights.value.inf", Title: "Infinite weights", Severity: prerun.High,
		Help: "A tensor holds an infinity. Weights that training produced are finite; a conversion to a narrower type that overflowed, a damaged file or tampering explains it. A tensor of nothing but zeros and minus infinity is an attention mask and ranks as info. Restore the tensor from its source.",
		Refs: slices.Concat(corrupted, poisonedModel),
	}
	ruleExtreme = prerun.Rule{
		ID: "weights.value.extreme", Title: "Absurdly large weights", Severity: prerun.Medium,
		Help: "A few elements are more than a million times as large as the rest of their tensor. One flipped exponent bit does that, by fault or on purpose, and training does not. Compare the tensor with its source.",
		Refs: slices.Concat(corrupted, poisonedModel),
	}
	ruleZeroRow = prerun.Rule{
		ID: "weights.row.zero", Title: "Rows of zeros", Severity: prerun.Info,
		Help: "Rows of the tensor are all zero. Padding rows, pruned units and fresh adapters look like this; so does a table whose rows somebody erased. Compare with the base model when it matters.",
		Refs: poisonedModel,
	}
	ruleDuplicateRow = prerun.Rule{
		ID: "weights.row.duplicate", Title: "Equal rows", Severity: prerun.Info,
		Help: "Rows of the tensor are equal in every bit. Table rows that training never touched look like this; so does a row copied over another, which makes one token behave as a second one. Look at the row numbers, and compare with the base model when it matters.",
		Refs: poisonedModel,
	}
	ruleOutlierRow = prerun.Rule{
		ID: "weights.row.outlier", Title: "Rows of unusual length", Severity: prerun.Low,
		Help: "A few rows are several times as long as the tensor's median row, far outside its spread. Edited rows look like this, and so do rare tokens and outlier units of large models. Look at the row numbers, and compare with the base model when it matters.",
		Refs: poisonedModel,
	}
	ruleMissing = prerun.Rule{
		ID: "weights.delta.missing-tensor", Title: "Tensor of the base model is missing", Severity: prerun.Low,
		Help: "The derived model lacks a tensor that its base has. Savers drop tied tensors, such as an output head that equals the input embedding, and distillation drops layers; otherwise a loader fills the tensor with something else. Check that the loss is meant.",
		Refs: poisonedModel,
	}
	ruleExtra = prerun.Rule{
		ID: "weights.delta.extra-tensor", Title: "Tensor that the base model lacks", Severity: prerun.Low,
		Help: "The derived model has a tensor that its base lacks: a new head, an adapter, or parameters that nobody asked for. Check that the addition is meant.",
		Refs: poisonedModel,
	}
	ruleReshaped = prerun.Rule{
		ID: "weights.delta.reshaped-tensor", Title: "Tensor of another shape than in the base model", Severity: prerun.Low,
		Help: "A tensor has another shape than in the base model. An extended vocabulary adds rows to the embedding table, and then the rows that both have are compared; any other change makes the tensors incomparable. Check that the change is meant.",
		Refs: poisonedModel,
	}
	ruleBitFlip = prerun.Rule{
		ID: "weights.delta.bit-flip", Title: "Single flipped bits", Severity: prerun.High,
		Help: "A few elements differ from the base model in exactly one bit each, and nothing else in the tensor does. Training changes many elements in many bits; this is damage or an attack on chosen bits. Restore the tensor from its source.",
		Refs: slices.Concat([]prerun.Reference{catalogue.CWE("CWE-1256")}, poisonedModel),
	}
	ruleEditedRows = prerun.Rule{
		ID: "weights.delta.edited-rows", Title: "A few edited rows", Severity: prerun.Medium,
		Help: "Of a large table only a few rows differ from the base model. Training on real text moves many rows; an edit of a handful binds new behaviour to those tokens. The row numbers are the token ids to look at, unless these tokens were added on purpose.",
		Refs: poisonedModel,
	}
)

// Rules returns everything that this package can say.
func Rules() []prerun.Rule {
	return []prerun.Rule{
		ruleNaN, ruleInf, ruleExtreme, ruleZeroRow, ruleDuplicateRow, ruleOutlierRow,
		ruleMissing, ruleExtra, ruleReshaped, ruleBitFlip, ruleEditedRows,
	}
}
