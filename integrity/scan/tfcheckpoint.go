package scan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

// tfCheckpointFormat reads the index of TensorFlow checkpoints (.index): a
// sorted table that says for each tensor in which data file it is, and where.
// Compressed tables, which TensorFlow does not write, are not read. Facts:
// "framework", "tensors", "shards".
type tfCheckpointFormat struct{}

var ruleTFRange = prerun.Rule{
	ID: "scan.tensorflow.checkpoint-range", Title: "tensor beyond its data file", Severity: prerun.Medium,
	Help: "The index of a checkpoint says that a tensor lies beyond the end of its data file, at a negative place, or in a file that the checkpoint does not have. Loaders fail, or read memory they should not. Do not load the checkpoint.",
	Refs: []prerun.Reference{cwe("CWE-125")},
}

func (tfCheckpointFormat) Info() Info {
	return Info{ID: "tensorflow-checkpoint", Rules: []prerun.Rule{ruleTFRange}}
}

const (
	tableMagic   = "\x57\xfb\x80\x8b\x24\x75\x47\xdb"
	tableFooter  = 48
	tableTrailer = 5 // type and checksum of a block
	tableBlock   = 16 << 20
)

func (tfCheckpointFormat) Match(p Probe) Match {
	if p.Size >= tableFooter && bytes.HasSuffix(p.Tail, []byte(tableMagic)) {
		return Maybe
	}
	return No
}

type tfCheckpointScan struct {
	a   *Artifact
	out *Sink

	header  bool
	shards  uint64
	tensors int
	files   map[uint64]Entry // by number; of size -1 when it is not here
}

func (tfCheckpointFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	s := &tfCheckpointScan{a: a, out: out, files: map[uint64]Entry{}}
	err := s.table(ctx)
	if !s.header && !errors.Is(err, ErrBudget) && !errors.Is(err, errUnsupported) {
		return fmt.Errorf("tensorflow-checkpoint: no header: %w", ErrNotFormat)
	}
	if err != nil {
		return fmt.Errorf("tensorflow-checkpoint: %w", err)
	}
	out.Fact("framework", "tensorflow")
	out.Fact("tensors", strconv.Itoa(s.tensors))
	out.Fact("shards", strconv.FormatUint(s.shards, 10))
	return nil
}

// table goes through the blocks in the order of the index.
func (s *tfCheckpointScan) table(ctx context.Context) error {
	at := s.a.Size - tableFooter
	foot := s.a.Tail[len(s.a.Tail)-tableFooter:]
	var handles [4]uint64
	for i := range handles {
		v, n := uvarint(foot)
		if n <= 0 {
			return fmt.Errorf("offset %d: the footer is malformed", at)
		}
		handles[i], foot = v, foot[n:]
	}
	s.out.Claim(at, tableFooter)
	if err := s.block(handles[0], handles[1], func(_, _ []byte, _ int64) error { return nil }); err != nil {
		return err
	}
	return s.block(handles[2], handles[3], func(_, v []byte, where int64) error {
		off, n := uvarint(v)
		if n <= 0 {
			return fmt.Errorf("offset %d: an entry of the index is malformed", where)
		}
		size, m := uvarint(v[n:])
		if m <= 0 {
			return fmt.Errorf("offset %d: an entry of the index is malformed", where)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.block(off, size, s.entry)
	})
}

// block yields the entries of one block, with its offset. Keys share their
// start with the key before.
func (s *tfCheckpointScan) block(off, size uint64, yield func(key, value []byte, where int64) error) error {
	end := uint64(s.a.Size - tableFooter)
	if size < 4 || off > end || size > end-off || end-off-size < tableTrailer {
		return fmt.Errorf("offset %d: block of %d bytes in a file of %d", off, size, s.a.Size)
	}
	if size > tableBlock {
		return fmt.Errorf("offset %d: block of %d bytes; %d are read: %w", off, size, tableBlock, ErrBudget)
	}
	where := int64(off)
	p, err := s.a.Bytes(where, int64(size)+tableTrailer)
	if err != nil {
		return err
	}
	if p[size] != 0 {
		return fmt.Errorf("offset %d: block of compression %d: %w", off, p[size], errUnsupported)
	}
	s.out.Claim(where, int64(size)+tableTrailer)
	p = p[:size]
	restarts := uint64(binary.LittleEndian.Uint32(p[size-4:]))
	if restarts > (size-4)/4 {
		return fmt.Errorf("offset %d: %d restarts in a block of %d bytes", off, restarts, size)
	}
	var key []byte
	for p = p[:size-4-4*restarts]; len(p) > 0; {
		var n [3]uint64 // bytes of the key shared and not, of the value
		for i := range n {
			v, m := uvarint(p)
			if m <= 0 {
				return fmt.Errorf("offset %d: an entry of the block is malformed", off)
			}
			n[i], p = v, p[m:]
		}
		left := uint64(len(p))
		if n[0] > uint64(len(key)) || n[1] > left || n[2] > left-n[1] {
			return fmt.Errorf("offset %d: an entry of the block is malformed", off)
		}
		key = append(key[:n[0]], p[:n[1]]...)
		if err := yield(key, p[n[1]:n[1]+n[2]], where); err != nil {
			return err
		}
		p = p[n[1]+n[2]:]
	}
	return nil
}

// entry reads the header, whose key is empty and so comes first, or what is
// said of a tensor.
func (s *tfCheckpointScan) entry(key, value []byte, where int64) error {
	w := wire.NewReader(sliceReader(value), int64(len(value)))
	if !s.header {
		s.shards = 0
		err := w.Walk(0, int64(len(value)), func(f wire.Field) error {
			if f.Is(1, wire.Varint) {
				s.shards = f.Value
			}
			return nil
		})
		s.header = len(key) == 0 && err == nil && s.shards > 0 && s.shards < 1<<20
		if !s.header {
			return errors.New("no header")
		}
		return nil
	}
	if err := s.a.Spend(Entries, 1); err != nil {
		return err
	}
	s.tensors++
	var shard, off, size uint64
	slices := false
	err := w.Walk(0, int64(len(value)), func(f wire.Field) error {
		switch {
		case f.Is(3, wire.Varint):
			shard = f.Value
		case f.Is(4, wire.Varint):
			off = f.Value
		case f.Is(5, wire.Varint):
			size = f.Value
		case f.Is(7, wire.Bytes):
			slices = true
		}
		return nil
	})
	if err != nil || slices {
		return err
	}
	s.tensor(excerpt(string(key), 120), shard, off, size, where)
	return nil
}

func (s *tfCheckpointScan) tensor(name string, shard, off, size uint64, where int64) {
	at := flatbuf.Range{Off: where, Len: 1}
	if shard >= s.shards {
		graphFinding(s.out, ruleTFRange, 0, at, name, "tensor %q is in file %d of %d", name, shard, s.shards)
		return
	}
	e, seen := s.files[shard]
	if !seen {
		file := fmt.Sprintf("%s.data-%05d-of-%05d", strings.TrimSuffix(s.a.Base(), path.Ext(s.a.Base())), shard, s.shards)
		var linked, ok bool
		if e, linked, ok = s.a.sibling(file); !ok || linked {
			s.out.Gap(fmt.Sprintf("data file %q is not here", excerpt(file, 120)), 0, 0)
			e.Size = -1
		}
		s.files[shard] = e
	}
	if e.Size >= 0 && (off > uint64(e.Size) || size > uint64(e.Size)-off) {
		graphFinding(s.out, ruleTFRange, 0, at, name, "tensor %q: %d bytes at %d of file %d, which has %d", name, size, off, shard, e.Size)
	}
}

// tfShard reports the data files of a checkpoint, by their index beside them.
func tfShard(p Probe) bool {
	stem, numbers, ok := strings.Cut(p.Name, ".data-")
	i, n, of := strings.Cut(numbers, "-of-")
	if !ok || !of || len(i) < 5 || len(n) < 5 || !decimal([]byte(i+n)) {
		return false
	}
	_, ok = p.Tree.Lookup(stem + ".index")
	return ok
}
