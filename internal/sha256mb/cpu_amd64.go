//go:build amd64 && !noasm

package sha256mb

func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

// xgetbv returns the parts of the processor's state that the operating system
// saves: register XCR0.
func xgetbv() uint32

// features says which kernels this machine can run: those with the SHA
// extensions, which also use AVX, and the one with AVX-512 F and BW.
func features() (sha, avx512 bool) {
	const (
		osxsave, avx        = 1 << 27, 1 << 28    // leaf 1, ECX
		avx512f, shani      = 1 << 16, 1 << 29    // leaf 7, EBX
		avx512bw            = 1 << 30             //
		saveAVX, saveAVX512 = 1<<1 | 1<<2, 7 << 5 // XCR0: SSE and AVX; opmask and both halves of ZMM
	)
	top, _, _, _ := cpuid(0, 0)
	if top < 7 {
		return false, false
	}
	_, _, c1, _ := cpuid(1, 0)
	if c1&osxsave == 0 || c1&avx == 0 {
		return false, false
	}
	saved := xgetbv()
	if saved&saveAVX != saveAVX {
		return false, false
	}
	_, b7, _, _ := cpuid(7, 0)
	return b7&shani != 0, b7&avx512f != 0 && b7&avx512bw != 0 && saved&saveAVX512 == saveAVX512
}
