// Package provenance decides where a model came from: whether signed
// statements, matched by digest, lead from the artefact in hand back to its
// data, its code and its base models, in the way a policy demands.
//
// # What it decides
//
// A [Verifier] judges an [Artifact] by the attestations of an [EvidenceSource]
// against a [Policy], which is a required argument and must not be empty. The
// [Report] gives every requirement of the policy an outcome with its reason,
// keeps the evidence that it rejected, and draws the lineage as a [Graph] with
// a grade on every edge. A report is a [prerun.Source], so [prerun.Decide]
// turns it into a verdict.
//
// A requirement is met by one statement, signed by as many distinct trusted
// signers as the policy asks for, whose predicate type is exactly the one
// wanted, one of whose subjects is the artefact, and which passes each further
// test by itself. Two statements that each pass half of the tests meet nothing.
// Artefacts, materials and parents are matched by digest; names explain, they
// never decide, so a renamed file is still the same file.
//
// # What it does not decide
//
// Signed does not mean true: a trusted builder that lies is believed. Whether
// the bytes have the digest that the caller states is the caller's business
// (package integrity computes it), and so is who deserves trust: the zero
// Verifier trusts nobody, and nothing is fetched from a network.
//
// # Threat model
//
// Whoever can write to the evidence may add, remove, rename, reorder, replay
// and edit files. Withholding evidence never turns a no into a yes, because
// requirements say "there is" and never "there is no". Adding evidence does so
// only with what a trusted key signed at some time: a replayed statement is as
// good as a kept one, which is why policies limit ages and deny digests. A
// statement that two parsers could read differently is refused. Evidence can
// still turn a yes into an error, by exceeding [Limits].
//
// One statement has at most [MaxStatement] bytes and [MaxDescriptors]
// descriptors in a list; memory is bounded by them, by [Limits] and by
// [MaxEvidence]. No goroutine is started.
//
// # Reading statements
//
// [ParseStatement] is strict where parsers disagree: it refuses duplicate
// names at every depth, other spellings of known names, invalid UTF-8, trailing
// bytes, upper-case digests, subjects without a digest, and other statement
// types. Unknown names are ignored, as the in-toto specification demands, and
// numbers are kept as written. Digests count when their algorithm is sha256,
// sha384, sha512, or a Git object id. Two sets of digests are the same thing
// when at least one countable digest agrees and none disagrees.
//
// # Making statements
//
// A trainer fills a [Provenance], makes a [Statement] of it and signs that with
// any [prerun.Signer]:
//
//	statement, err := provenance.Provenance{…}.Statement(subjects...)
//	bundle, err := statement.Sign(ctx, signer)
//
// Training is a build: the data set, the base model and the code are resolved
// dependencies with digests, the recipe and its hyper-parameters are external
// parameters, the model's files or root digest are the subjects. The encoding
// is deterministic.
package provenance
