//go:build !amd64 || noasm

package sha256mb

const lanes = 1

func together(int) int { return 1 }

func blocks(lanes []lane, n int) { block(lanes[0].h, lanes[0].data[:n*BlockSize]) }
