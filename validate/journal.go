package validate

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/prerun/prerun/internal/strictjson"
)

// A Journal is the file that a run writes its answers to and that a later run of
// the same suite, target and seed goes on from. An [os.File] opened for reading
// and writing, not for appending, is one. It holds the answers as they came,
// secrets included: create it with mode 0600.
//
// Each line is the hex of 16 bytes of SHA-256 over the previous line's hash and
// this line's JSON, a space, and the JSON: a header, then "ask" before each
// request and "answer" after it. Records are appended with one write each and
// never changed, so a process may be killed at any point. What follows the last
// whole record whose hash fits is cut off and reported in [Stats]. Sync is called
// after the header, after every 64 answers and at the end: a machine that loses
// power asks at most that many again.
//
// A journal belongs to one run at a time.
type Journal interface {
	io.ReadWriteSeeker
	Truncate(size int64) error
	Sync() error
}

// ErrJournal is the class of errors of a journal that cannot be gone on from.
var ErrJournal = errors.New("journal does not belong to this run")

// A JournalError says how a journal differs from the run.
type JournalError struct{ Field, Want, Got string }

func (e *JournalError) Error() string {
	return fmt.Sprintf("journal: its %s is %q, the run's is %q", e.Field, e.Got, e.Want)
}

// Unwrap returns [ErrJournal].
func (e *JournalError) Unwrap() error { return ErrJournal }

const (
	journalFormat = "prerun/validate/journal/v1"
	chainSize     = 32 // hexadecimal digits
	maxLine       = 2 << 20
	syncEvery     = 64
)

type journalHeader struct {
	Journal string `json:"journal,required"`
	Suite   string `json:"suite,required"` // digest
	Target  string `json:"target,required"`
	Seed    string `json:"seed,required"`
}

// A journalRecord is about one ask: its key, and either nothing, an answer or
// an error.
type journalRecord struct {
	At     int            `json:"at,required"` // order of asking; for readers, the key decides
	Case   string         `json:"case,required"`
	Varied string         `json:"variant"`
	Repeat int            `json:"repeat"`
	Answer *journalAnswer `json:"answer"`
	Error  *string        `json:"error"`
}

type journalAnswer struct {
	Text         string `json:"text"`
	Model        string `json:"model"`
	Finish       string `json:"finish"`
	InputTokens  int    `json:"input_tokens"`
	OutputTokens int    `json:"output_tokens"`
	Retries      int    `json:"retries"`
}

// recorded is what a journal knows.
type recorded struct {
	answers map[recordKey]result
	asked   map[recordKey]bool
	chain   string
	size    int64  // bytes of the part that holds
	dropped int64  // bytes after it
	why     string // what is wrong with them
}

type recordKey struct {
	id, variant string
	repeat      int
}

// result is what an ask ended in.
type result struct {
	response Response
	err      string // "" for an answer
	done     bool
}

// readJournal reads what holds of a journal. An error means that it belongs to
// another run or cannot be read; bytes that do not hold are no error.
func readJournal(r io.Reader, want journalHeader) (*recorded, error) {
	rec := &recorded{answers: make(map[recordKey]result), asked: make(map[recordKey]bool)}
	in := bufio.NewReaderSize(r, 64<<10)
	for first := true; ; first = false {
		line, err := readJournalLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("journal: offset %d: %w", rec.size, err)
		}
		if len(line) == 0 {
			return rec, nil
		}
		body, chain, why := splitRecord(line, rec.chain)
		if why == "" && first {
			var mismatch error
			if why, mismatch = checkHeader(body, want); mismatch != nil {
				return nil, mismatch
			}
		} else if why == "" {
			why = rec.take(body)
		}
		if why != "" && first && !bytes.HasPrefix(headerLine(want), line) {
			return nil, &JournalError{"header", journalFormat, excerpt(string(line))}
		}
		if why != "" {
			rest, err := io.Copy(io.Discard, in)
			if err != nil {
				return nil, fmt.Errorf("journal: offset %d: %w", rec.size, err)
			}
			rec.why, rec.dropped = why, int64(len(line))+rest
			return rec, nil
		}
		rec.chain = chain
		rec.size += int64(len(line))
	}
}

// readJournalLine returns the next line with its end, or what there is of it.
func readJournalLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLine {
			if errors.Is(err, bufio.ErrBufferFull) {
				err = nil // an over-long line has no end and is dropped as cut
			}
			return line, err
		}
	}
}

func splitRecord(line []byte, previous string) (body []byte, chain, why string) {
	if line[len(line)-1] != '\n' {
		return nil, "", "the last record is cut"
	}
	line = line[:len(line)-1]
	if len(line) < chainSize+2 || line[chainSize] != ' ' {
		return nil, "", "a line is no record"
	}
	body = line[chainSize+1:]
	chain = chainOf(previous, body)
	if string(line[:chainSize]) != chain {
		return nil, "", "a record does not fit its hash"
	}
	return body, chain, ""
}

func chainOf(previous string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(previous))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:chainSize/2])
}

func checkHeader(body []byte, want journalHeader) (why string, mismatch error) {
	var got journalHeader
	if _, err := strictjson.Unmarshal(body, &got, strictjson.Options{}); err != nil {
		return "the header is not one", nil
	}
	for _, f := range []struct{ field, want, got string }{
		{"format", want.Journal, got.Journal},
		{"suite", want.Suite, got.Suite},
		{"target", want.Target, got.Target},
		{"seed", want.Seed, got.Seed},
	} {
		if f.want != f.got {
			return "", &JournalError{f.field, f.want, f.got}
		}
	}
	return "", nil
}

func (rec *recorded) take(body []byte) (why string) {
	var r journalRecord
	if _, err := strictjson.Unmarshal(body, &r, strictjson.Options{}); err != nil {
		return "a record is malformed"
	}
	key := recordKey{r.Case, r.Varied, r.Repeat}
	switch {
	case r.Answer != nil && r.Error != nil:
		return "a record is malformed"
	case r.Answer != nil:
		rec.answers[key] = result{response: Response(*r.Answer), done: true}
	case r.Error != nil:
		rec.answers[key] = result{err: *r.Error, done: true}
	default:
		rec.asked[key] = true
	}
	return ""
}

// A journalWriter appends records. A nil one records nothing.
type journalWriter struct {
	mu      sync.Mutex
	file    Journal
	chain   string
	answers int
	failed  error // the first error; nothing is written after it
}

// openJournal reads a journal, cuts off what does not hold, and is ready to
// append; a new journal gets its header.
func openJournal(file Journal, header journalHeader) (*journalWriter, *recorded, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	rec, err := readJournal(file, header)
	if err != nil {
		return nil, nil, err
	}
	if rec.dropped > 0 {
		if err := file.Truncate(rec.size); err != nil {
			return nil, nil, fmt.Errorf("journal: %w", err)
		}
	}
	if _, err := file.Seek(rec.size, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	w := &journalWriter{file: file, chain: rec.chain}
	if rec.size == 0 {
		if err := w.append(header); err != nil {
			return nil, nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, nil, fmt.Errorf("journal: %w", err)
		}
	}
	return w, rec, nil
}

// newLine is a record's line with its hash still to be filled in.
func newLine(record any) ([]byte, error) {
	var line bytes.Buffer
	line.Write(make([]byte, chainSize))
	line.WriteByte(' ')
	enc := json.NewEncoder(&line) // ends with a line break
	enc.SetEscapeHTML(false)
	if err := enc.Encode(record); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return line.Bytes(), nil
}

// seal fills in the hash and returns it.
func seal(line []byte, previous string) (chain string) {
	chain = chainOf(previous, line[chainSize+1:len(line)-1])
	copy(line, chain)
	return chain
}

// headerLine is the first line of a run's journal. A file whose first line is
// neither this nor the start of it was never a journal of this run, and is left
// alone.
func headerLine(header journalHeader) []byte {
	line, err := newLine(header)
	if err != nil {
		return nil // strings always marshal
	}
	seal(line, "")
	return line
}

func (w *journalWriter) append(record any) error {
	data, err := newLine(record)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return w.failed
	}
	w.chain = seal(data, w.chain)
	if _, err := w.file.Write(data); err != nil {
		w.failed = fmt.Errorf("journal: %w", err)
	}
	return w.failed
}

func (a *ask) record() journalRecord {
	return journalRecord{At: a.at, Case: a.c.ID, Varied: a.key.variant, Repeat: a.key.repeat}
}

func (w *journalWriter) asking(a *ask) error {
	if w == nil {
		return nil
	}
	return w.append(a.record())
}

func (w *journalWriter) answered(a *ask, r result) error {
	if w == nil {
		return nil
	}
	record := a.record()
	if r.err != "" {
		record.Error = &r.err
	} else {
		answer := journalAnswer(r.response)
		record.Answer = &answer
	}
	if err := w.append(record); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers++; w.answers%syncEvery == 0 {
		return w.sync()
	}
	return nil
}

func (w *journalWriter) close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sync()
}

func (w *journalWriter) sync() error {
	if w.failed == nil {
		if err := w.file.Sync(); err != nil {
			w.failed = fmt.Errorf("journal: %w", err)
		}
	}
	return w.failed
}
