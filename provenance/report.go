package provenance

import (
	"fmt"
	"iter"

	"github.com/prerun/prerun"
)

// An Outcome says what became of one requirement. The zero value is
// Unreadable: what was not decided is not met.
type Outcome uint8

// Outcomes.
const (
	Unreadable Outcome = iota // could not be decided: evidence or a material could not be read
	Met
	NotMet // the evidence says otherwise
	Absent // there is no evidence, or what it rests on is not met
)

var outcomeNames = [...]string{"unreadable", "met", "not-met", "absent"}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", o)
}

// MarshalText writes the name.
func (o Outcome) MarshalText() ([]byte, error) {
	if int(o) >= len(outcomeNames) {
		return nil, fmt.Errorf("outcome %d is not defined", o)
	}
	return []byte(outcomeNames[o]), nil
}

// UnmarshalText reads what [Outcome.MarshalText] writes, exactly.
func (o *Outcome) UnmarshalText(text []byte) error {
	for i, name := range outcomeNames {
		if name == string(text) {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not an outcome", text)
}

// A Requirement is one demand of the policy and what became of it. An
// attestation makes several, named "attestation/test": "training/statement"
// (found, signed and well-formed), "training/subject", "training/builder",
// "training/build-type", "training/parameters", "training/material/train.jsonl",
// "training/summary", "training/age", "training/denied", "training/custom".
// Others are "lineage", "policy/expiry" and "policy/denied".
type Requirement struct {
	Name      string
	Outcome   Outcome
	Reason    string // one sentence, also where it is met
	Statement string // digest of the payload that decided; empty where none did
}

// An Accepted statement met an attestation of the policy or carries the
// lineage.
type Accepted struct {
	For       string   // the attestation's name, or "lineage"
	Statement string   // digest of the payload
	Evidence  []string // where it was found: "name" or "name:line", sorted
	Signers   []string // names in the trust whose signatures verify, sorted
	Subjects  []int    // indexes of the subjects that matched
}

// A Rejected document was not used, for the reason given. Rejection is no
// finding: who can write to the evidence can add any number of bad files.
type Rejected struct {
	Evidence string // "name" or "name:line"
	Digest   string // of the document's bytes; empty where it could not be read
	Rule     string // id of the rule that refuses it; empty for what is no attestation
	Reason   string
}

// A Report is what [Verifier.Verify] found out. It is a [prerun.Source] whose
// findings are the causes for which requirements are not met, and whose gaps
// are the requirements that could not be decided. Requirements that merely rest
// on another one that failed have no finding of their own. A refused edge that
// no requirement stumbled over is a finding of severity info.
//
// The zero value is the report of nothing and yields a gap.
type Report struct {
	Policy       string        // its name
	Requirements []Requirement // in the policy's order
	Accepted     []Accepted    // in the policy's order, the lineage's by statement
	Rejected     []Rejected    // by evidence

	graph  *Graph
	source prerun.Source
}

// Lineage is the graph of what the evidence says about the artefact's
// ancestors, trusted or not. It is never nil.
func (r *Report) Lineage() *Graph {
	if r == nil || r.graph == nil {
		return &Graph{}
	}
	return r.graph
}

// Met reports whether there are requirements and all are met.
func (r *Report) Met() bool {
	if r == nil || len(r.Requirements) == 0 {
		return false
	}
	for _, q := range r.Requirements {
		if q.Outcome != Met {
			return false
		}
	}
	return true
}

// Subjects implements [prerun.Source]: the artefact, with its first digest.
func (r *Report) Subjects() iter.Seq[prerun.Subject] { return r.or().Subjects() }

// Findings implements [prerun.Source].
func (r *Report) Findings() iter.Seq[prerun.Finding] { return r.or().Findings() }

// Gaps implements [prerun.Source].
func (r *Report) Gaps() iter.Seq[prerun.Gap] { return r.or().Gaps() }

func (r *Report) or() prerun.Source {
	if r == nil || r.source == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return r.source
}
