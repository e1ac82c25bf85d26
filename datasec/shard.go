package datasec

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
)

// A Shard is a stream of records that can be read again: detectors of several
// passes do, and a shard that does not say the same each time is reported.
type Shard interface {
	// Path names the shard in locations, relative to the scanned root and
	// escaped as [prerun.EscapePath] does.
	Path() string

	// Records yields the rows in order. An error that wraps [ErrRow] concerns
	// one row, and the sequence goes on; any other error is the last element.
	Records(ctx context.Context) iter.Seq2[Record, error]
}

// A Hasher is a [Shard] made of bytes. Hashed yields what Records yields and
// calls sum once, after the last row and before an error that ends the
// sequence, with the digest of every byte that the shard is made of. When the
// bytes could not be read to their end it does not call sum.
type Hasher interface {
	Shard
	Hashed(ctx context.Context, sum func(digest.Digest)) iter.Seq2[Record, error]
}

// A Format is how records are written.
type Format uint8

// Formats. Compression is no part of it: gzip and zstd are told by content.
const (
	FormatAuto  Format = iota // by the name, else by the first character
	FormatJSONL               // one JSON object on each line
	FormatCSV                 // RFC 4180, with a header
)

// A Schema says how files become records.
type Schema struct {
	// Text names the fields that a model reads. A name stands for all that is
	// below it: "messages" for "messages/0/content". Empty means every string
	// that is neither label nor id.
	Text []string

	Label string // name of the label field; "" means that there is none
	ID    string // name of the id field; "" means that there is none

	Format Format
	Comma  rune // of CSV; 0 means a tab for names with ".tsv", else a comma
	Limits Limits
}

// Limits bound what reading one file may take. What exceeds one is a gap of
// the result, never a shorter answer.
type Limits struct {
	Record int   // bytes of one record; 0 means 1 MiB
	Rows   int64 // rows of one file; 0 means 4 Mi
	Bytes  int64 // bytes of one file, decompressed; 0 means 16 GiB
	Ratio  int64 // decompressed to compressed bytes; 0 means 200
}

func (l Limits) withDefaults() Limits {
	if l.Record <= 0 {
		l.Record = limits.MaxRecord
	}
	if l.Rows <= 0 {
		l.Rows = 4 << 20
	}
	if l.Bytes <= 0 {
		l.Bytes = 16 << 30
	}
	if l.Ratio <= 0 {
		l.Ratio = 200
	}
	return l
}

// Classes of errors that reading ends in.
var (
	// ErrRow: one row could not be read; the ones after it could.
	ErrRow = errors.New("row not read")
	// ErrShard: a shard could not be read to its end.
	ErrShard = errors.New("shard not read to its end")
)

// A RowError says which row could not be read, and why. It wraps [ErrRow] and
// the reason.
type RowError struct {
	Row    int64 // from 0
	Line   int   // from 1
	Offset int64 // of the row's first byte, decompressed
	Err    error
}

func (e *RowError) Error() string {
	return fmt.Sprintf("row %d, line %d, offset %d: %v", e.Row, e.Line, e.Offset, e.Err)
}

func (e *RowError) Unwrap() []error { return []error{ErrRow, e.Err} }

// A ShardError says how far a shard could be read, and why not further. It
// wraps [ErrShard] and the reason.
type ShardError struct {
	Path   string
	Rows   int64 // read before
	Offset int64 // decompressed bytes read until then, which is ahead of the rows
	Err    error
}

func (e *ShardError) Error() string {
	return fmt.Sprintf("%q: after %d rows, offset %d: %v", e.Path, e.Rows, e.Offset, e.Err)
}

func (e *ShardError) Unwrap() []error { return []error{ErrShard, e.Err} }

// Files are the named files of fsys as shards, each a [Hasher]. Nothing is
// opened before records are asked for; a name that cannot be opened is an
// error of its sequence. JSONL and CSV are read, plain or compressed with gzip
// or zstd. Memory is bounded by a few records and the decoder's window.
func Files(fsys fs.FS, schema Schema, names ...string) []Shard {
	schema.Limits = schema.Limits.withDefaults()
	shards := make([]Shard, len(names))
	for i, name := range names {
		shards[i] = &file{fsys, name, schema}
	}
	return shards
}

type file struct {
	fsys   fs.FS
	name   string
	schema Schema
}

func (f *file) Path() string { return prerun.EscapePath(f.name) }

func (f *file) Records(ctx context.Context) iter.Seq2[Record, error] {
	return f.Hashed(ctx, func(digest.Digest) {})
}

func (f *file) Hashed(ctx context.Context, sum func(digest.Digest)) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		in, err := f.fsys.Open(f.name)
		if err != nil {
			yield(Record{}, &ShardError{Path: f.Path(), Err: plain(err)})
			return
		}
		defer in.Close()
		raw := &counted{r: in, h: sha256.New()}
		text := &budget{lim: f.schema.Limits, raw: raw}
		rows, err := f.read(ctx, raw, text, yield)
		if errors.Is(err, errStopped) {
			return
		}
		if ctx.Err() == nil {
			if _, e := io.Copy(io.Discard, raw); e == nil {
				sum(digestx.FromSHA256(raw.h.Sum(nil)))
			} else if err == nil {
				err = e
			}
		}
		if err != nil {
			yield(Record{}, &ShardError{f.Path(), rows, text.n, plain(err)})
		}
	}
}

var errStopped = errors.New("stopped by the reader")

// read yields the rows and returns how many there were, broken ones included.
func (f *file) read(ctx context.Context, raw *counted, text *budget, yield func(Record, error) bool) (int64, error) {
	closer, err := decompress(raw, text)
	if err != nil {
		return 0, err
	}
	defer closer()
	rows, err := f.rows(text)
	if err != nil {
		return 0, err
	}
	for n := int64(0); ; n++ {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		rec, err := rows.next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil && !errors.Is(err, ErrRow) {
			return n, err
		}
		if n == f.schema.Limits.Rows {
			return n, fmt.Errorf("more than %d rows", n)
		}
		rec.Shard, rec.Row = f.Path(), n
		if broken, ok := errors.AsType[*RowError](err); ok {
			broken.Row = n
		}
		if !yield(rec, err) {
			return n, errStopped
		}
	}
}

// A rowReader returns records without Shard and Row. An error wrapping ErrRow
// concerns one row, io.EOF ends the file, any other error too.
type rowReader interface {
	next() (Record, error)
}

func (f *file) rows(text io.Reader) (rowReader, error) {
	in := bufio.NewReaderSize(text, 64<<10)
	if bom, _ := in.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		in.Discard(3)
	}
	name := strings.ToLower(f.name)
	name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst"), ".zstd")
	format, comma := f.schema.Format, f.schema.Comma
	if format == FormatAuto {
		switch path.Ext(name) {
		case ".jsonl", ".ndjson", ".jsonlines":
			format = FormatJSONL
		case ".csv", ".tsv":
			format = FormatCSV
		default:
			head, err := in.Peek(512)
			if err != nil && err != io.EOF {
				return nil, err
			}
			if head = bytes.TrimLeft(head, " \t\r\n"); len(head) == 0 || head[0] != '{' {
				return nil, errors.New("neither the name nor the first character tells the format; state it in the schema")
			}
			format = FormatJSONL
		}
	}
	if format == FormatJSONL {
		return &jsonl{in: in, schema: &f.schema}, nil
	}
	if comma == 0 {
		comma = ','
		if path.Ext(name) == ".tsv" {
			comma = '\t'
		}
	}
	return newCSV(in, comma, &f.schema)
}

// role finds what a field is for. Without named text fields every string is.
func (s *Schema) role(name string, kind Kind) Role {
	switch {
	case name == s.Label && name != "":
		return RoleLabel
	case name == s.ID && name != "":
		return RoleID
	case kind != KindString:
		return RoleOther
	case len(s.Text) == 0:
		return RoleText
	}
	for _, text := range s.Text {
		if rest, ok := strings.CutPrefix(name, text); ok && (rest == "" || rest[0] == '/') {
			return RoleText
		}
	}
	return RoleOther
}

// counted hashes and counts what is read through it.
type counted struct {
	r io.Reader
	h hash.Hash
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.h.Write(p[:n])
	c.n += int64(n)
	return n, err
}

// plain strips the name from a file error: the shard's path stands before it
// already, escaped.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
