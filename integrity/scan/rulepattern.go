package scan

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// A pattern is one entry of a rule set that content is searched for.
type pattern struct {
	rule    int // in its set, and after joining in the book
	index   int // among the patterns of its rule
	line    int // in the file
	re      *regexp.Regexp
	literal []byte   // when re is nil
	words   []string // one of which is in every match
	reach   int      // bytes of the longest match that is surely found
	formats []string // nil means any
	files   []string // nil means any
}

// maxProgram bounds the size of a regexp with its repetitions written out.
const maxProgram = 10_000

// compilePattern compiles a regexp that means the same in a window as in the
// whole.
func compilePattern(expr string) (*regexp.Regexp, error) {
	if len(expr) > 4096 {
		return nil, fmt.Errorf("%d bytes, the limit is 4096", len(expr))
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if err := anchorless(tree); err != nil {
		return nil, err
	}
	if n := programSize(tree); n > maxProgram {
		return nil, fmt.Errorf("its repetitions make %d steps, the limit is %d", n, maxProgram)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	if re.MatchString("") {
		return nil, errors.New("it matches nothing at all, everywhere")
	}
	return re, nil
}

func anchorless(re *syntax.Regexp) error {
	switch re.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return errors.New("anchors and word boundaries mean nothing in a window")
	}
	for _, sub := range re.Sub {
		if err := anchorless(sub); err != nil {
			return err
		}
	}
	return nil
}

// programSize is about how many steps a regexp compiles to.
func programSize(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n = min(n+programSize(sub), maxProgram+1)
	}
	if re.Op == syntax.OpRepeat {
		n = min(n*max(re.Min+1, re.Max), maxProgram+1)
	}
	return n
}

// keywords finds many words in one pass over content (Aho and Corasick, 1975),
// ASCII letters in either case.
type keywords struct {
	class [256]uint8 // of bytes that no word has: 0
	width int
	next  []int32   // state by class
	words [][]int32 // that end in a state
	above []int32   // the nearest state of a proper suffix in which words end; 0 for none
	sizes []int     // of words, in bytes
	leave [256]bool // bytes that lead out of state 0
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func newKeywords(words []string) *keywords {
	k := &keywords{width: 1}
	for _, w := range words {
		for i := range len(w) {
			if c := lower(w[i]); k.class[c] == 0 {
				k.class[c] = uint8(k.width) // at most 230 are in use
				k.width++
			}
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		k.class[c] = k.class[lower(c)]
	}
	k.grow()
	for i, w := range words {
		s := int32(0)
		for j := range len(w) {
			at := int(s)*k.width + int(k.class[w[j]])
			if k.next[at] == 0 {
				n := k.grow()
				k.next[at] = n
			}
			s = k.next[at]
		}
		k.words[s] = append(k.words[s], int32(i))
		k.sizes = append(k.sizes, len(w))
	}
	k.link()
	for c := range k.leave {
		k.leave[c] = k.next[k.class[c]] != 0
	}
	return k
}

func (k *keywords) grow() int32 {
	n := int32(len(k.words))
	k.next = append(k.next, make([]int32, k.width)...)
	k.words = append(k.words, nil)
	k.above = append(k.above, 0)
	return n
}

// link makes the trie an automaton, breadth first.
func (k *keywords) link() {
	fail := make([]int32, len(k.words))
	var queue []int32
	for c := range k.width {
		if s := k.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		f := fail[s]
		k.above[s] = f
		if f != 0 && len(k.words[f]) == 0 {
			k.above[s] = k.above[f]
		}
		for c := range k.width {
			at := int(s)*k.width + c
			onward := k.next[int(f)*k.width+c]
			if t := k.next[at]; t != 0 {
				fail[t] = onward
				queue = append(queue, t)
			} else {
				k.next[at] = onward
			}
		}
	}
}

// find tells of each word where it starts, by where it ends.
func (k *keywords) find(data []byte, hit func(word int32, start int)) {
	s := int32(0)
	for i := 0; i < len(data); i++ {
		if s == 0 {
			for i < len(data) && !k.leave[data[i]] {
				i++
			}
			if i == len(data) {
				return
			}
		}
		s = k.next[int(s)*k.width+int(k.class[data[i]])]
		for t := s; t != 0; t = k.above[t] {
			for _, w := range k.words[t] {
				hit(w, i+1-k.sizes[w])
			}
		}
	}
}
