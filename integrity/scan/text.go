package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/prerun/prerun"
)

// textFormat recognises plain text: model cards, vocabularies, licences,
// tables, notebooks. Text harms no loader by itself; formats that mean
// something by their text (JSON, Python, old pickles) run beside it.
type textFormat struct{}

var ruleScript = prerun.Rule{
	ID: "scan.repo.script", Title: "script beside a model", Severity: prerun.Low,
	Help: "The file starts with #! and is meant to be run. Loading a model does not run it, but a build or start script may. Review it like any other program or leave it out of the model folder.",
	Refs: []prerun.Reference{refForeignCode},
}

func (textFormat) Info() Info {
	return Info{ID: "text", Rules: []prerun.Rule{ruleScript}}
}

func (textFormat) Match(p Probe) Match {
	if p.Size == 0 || binaryIn(p.Head) {
		return No
	}
	head := p.Head
	if p.Size > int64(len(head)) {
		head = head[:len(head)-partialRune(head)]
	}
	if !utf8.Valid(head) {
		return No
	}
	return Maybe
}

// binaryIn reports control characters that no text file has. Short protobuf
// messages and pickles are valid UTF-8, but hold some of these.
func binaryIn(p []byte) bool {
	for _, c := range p {
		if c < ' ' && (c < '\a' || c > '\r') && c != 0x1b && c != 0x1a {
			return true
		}
	}
	return false
}

// partialRune is the length of a rune that the end of p cuts, 0 when none is.
func partialRune(p []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if c := p[len(p)-i]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}

// Scan reads all of it: a file that only starts like text is not text.
func (textFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	buf := make([]byte, min(a.Size, 256<<10))
	for off := int64(0); off < a.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), a.Size-off)]
		if _, err := a.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if off+int64(len(p)) < a.Size {
			p = p[:len(p)-partialRune(p)]
		}
		if binaryIn(p) || !utf8.Valid(p) {
			return fmt.Errorf("text: %w", ErrNotFormat)
		}
		off += int64(len(p))
	}
	out.Claim(0, a.Size)
	if a.Starts("version https://git-lfs.github.com/spec/") && a.Size < 1024 {
		out.Gap("it is a Git LFS pointer; the content it stands for is not here", 0, 0)
	}
	if a.Starts("#!/") {
		out.Finding(prerun.Finding{
			Rule:       ruleScript,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Line: 1}},
			Message:    "the file is a script",
		})
	}
	return nil
}
