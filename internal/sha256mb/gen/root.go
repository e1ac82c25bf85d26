package main

import "math/big"

// cubeRoot32 is the cube root of n in fixed point with 32 fractional bits,
// rounded down: the largest x with x³ <= n·2^96.
func cubeRoot32(n uint64) uint64 {
	target := new(big.Int).Lsh(new(big.Int).SetUint64(n), 96)
	var x uint64
	for bit := uint64(1) << 40; bit > 0; bit >>= 1 {
		v := new(big.Int).SetUint64(x | bit)
		if cube := new(big.Int).Exp(v, big.NewInt(3), nil); cube.Cmp(target) <= 0 {
			x |= bit
		}
	}
	return x
}
