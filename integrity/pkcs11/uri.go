package pkcs11

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrURI is wrapped by every error about a URI.
var ErrURI = errors.New("not a usable PKCS #11 URI")

// A URI names a private key on a token. A field that is empty matches anything.
type URI struct {
	Token        string // label of the token, at most 32 bytes
	Manufacturer string // of the token, at most 32 bytes
	Model        string // of the token, at most 16 bytes
	Serial       string // of the token, at most 16 bytes
	SlotID       *uint  // changes between starts with some modules

	Object string // label of the key
	ID     []byte // of the key

	ModulePath string // of the vendor's library; absolute, so that no search finds another
	PINValue   string // in clear text, which is for tests
	PINSource  string // where the PIN is; what it means is up to the caller
}

// Scheme is what every URI begins with, in letters of any case.
const Scheme = "pkcs11:"

// maxURI is far above any use.
const maxURI = 4096

// ParseURI reads a URI strictly. Attributes that [URI] has no field for are
// refused, because passing over one would match more than was meant, except
// type=private, which goes without saying. So are attributes that are empty or
// given twice, stray characters, and values that are not UTF-8. A module must
// be named by its absolute path; module-name is refused, since nothing is
// searched for.
func ParseURI(s string) (*URI, error) {
	if len(s) > maxURI {
		return nil, fmt.Errorf("%w: %d bytes", ErrURI, len(s))
	}
	if len(s) < len(Scheme) || !strings.EqualFold(s[:len(Scheme)], Scheme) {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrURI, Scheme)
	}
	u := new(URI)
	path, query, hasQuery := strings.Cut(s[len(Scheme):], "?")
	seen := make(map[string]bool)
	if err := attributes(path, ";", "&", seen, u.setPath); err != nil {
		return nil, err
	}
	if hasQuery {
		if err := attributes(query, "&", "/?|", seen, u.setQuery); err != nil {
			return nil, err
		}
	}
	if err := u.check(); err != nil {
		return nil, err
	}
	if u.PINValue != "" && u.PINSource != "" {
		return nil, fmt.Errorf("%w: both pin-value and pin-source", ErrURI)
	}
	return u, nil
}

func (u *URI) check() error {
	if u == nil || !filepath.IsAbs(u.ModulePath) {
		return fmt.Errorf("%w: module-path is not an absolute path", ErrURI)
	}
	return nil
}

// attributes decodes name=value pairs. No value stands in an error, because it
// may be a PIN.
func attributes(s, separator, extra string, seen map[string]bool, set func(name, value string) error) error {
	if s == "" {
		return nil
	}
	for pair := range strings.SplitSeq(s, separator) {
		name, encoded, ok := strings.Cut(pair, "=")
		if !ok || !isName(name) {
			return fmt.Errorf("%w: not a list of name=value", ErrURI)
		}
		if seen[name] {
			return fmt.Errorf("%w: %s is given twice", ErrURI, name)
		}
		seen[name] = true
		value, err := decode(encoded, extra)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %s: %w", ErrURI, name, err)
		case value == "":
			return fmt.Errorf("%w: %s is empty", ErrURI, name)
		case name != "id" && (!utf8.ValidString(value) || strings.ContainsRune(value, 0)):
			return fmt.Errorf("%w: %s is not UTF-8 text", ErrURI, name)
		}
		if err := set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func isName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return s != ""
}

const (
	unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	available  = unreserved + ":[]@!$'()*+,=" // of RFC 7512
)

func decode(s, extra string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+3 > len(s) {
				return "", errors.New("cut percent-encoding")
			}
			b, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				return "", errors.New("bad percent-encoding")
			}
			out.WriteByte(b[0])
			i += 2
		case strings.IndexByte(available, c) < 0 && strings.IndexByte(extra, c) < 0:
			return "", errors.New("a character that must be percent-encoded")
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}

func (u *URI) setPath(name, value string) error {
	text := func(field *string, most int) error {
		if len(value) > most {
			return fmt.Errorf("%w: %s has more than %d bytes", ErrURI, name, most)
		}
		*field = value
		return nil
	}
	switch name {
	case "token":
		return text(&u.Token, 32)
	case "manufacturer":
		return text(&u.Manufacturer, 32)
	case "model":
		return text(&u.Model, 16)
	case "serial":
		return text(&u.Serial, 16)
	case "object":
		return text(&u.Object, maxURI)
	case "id":
		u.ID = []byte(value)
		return nil
	case "slot-id":
		n, err := strconv.ParseUint(value, 10, strconv.IntSize)
		if err != nil || strconv.FormatUint(n, 10) != value {
			return fmt.Errorf("%w: slot-id is not a decimal number", ErrURI)
		}
		u.SlotID = new(uint(n))
		return nil
	case "type":
		if value != "private" {
			return fmt.Errorf("%w: type is not private", ErrURI)
		}
		return nil
	}
	return fmt.Errorf("%w: attribute %s is not supported", ErrURI, name)
}

func (u *URI) setQuery(name, value string) error {
	switch name {
	case "module-path":
		u.ModulePath = value
	case "pin-value":
		u.PINValue = value
	case "pin-source":
		u.PINSource = value
	case "module-name":
		return fmt.Errorf("%w: module-name is not supported: give module-path", ErrURI)
	default:
		return fmt.Errorf("%w: attribute %s is not supported", ErrURI, name)
	}
	return nil
}

// String writes the URI without the value of a PIN, for messages and logs.
func (u *URI) String() string {
	var out strings.Builder
	out.WriteString(Scheme)
	first := true
	add := func(separator, name, value, extra string) {
		if value == "" {
			return
		}
		if !first {
			out.WriteString(separator)
		}
		first = false
		out.WriteString(name + "=" + encode(value, extra))
	}
	add(";", "token", u.Token, "&")
	add(";", "manufacturer", u.Manufacturer, "&")
	add(";", "model", u.Model, "&")
	add(";", "serial", u.Serial, "&")
	if u.SlotID != nil {
		add(";", "slot-id", strconv.FormatUint(uint64(*u.SlotID), 10), "")
	}
	add(";", "object", u.Object, "&")
	add(";", "id", string(u.ID), "&")
	out.WriteString("?")
	first = true
	add("&", "module-path", u.ModulePath, "/?|")
	add("&", "pin-source", u.PINSource, "/?|")
	return out.String()
}

func encode(s, extra string) string {
	var out strings.Builder
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(available, c) >= 0 || strings.IndexByte(extra, c) >= 0 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
