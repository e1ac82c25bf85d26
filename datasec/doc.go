// Package datasec looks for signs of poisoning in the rows of training data
// sets and retrieval corpora, without a model.
package datasec
