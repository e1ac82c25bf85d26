// Package prerun is the vocabulary of AI pre-runtime security: what the
// packages below it found, what they could not check, and what they looked at.
//
// A model is decided on long before it runs. The packages of this module check
// what can be known until then, and each answers one question:
//
//   - [github.com/prerun/prerun/integrity]: what are these bytes, and who
//     vouches for them;
//   - [github.com/prerun/prerun/integrity/scan]: is this model file what it
//     claims to be, and safe to load;
//   - [github.com/prerun/prerun/integrity/weights]: what do the numbers inside
//     say, alone and against a base model;
//   - [github.com/prerun/prerun/provenance]: where does it come from, data set
//     to deployed artefact, matched by digest;
//   - [github.com/prerun/prerun/datasec] and its embedding package: is the
//     training data or the retrieval corpus poisoned;
//   - [github.com/prerun/prerun/validate]: does it behave, decided with
//     statistics because answers vary;
//   - [github.com/prerun/prerun/pipeline]: may it be deployed, as a signed
//     verdict;
//   - [github.com/prerun/prerun/pipeline/report]: JSON, SARIF, JUnit, Markdown
//     and HTML.
//
// Every result of these packages is a [Source]. A source names its subjects
// and speaks in findings and gaps, which makes three outcomes: clean, findings,
// and could-not-check. [Decide] turns a source into a [Verdict]; what could not
// be checked never passes, and neither does a result that was never filled.
//
// The package imports only the standard library, so a tool that wants to be
// understood by the gate pays nothing for it.
package prerun
