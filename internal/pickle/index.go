package pickle

// An index finds out whether a hash was seen before. A map does the same in
// four times the memory, of which a file of many calls touches all.
type index struct {
	hashes []uint64
	slots  []uint32 // position in hashes+1, or 0; a power of two, half of them used at most
}

// find returns the position at which h was added.
func (x *index) find(h uint64) (i int, ok bool) {
	mask := uint64(len(x.slots) - 1)
	for s := h; len(x.slots) > 0; s++ {
		slot := x.slots[s&mask]
		if slot == 0 {
			break
		}
		if x.hashes[slot-1] == h {
			return int(slot - 1), true
		}
	}
	return 0, false
}

// add adds h, which is not there yet. Positions count from 0.
func (x *index) add(h uint64) {
	x.hashes = append(x.hashes, h)
	if 2*len(x.hashes) > len(x.slots) {
		x.slots = make([]uint32, max(4*len(x.slots), 16))
		for i, h := range x.hashes {
			x.place(i, h)
		}
		return
	}
	x.place(len(x.hashes)-1, h)
}

func (x *index) place(i int, h uint64) {
	mask := uint64(len(x.slots) - 1)
	for x.slots[h&mask] != 0 {
		h++
	}
	x.slots[h&mask] = uint32(i + 1)
}
