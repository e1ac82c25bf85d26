package datasec

import (
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
)

// lattice is the multiset hash LtHash (Bellare and Micciancio 1997; parameters
// of Lewi et al. 2019) with 1024 lanes of 32 bits: a row adds SHAKE128 of its
// digest, read as little-endian numbers, lane by lane. Addition makes it
// independent of the order of rows and of how they are cut into files. Lanes
// of 16 bits would be the usual choice for sets, but there 65 536 copies of a
// row add up to nothing; here it takes 2^32, which no [Limits] allow.
type lattice struct {
	rows  uint64
	lanes [1024]uint32
}

func (l *lattice) add(row [sha256.Size]byte) {
	var out [4 * len(l.lanes)]byte
	xof := sha3.NewSHAKE128()
	xof.Write(row[:])
	xof.Read(out[:])
	for i := range l.lanes {
		l.lanes[i] += binary.LittleEndian.Uint32(out[4*i:])
	}
	l.rows++
}

func (l *lattice) merge(m *lattice) {
	l.rows += m.rows
	for i, v := range m.lanes {
		l.lanes[i] += v
	}
}

const rootDomain = "prerun data set root v1\n"

// root is SHA-256 over the domain, the number of rows as a big-endian number
// of eight bytes, and the lanes in little-endian order.
func (l *lattice) root() digest.Digest {
	buf := binary.BigEndian.AppendUint64([]byte(rootDomain), l.rows)
	for _, v := range l.lanes {
		buf = binary.LittleEndian.AppendUint32(buf, v)
	}
	return digestx.Of(buf)
}
