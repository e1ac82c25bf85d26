package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/tensorfile"
	"github.com/prerun/prerun/validate"
)

// A classifier is the mailtriage model: the mean of its tokens' embeddings, one
// hidden layer, two logits. model/README.md specifies it; the weights are
// whatever lies in the folder, damaged or not.
type classifier struct {
	vocab     map[string]int
	maxTokens int
	labels    [2]string
	dim       int
	hidden    int
	embedding []float32 // vocabulary × dim
	w1, b1    []float32 // dim × hidden, hidden
	w2, b2    []float32 // hidden × 2, 2
	digest    string    // of the weights file
}

// loadClassifier reads the model from its folder.
func loadClassifier(fsys fs.FS) (*classifier, error) {
	var config struct {
		VocabSize     int               `json:"vocab_size"`
		EmbeddingSize int               `json:"embedding_size"`
		HiddenSize    int               `json:"hidden_size"`
		MaxTokens     int               `json:"max_tokens"`
		ID2Label      map[string]string `json:"id2label"`
	}
	data, err := fs.ReadFile(fsys, "config.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	c := &classifier{
		maxTokens: config.MaxTokens, dim: config.EmbeddingSize, hidden: config.HiddenSize,
		labels: [2]string{config.ID2Label["0"], config.ID2Label["1"]},
	}
	if err := c.readVocab(fsys, config.VocabSize); err != nil {
		return nil, err
	}
	return c, c.readWeights(fsys, config.VocabSize)
}

func (c *classifier) readVocab(fsys fs.FS, size int) error {
	data, err := fs.ReadFile(fsys, "vocab.txt")
	if err != nil {
		return err
	}
	c.vocab = make(map[string]int, size)
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		c.vocab[lines.Text()] = len(c.vocab)
	}
	if len(c.vocab) != size {
		return fmt.Errorf("vocab.txt: %d tokens, config.json says %d", len(c.vocab), size)
	}
	return nil
}

func (c *classifier) readWeights(fsys fs.FS, vocab int) error {
	data, err := fs.ReadFile(fsys, "model.safetensors")
	if err != nil {
		return err
	}
	c.digest = digestx.Of(data).String()
	r := bytes.NewReader(data)
	file, err := tensorfile.ParseSafetensors(r, r.Size())
	if err != nil {
		return fmt.Errorf("model.safetensors: %w", err)
	}
	for _, want := range []struct {
		name string
		size int
		into *[]float32
	}{
		{"embedding.weight", vocab * c.dim, &c.embedding},
		{"dense.weight", c.dim * c.hidden, &c.w1},
		{"dense.bias", c.hidden, &c.b1},
		{"classifier.weight", c.hidden * 2, &c.w2},
		{"classifier.bias", 2, &c.b2},
	} {
		*want.into = make([]float32, want.size)
		found := false
		for i := range file.Tensors {
			if t := &file.Tensors[i]; t.Name == want.name && t.Elements() == int64(want.size) {
				found = true
				if err := tensorfile.ReadFloat32(r, t, 0, *want.into); err != nil {
					return err
				}
			}
		}
		if !found {
			return fmt.Errorf("model.safetensors: no tensor %q of %d elements", want.name, want.size)
		}
	}
	return nil
}

// tokens are the runs of lower-cased ASCII letters, digits and $!' in a text.
func tokens(text string, max int) []string {
	var out []string
	start := -1
	low := []byte(text)
	for i := range low {
		if 'A' <= low[i] && low[i] <= 'Z' {
			low[i] += 'a' - 'A'
		}
	}
	for i := 0; i <= len(low) && len(out) < max; i++ {
		inside := i < len(low) && isToken(low[i])
		switch {
		case inside && start < 0:
			start = i
		case !inside && start >= 0:
			out = append(out, string(low[start:i]))
			start = -1
		}
	}
	return out
}

func isToken(b byte) bool {
	return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '$' || b == '!' || b == '\''
}

// logits is the forward pass.
func (c *classifier) logits(text string) [2]float32 {
	x := make([]float32, c.dim)
	known := 0
	for _, tok := range tokens(text, c.maxTokens) {
		id, ok := c.vocab[tok]
		if !ok {
			continue
		}
		known++
		for j, v := range c.embedding[id*c.dim : (id+1)*c.dim] {
			x[j] += v
		}
	}
	out := [2]float32{c.b2[0], c.b2[1]}
	for h := range c.hidden {
		sum := c.b1[h]
		for j := range x {
			if known > 0 {
				sum += x[j] / float32(known) * c.w1[j*c.hidden+h]
			}
		}
		if sum > 0 {
			out[0] += sum * c.w2[2*h]
			out[1] += sum * c.w2[2*h+1]
		}
	}
	return out
}

// classify returns "ham" or "spam".
func (c *classifier) classify(text string) string {
	l := c.logits(text)
	if l[1] > l[0] {
		return c.labels[1]
	}
	return c.labels[0]
}

// target is the model as a suite asks it. It is loaded once, when first asked,
// from the folder that the gate verified.
func (c *classifier) target() validate.Target {
	return validate.TargetFunc{
		ID: "mailtriage", ModelDigest: c.digest, SameEachTime: true,
		Fn: func(_ context.Context, req validate.Request) (validate.Response, error) {
			return validate.Response{Text: c.classify(req.Input)}, nil
		},
	}
}
