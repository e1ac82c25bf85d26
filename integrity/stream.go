package integrity

import (
	"context"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/prerun/prerun/internal/blake3tree"
)

// A stream is the bytes of one job after another. It has a reading side, which
// claims jobs and is one chunk ahead, and a hashing side; the two may run at
// the same time.
type stream struct {
	*engine

	reading *job // nil between jobs
	file    fs.File
	at      int64 // of the file
	spare   []byte
	probe   [1]byte
	ahead   chunk

	now   chunk
	hash  hash.Hash
	index int   // of the resource at hand
	left  int64 // bytes of it to come
	sum   []byte
}

// A chunk is some bytes of a job. A chunk without a job ends the stream.
type chunk struct {
	job    *job
	first  bool // the job starts here
	buffer []byte
	data   []byte // of buffer, not hashed yet
}

// read gets the next chunk. The file must look the same when listed, opened and
// read to the end of the job.
func (s *stream) read(ctx context.Context) {
	s.ahead = chunk{buffer: s.spare}
	if s.reading == nil {
		i := int(s.next.Add(1)) - 1
		if i >= len(s.jobs) {
			return
		}
		s.reading = &s.jobs[i]
		s.ahead.first = true
	}
	j := s.reading
	s.ahead.job = j
	n, err := s.readChunk(ctx, s.ahead.first)
	if err != nil {
		j.err = err
	}
	s.ahead.data = s.spare[:n]
	if err != nil || s.at == j.end {
		s.close()
	}
}

func (s *stream) close() {
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.reading = nil, nil
}

func (s *stream) readChunk(ctx context.Context, first bool) (int, error) {
	j, f := s.reading, &s.files[s.reading.file]
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if first {
		if err := s.open(f); err != nil {
			return 0, err
		}
	}
	n := min(int64(len(s.spare)), j.end-s.at)
	if shard := s.p.ShardSize; shard >= int64(len(s.spare)) {
		n = min(n, shard-s.at%shard) // lanes that are in step stay so
	}
	k, err := io.ReadFull(s.file, s.spare[:n])
	s.at += int64(k)
	switch {
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		return 0, newError(ErrChanged, f.name, "ends at byte %d", s.at)
	case err != nil:
		return 0, readError(f.name, err)
	case s.at < j.end:
		return k, nil
	}
	return k, s.atEnd(f)
}

func (s *stream) open(f *source) (err error) {
	s.at = s.reading.start
	if s.file, err = s.fsys.Open(f.real); err != nil {
		return readError(f.name, err)
	}
	if err := unchanged(f, s.file); err != nil || s.at == 0 {
		return err
	}
	file, ok := s.file.(io.Seeker)
	if !ok { // although it could when the jobs were planned
		return readError(f.name, errors.ErrUnsupported)
	}
	if _, err := file.Seek(s.at, io.SeekStart); err != nil {
		return readError(f.name, err)
	}
	return nil
}

// atEnd checks the file when the job's last byte was read.
func (s *stream) atEnd(f *source) error {
	if s.at == f.size {
		switch n, err := io.ReadFull(s.file, s.probe[:]); {
		case n > 0:
			return newError(ErrChanged, f.name, "longer than its %d bytes", f.size)
		case err != io.EOF:
			return readError(f.name, err)
		}
	}
	return unchanged(f, s.file)
}

func readError(name string, err error) error {
	return &Error{Kind: ErrRead, Path: name, Err: err}
}

// turn makes the chunk that was read ahead the one to hash. It reports whether
// there is one.
func (s *stream) turn() bool {
	s.spare, s.now = s.now.buffer, s.ahead
	if s.now.first {
		s.index = s.now.job.first
		s.start()
		s.advance(0)
	}
	return s.now.job != nil
}

// start begins the resource at hand, or the part of it.
func (s *stream) start() {
	j, r := s.now.job, s.resource()
	switch {
	case j.part:
		s.left = j.end - j.start
		s.hash.(*blake3tree.Digest).ResetAt(j.start - r.Start)
		return
	case r.End == 0:
		s.left = s.files[j.file].size
	default:
		s.left = r.End - r.Start
	}
	s.hash.Reset()
}

func (s *stream) resource() *Resource { return &s.results[s.now.job.file].resources[s.index] }

// piece is what comes next of the resource at hand.
func (s *stream) piece() []byte { return s.now.data[:min(int64(len(s.now.data)), s.left)] }

// advance takes note that the first n bytes were hashed.
func (s *stream) advance(n int) {
	s.now.data = s.now.data[n:]
	if s.left -= int64(n); s.left > 0 {
		return
	}
	if s.now.job.part {
		s.now.job.chain = s.hash.(*blake3tree.Digest).Chain()
		return
	}
	s.sum = s.hash.Sum(s.sum[:0])
	s.resource().Digest = s.digest(s.sum)
	if s.index++; s.index < s.now.job.last {
		s.start()
	}
}

// unchanged compares an open file with what was listed under its name: kind,
// size, modification time and, where the operating system gives it, identity.
func unchanged(f *source, file fs.File) error {
	now, err := file.Stat()
	if err != nil {
		return readError(f.name, err)
	}
	then := f.info
	switch {
	case !now.Mode().IsRegular():
		return newError(ErrChanged, f.name, "no longer a regular file")
	case now.Size() != f.size:
		return newError(ErrChanged, f.name, "was %d bytes, now %d", f.size, now.Size())
	case !now.ModTime().Equal(then.ModTime()):
		return newError(ErrChanged, f.name, "was written to meanwhile")
	case hasIdentity(now) && hasIdentity(then) && !os.SameFile(now, then):
		return newError(ErrChanged, f.name, "was replaced meanwhile")
	}
	a, okA := systemState(then)
	b, okB := systemState(now)
	if okA && okB && a != b { // its time of modification was set back
		return newError(ErrChanged, f.name, "was changed meanwhile")
	}
	return nil
}

// hasIdentity reports whether os.SameFile means anything for info: it knows
// only what package os itself made.
func hasIdentity(info fs.FileInfo) bool { return os.SameFile(info, info) }
