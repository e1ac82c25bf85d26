package integrity

import (
	"encoding/json"
	"strconv"

	"github.com/prerun/prerun/internal/digestx"
)

// What an OMS statement says of itself.
const (
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://model_signing/signature/v1.0"
	predicateV02  = "https://model_signing/Digests/v0.1"
)

// A Form is a way to write a manifest down. Both say the same; the list is
// append-only.
type Form uint8

// Forms.
const (
	// FormSpec is what the specification says.
	FormSpec Form = iota

	// FormPython is what the Python tool model-signing 1.1 can verify: the only
	// file of a single-file model is called ".", and shards state their size in
	// the name of the algorithm. It can hold neither a sharded path with a colon
	// nor shards by BLAKE3. The tool verifies BLAKE2b only if its caller names
	// the parameters.
	FormPython
)

// encodeStatement writes the statement as compact JSON in a fixed order. The
// manifest has been checked.
func encodeStatement(name string, m *Manifest, form Form) []byte {
	out := make([]byte, 0, 512+160*len(m.Resources))
	out = append(out, `{"_type":"`+statementType+`","subject":[{"name":`...)
	out = appendString(out, name)
	out = append(out, `,"digest":{"sha256":"`+digestx.Hex(m.Root())+`"}}],"predicateType":"`+predicateType+`","predicate":{"resources":[`...)
	alg := m.Algorithm
	if form == FormPython && m.ShardSize > 0 {
		alg += shardedInfix + strconv.FormatInt(m.ShardSize, 10)
	}
	for i, r := range m.Resources {
		if i > 0 {
			out = append(out, ',')
		}
		if form == FormPython && m.SingleFile {
			r.Path = selfName
		}
		out = append(out, `{"name":`...)
		out = appendString(out, r.Name())
		out = append(out, `,"algorithm":"`+alg+`","digest":"`+digestx.Hex(r.Digest)+`"}`...)
	}
	out = append(out, `],"serialization":{"method":"`+m.Method()+`","hash_type":"`+m.Algorithm+`","allow_symlinks":`...)
	out = strconv.AppendBool(out, m.AllowSymlinks)
	if m.ShardSize > 0 {
		out = append(out, `,"shard_size":`...)
		out = strconv.AppendInt(out, m.ShardSize, 10)
	}
	if len(m.Ignore) > 0 {
		out = append(out, `,"ignore_paths":[`...)
		for i, entry := range m.Ignore {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendString(out, entry)
		}
		out = append(out, ']')
	}
	return append(out, "}}}"...)
}

func appendString(out []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("a string always marshals: " + err.Error())
	}
	return append(out, text...)
}
