package validate

import (
	"context"
	"errors"
)

// A Target is what a suite asks: a model in this process, a server, anything
// that answers text with text.
//
// Name identifies target and version, such as "mailtriage@sha256:9f…": a
// journal is valid for one name only, so it must change when the answers may.
// Generate answers one request. An error is an error outcome of that case, never
// a pass and never a failure of the model; it does not end the run. Generate is
// called from several goroutines at once and must return when ctx ends.
type Target interface {
	Name() string
	Generate(ctx context.Context, req Request) (Response, error)
}

// A Determinist is a [Target] that can promise that equal requests get equal
// answers. A resumed run of any other target marks what it had to ask twice.
type Determinist interface{ Deterministic() bool }

// A Digester is a [Target] that knows the digest, as algorithm:hex, of the model
// behind it; reports name it.
type Digester interface{ Digest() string }

// A Request is one thing to ask. It shares no memory with the suite.
type Request struct {
	System  string    // instruction that stands before everything; may be empty
	History []Message // earlier turns; usually none
	Input   string    // what the user says now

	Case    string // id of the case, for logs; not part of the question
	Variant string // name of the edit made to Input; "" for the case as written
	Repeat  int    // from 0

	// Seed is equal for every variant of a case and differs between repeats.
	// It fits 53 bits.
	Seed uint64
	Params
}

// A Message is one turn of a conversation.
type Message struct {
	Role string `json:"role,required"` // "user" or "assistant"
	Text string `json:"text,required"`
}

// Params are the sampling parameters of a suite. Zero asks for the most likely
// answer, of a length that the target chooses.
type Params struct {
	Temperature float64 `json:"temperature"`
	MaxTokens   int     `json:"max_tokens"`
}

// A Response is an answer.
type Response struct {
	Text         string
	Model        string // as the server reports it, fingerprint included
	Finish       string // why the answer ended; "" when the target does not say
	InputTokens  int
	OutputTokens int
	Retries      int // attempts that this answer cost beyond the first
}

// ErrTarget is the class of errors that a target answered with.
var ErrTarget = errors.New("target gave no answer")

// TargetFunc makes a Go function a [Target].
type TargetFunc struct {
	ID           string // its [Target] name
	Fn           func(ctx context.Context, req Request) (Response, error)
	ModelDigest  string // algorithm:hex; may be empty
	SameEachTime bool   // promises what [Determinist] does
}

// Name returns f.ID.
func (f TargetFunc) Name() string { return f.ID }

// Digest returns f.ModelDigest.
func (f TargetFunc) Digest() string { return f.ModelDigest }

// Deterministic returns f.SameEachTime.
func (f TargetFunc) Deterministic() bool { return f.SameEachTime }

// Generate calls f.Fn.
func (f TargetFunc) Generate(ctx context.Context, req Request) (Response, error) {
	if f.Fn == nil {
		return Response{}, errors.New("target has no function")
	}
	return f.Fn(ctx, req)
}
