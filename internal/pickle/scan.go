package pickle

import (
	"context"
	"io"
)

// A Machine scans pickles. The zero value uses the default limits. It is safe
// for concurrent use.
type Machine struct {
	Limits Limits

	// Literal, when set, is called for every string and bytes literal of at
	// least 8 bytes, in order of their opcodes, in every reading. It must not
	// keep Head.
	Literal func(Literal)
}

// A Literal is a string or bytes object as it stands in the file.
type Literal struct {
	Offset, Length int64 // of its bytes
	Op             Op
	Type           Type   // Str or Bytes
	Head           []byte // at most the first 64 KiB, not decoded
}

// Scan executes the pickles in the size bytes of r. Whatever is wrong with the
// bytes is part of the trace; the error is that of ctx or of reading r, and
// comes with the trace up to there.
func (c Machine) Scan(ctx context.Context, r io.ReaderAt, size int64) (*Trace, error) {
	return nil, nil
}

// A Likelihood says how sure [Sniff] is.
type Likelihood uint8

// Likelihoods.
const (
	Unlikely Likelihood = iota
	Possible            // starts like one; scan it when the name says pickle
	Certain             // scan it whatever the name says
)

// Sniff says whether content of size bytes that starts with head is a pickle
// of any protocol, with or without its marker byte. 4 KiB of head are enough.
func Sniff(head []byte, size int64) Likelihood { return Unlikely }

// Extract decodes a nested payload found in r, to at most max bytes of output
// at every step.
func (n Nested) Extract(r io.ReaderAt, max int64) ([]byte, error) { return nil, nil }
