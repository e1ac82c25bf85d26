package pickle

import "cmp"

// Limits bound a scan. A zero field means the default that stands behind it.
// The peak memory is at most some 8 bytes for each of Values, 10 for each of
// Memo, 24 for each of Stack, Texts, 256 for each record of the six slices of a
// [Trace], and 200 MiB for what no pickler writes; below that, 320 bytes for
// each byte read.
//
// By default that is 700 MB of values. It is enough for a list of small
// dictionaries of 300 MB, and for a dictionary of strings and numbers as large.
type Limits struct {
	Ops     int64 // opcodes executed over all readings; 1<<28
	Stack   int   // values on the stack, and marks; 1<<22
	Memo    int   // memo entries; 1<<24
	Values  int   // items kept of containers, of which each counts as two more; 3<<24
	Text    int   // bytes of one text kept; 4096
	Texts   int64 // bytes of all texts and values kept in the Trace; 128 MiB
	Records int   // entries of each slice of the Trace; 1<<16, at most 1<<24
	Streams int   // 4096
	Resync  int64 // bytes searched for the next stream behind what is none; 1 MiB
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Ops:     cmp.Or(l.Ops, 1<<28),
		Stack:   cmp.Or(l.Stack, 1<<22),
		Memo:    min(cmp.Or(l.Memo, 1<<24), 1<<30),
		Values:  min(cmp.Or(l.Values, 3<<24), 1<<30),
		Text:    cmp.Or(l.Text, 4096),
		Texts:   cmp.Or(l.Texts, 128<<20),
		Records: min(cmp.Or(l.Records, 1<<16), 1<<24),
		Streams: cmp.Or(l.Streams, 4096),
		Resync:  cmp.Or(l.Resync, 1<<20),
	}
}
