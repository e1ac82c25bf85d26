package integrity

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/pkcs8"
)

// Errors by which a model or its signature fails.
var (
	ErrBundle    = errors.New("malformed bundle")
	ErrSignature = errors.New("signature does not verify")
	ErrUntrusted = errors.New("signer is not trusted")
	ErrStatement = errors.New("signed statement is not a valid model signature")
	ErrManifest  = errors.New("inconsistent manifest")
	ErrMismatch  = errors.New("model differs from what was signed")
)

// Errors by which a model could not be checked, or hashed.
var (
	ErrUnsupported = errors.New("not supported")
	ErrRead        = errors.New("model could not be read")
	ErrChanged     = errors.New("file changed while it was read")
	ErrSymlink     = errors.New("symbolic link not allowed")
	ErrSpecial     = errors.New("not a regular file")
	ErrEmpty       = errors.New("model has no content to sign")
)

// Errors by which [ParsePrivateKey] asks for a passphrase, or for another one. A
// damaged file looks like a wrong passphrase.
var (
	ErrEncrypted  = keys.ErrEncrypted
	ErrPassphrase = pkcs8.ErrPassphrase
)

// errNoModel says that a caller gave nil for a model.
var errNoModel = errors.New("no model was given")

// Rejected reports whether err says that the model or its signature is bad:
// malformed, wrongly signed, signed by somebody else, or different from what
// was signed. Any other error of this package means that nothing is known. Of
// an error made of several, one rejection decides.
func Rejected(err error) bool {
	for _, kind := range []error{ErrBundle, ErrSignature, ErrUntrusted, ErrStatement, ErrManifest, ErrMismatch} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// An Error is one thing wrong. It unwraps to its kind and to its cause.
type Error struct {
	Kind   error  // one of the sentinels of this package
	Path   string // in the model or in the manifest; "" for the bundle as a whole
	Detail string // may be empty
	Err    error  // the cause; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Path != "" {
		fmt.Fprintf(&b, "%q: ", e.Path)
	}
	b.WriteString(e.Kind.Error())
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the kind and, where there is one, the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

func newError(kind error, path, format string, args ...any) *Error {
	return &Error{Kind: kind, Path: path, Detail: fmt.Sprintf(format, args...)}
}

// A MismatchError holds every difference between a model and what was signed.
// It unwraps to [ErrMismatch].
type MismatchError struct {
	Differences []Difference // by path
}

func (e *MismatchError) Error() string {
	const shown = 3
	var b strings.Builder
	b.WriteString(ErrMismatch.Error())
	for i, d := range e.Differences {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e.Differences)-shown)
			break
		}
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + d.String())
	}
	return b.String()
}

func (e *MismatchError) Unwrap() error { return ErrMismatch }
