package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
	"github.com/prerun/prerun/internal/walk"
)

// PromptLockSchema is the schema field of a prompt lock file.
const PromptLockSchema = "prerun/prompts-lock/v1"

// A PromptLock records which prompts a system was tested with: a prompt changes
// behaviour as a model does.
type PromptLock struct {
	Schema  string         `json:"schema,required"`
	Prompts []LockedPrompt `json:"prompts,required"` // by path
}

// A LockedPrompt is one prompt file at one version.
type LockedPrompt struct {
	Path    string `json:"path,required"` // relative to the folder of prompts
	Version string `json:"version,required"`
	Digest  string `json:"digest,required"` // algorithm:hex of the file's bytes
}

// NewPromptLock records every regular file below a folder, each at the version
// that versions names for its path.
func NewPromptLock(ctx context.Context, fsys fs.FS, versions map[string]string) (*PromptLock, error) {
	entries, err := walk.Files(ctx, fsys, nil)
	if err != nil {
		return nil, err
	}
	lock := &PromptLock{Schema: PromptLockSchema}
	for _, e := range entries {
		if e.Kind != walk.Regular {
			continue
		}
		version := versions[e.Path]
		if version == "" {
			return nil, fmt.Errorf("prompt %q has no version", e.Path)
		}
		sum, err := fileDigest(fsys, e.Path)
		if err != nil {
			return nil, err
		}
		lock.Prompts = append(lock.Prompts, LockedPrompt{e.Path, version, sum})
	}
	return lock, nil
}

// Encode writes the lock file.
func (l *PromptLock) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(l, "", "  ")
	return append(data, '\n'), err
}

// ParsePromptLock reads a lock file strictly: unknown members, malformed
// digests and a path recorded twice are errors.
func ParsePromptLock(data []byte) (*PromptLock, error) {
	var l PromptLock
	if _, err := strictjson.Unmarshal(data, &l, strictjson.Options{}); err != nil {
		return nil, err
	}
	if l.Schema != PromptLockSchema {
		return nil, fmt.Errorf("schema %q, want %q", l.Schema, PromptLockSchema)
	}
	seen := make(map[string]bool)
	for _, p := range l.Prompts {
		if _, err := digestx.Parse(p.Digest); err != nil {
			return nil, fmt.Errorf("prompt %q: %w", p.Path, err)
		}
		if seen[p.Path] || !fs.ValidPath(p.Path) {
			return nil, fmt.Errorf("prompt %q: recorded twice, or no clean relative path", p.Path)
		}
		seen[p.Path] = true
	}
	return &l, nil
}

// LockPrompts checks that the prompts are those of the lock file. Its fact
// "prompts" lists them.
type LockPrompts struct {
	ID   string // "" means "prompts.lock"
	FS   fs.FS
	Path string // folder of prompts in FS
	Lock string // lock file in FS, outside the folder
}

// Meta implements [Check].
func (c LockPrompts) Meta() Meta {
	return Meta{ID: cmp.Or(c.ID, checkPrompts), Version: "1", Controls: []string{"SUP-02"}}
}

// CacheKey implements [Digester].
func (c LockPrompts) CacheKey(ctx context.Context) ([]string, error) {
	content, err := contentOf(ctx, c.FS, c.Path)
	if err != nil {
		return nil, err
	}
	lock, err := filesContent(c.FS, c.Lock)
	return append(content, lock...), err
}

// Run implements [Check].
func (c LockPrompts) Run(ctx context.Context, _ *Input) (*Result, error) {
	data, err := limits.ReadFile(c.FS, c.Lock, limits.MaxConfig)
	if err != nil {
		return nil, err
	}
	lock, err := ParsePromptLock(data)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", c.Lock, err)
	}
	tree, err := subTree(c.FS, c.Path)
	if err != nil {
		return nil, err
	}
	entries, err := walk.Files(ctx, tree, nil)
	if err != nil {
		return nil, err
	}
	locked := make(map[string]LockedPrompt)
	for _, p := range lock.Prompts {
		locked[p.Path] = p
	}
	var src promptSource
	for _, e := range entries {
		if e.Kind == walk.Dir {
			continue
		}
		want, known := locked[e.Path]
		delete(locked, e.Path)
		if err := src.compare(tree, c.Path, e, want, known); err != nil {
			return nil, err
		}
	}
	for _, name := range sortedKeys(locked) {
		src.found(rulePromptMissing, path.Join(c.Path, name), "",
			fmt.Sprintf("%q is locked at version %q and is not there", name, locked[name].Version))
	}
	return &Result{
		Reason: fmt.Sprintf("%d prompts locked", len(lock.Prompts)),
		Source: prerun.NewSource(src.subjects, src.findings, nil),
		Facts:  map[string]any{"prompts": lock.Prompts},
	}, nil
}

type promptSource struct {
	subjects []prerun.Subject
	findings []prerun.Finding
}

func (s *promptSource) compare(tree fs.FS, dir string, e walk.Entry, want LockedPrompt, known bool) error {
	name := path.Join(dir, e.Path)
	if e.Kind != walk.Regular {
		s.found(rulePromptUnlocked, name, "", fmt.Sprintf("%q is a %s, which no lock can name", e.Path, e.Kind))
		return nil
	}
	sum, err := fileDigest(tree, e.Path)
	if err != nil {
		return err
	}
	s.subjects = append(s.subjects, prerun.Subject{Path: prerun.EscapePath(name), Digest: sum})
	switch {
	case !known:
		s.found(rulePromptUnlocked, name, sum, fmt.Sprintf("%q is in no lock file", e.Path))
	case sum != want.Digest:
		s.found(rulePromptChanged, name, sum, fmt.Sprintf("%q is not version %q as locked", e.Path, want.Version))
	}
	return nil
}

func (s *promptSource) found(rule prerun.Rule, name, digest, message string) {
	name = prerun.EscapePath(name)
	s.findings = append(s.findings, prerun.Finding{
		Rule:       rule,
		Severity:   rule.Severity,
		Confidence: prerun.ConfidenceHigh,
		Subject:    prerun.Subject{Path: name, Digest: digest},
		Locations:  []prerun.Location{{Path: name}},
		Message:    message,
	})
}
