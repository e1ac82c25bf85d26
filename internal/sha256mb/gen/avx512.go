package main

import (
	"fmt"
	"slices"
)

// avx512 prints avx512x16, which hashes sixteen streams: dword i of a register
// belongs to stream i.
func (p *printer) avx512() {
	p.line("")
	p.line("// func avx512x16(h *[8][16]uint32, p *[16]*byte, n int)")
	p.line("TEXT ·avx512x16(SB), NOSPLIT, $0-24")
	p.op("MOVQ", "h+0(FP)", "AX")
	p.op("MOVQ", "p+8(FP)", "BX")
	p.op("MOVQ", "n+16(FP)", "CX")
	p.op("LEAQ", "k<>(SB)", "DX")
	p.op("XORL", "SI", "SI") // offset of the block in each stream

	var free pool
	for i := 31; i >= 0; i-- {
		free.put(fmt.Sprintf("Z%d", i))
	}
	state := free.take(8)
	swap := free.get()
	p.op("VMOVDQU32", "swap<>(SB)", swap)
	for i, z := range state {
		p.op("VMOVDQU32", fmt.Sprintf("%d(AX)", 64*i), z)
	}
	p.line("")
	p.line("block16:")
	w := p.transpose(&free, swap)
	v := slices.Clone(state)
	for t := range 64 {
		p.round(&free, v, w[t%16], t)
		if t < 48 {
			p.schedule(&free, w, t)
		}
		v = append(v[7:], v[:7]...)
	}
	for i, z := range state { // 64 rounds bring each name back to its place
		p.op("VPADDD", fmt.Sprintf("%d(AX)", 64*i), z, z)
		p.op("VMOVDQU32", z, fmt.Sprintf("%d(AX)", 64*i))
	}
	p.op("ADDQ", 64, "SI")
	p.op("DECQ", "CX")
	p.op("JNZ", "block16")
	p.op("VZEROUPPER")
	p.op("RET")
}

// transpose loads one block of each stream and returns the registers that hold
// words 0 to 15 of all.
func (p *printer) transpose(free *pool, swap string) []string {
	var quads [4][]string // [q][c]: in 128-bit lane l, word 4l+c of streams 4q to 4q+3
	for q := range quads {
		rows := free.take(4)
		for i, r := range rows {
			p.op("MOVQ", fmt.Sprintf("%d(BX)", 8*(4*q+i)), "DI")
			p.op("VMOVDQU32", "(DI)(SI*1)", r)
			p.op("VPSHUFB", swap, r, r)
		}
		lo01, hi01 := p.pair(free, "VPUNPCKLDQ", "VPUNPCKHDQ", rows[0], rows[1])
		lo23, hi23 := p.pair(free, "VPUNPCKLDQ", "VPUNPCKHDQ", rows[2], rows[3])
		w0, w1 := p.pair(free, "VPUNPCKLQDQ", "VPUNPCKHQDQ", lo01, lo23)
		w2, w3 := p.pair(free, "VPUNPCKLQDQ", "VPUNPCKHQDQ", hi01, hi23)
		quads[q] = []string{w0, w1, w2, w3}
	}
	words := make([]string, 16)
	for c := range 4 {
		even01, odd01 := p.lanes(free, quads[0][c], quads[1][c])
		even23, odd23 := p.lanes(free, quads[2][c], quads[3][c])
		words[c], words[8+c] = p.lanes(free, even01, even23)
		words[4+c], words[12+c] = p.lanes(free, odd01, odd23)
	}
	return words
}

// pair replaces two registers by the low and the high halves of both.
func (p *printer) pair(free *pool, low, high, a, b string) (lo, hi string) {
	lo = free.get()
	p.op(low, b, a, lo)
	p.op(high, b, a, a)
	free.put(b)
	return lo, a
}

// lanes replaces two registers by their even and their odd 128-bit lanes.
func (p *printer) lanes(free *pool, a, b string) (even, odd string) {
	even = free.get()
	p.op("VSHUFI32X4", 0x88, b, a, even)
	p.op("VSHUFI32X4", 0xdd, b, a, a)
	free.put(b)
	return even, a
}

// The truth tables of VPTERNLOGD.
const (
	xor3     = 0x96
	choose   = 0xca
	majority = 0xe8
)

// round is round t on the state v, named a to h. The new a is left in h and the
// new e in d.
func (p *printer) round(free *pool, v []string, w string, t int) {
	a, b, c, d, e, f, g, h := v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
	tmp := free.take(5)
	p.op("VPADDD.BCST", fmt.Sprintf("%d(DX)", 4*t), w, tmp[0])
	p.op("VPADDD", tmp[0], h, h)
	p.op("VMOVDQA32", e, tmp[1])
	p.op("VPTERNLOGD", choose, g, f, tmp[1])
	p.sigma(tmp[2], tmp[3], tmp[4], e, 6, 11, 25)
	p.op("VPADDD", tmp[1], h, h)
	p.op("VPADDD", tmp[2], h, h)
	p.op("VPADDD", h, d, d)
	p.op("VMOVDQA32", a, tmp[1])
	p.op("VPTERNLOGD", majority, c, b, tmp[1])
	p.sigma(tmp[2], tmp[3], tmp[4], a, 2, 13, 22)
	p.op("VPADDD", tmp[1], h, h)
	p.op("VPADDD", tmp[2], h, h)
	free.put(tmp...)
}

// sigma is the exclusive or of three rotations of in.
func (p *printer) sigma(out, tmp1, tmp2, in string, r1, r2, r3 int) {
	p.op("VPRORD", r1, in, out)
	p.op("VPRORD", r2, in, tmp1)
	p.op("VPRORD", r3, in, tmp2)
	p.op("VPTERNLOGD", xor3, tmp2, tmp1, out)
}

// schedule puts word t+16 in the place of word t.
func (p *printer) schedule(free *pool, w []string, t int) {
	tmp := free.take(3)
	at := func(i int) string { return w[(t+i)%16] }
	small := func(in string, r1, r2, shift int) {
		p.op("VPRORD", r1, in, tmp[0])
		p.op("VPRORD", r2, in, tmp[1])
		p.op("VPSRLD", shift, in, tmp[2])
		p.op("VPTERNLOGD", xor3, tmp[2], tmp[1], tmp[0])
		p.op("VPADDD", tmp[0], at(0), at(0))
	}
	p.op("VPADDD", at(9), at(0), at(0))
	small(at(1), 7, 18, 3)
	small(at(14), 17, 19, 10)
	free.put(tmp...)
}

// A pool is the registers that hold nothing.
type pool []string

func (f *pool) put(names ...string) { *f = append(*f, names...) }

func (f *pool) get() string {
	last := len(*f) - 1
	name := (*f)[last]
	*f = (*f)[:last]
	return name
}

func (f *pool) take(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = f.get()
	}
	return names
}
