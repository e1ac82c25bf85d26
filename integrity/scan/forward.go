package scan

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// A forward reads an artefact from front to back through one small window.
// Every length is held against what is left of the file before it is used.
type forward struct {
	a   *Artifact
	r   *bufio.Reader
	off int64
}

const (
	forwardWindow = 32 << 10
	forwardTake   = 64 // the most that take gives
)

func newForward(a *Artifact, off int64) *forward {
	f := &forward{a: a, off: off}
	f.r = bufio.NewReaderSize(a.Section(off, a.Size-off), int(min(max(a.Size-off, forwardTake), forwardWindow)))
	return f
}

func (f *forward) left() int64 { return f.a.Size - f.off }

// room fails unless count items of width bytes are left.
func (f *forward) room(count uint64, width int64) error {
	if count > uint64(f.left()/width) {
		return fmt.Errorf("offset %d: %d items of %d bytes, %d bytes are left: %w", f.off, count, width, f.left(), io.ErrUnexpectedEOF)
	}
	return nil
}

func (f *forward) byte() (byte, error) {
	b, err := f.r.ReadByte()
	if err != nil {
		return 0, f.cut(err)
	}
	f.off++
	return b, nil
}

// cut says where an input ended that should not have.
func (f *forward) cut(err error) error {
	if isEOF(err) {
		return fmt.Errorf("offset %d: the file is cut: %w", f.off, io.ErrUnexpectedEOF)
	}
	return err
}

// peek returns the next byte without taking it.
func (f *forward) peek() (byte, error) {
	p, err := f.r.Peek(1)
	if err != nil {
		return 0, f.cut(err)
	}
	return p[0], nil
}

// read fills p.
func (f *forward) read(p []byte) error {
	n, err := io.ReadFull(f.r, p)
	f.off += int64(n)
	if err != nil {
		return f.cut(err)
	}
	return nil
}

// skip passes over n bytes without reading more of them than the window holds.
func (f *forward) skip(n uint64) error {
	if err := f.room(n, 1); err != nil {
		return err
	}
	if int64(n) > int64(f.r.Buffered()) {
		f.off += int64(n)
		f.r.Reset(f.a.Section(f.off, f.left()))
		return nil
	}
	m, err := f.r.Discard(int(n))
	f.off += int64(m)
	return err
}

// text takes n bytes and keeps the first of them, up to keep.
func (f *forward) text(n uint64, keep int64) (string, error) {
	if err := f.room(n, 1); err != nil {
		return "", err
	}
	p := make([]byte, min(int64(n), keep))
	if err := f.read(p); err != nil {
		return "", err
	}
	return string(p), f.skip(n - uint64(len(p)))
}

func (f *forward) u32(order binary.ByteOrder) (uint32, error) {
	p, err := f.take(4)
	if err != nil {
		return 0, err
	}
	return order.Uint32(p), nil
}

func (f *forward) u64(order binary.ByteOrder) (uint64, error) {
	p, err := f.take(8)
	if err != nil {
		return 0, err
	}
	return order.Uint64(p), nil
}

// take returns the next n bytes, up to forwardTake, valid until the next call.
func (f *forward) take(n int) ([]byte, error) {
	p, err := f.r.Peek(n)
	if err != nil {
		return nil, f.cut(err)
	}
	m, err := f.r.Discard(n)
	f.off += int64(m)
	return p, err
}

// le32 reads a number and moves an offset on by its bytes.
func le32(r io.Reader, off *int64) (uint32, error) {
	var b [4]byte
	n, err := io.ReadFull(r, b[:])
	*off += int64(n)
	return binary.LittleEndian.Uint32(b[:]), err
}

// le64 is le32 for 8 bytes.
func le64(r io.Reader, off *int64) (uint64, error) {
	var b [8]byte
	n, err := io.ReadFull(r, b[:])
	*off += int64(n)
	return binary.LittleEndian.Uint64(b[:]), err
}
