package integrity

import (
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

func refs(own ...prerun.Reference) []prerun.Reference {
	return slices.Concat(own, catalogue.SupplyChain())
}

var (
	ruleBundle = prerun.Rule{
		ID: "integrity.bundle.malformed", Title: "Malformed signature bundle", Severity: prerun.High,
		Help: "The file that should hold the signature is not a bundle of the OpenSSF Model Signing format. It proves nothing. Fetch it again from its source, or have the model signed again.",
		Refs: refs(catalogue.CWE("CWE-347")),
	}
	ruleSignature = prerun.Rule{
		ID: "integrity.signature.invalid", Title: "Invalid signature", Severity: prerun.Critical,
		Help: "The signature does not match the statement beside it: one of them was altered, or the signature was made by another key than the one that was trusted. Do not load the model.",
		Refs: refs(catalogue.CWE("CWE-347")),
	}
	ruleUntrusted = prerun.Rule{
		ID: "integrity.signature.untrusted", Title: "Untrusted signer", Severity: prerun.Critical,
		Help: "The model is signed, but by somebody whom the caller does not trust. Anybody can sign anything: a signature counts only when its signer does. Check who should have signed; do not load the model.",
		Refs: refs(catalogue.CWE("CWE-347"), catalogue.CWE("CWE-295")),
	}
	ruleStatement = prerun.Rule{
		ID: "integrity.statement.invalid", Title: "Invalid signed statement", Severity: prerun.High,
		Help: "The signature is good, but what was signed is no valid model signature. The signing tool is broken, or the signature was made for another purpose. Have the model signed again.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleManifest = prerun.Rule{
		ID: "integrity.manifest.invalid", Title: "Inconsistent signed manifest", Severity: prerun.High,
		Help: "The signature is good, but the list of files in it contradicts itself: duplicate or escaping names, shards that overlap or leave gaps, or a root digest that does not match. Such a list can leave parts of a model unsigned. Have the model signed again with another tool.",
		Refs: refs(catalogue.CWE("CWE-345"), catalogue.CWE("CWE-22")),
	}
	ruleModified = prerun.Rule{
		ID: "integrity.model.modified", Title: "Modified file", Severity: prerun.Critical,
		Help: "The file's content is not what was signed. Do not load the model: restore the file from the signer's copy, or find out who changed it.",
		Refs: refs(catalogue.CWE("CWE-354")),
	}
	ruleMissing = prerun.Rule{
		ID: "integrity.model.missing", Title: "Missing file", Severity: prerun.High,
		Help: "A file that was signed is not there. The model is incomplete, and a loader may fall back to something else. Restore the file from the signer's copy.",
		Refs: refs(catalogue.CWE("CWE-354")),
	}
	ruleExtra = prerun.Rule{
		ID: "integrity.model.extra", Title: "Unsigned file in the model", Severity: prerun.High,
		Help: "The model holds a file that nobody signed. Loaders pick up code and weights by name, so an added file can change what runs. Remove it, or have the model signed with it.",
		Refs: refs(catalogue.CWE("CWE-353")),
	}
	ruleKind = prerun.Rule{
		ID: "integrity.model.kind-changed", Title: "File replaced by something else", Severity: prerun.High,
		Help: "Where a regular file was signed stands a link, a folder or a special file, or the reverse. What is read there can change at any time. Restore the file from the signer's copy.",
		Refs: refs(catalogue.CWE("CWE-59"), catalogue.CWE("CWE-354")),
	}
	ruleUnsigned = prerun.Rule{
		ID: "integrity.coverage.unsigned", Title: "Unsigned file tolerated", Severity: prerun.Low,
		Help: "The file is not signed, and the caller asked to tolerate that. Nothing is known about it. Make sure that nothing loads it.",
		Refs: refs(catalogue.CWE("CWE-353")),
	}
	ruleIgnored = prerun.Rule{
		ID: "integrity.coverage.loadable-ignored", Title: "Loadable file on the ignore list", Severity: prerun.Low,
		Help: "Weights or code lie below a path that was left out of signing or checking, so they can be replaced unnoticed. Take the path off the list, or make sure that nothing loads from it.",
		Refs: refs(catalogue.CWE("CWE-353")),
	}
	ruleUncovered = prerun.Rule{
		ID: "integrity.coverage.not-covered", Title: "Path that the format cannot cover", Severity: prerun.Low,
		Help: "An empty file in a model hashed by shards, or a link to a folder, leaves no trace in the signature: it can be added or removed unnoticed. Hash the model by files, or remove it.",
		Refs: refs(catalogue.CWE("CWE-353")),
	}
	ruleHardLink = prerun.Rule{
		ID: "integrity.coverage.hard-link", Title: "File with another name", Severity: prerun.Info,
		Help: "The file has more than one name (hard links), perhaps outside the model. Whoever may write under one of them changes the model, and its folder does not show it. Copy the file, or make sure that every name is protected alike; stores that keep equal files once do it on purpose.",
		Refs: refs(catalogue.CWE("CWE-62")),
	}
	ruleCase = prerun.Rule{
		ID: "integrity.coverage.case-collision", Title: "Names that differ in case only", Severity: prerun.Low,
		Help: "Two signed files have names that some file systems take for one. Copied there, one file overwrites the other. Rename one of them.",
		Refs: refs(catalogue.CWE("CWE-178")),
	}
	ruleLeniency = prerun.Rule{
		ID: "integrity.bundle.leniency", Title: "Departure from the specification", Severity: prerun.Info,
		Help: "The signature departs from the specification in a way that signing tools in use are known for, and was accepted. Verify strictly to refuse it.",
		Refs: refs(catalogue.CWE("CWE-347")),
	}
)

// Rules is everything that this package can report, by ID.
func Rules() []prerun.Rule {
	return []prerun.Rule{
		ruleLeniency, ruleBundle, ruleCase, ruleHardLink, ruleIgnored, ruleUncovered, ruleUnsigned, ruleManifest,
		ruleExtra, ruleKind, ruleMissing, ruleModified, ruleSignature, ruleUntrusted, ruleStatement,
	}
}

var ruleOfChange = map[Change]prerun.Rule{
	Missing: ruleMissing, Extra: ruleExtra, Modified: ruleModified, KindChanged: ruleKind,
}

// ruleOfKind is tried in order: an error may wrap one kind inside another.
var ruleOfKind = []struct {
	kind error
	rule prerun.Rule
}{
	{ErrBundle, ruleBundle},
	{ErrSignature, ruleSignature},
	{ErrUntrusted, ruleUntrusted},
	{ErrStatement, ruleStatement},
	{ErrManifest, ruleManifest},
}
