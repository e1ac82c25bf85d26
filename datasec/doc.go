// Package datasec looks for signs of poisoning in training data sets and
// retrieval corpora. It works on records, before and without any model.
//
// It decides what can be decided from rows alone: that words or phrases go
// with labels which the rest of the text contradicts ([LabelContradiction]),
// that equal texts carry different labels ([LabelConflict]) or are repeated
// ([ExactDuplicates], [NearDuplicates]), that text hides other text in
// invisible characters or reorders what is shown ([HiddenText]), that text is
// addressed to a model ([Injection]), and that rows are, or are not, those of
// a trusted data set ([Manifest]).
//
// It does not decide that data is good. Poisons whose label fits their text,
// triggers of style, perturbed images, false facts and paraphrased
// instructions leave no such sign; each detector says what it cannot see, and
// its [Figures] say from how many poisoned rows on it can see anything. What
// was found and missed on real mails is in benchmarks/datasec-trigger.md.
//
// The adversary writes rows, up to whole files, and knows this code. Input is
// bounded by [Limits]: sizes of records and files, decompression ratio; JSON
// that two parsers could read differently is refused. What could not be read
// is a gap, row by row, and a data set with gaps has no root and no manifest.
// Detectors bound their memory and say with a gap when a bound made them look
// at less. Excerpts in findings are redacted.
//
// The way through: [Files] makes shards of files in an [io/fs.FS] by a
// [Schema]; [Scanner.Scan] reads them, as often as detectors ask, and returns a
// [Result], which is a [prerun.Source] whose subjects are the files, by digest
// of their bytes, and the data set as a whole, by the root of its rows.
//
// Other people's detectors implement [Detector] and [State]; package
// datasectest tests them. States of the same detector merge to the same bytes
// in any order, so shards can be observed on different machines, their states
// sent as bytes, merged and finalised anywhere: the result is that of one scan.
// The same input gives the same result for any number of workers.
package datasec
