package pipeline

import (
	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

func aisbd(ids ...string) []prerun.Reference {
	var refs []prerun.Reference
	for _, id := range ids {
		refs = append(refs, catalogue.AISBD(id))
	}
	return refs
}

var (
	ruleRequiredMissing = prerun.Rule{
		ID: "pipeline.gate.required-missing", Title: "required check did not run", Severity: prerun.High,
		Help: "The profile requires this check and the gate ran without it, because the configuration leaves it out or skips it. A gate that lets its own checks be left out decides nothing. Configure the check, or choose a profile that does not ask for it.",
		Refs: aisbd("GATE-01"),
	}
	ruleChanged = prerun.Rule{
		ID: "pipeline.gate.changed-meanwhile", Title: "model changed while the gate ran", Severity: prerun.Critical,
		Help: "A check read a file of the model and saw other bytes than those whose signature was verified, so what it says is about another model. Give the gate a tree that nobody else can write to, and run it again.",
		Refs: append(aisbd("SUP-01"), catalogue.CWE("CWE-367")),
	}
	ruleCheckErrored = prerun.Rule{
		ID: "pipeline.check.error", Title: "check could not do its work", Severity: prerun.High,
		Help: "The check stopped with an error, ran out of time, or panicked. What it would have found is unknown, so the gate says no. Read the reason, mend the cause, run the gate again.",
		Refs: aisbd("GATE-01"),
	}
	ruleEvidenceAbsent = prerun.Rule{
		ID: "pipeline.evidence.absent", Title: "no evidence for a gate item", Severity: prerun.High,
		Help: "The profile asks for this item and no signed evidence document answers it for this model. Have the approver sign a document that names the item and the model's root digest.",
		Refs: aisbd("GATE-05"),
	}
	ruleEvidenceUntrusted = prerun.Rule{
		ID: "pipeline.evidence.untrusted", Title: "evidence that cannot be trusted", Severity: prerun.High,
		Help: "A document claims to answer this item, but its signature does not verify under the approver's key, or it is malformed. It may be forged or damaged. Obtain the original from its issuer.",
		Refs: append(aisbd("GATE-05"), catalogue.CWE("CWE-347")),
	}
	ruleEvidenceSubject = prerun.Rule{
		ID: "pipeline.evidence.subject-mismatch", Title: "evidence about another model", Severity: prerun.High,
		Help: "The document is validly signed but names the digest of another model, so it says nothing about this one. Evidence goes stale when the model changes: repeat the work for this digest.",
		Refs: aisbd("GATE-05", "SUP-02"),
	}
	ruleEvidenceStale = prerun.Rule{
		ID: "pipeline.evidence.stale", Title: "evidence older than the profile allows", Severity: prerun.High,
		Help: "The document was issued longer ago than the tier's cadence allows, is dated in the future, or has passed its own expiry. Repeat the work and sign it anew.",
		Refs: aisbd("GATE-05"),
	}
	ruleScanUntrusted = prerun.Rule{
		ID: "pipeline.scan.untrusted", Title: "signed scan that cannot be trusted", Severity: prerun.High,
		Help: "The gate was to take a signed scan for a scan of its own, and the document is not signed by the scanner's key, or is no scan result. It may be forged or damaged. Obtain the original, or have the gate scan the model itself.",
		Refs: append(aisbd("SUP-01"), catalogue.CWE("CWE-347")),
	}
	ruleScanSubject = prerun.Rule{
		ID: "pipeline.scan.subject-mismatch", Title: "scan of another model", Severity: prerun.High,
		Help: "The scan is validly signed and names another root digest, or leaves out or contradicts a file of this model, so it says nothing about what would be deployed. Scan this model.",
		Refs: aisbd("SUP-01", "SUP-02"),
	}
	ruleScanStale = prerun.Rule{
		ID: "pipeline.scan.stale", Title: "scan older than the profile allows", Severity: prerun.High,
		Help: "The scan was made longer ago than the tier's cadence allows, by rules that knew less than those of today, or is dated in the future. Scan the model again.",
		Refs: aisbd("SUP-01"),
	}
	ruleWaiverExpired = prerun.Rule{
		ID: "pipeline.waiver.expired", Title: "waiver has expired", Severity: prerun.High,
		Help: "A signed waiver covered this finding and its time is over, so it covers nothing now. Mend what it excused, or have a new waiver approved.",
		Refs: aisbd("GATE-01"),
	}
	ruleWaiverInvalid = prerun.Rule{
		ID: "pipeline.waiver.invalid", Title: "waiver that does not count", Severity: prerun.Medium,
		Help: "The waiver is signed but breaks the profile's rules: too few approvers, an approver who is the owner, a longer life than the tier allows, a date in the future, or something left empty. It is not applied. Have it approved again as the profile asks, or take it out of the file.",
		Refs: aisbd("GATE-01"),
	}
	ruleWaiverUntrusted = prerun.Rule{
		ID: "pipeline.waiver.untrusted", Title: "waivers that cannot be trusted", Severity: prerun.High,
		Help: "The file of waivers is not signed by the approver's key, or is malformed. None of its waivers is applied. Obtain the signed original.",
		Refs: append(aisbd("GATE-01"), catalogue.CWE("CWE-347")),
	}
	ruleWaiverUnused = prerun.Rule{
		ID: "pipeline.waiver.unused", Title: "waiver that covers nothing", Severity: prerun.Info,
		Help: "No finding of this run matches the waiver. It may have served its purpose, or name a rule or path that no longer exists: remove it before it excuses something that nobody looked at.",
		Refs: aisbd("GATE-01"),
	}
	rulePromptUnlocked = prerun.Rule{
		ID: "pipeline.prompt.unlocked", Title: "prompt that the lock file does not name", Severity: prerun.High,
		Help: "A prompt changes behaviour as a model does, so each prompt file is recorded with version and digest. This file is not recorded. Review it and write it into the lock file.",
		Refs: aisbd("PRM-02"),
	}
	rulePromptChanged = prerun.Rule{
		ID: "pipeline.prompt.changed", Title: "prompt differs from its locked digest", Severity: prerun.High,
		Help: "The prompt was edited after it was locked. Tests and approvals speak of the locked text. Review the change, raise the version, and lock it again.",
		Refs: aisbd("PRM-02"),
	}
	rulePromptMissing = prerun.Rule{
		ID: "pipeline.prompt.missing", Title: "locked prompt is absent", Severity: prerun.High,
		Help: "The lock file names a prompt that is not there. The system under test is not the one that was approved.",
		Refs: aisbd("PRM-02"),
	}
)

// Rules lists every rule that this package itself can report, by id.
func Rules() []prerun.Rule {
	return []prerun.Rule{
		ruleCheckErrored,
		ruleEvidenceAbsent, ruleEvidenceStale, ruleEvidenceSubject, ruleEvidenceUntrusted,
		ruleChanged, ruleRequiredMissing,
		rulePromptChanged, rulePromptMissing, rulePromptUnlocked,
		ruleScanStale, ruleScanSubject, ruleScanUntrusted,
		ruleWaiverExpired, ruleWaiverInvalid, ruleWaiverUntrusted, ruleWaiverUnused,
	}
}
