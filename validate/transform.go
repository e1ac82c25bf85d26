package validate

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Transform is an edit of an input that should not change the answer. Apply
// must be a function of its argument alone. Name states the edit completely,
// parameters included: it is part of the suite's digest.
type Transform struct {
	Name  string
	Apply func(input string) string
}

// Edits without a parameter, by their name in a suite file.
var plainTransforms = map[string]func(string) string{
	"upper-case":          strings.ToUpper,
	"lower-case":          strings.ToLower,
	"double-spaces":       func(s string) string { return strings.ReplaceAll(s, " ", "  ") },
	"collapse-spaces":     func(s string) string { return strings.Join(strings.Fields(s), " ") },
	"trailing-newline":    func(s string) string { return s + "\n" },
	"leading-space":       func(s string) string { return " " + s },
	"windows-line-breaks": func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
	"final-stop":          finalStop,
	"swap-two-letters":    swapTwoLetters,
}

// Transforms with a parameter.
var parameterTransforms = map[string]func(param, s string) string{
	"suffix": func(param, s string) string { return s + param },
	"prefix": func(param, s string) string { return param + s },
}

// NewTransform returns a built-in transform by its name in a suite file:
// upper-case, lower-case, double-spaces, collapse-spaces, trailing-newline,
// leading-space, windows-line-breaks, final-stop (adds or removes the last
// full stop), swap-two-letters (of the longest word: a typing error), and
// suffix and prefix, which take the text to add as param.
func NewTransform(name, param string) (Transform, error) {
	if apply, ok := plainTransforms[name]; ok && param == "" {
		return Transform{name, apply}, nil
	}
	if apply, ok := parameterTransforms[name]; ok && param != "" {
		return Transform{
			fmt.Sprintf("%s %q", name, param),
			func(s string) string { return apply(param, s) },
		}, nil
	}
	if plainTransforms[name] != nil {
		return Transform{}, &SuiteError{fmt.Sprintf("transform %q", name), "takes no parameter"}
	}
	if parameterTransforms[name] != nil {
		return Transform{}, &SuiteError{fmt.Sprintf("transform %q", name), "needs a text"}
	}
	return Transform{}, &SuiteError{fmt.Sprintf("transform %q", name), "unknown"}
}

func finalStop(s string) string {
	trimmed := strings.TrimRightFunc(s, unicode.IsSpace)
	if rest, ok := strings.CutSuffix(trimmed, "."); ok {
		return rest
	}
	return trimmed + "."
}

// swapTwoLetters exchanges two neighbours in the middle of the longest word, the
// first of equals, or the next ones that differ.
func swapTwoLetters(s string) string {
	at, size, start := 0, 0, -1
	for i, r := range s + " " {
		switch letter := unicode.IsLetter(r); {
		case letter && start < 0:
			start = i
		case !letter && start >= 0:
			if i-start > size {
				at, size = start, i-start
			}
			start = -1
		}
	}
	letters := []rune(s[at : at+size])
	if len(letters) < 4 {
		return s
	}
	for m := len(letters)/2 - 1; m+1 < len(letters); m++ {
		if letters[m] != letters[m+1] {
			letters[m], letters[m+1] = letters[m+1], letters[m]
			break
		}
	}
	return s[:at] + string(letters) + s[at+size:]
}

// insert puts a trigger into a text.
func insert(text, trigger string, position Position) string {
	switch position {
	case Prefix:
		return trigger + " " + text
	case Middle:
		half := len(text) / 2
		for half > 0 && !utf8.RuneStart(text[half]) {
			half--
		}
		if i := strings.IndexFunc(text[half:], unicode.IsSpace); i >= 0 {
			at := half + i
			_, size := utf8.DecodeRuneInString(text[at:])
			return text[:at+size] + trigger + " " + text[at+size:]
		}
	}
	return text + " " + trigger
}
