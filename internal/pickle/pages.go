package pickle

const (
	pageBits  = 13
	pageSize  = 1 << pageBits
	pageLeast = 16
)

// Pages are an array that grows without being copied, but for its first page.
// None of its elements is cleared.
type pages[T any] struct {
	all [][]T // of pageSize elements each; the first may have less
	end int   // of the page in use
	n   int   // elements in use, and those left unused at the ends of pages
}

// reset empties the array and keeps its memory.
func (p *pages[T]) reset() {
	p.n, p.end = 0, 0
	if len(p.all) > 0 {
		p.end = len(p.all[0])
	}
}

func (p *pages[T]) at(i uint32) *T { return &p.all[i>>pageBits][i&(pageSize-1)] }

// slice returns k elements that were taken together or next to each other.
func (p *pages[T]) slice(i uint32, k int) []T {
	return p.all[i>>pageBits][i&(pageSize-1):][:k]
}

// room is how many elements are left in the page in use.
func (p *pages[T]) room() int { return p.end - p.n }

// take returns k new elements that lie side by side, at most pageSize, and the
// index of the first.
func (p *pages[T]) take(k int) ([]T, uint32) {
	if p.end-p.n < k {
		p.grow(k)
	}
	i := uint32(p.n)
	p.n += k
	return p.slice(i, k), i
}

// push appends v.
func (p *pages[T]) push(v T) {
	if p.end == p.n {
		p.grow(1)
	}
	*p.at(uint32(p.n)) = v
	p.n++
}

// grow makes room for k elements in one page.
func (p *pages[T]) grow(k int) {
	if p.end < pageSize && p.n+k <= pageSize { // the first page
		first := make([]T, min(max(2*p.end, p.n+k, pageLeast), pageSize))
		if len(p.all) == 0 {
			p.all = append(p.all, nil)
		}
		copy(first, p.all[0])
		p.all[0], p.end = first, len(first)
		return
	}
	next := (p.n + pageSize - 1) >> pageBits
	if p.end < pageSize { // the first page is left as small as it is
		next = 1
	}
	if next == len(p.all) {
		p.all = append(p.all, make([]T, pageSize))
	}
	p.n, p.end = next<<pageBits, (next+1)<<pageBits
}
