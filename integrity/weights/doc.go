// Package weights reads what the numbers of a model say: alone, and against the
// model it was derived from.
//
// [Scanner.Scan] passes once over every tensor of the safetensors files in a
// tree and reports NaN, infinite and absurdly large elements, rows of zeros,
// equal rows and rows of unusual length. [Scanner.Compare] sets a derived model
// beside its base and reports missing and added tensors, the share of changed
// elements, the relative size of the change, single flipped bits and edits of a
// few rows of a table, with their row numbers: in an embedding table those are
// the candidate trigger tokens.
//
// What is found is evidence, never certainty, and a clean result does not say
// that a model is free of a backdoor: a trained backdoor looks like training.
// Severities follow from that. Trained models have unused and padding rows, dead
// units, tied rows and long rows, so these rank below medium; a NaN, a flipped
// bit or an edit of a handful of rows has no innocent explanation in training
// and ranks higher.
//
// The numbers are read through windows: memory is a few megabytes for each
// worker, about 64 bytes for each row of the tensors in work, and the headers. A file
// that cannot be read, a malformed header or an element type that is not
// decoded is a gap. Files of other tensor formats are listed in
// [Result.Others] and not looked into; package scan judges the structure of all
// of them. Statistics are exact sums in a fixed order: results do not depend on
// the number of workers.
package weights
