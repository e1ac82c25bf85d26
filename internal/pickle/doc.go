// Package pickle finds out what loading a pickle would do, without doing it.
//
// A pickle is a program for a small stack machine: some opcodes name a Python
// object by module and name, others call it. [Machine.Scan] executes that
// program over abstract values and records in a [Trace] every object named,
// every call at the moment it would happen, every write to a live object and
// what was handed to the loader. A value that is popped or overwritten later
// stays recorded.
//
// # What it accepts
//
// The decoder takes a superset of what C _pickle, Python's pickle and
// pickletools accept. Where they would read the same bytes differently, each
// reading that leads to other instructions is followed (see [Reading]) and the
// place is recorded as a [Divergence]. A fault that stops every known loader is
// recorded too; the machine goes on past it with unknown values, and marks what
// it sees from there on with AfterFault. Bytes that are no opcode end a stream;
// the machine then looks for the next one within [Limits.Resync] bytes.
//
// # What it does not do
//
// It imports nothing, evaluates no call and holds no opinion: which module is
// dangerous is for the caller to say. The result of a call is an [Object] of
// which only the call is known; an operand that is not a literal leaves the
// name [Computed].
//
// A pickle inside a literal is known by its first 4 KiB, and by what follows the
// long literals that it may open with. It is missed when it has no marker byte,
// names nothing in 4 KiB, and is encoded besides: unless it opens with the long
// literal and has at most 1 MiB.
//
// # Cost
//
// One pass through windows of 128 KiB over the opcodes; the bytes of large
// strings are skipped, except for a short head. Every reading beyond the first
// is another pass. Memory is bounded by [Limits], whatever lengths the file
// claims, and below that by a multiple of the bytes read.
package pickle
