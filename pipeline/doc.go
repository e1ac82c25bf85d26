// Package pipeline composes the checks of this module, and anybody else's,
// into a gate: one decision whether a model may be deployed, with the reason
// for each part of it.
//
// # The path through the API
//
// A [Check] looks at something and gives a [Result]. Checks hand typed facts
// to each other ([Fact], [Put], [Get]); the edges are declared in [Meta], so a
// missing or doubled producer and a cycle are errors before anything runs. A
// [Gate] runs the checks under a [Profile], which says what its tier requires,
// applies [Waivers], and returns a [Decision]. [Decision.Sign] makes the signed
// verdict, a SLSA verification summary, and [VerifyVerdict] is what the other
// side calls before it deploys.
//
// [Config] is the file form: [ParseConfig] reads it and [Config.Gate] builds
// the same gate that Go code would.
//
// # What a pass means
//
// That every check that the profile requires was there and passed, did not
// apply, or was waived by somebody entitled to, on the evidence listed. Skipped,
// inconclusive and errored checks are a no. A pass does not mean that the model
// is safe: each check's own documentation says what it cannot see.
//
// # Threat model
//
// Hostile are the model, its data, and whoever can write to the folders of
// evidence, waivers and statements: what is not signed by the key of its role
// answers nothing and excuses nothing. The configuration and the code that builds
// the gate are trusted; the verdict names the digest of the configuration and of
// every file that it decides by, so that a deployer can insist on them. Under a
// configuration no check can pose as another kind, the threshold can only be
// lowered, and the approver's key has no second role. A file of the model that a
// check saw with other bytes than those that were verified is found by its
// digest; data that is swapped between two checks is not.
//
// # Limits
//
// A check runs under a time limit, and a panic in it is an error of that check
// alone; a check that ignores its context holds the gate up. Of one check
// 100,000 findings are kept, more are a gap. Evidence is at most 1,000 files of
// 4 MiB, a file of waivers at most 1,000 waivers, a verdict at most
// [provenance.MaxDescriptors] files. A cancelled run decides nothing. The gate
// keeps no state between runs; the optional [Cache] is keyed by the content that a
// check says it read. Nothing here opens a network connection or reads the
// environment.
package pipeline
