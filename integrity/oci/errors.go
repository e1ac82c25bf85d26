package oci

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/integrity"
)

// Errors by which an image or its signature fails.
var (
	ErrDigest    = errors.New("content does not match its digest")
	ErrMalformed = errors.New("malformed manifest")
	ErrName      = errors.New("unsafe layer name")
	ErrUnsigned  = errors.New("image has no model signature")
)

// Errors by which an image could not be checked.
var (
	ErrNotFound = errors.New("not found")
	ErrDenied   = errors.New("access denied")
	ErrUnnamed  = errors.New("layer without a name")
	ErrIndex    = errors.New("reference names an index of several images")
	ErrRegistry = errors.New("unexpected answer of the registry")
)

// Errors of callers that gave nil.
var (
	errNoStore = errors.New("no store was given")
	errNoImage = errors.New("no image was given")
)

// Rejected reports whether err says that the image or its signature is bad, as
// [integrity.Rejected] does for models. Any other error means that nothing is
// known.
func Rejected(err error) bool {
	for _, kind := range []error{ErrDigest, ErrMalformed, ErrName, ErrUnsigned} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return integrity.Rejected(err)
}

// An Error is one thing wrong with an image. It unwraps to its kind and to its
// cause.
type Error struct {
	Kind      error         // a sentinel of this package or of package integrity
	Reference string        // tag or digest that was asked for; may be empty
	Digest    digest.Digest // of the content in question; may be empty
	Detail    string        // may be empty
	Err       error         // the cause; may be nil
}

func (e *Error) Error() string {
	var text string
	if e.Reference != "" {
		text = fmt.Sprintf("%q: ", e.Reference)
	}
	if e.Digest != "" && e.Digest.String() != e.Reference {
		text += e.Digest.String() + ": "
	}
	text += e.Kind.Error()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the kind and, where there is one, the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// An IndexError is an index where one image was asked for. It unwraps to
// [ErrIndex].
type IndexError struct {
	Reference string
	Digest    digest.Digest // of the index
	Choices   []Descriptor  // one of their digests, or a platform, makes it clear
}

func (e *IndexError) Error() string {
	var choices []string
	for _, c := range e.Choices[:min(len(e.Choices), 8)] {
		choices = append(choices, fmt.Sprintf("%s (%q)", c.Digest, c.Platform))
	}
	return fmt.Sprintf("%q: %s: %v; ask for a platform or a digest: %s", e.Reference, e.Digest, ErrIndex, strings.Join(choices, " "))
}

func (e *IndexError) Unwrap() error { return ErrIndex }

// A StatusError is an answer of a registry that is not the one asked for. It
// unwraps to [ErrNotFound], [ErrDenied] or [ErrRegistry].
type StatusError struct {
	Method    string
	Reference string // repository and tag or digest
	Status    int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %q: registry answered %d %s", e.Method, e.Reference, e.Status, http.StatusText(e.Status))
}

func (e *StatusError) Unwrap() error {
	switch e.Status {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied
	}
	return ErrRegistry
}
