package pickle

import "cmp"

// Limits bound a scan. A zero field means the default that stands behind it.
// The peak memory is at most some 64 bytes for each of Stack, Memo and Values,
// Texts, and 256 bytes for each record of the six slices of a [Trace]; below
// that, 320 bytes for each byte read.
type Limits struct {
	Ops     int64 // opcodes executed over all readings; 1<<28
	Stack   int   // values on the stack, and marks; 1<<20
	Memo    int   // memo entries; 1<<22
	Values  int   // containers and items kept; 1<<22
	Text    int   // bytes of one text kept; 4096
	Texts   int64 // bytes of all texts and values kept in the Trace; 128 MiB
	Records int   // entries of each slice of the Trace; 1<<16
	Streams int   // 4096
	Resync  int64 // bytes searched for the next stream behind what is none; 1 MiB
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Ops:     cmp.Or(l.Ops, 1<<28),
		Stack:   cmp.Or(l.Stack, 1<<20),
		Memo:    cmp.Or(l.Memo, 1<<22),
		Values:  cmp.Or(l.Values, 1<<22),
		Text:    cmp.Or(l.Text, 4096),
		Texts:   cmp.Or(l.Texts, 128<<20),
		Records: cmp.Or(l.Records, 1<<16),
		Streams: cmp.Or(l.Streams, 4096),
		Resync:  cmp.Or(l.Resync, 1<<20),
	}
}
