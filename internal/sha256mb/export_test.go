package sha256mb

import "encoding/binary"

// Plain is a digest by the specification's own steps.
func Plain(p []byte) (sum [Size]byte) {
	padded := append(append([]byte{}, p...), 0x80)
	for len(padded)%BlockSize != BlockSize-8 {
		padded = append(padded, 0)
	}
	padded = binary.BigEndian.AppendUint64(padded, uint64(len(p))*8)
	h := initial
	block(&h, padded)
	for i, v := range h {
		binary.BigEndian.PutUint32(sum[4*i:], v)
	}
	return sum
}
