package datasec

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
)

// lattice is the multiset hash LtHash (Bellare and Micciancio 1997; parameters
// of Lewi et al. 2019) with 1024 lanes of 32 bits: a row's digest is expanded to
// 4096 bytes, which are added as little-endian numbers, lane by lane. Addition
// makes it independent of the order of rows and of how they are cut into files.
// Lanes of 16 bits would be the usual choice for sets, but there 65 536 copies
// of a row add up to nothing; here it takes 2^32, which no [Limits] allow.
//
// The expansion is the key stream of AES-256 in counter mode from a counter of
// zero, keyed with the digest. As a function of a hash it is as good as an
// extendable-output function, and with AES instructions eight times as fast.
type lattice struct {
	rows  uint64
	lanes [1024]uint32
	buf   [4096]byte // scratch
}

func (l *lattice) add(row [sha256.Size]byte) {
	block, err := aes.NewCipher(row[:])
	if err != nil {
		panic(err) // a SHA-256 sum is a key of AES-256
	}
	var counter [aes.BlockSize]byte
	clear(l.buf[:])
	cipher.NewCTR(block, counter[:]).XORKeyStream(l.buf[:], l.buf[:])
	for i := range l.lanes {
		l.lanes[i] += binary.LittleEndian.Uint32(l.buf[4*i:])
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
