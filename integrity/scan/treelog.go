package scan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
)

// asked is one question that a format had about the names around an artefact,
// and what it was told.
type asked struct {
	Kind   string `json:"kind,required"`
	Name   string `json:"name,required"`
	Answer string `json:"answer,required"`
}

// Kinds of questions.
const (
	askLookup  = "lookup"
	askDir     = "dir"
	askWeights = "weights"
)

// maxAsked bounds what is kept of the questions about one file.
const maxAsked = 10_000

// A treeLog keeps the questions that a [Tree] was asked, each once.
type treeLog struct {
	mu   sync.Mutex
	seen map[[2]string]string
}

// watched is the same tree, with a log of its own.
func (t *Tree) watched() *Tree {
	w := *t
	w.log = &treeLog{seen: make(map[[2]string]string)}
	return &w
}

// note keeps a question of a watched tree.
func (t *Tree) note(kind, name string) {
	if t.log == nil {
		return
	}
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	key := [2]string{kind, name}
	if _, known := t.log.seen[key]; !known && len(t.log.seen) <= maxAsked {
		plain := *t
		plain.log = nil
		t.log.seen[key] = plain.answer(kind, name)
	}
}

// answer is what the tree says to a question, as a short text.
func (t *Tree) answer(kind, name string) string {
	switch kind {
	case askLookup:
		e, ok := t.Lookup(name)
		return fmt.Sprintf("%t %d %o", ok, e.Size, e.Mode)
	case askDir:
		h := sha256.New()
		for _, e := range t.Dir(name) {
			frame(h, e.Name, fmt.Sprintf("%d %o", e.Size, e.Mode))
		}
		return hex.EncodeToString(h.Sum(nil))
	case askWeights:
		return fmt.Sprint(t.besideWeights(name))
	}
	return ""
}

func (l *treeLog) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen) > maxAsked
}

// list is what was asked, in a fixed order.
func (l *treeLog) list() []asked {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []asked
	for k, answer := range l.seen {
		out = append(out, asked{k[0], k[1], answer})
	}
	slices.SortFunc(out, func(a, b asked) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return out
}
