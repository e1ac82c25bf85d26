// Package embedding looks for tampering in sets of embedding vectors: the
// corpus of a retrieval system, or the vectors of any index.
//
// [Open] reads vectors from NumPy, safetensors and JSON lines; anything else is
// a [Matrix] that the caller brings. [Scanner.Scan] decides
//
//   - hygiene: NaN, infinite, zero and equal vectors, vectors of another
//     dimension, and lengths far outside the spread;
//   - hubness: a vector that is among the nearest neighbours of very many
//     others, or of very many queries, is retrieved whatever is asked, which is
//     what an attacker on a retrieval corpus wants.
//
// # How hubs are told from popular vectors
//
// Neighbours are exact. For every vector the scanner counts its hits, the
// queries that have it among their K nearest neighbours. The queries are the
// vectors themselves and then, counted apart, those of [Scanner.Queries]: an
// attacker who knows what users ask need not attract other documents. Two
// detectors judge the counts.
//
// "hits" compares the count with a negative binomial distribution, which is
// what counts of a popularity that varies (gamma) give. Its mean is known, K
// times queries over vectors; its dispersion is fitted to the counts with the
// largest two in a hundred pulled in, so that hubs do not hide themselves. Tail
// probabilities are exact, the false discovery rate is controlled. Natural
// vectors fail this test: the middle of a dense topic is popular. So what it
// finds alone ranks low.
//
// "reach" asks for popularity among queries that have nothing to do with each
// other. Hits by similar queries are one hit repeated; Kish's effective sample
// size n/(1+(n-1)r), with r the mean similarity of the hitting queries, counts
// the independent ones. The reach of a vector is the geometric mean of its hits
// and its independent hits. In text the middle of a topic has large hits and
// small reach; a planted hub has both. Tails of the reach are extrapolated by an
// exponential fitted above three thresholds (the largest 20, 10 and 5 in a
// hundred, without the largest 2), the most cautious of the three counts, and so
// does the more cautious of two similarities, plain and centred. The false
// discovery rate is controlled at [Scanner.FDR]. Vectors that all but equal each
// other count as one among the vectors, lest planted copies hide each other or
// honest boilerplate passes for a hub. Misses and false alarms on
// real embeddings stand in benchmarks/embedding-hubs.md.
//
// # What it does not decide
//
// A vector that attracts one topic only, or a few chosen questions, looks like
// a popular vector of that topic and is often found as "hits" only, or not at all. Several
// similar passages planted for one question are not found. A hub that acts
// through words, in a lexical or hybrid index, does not show in vectors. A clean
// result says nothing about the texts behind the vectors.
//
// Fewer than 100 vectors or 30 queries have no tail to speak of: that is a gap,
// not a clean result. Memory is bounded by five times [Scanner.MaxBytes]; time is that of
// queries × vectors × dimension multiplications, with queries sampled above
// [Scanner.MaxQueries]. Results do not depend on the number of workers.
package embedding
