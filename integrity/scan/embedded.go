package scan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/pickle"
)

// searchWindow is how much is searched at once; windows overlap by
// searchOverlap so that no magic number is cut.
const (
	searchWindow  = 256 << 10
	searchOverlap = 64
)

// maxTentative bounds how often, for one file and all inside, something that
// merely starts like a known format is tried as one.
const maxTentative = 256

// unclaimed searches the ranges that no format claimed for executables and for
// content that a format would recognise. Claimed ranges are left out because
// weights hold every short magic number by chance.
func (r *run) unclaimed(ctx context.Context, a *Artifact, out *Sink, recognised []claimant) {
	if a.tentative && len(recognised) == 0 {
		return // whoever tries this range searches the rest of it
	}
	for _, h := range holes(a.Size, recognised) {
		if err := r.search(ctx, a, out, h); err != nil {
			out.gap(completenessOf(err), fmt.Sprintf("search for hidden content: %v", err), h.off, h.end-h.off)
			return
		}
	}
}

func (r *run) search(ctx context.Context, a *Artifact, out *Sink, h span) error {
	if w, err := a.held(h.off, h.end-h.off); w != nil {
		if err == nil {
			_, err = r.window(ctx, a, out, h, w, h.off)
		}
		return err
	}
	buf := r.buffer()
	defer r.recycle(buf)
	held := 0 // carried over from the window before, so that reads only go forward
	for off := h.off; off < h.end; {
		w := buf[:min(int64(len(buf)), h.end-off)]
		if _, err := a.ReadAt(w[held:], off+int64(held)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if done, err := r.window(ctx, a, out, h, w, off); done || err != nil {
			return err
		}
		limit := searched(h, w, off)
		held = copy(buf, w[limit:])
		off += int64(limit)
	}
	return nil
}

// searched is how much of a window at off is searched before the next one.
func searched(h span, w []byte, off int64) int {
	if off+int64(len(w)) < h.end {
		return len(w) - searchOverlap
	}
	return len(w)
}

// window searches bytes at off. It reports done when the rest of the range was
// taken over by something found there.
func (r *run) window(ctx context.Context, a *Artifact, out *Sink, h span, w []byte, off int64) (done bool, err error) {
	if off == h.off && off > 0 {
		starts := front(w, h.end-off)
		if !starts && pickle.SniffLine(w, h.end-off) { // as text of long lines does
			if starts, err = r.tryPickle(ctx, a.Section(off, h.end-off), h.end-off, false); err != nil {
				return false, err
			}
		}
		if starts {
			if done, err := r.tentative(ctx, a, out, h); done || err != nil {
				return done, err
			}
		}
	}
	for i := range searched(h, w, off) {
		if !magicStart[w[i]] && off+int64(i) > 0 {
			continue
		}
		done, err := r.hit(ctx, a, out, w[i:], span{off + int64(i), h.end})
		if done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// magicStart marks the bytes that a magic number of interest starts with.
var magicStart = func() (t [256]bool) {
	for _, c := range []byte("!M\x7f\xcf\xce\xcaPG\x93\x80\x1f7\x89") {
		t[c] = true
	}
	return t
}()

// hit looks at one possible start. It reports done when the rest of the range
// was taken over by something found there.
func (r *run) hit(ctx context.Context, a *Artifact, out *Sink, w []byte, at span) (done bool, err error) {
	if kind := executable(a, w, at.off); kind != "" {
		rule := ruleEmbeddedExecutable
		if at.off == 0 {
			rule = ruleExecutable
		}
		out.Finding(prerun.Finding{
			Rule:       rule,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: at.off, Length: min(64, at.end-at.off)}},
			Message:    fmt.Sprintf("native code (%s) at offset %d", kind, at.off),
			Key:        kind,
		})
		if at.off == 0 {
			out.res.Formats = append(out.res.Formats, "executable")
			return true, nil
		}
		return false, nil
	}
	if at.off == 0 || !container(w, at.end-at.off) {
		return false, nil // at offset 0 every format had its chance
	}
	if w[0] == 0x80 {
		if ok, err := r.tryPickle(ctx, a.Section(at.off, at.end-at.off), at.end-at.off, false); !ok {
			return false, err
		}
	}
	return r.tentative(ctx, a, out, at)
}

// tentative routes a range as if it were a file and keeps the result when it
// turns out to be one.
func (r *run) tentative(ctx context.Context, a *Artifact, out *Sink, at span) (bool, error) {
	if r.tries++; r.tries > maxTentative {
		return false, fmt.Errorf("more than %d places look like a file: %w", maxTentative, ErrBudget)
	}
	if err := r.spend(Entries, 1); err != nil {
		return false, err
	}
	if int64(a.lvl)+1 > r.lim.Depth {
		return false, r.exhausted(Depth)
	}
	name := fmt.Sprintf("offset-%d", at.off)
	kept := r.kept
	res := r.scan(ctx, &Artifact{
		Probe:     Probe{Path: prerun.NestPath(a.Path, name), Name: name, Size: at.end - at.off},
		r:         a.Section(at.off, at.end-at.off),
		run:       r,
		lvl:       a.lvl + 1,
		tentative: true,
	})
	if len(res.Formats) == 0 || res.Completeness == Failed && res.Verdict < Suspicious ||
		res.Formats[0] == "pickle" && res.Verdict < Suspicious {
		r.kept = kept
		return false, nil
	}
	out.Finding(prerun.Finding{
		Rule:       ruleHidden,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: at.off, Length: at.end - at.off}},
		Message:    fmt.Sprintf("%s content at offset %d, outside the structure of the file", res.Formats[0], at.off),
		Key:        res.Formats[0],
	})
	out.add(res)
	return true, nil
}

// container reports whether w, the start of size bytes, starts like something
// that can be loaded. The tests are strict, because random bytes come here.
func container(w []byte, size int64) bool {
	switch {
	case bytes.HasPrefix(w, []byte("PK\x03\x04")):
		return len(w) >= 30 && w[4] < 64 && w[5] < 32 && w[7]&0xf0 == 0
	case bytes.HasPrefix(w, []byte("GGUF")):
		return len(w) >= 24 && binary.LittleEndian.Uint32(w[4:]) <= 16
	case bytes.HasPrefix(w, []byte("\x93NUMPY")), bytes.HasPrefix(w, []byte("7z\xbc\xaf\x27\x1c")),
		bytes.HasPrefix(w, []byte("\x89HDF\r\n\x1a\n")):
		return true
	case bytes.HasPrefix(w, []byte("\x1f\x8b\x08")):
		return len(w) >= 10 && w[3]&0xe0 == 0 && (w[8] == 0 || w[8] == 2 || w[8] == 4) && (w[9] < 14 || w[9] == 255)
	}
	return hiddenPickle(w, size)
}

// front reports whether w, the start of size bytes behind a claimed range, looks
// like one of the formats whose marks are too weak to be searched for.
func front(w []byte, size int64) bool {
	switch {
	case len(w) < 8:
		return false
	case w[0] == 0x78 && (uint(w[0])<<8|uint(w[1]))%31 == 0, bytes.HasPrefix(w, []byte("BZh")),
		bytes.HasPrefix(w, []byte("\x5d\x00\x00")), bytes.HasPrefix(w, []byte("\xfd7zXZ\x00")),
		bytes.HasPrefix(w, []byte("\x28\xb5\x2f\xfd")), bytes.HasPrefix(w, []byte("\x04\x22\x4d\x18")):
		return true
	}
	return pickle.Sniff(w[:min(len(w), ProbeSize)], max(size, int64(len(w)))) == pickle.Certain
}

// executable names the kind of native program that starts at w, or "". Two
// bytes of magic are not enough in binary data: the headers must agree.
func executable(a *Artifact, w []byte, off int64) string {
	le, be := binary.LittleEndian, binary.BigEndian
	switch {
	case off == 0 && bytes.HasPrefix(w, []byte("!<arch>\n")):
		return "library"
	case off == 0 && apeMagic(w):
		return "APE" // runs on six systems; llamafile is one
	case len(w) >= 64 && w[0] == 'M' && w[1] == 'Z':
		pe := int64(le.Uint32(w[60:]))
		if pe < 4 || pe > 1<<20 {
			return ""
		}
		var sig [6]byte
		if _, err := a.ReadAt(sig[:], off+pe); err != nil || string(sig[:4]) != "PE\x00\x00" {
			return ""
		}
		return "PE"
	case len(w) >= 20 && string(w[:4]) == "\x7fELF":
		if (w[4] != 1 && w[4] != 2) || (w[5] != 1 && w[5] != 2) || w[6] != 1 {
			return ""
		}
		kind, machine := le.Uint16(w[16:]), le.Uint16(w[18:])
		if w[5] == 2 {
			kind, machine = be.Uint16(w[16:]), be.Uint16(w[18:])
		}
		if kind == 0 || kind > 4 || machine == 0 || machine > 512 {
			return ""
		}
		return "ELF"
	case len(w) >= 16 && (le.Uint32(w) == 0xfeedface || le.Uint32(w) == 0xfeedfacf):
		cpu, kind := le.Uint32(w[4:]), le.Uint32(w[12:])
		if cpu&^(3<<24) > 32 || cpu&^(3<<24) == 0 || kind == 0 || kind > 12 {
			return ""
		}
		return "Mach-O"
	case len(w) >= 28 && be.Uint32(w) == 0xcafebabe:
		n, cpu, align := be.Uint32(w[4:]), be.Uint32(w[8:]), be.Uint32(w[24:])
		if n == 0 || n > 16 || cpu&^(3<<24) > 32 || cpu == 0 || align > 31 {
			return ""
		}
		return "Mach-O"
	}
	return ""
}
