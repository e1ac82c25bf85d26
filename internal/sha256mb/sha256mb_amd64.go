//go:build amd64 && !noasm

package sha256mb

//go:generate sh -c "go run ./gen >sha256mb_amd64.s"

// The kernels hash n > 0 blocks of each stream, from p on, into h.

//go:noescape
func shani1(h *[1]*[8]uint32, p *[1]*byte, n int)

//go:noescape
func shani2(h *[2]*[8]uint32, p *[2]*byte, n int)

//go:noescape
func shani3(h *[3]*[8]uint32, p *[3]*byte, n int)

//go:noescape
func shani4(h *[4]*[8]uint32, p *[4]*byte, n int)

// avx512x16 has word i of stream j in h[i][j].
//
//go:noescape
func avx512x16(h *[8][16]uint32, p *[16]*byte, n int)

var (
	hasSHA, hasAVX512 = features()

	lanes = preferred(hasSHA, hasAVX512)
)

func preferred(sha, avx512 bool) int {
	switch {
	case avx512:
		return 16
	case sha:
		return 4
	}
	return 1
}

// Sixteen lanes of AVX-512 cost the same however few are used. These are the
// numbers from which that is less than what fewer cost otherwise.
const (
	fillWithSHA    = 11
	fillWithoutSHA = 3
)

// together is how many of n waiting streams to hash in one go.
func together(n int) int {
	switch {
	case hasAVX512 && (n >= fillWithSHA || !hasSHA && n >= fillWithoutSHA):
		return min(n, 16)
	case hasSHA:
		groups := (n + 3) / 4
		return (n + groups - 1) / groups
	}
	return 1
}

// blocks hashes n blocks of all lanes, of which there are as many as together
// said.
func blocks(lanes []lane, n int) {
	switch k := len(lanes); {
	case k > 4 || k > 1 && !hasSHA:
		blocks16(lanes, n)
	case !hasSHA:
		solo(lanes[0].h, lanes[0].data[:n*BlockSize])
	default:
		var h [4]*[8]uint32
		var p [4]*byte
		for i, l := range lanes {
			h[i], p[i] = l.h, &l.data[:n*BlockSize][0]
		}
		switch k {
		case 1:
			shani1((*[1]*[8]uint32)(h[:]), (*[1]*byte)(p[:]), n)
		case 2:
			shani2((*[2]*[8]uint32)(h[:]), (*[2]*byte)(p[:]), n)
		case 3:
			shani3((*[3]*[8]uint32)(h[:]), (*[3]*byte)(p[:]), n)
		default:
			shani4(&h, &p, n)
		}
	}
}

// blocks16 lets lanes that are missing repeat the first one.
func blocks16(lanes []lane, n int) {
	var h [8][16]uint32
	var p [16]*byte
	for j := range p {
		p[j] = &lanes[0].data[:n*BlockSize][0]
	}
	for j, l := range lanes {
		p[j] = &l.data[:n*BlockSize][0]
		for i, v := range l.h {
			h[i][j] = v
		}
	}
	avx512x16(&h, &p, n)
	for j, l := range lanes {
		for i := range l.h {
			l.h[i] = h[i][j]
		}
	}
}
