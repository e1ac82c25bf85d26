// Package validate decides, from a model's answers, whether it behaves as a
// suite requires, with a stated probability of being wrong.
//
// A [Suite] holds cases and requirements; [ParseSuite] reads one from a file. A
// [Target] is what is asked: [TargetFunc] for Go code, package
// validate/target/openai for servers. [Runner.Plan] says, before anything is
// spent, how many questions there are and what they can prove; [Runner.Run] asks
// them and returns a [Report], which is a [prerun.Source].
//
// # What a verdict means
//
// PASS: if the target's true rate were beyond the limit, answers this good would
// come up with probability at most 1-Confidence. FAIL: if it were within the
// limit, answers this bad would, even after correcting for the number of claims
// in the suite. INCONCLUSIVE: neither. ERROR: answers are missing or unusable.
// A mean below the limit passes nothing; no case, no answer, or a budget that
// ran out never pass; only PASS lets a model through.
//
// Bounds are one-sided Clopper-Pearson bounds with the cluster as unit: the
// case with all its repeats and edits, or the cases that share a Cluster. A
// cluster fails when any of its answers does, so repeats never count as
// further evidence of safety. A suite passes when each requirement does, each at
// its own confidence, which needs no correction (an intersection-union test);
// failures are corrected by Holm's method.
//
// The claim is about the population that the cases were drawn from. A suite
// says nothing about questions unlike its own, about cases that the model was
// trained on, or, where clusters are not declared, about variants of one
// template counted as if they were independent. Changing a limit or dropping
// cases after seeing the answers voids the confidence; the suite's digest stands
// in every report so that it shows.
//
// # Trust and limits
//
// Suites, journals and targets are read with limits (see the constants), and a
// panic of a target or scorer is an error outcome. Reports quote answers
// redacted, in excerpts; journals hold them whole. The package opens no
// connection of its own.
package validate
