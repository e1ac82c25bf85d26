package openai_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// bigramGGUF is a language model of 2.4 MB that llama.cpp loads: one layer whose
// attention and feed-forward weights are zero, so that the next token depends
// on the last one alone. Embeddings are one-hot and the output matrix is the
// table of successors. After ":" or a line break, which is where chat prompts
// end, it says word and stops, whatever the prompt.
func bigramGGUF(word string) []byte {
	const (
		unknown, begin, end = 0, 1, 2
		firstByte           = 3
		vocab               = firstByte + 256
		width               = 320 // multiple of the head size, at least vocab
		heads               = 10
		inner               = 32
		context             = 32768
	)
	tokens := []string{"<unk>", "<s>", "</s>"}
	types := []int32{2, 3, 3} // unknown, control, control
	for b := range 256 {
		tokens = append(tokens, fmt.Sprintf("<0x%02X>", b))
		types = append(types, 6) // byte
	}
	output := make([]float32, width*vocab) // row t holds the score of token t by last token
	follow := func(last, next int) { output[next*width+last] = 1 }
	for last := range vocab {
		follow(last, end)
	}
	last := []int{firstByte + ':', firstByte + '\n'}
	for i := range len(word) {
		for _, l := range last {
			output[end*width+l] = 0
			follow(l, firstByte+int(word[i]))
		}
		last = []int{firstByte + int(word[i])}
	}
	embeddings := make([]float32, width*vocab)
	for t := range vocab {
		embeddings[t*width+t] = 1
	}
	ones := make([]float32, width)
	for i := range ones {
		ones[i] = 1
	}

	type tensor struct {
		name string
		dims []uint64 // innermost first
		data []float32
	}
	zero := func(name string, dims ...uint64) tensor {
		n := uint64(1)
		for _, d := range dims {
			n *= d
		}
		return tensor{name, dims, make([]float32, n)}
	}
	tensors := []tensor{
		{"token_embd.weight", []uint64{width, vocab}, embeddings},
		{"output_norm.weight", []uint64{width}, ones},
		{"output.weight", []uint64{width, vocab}, output},
		{"blk.0.attn_norm.weight", []uint64{width}, ones},
		zero("blk.0.attn_q.weight", width, width),
		zero("blk.0.attn_k.weight", width, width),
		zero("blk.0.attn_v.weight", width, width),
		zero("blk.0.attn_output.weight", width, width),
		{"blk.0.ffn_norm.weight", []uint64{width}, ones},
		zero("blk.0.ffn_gate.weight", width, inner),
		zero("blk.0.ffn_up.weight", width, inner),
		zero("blk.0.ffn_down.weight", inner, width),
	}

	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			if s, ok := v.(string); ok {
				binary.Write(&b, binary.LittleEndian, uint64(len(s)))
				b.WriteString(s)
				continue
			}
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	const typeUint32, typeInt32, typeFloat32, typeString, typeArray = uint32(4), uint32(5), uint32(6), uint32(8), uint32(9)
	meta := []func(){
		func() { put("general.architecture", typeString, "llama") },
		func() { put("general.name", typeString, "bigram test model") },
		func() { put("llama.block_count", typeUint32, uint32(1)) },
		func() { put("llama.context_length", typeUint32, uint32(context)) },
		func() { put("llama.embedding_length", typeUint32, uint32(width)) },
		func() { put("llama.feed_forward_length", typeUint32, uint32(inner)) },
		func() { put("llama.attention.head_count", typeUint32, uint32(heads)) },
		func() { put("llama.attention.layer_norm_rms_epsilon", typeFloat32, float32(1e-5)) },
		func() { put("tokenizer.ggml.model", typeString, "llama") },
		func() {
			put("tokenizer.ggml.tokens", typeArray, typeString, uint64(vocab))
			for _, t := range tokens {
				put(t)
			}
		},
		func() {
			put("tokenizer.ggml.scores", typeArray, typeFloat32, uint64(vocab), make([]float32, vocab))
		},
		func() { put("tokenizer.ggml.token_type", typeArray, typeInt32, uint64(vocab), types) },
		func() { put("tokenizer.ggml.unknown_token_id", typeUint32, uint32(unknown)) },
		func() { put("tokenizer.ggml.bos_token_id", typeUint32, uint32(begin)) },
		func() { put("tokenizer.ggml.eos_token_id", typeUint32, uint32(end)) },
	}
	b.WriteString("GGUF")
	put(uint32(3), uint64(len(tensors)), uint64(len(meta)))
	for _, m := range meta {
		m()
	}
	const alignment = 32
	offset := uint64(0)
	for _, t := range tensors {
		put(t.name, uint32(len(t.dims)), t.dims, uint32(0), offset) // type 0 is F32
		offset += uint64(len(t.data)*4+alignment-1) / alignment * alignment
	}
	pad := func() {
		for b.Len()%alignment != 0 {
			b.WriteByte(0)
		}
	}
	pad()
	for _, t := range tensors {
		for _, v := range t.data {
			b.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
		}
		pad()
	}
	return b.Bytes()
}
