package provenance

import (
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

var origin = append([]prerun.Reference{catalogue.SLSA("verifying-artifacts")}, catalogue.SupplyChain()...)

func refs(own ...prerun.Reference) []prerun.Reference { return slices.Concat(own, origin) }

var (
	ruleAbsent = prerun.Rule{
		ID: "provenance.evidence.absent", Title: "No attestation", Severity: prerun.High,
		Help: "The policy asks for a signed statement about this artefact, and the evidence holds none of that type. Nothing is known about where the artefact came from. Get the attestation from whoever built it; do not lower the policy.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleUnsigned = prerun.Rule{
		ID: "provenance.signature.missing", Title: "Unsigned statement", Severity: prerun.High,
		Help: "The statement that the policy asks for is there, but nobody signed it. Anybody can write such a file. Have the builder sign it.",
		Refs: refs(catalogue.CWE("CWE-347")),
	}
	ruleUntrusted = prerun.Rule{
		ID: "provenance.signature.untrusted", Title: "Untrusted signature on a statement", Severity: prerun.Critical,
		Help: "The statement that the policy asks for is there, but none of the signers that the policy names made a valid signature on it: it was altered, or signed by somebody else. Nothing in it may be believed. Find out who made it; do not deploy the artefact.",
		Refs: refs(catalogue.CWE("CWE-347")),
	}
	ruleThreshold = prerun.Rule{
		ID: "provenance.signature.threshold", Title: "Too few signers", Severity: prerun.High,
		Help: "Some of the signers that the policy names signed the statement, but fewer distinct ones than it demands. One key under two names counts once. Get the missing signature on this very statement.",
		Refs: refs(catalogue.CWE("CWE-347")),
	}
	ruleMalformed = prerun.Rule{
		ID: "provenance.statement.malformed", Title: "Malformed statement", Severity: prerun.High,
		Help: "A trusted signer signed something that is not an unambiguous statement: duplicate names, a subject without a digest, another type, bad UTF-8. Two readers could see two different things in it. Have it made again with a correct tool.",
		Refs: refs(catalogue.CWE("CWE-436"), catalogue.CWE("CWE-345")),
	}
	ruleSubject = prerun.Rule{
		ID: "provenance.subject.mismatch", Title: "Statement about another artefact", Severity: prerun.High,
		Help: "The signed statement is about something else: no subject of it has the digests of the artefact in hand. The artefact was changed after it was built, or the statement belongs to another release. Do not deploy the artefact until a statement matches it.",
		Refs: refs(catalogue.CWE("CWE-345"), catalogue.CWE("CWE-354")),
	}
	ruleBuilder = prerun.Rule{
		ID: "provenance.builder.untrusted", Title: "Untrusted builder", Severity: prerun.High,
		Help: "The signature is good, but the signer may not speak for the builder that the statement names, or the policy does not accept that builder. Provenance counts only for known pairs of signer and builder. Build on a trusted builder, or add the pair to the trust after review.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleLevel = prerun.Rule{
		ID: "provenance.builder.level-low", Title: "Builder below the wanted level", Severity: prerun.High,
		Help: "The builder is trusted, but to a lower SLSA level than the policy demands: what it says could be forged by those who use it. Build on a hardened builder.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleBuildType = prerun.Rule{
		ID: "provenance.build.type-unexpected", Title: "Unexpected build type", Severity: prerun.High,
		Help: "The artefact was built in another way than the policy expects, so its parameters and dependencies mean something else. Find out what made it.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleParameters = prerun.Rule{
		ID: "provenance.build.parameter-unexpected", Title: "Unexpected build parameter", Severity: prerun.High,
		Help: "An external parameter of the build is missing, has another value than the policy expects, or is not known to the policy. External parameters come from outside the builder and are untrusted until compared. Find out who started the build, and with what.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleMaterial = prerun.Rule{
		ID: "provenance.material.mismatch", Title: "Built from other material", Severity: prerun.Critical,
		Help: "The signed statement names a material of this name with another digest: the artefact was not made from the data in hand. The data was changed after training, or the model was trained on something else. What was checked about this data says nothing about this model.",
		Refs: refs(catalogue.CWE("CWE-345"), catalogue.CWE("CWE-354"), catalogue.ATLAS("AML.T0020"),
			catalogue.AISBD("SUP-04")),
	}
	ruleMaterialAbsent = prerun.Rule{
		ID: "provenance.material.absent", Title: "Material not listed", Severity: prerun.High,
		Help: "The signed statement does not list the material that the policy asks for, by any name or digest. Nothing ties this data to this model. Have the builder record every input.",
		Refs: refs(catalogue.CWE("CWE-345"), catalogue.AISBD("SUP-04")),
	}
	ruleMaterialUnpinned = prerun.Rule{
		ID: "provenance.material.unpinned", Title: "Material without a digest", Severity: prerun.High,
		Help: "The signed statement lists the material by name or address only. What stood there at the time is unknown, and may have changed since. Have the builder record digests.",
		Refs: refs(catalogue.CWE("CWE-345"), catalogue.AISBD("SUP-04")),
	}
	ruleAge = prerun.Rule{
		ID: "provenance.age.exceeded", Title: "Statement too old", Severity: prerun.High,
		Help: "The statement, or every signature on it that counts, is older than the policy allows. An old statement may have been replaced or withdrawn. Get a fresh one; a replayed file cannot be told from a forgotten one.",
		Refs: refs(catalogue.CWE("CWE-294")),
	}
	ruleAgeUnstated = prerun.Rule{
		ID: "provenance.age.unstated", Title: "Statement without a time", Severity: prerun.High,
		Help: "The policy limits the statement's age, but the statement states no time and no time of signing is proven. Have the builder state when it finished.",
		Refs: refs(catalogue.CWE("CWE-294")),
	}
	ruleAgeFuture = prerun.Rule{
		ID: "provenance.age.future", Title: "Statement from the future", Severity: prerun.High,
		Help: "The statement, or its signature, claims a time that has not come yet, so that its age cannot be judged. One of the two clocks is wrong, or the time was made up.",
		Refs: refs(catalogue.CWE("CWE-294")),
	}
	ruleDenied = prerun.Rule{
		ID: "provenance.digest.denied", Title: "Denied artefact", Severity: prerun.Critical,
		Help: "The artefact, or something that it was made from, is on the policy's list of digests known to be bad. Do not deploy it; find out where else it was used.",
		Refs: refs(catalogue.CWE("CWE-506")),
	}
	ruleSummary = prerun.Rule{
		ID: "provenance.summary.unmet", Title: "Verification summary says no", Severity: prerun.High,
		Help: "The signed verification summary did not pass, or speaks of another resource, policy or level than the one wanted. Ask the verifier that made it for its reasons.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleCustom = prerun.Rule{
		ID: "provenance.policy.custom", Title: "Own test of the policy failed", Severity: prerun.High,
		Help: "A test that the caller added to the policy refused the statement. The message holds its reason.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleExpired = prerun.Rule{
		ID: "provenance.policy.expired", Title: "Expired policy", Severity: prerun.High,
		Help: "The policy's own end date has passed: keys and builders that it trusts may have been withdrawn since. Get the current policy.",
		Refs: refs(catalogue.CWE("CWE-672")),
	}
	ruleUnpinned = prerun.Rule{
		ID: "provenance.lineage.unpinned", Title: "Ancestor without a digest", Severity: prerun.High,
		Help: "A signed statement names a dependency by name or address only, or by a SHA-1 id of Git. Hub names can be registered again by others and branches move, so this is no proof of what was used. Have the builder record a digest.",
		Refs: refs(catalogue.CWE("CWE-345"), catalogue.CWE("CWE-494")),
	}
	ruleParent = prerun.Rule{
		ID: "provenance.lineage.missing", Title: "Ancestor without provenance", Severity: prerun.High,
		Help: "A dependency is known by its digest, but no statement that the policy trusts says where it came from, and the policy does not accept it as an end of the lineage. Get its attestation, or name it as a leaf after review.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleCycle = prerun.Rule{
		ID: "provenance.lineage.cycle", Title: "Cycle in the lineage", Severity: prerun.High,
		Help: "Signed statements say that an artefact was made, directly or through others, from itself. At least one of them is wrong, and the edge that closes the cycle is refused. Find out which signer made it.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
	ruleConflict = prerun.Rule{
		ID: "provenance.lineage.conflict", Title: "Conflicting digests in the lineage", Severity: prerun.High,
		Help: "Signed statements agree on one digest of an artefact and disagree on another, so they cannot both be true. The edges concerned are refused. Find out which signer is wrong.",
		Refs: refs(catalogue.CWE("CWE-345")),
	}
)

// Rules lists everything that a report can find, by id.
func Rules() []prerun.Rule {
	return []prerun.Rule{
		ruleAge, ruleAgeFuture, ruleAgeUnstated,
		ruleParameters, ruleBuildType,
		ruleLevel, ruleBuilder,
		ruleDenied,
		ruleAbsent,
		ruleConflict, ruleCycle, ruleParent, ruleUnpinned,
		ruleMaterialAbsent, ruleMaterial, ruleMaterialUnpinned,
		ruleCustom, ruleExpired,
		ruleUnsigned, ruleThreshold, ruleUntrusted,
		ruleMalformed,
		ruleSubject,
		ruleSummary,
	}
}
