package main

import "fmt"

// shani prints shaniN, which hashes n streams with the SHA extensions. Words
// are handled four at a time: in group g, words 4g to 4g+3 of the schedule are
// made and enter rounds 4g to 4g+3.
//
// Sixteen registers are few. Two hold the state of each stream, X0 is what
// SHA256RNDS2 takes its two words from, and each stream keeps the newest group
// of its schedule. The other three groups that the schedule looks back on are
// in a ring of four on the stack. The instructions between the SHA ones are
// AVX: they need no copies and take operands that are not aligned.
func (p *printer) shani(n int) {
	const saved = 32 // bytes: the state of one stream
	const ring = 64  // bytes: the last four groups of one stream
	p.line("")
	p.line("// func shani%d(h *[%d]*[8]uint32, p *[%d]*byte, n int)", n, n, n)
	p.line("TEXT ·shani%d(SB), 0, $%d-24", n, n*(saved+ring))
	p.op("MOVQ", "h+0(FP)", "AX")
	p.op("MOVQ", "p+8(FP)", "BX")
	p.op("MOVQ", "n+16(FP)", "CX")
	p.op("LEAQ", "k<>(SB)", "DX")

	x := func(i int) string { return fmt.Sprintf("X%d", i) }
	abef := func(s int) string { return x(1 + 2*s) }
	cdgh := func(s int) string { return x(2 + 2*s) }
	data := func(s int) string { return fmt.Sprintf("R%d", 8+s) }
	slot := func(s, g int) string { return fmt.Sprintf("%d(SP)", n*saved+s*ring+g%4*16) }
	save := func(s, half int) string { return fmt.Sprintf("%d(SP)", s*saved+half*16) }
	newest := make([]string, n)
	for s := range n {
		newest[s] = x(1 + 2*n + s)
	}
	fresh, tmp := x(1+3*n), x(2+3*n)

	for s := range n {
		p.op("MOVQ", fmt.Sprintf("%d(BX)", 8*s), data(s))
		p.op("MOVQ", fmt.Sprintf("%d(AX)", 8*s), "SI")
		p.op("VMOVDQU", "(SI)", tmp)                // a b c d, from the low end
		p.op("VMOVDQU", "16(SI)", fresh)            // e f g h
		p.op("VPSHUFD", 0xb1, tmp, tmp)             // b a d c
		p.op("VPSHUFD", 0x1b, fresh, fresh)         // h g f e
		p.op("VPALIGNR", 8, fresh, tmp, abef(s))    // f e b a
		p.op("VPBLENDW", 0xf0, tmp, fresh, cdgh(s)) // h g d c
		p.op("VMOVDQU", abef(s), save(s, 0))
		p.op("VMOVDQU", cdgh(s), save(s, 1))
	}
	p.line("")
	p.line("block:")
	for g := range 16 {
		for s := range n {
			if g < 4 {
				p.op("VMOVDQU", fmt.Sprintf("%d(%s)", 16*g, data(s)), fresh)
				p.op("VPSHUFB", "swap<>(SB)", fresh, fresh)
			} else {
				p.op("VMOVDQU", slot(s, g), fresh) // group g-4
				p.op("VMOVDQU", slot(s, g-3), tmp)
				p.op("SHA256MSG1", tmp, fresh)
				p.op("VPALIGNR", 4, slot(s, g-2), newest[s], tmp)
				p.op("VPADDD", tmp, fresh, fresh)
				p.op("SHA256MSG2", newest[s], fresh)
			}
			if g < 15 {
				p.op("VMOVDQU", fresh, slot(s, g))
			}
			p.op("VPADDD", fmt.Sprintf("%d(DX)", 16*g), fresh, "X0")
			p.op("SHA256RNDS2", "X0", abef(s), cdgh(s))
			p.op("VPSHUFD", 0x0e, "X0", "X0")
			p.op("SHA256RNDS2", "X0", cdgh(s), abef(s))
			newest[s], fresh = fresh, newest[s]
		}
	}
	for s := range n {
		p.op("VPADDD", save(s, 0), abef(s), abef(s))
		p.op("VPADDD", save(s, 1), cdgh(s), cdgh(s))
		p.op("VMOVDQU", abef(s), save(s, 0))
		p.op("VMOVDQU", cdgh(s), save(s, 1))
		p.op("ADDQ", 64, data(s))
	}
	p.op("DECQ", "CX")
	p.op("JNZ", "block")
	p.line("")
	for s := range n {
		p.op("MOVQ", fmt.Sprintf("%d(AX)", 8*s), "SI")
		p.op("VPSHUFD", 0x1b, abef(s), tmp)      // a b e f
		p.op("VPSHUFD", 0xb1, cdgh(s), fresh)    // g h c d
		p.op("VPBLENDW", 0xf0, fresh, tmp, "X0") // a b c d
		p.op("VMOVDQU", "X0", "(SI)")
		p.op("VPALIGNR", 8, tmp, fresh, "X0") // e f g h
		p.op("VMOVDQU", "X0", "16(SI)")
	}
	p.op("RET")
}
