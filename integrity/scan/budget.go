package scan

import (
	"bufio"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound the work for one file and everything nested in it. A zero field
// means its default.
type Limits struct {
	Bytes    int64         // read or decoded, counted at each level of nesting; 0 means 64 GiB
	Entries  int64         // of containers, files or not; 0 means 200 000
	Depth    int64         // levels of nesting; 0 means 8
	Opcodes  int64         // of pickles, and values of MessagePack; 0 means 100 million
	Memory   int64         // bytes of decoded data held at once; 0 means 64 MiB
	Bomb     int64         // bytes that a stream may decode to when that is over 200 times its size; 0 means 256 MiB
	Findings int64         // recorded; 0 means 1000. Further ones still count for the verdict
	Time     time.Duration // wall time without hashing; 0 means 5 minutes
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int64
		def   int64
	}{
		{&l.Bytes, 64 << 30},
		{&l.Entries, 200_000},
		{&l.Depth, 8},
		{&l.Opcodes, 100_000_000},
		{&l.Memory, 64 << 20},
		{&l.Bomb, 256 << 20},
		{&l.Findings, 1000},
	} {
		if *f.field <= 0 {
			*f.field = f.def
		}
	}
	if l.Time <= 0 {
		l.Time = 5 * time.Minute
	}
	return l
}

// A Resource is one of the things that [Limits] bound.
type Resource uint8

// Resources.
const (
	Bytes Resource = iota
	Entries
	Depth
	Opcodes
	Memory
	Time
	resourceCount
)

var resourceNames = [resourceCount]string{
	"bytes read or decoded", "entries", "levels of nesting", "pickle opcodes", "bytes held in memory", "wall time",
}

func (r Resource) String() string {
	if r < resourceCount {
		return resourceNames[r]
	}
	return "unknown resource"
}

// ErrBudget is wrapped by every [BudgetError].
var ErrBudget = errors.New("budget spent")

// A BudgetError says which budget was spent. What was not looked at because of
// it is a gap.
type BudgetError struct {
	Resource Resource
	Limit    int64 // nanoseconds for Time
}

func (e *BudgetError) Error() string {
	if e.Resource == Time {
		return fmt.Sprintf("the limit of %s of wall time is spent", time.Duration(e.Limit))
	}
	return fmt.Sprintf("the limit of %d %s is spent", e.Limit, e.Resource)
}

func (e *BudgetError) Unwrap() error { return ErrBudget }

// A run is the state that one file and everything inside it share.
type run struct {
	lim     Limits
	formats []entry
	rules   *rulebook
	used    [resourceCount]atomic.Int64 // atomic for formats that read in parallel
	spent   [resourceCount]atomic.Bool  // somebody was refused
	done    <-chan struct{}
	kept    int64 // findings recorded
	dropped bool  // a finding was not recorded
	tries   int   // of something hidden

	free *spare

	size     int64 // of the top-level file
	expanded int64 // bytes decoded from all streams, once each
	windows  int64 // bytes of dictionaries that open decoders hold
	granted  int64 // of all dictionaries, those of closed decoders too
}

// newRun starts the clock of one file of that size. The caller must call cancel.
func (t *target) newRun(ctx context.Context, size int64) (*run, context.Context, context.CancelFunc) {
	lim := t.scanner.Limits.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, lim.Time)
	return &run{lim: lim, formats: t.formats, rules: t.rules, size: size, done: ctx.Done(), free: &t.free}, ctx, cancel
}

func (r *run) limit(res Resource) int64 {
	switch res {
	case Bytes:
		return r.lim.Bytes
	case Entries:
		return r.lim.Entries
	case Depth:
		return r.lim.Depth
	case Opcodes:
		return r.lim.Opcodes
	case Memory:
		return r.lim.Memory
	case Time:
		return int64(r.lim.Time)
	}
	return 0
}

func (r *run) exhausted(res Resource) error {
	if res < resourceCount {
		r.spent[res].Store(true)
	}
	return &BudgetError{res, r.limit(res)}
}

func (r *run) spend(res Resource, n int64) error {
	select {
	case <-r.done:
		return r.exhausted(Time)
	default:
	}
	if res >= resourceCount || n < 0 {
		return r.exhausted(res)
	}
	if used := r.used[res].Add(n); used > r.limit(res) || used < 0 {
		r.used[res].Add(-n)
		return r.exhausted(res)
	}
	return nil
}

func (r *run) release(res Resource, n int64) { r.used[res].Add(-n) }

func (r *run) left(res Resource) int64 {
	if res >= resourceCount {
		return 0
	}
	return max(r.limit(res)-r.used[res].Load(), 0)
}

// A spare is memory that the files of one scan leave to one another.
type spare struct {
	windows   sync.Pool // each a *[searchWindow]byte
	inflaters sync.Pool // each an *inflater
}

// An inflater decodes DEFLATE.
type inflater struct {
	io.Reader
	in *bufio.Reader
}

// An inflating is an inflater until it is closed, when others may have it.
type inflating struct {
	*inflater
	free *spare
}

func (r *run) inflate(from io.Reader) io.ReadCloser {
	z, ok := r.free.inflaters.Get().(*inflater)
	if ok {
		z.in.Reset(from)
		z.Reader.(flate.Resetter).Reset(z.in, nil) // which cannot fail
	} else {
		z = &inflater{in: bufio.NewReader(from)}
		z.Reader = flate.NewReader(z.in)
	}
	return &inflating{z, r.free}
}

func (z *inflating) Read(p []byte) (int, error) {
	if z.inflater == nil {
		return 0, io.ErrClosedPipe
	}
	return z.Reader.Read(p)
}

func (z *inflating) Close() error {
	if z.inflater != nil {
		z.in.Reset(nil)
		z.free.inflaters.Put(z.inflater)
		z.inflater = nil
	}
	return nil
}

// buffer returns a window of searchWindow bytes for one caller, and recycle
// takes it back.
func (r *run) buffer() []byte {
	if b, ok := r.free.windows.Get().(*[searchWindow]byte); ok {
		return b[:]
	}
	return make([]byte, searchWindow)
}

func (r *run) recycle(b []byte) { r.free.windows.Put((*[searchWindow]byte)(b)) }
