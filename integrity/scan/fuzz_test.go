package scan_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/internal/technique"
)

// check scans fuzzed bytes with small limits and holds the result against what
// is true for every input.
func check(t *testing.T, name string, data []byte, formats []scan.Format) {
	s := scan.Scanner{
		Formats:   formats,
		NoDigests: true,
		Limits:    scan.Limits{Bytes: 8 << 20, Entries: 500, Depth: 3, Opcodes: 20_000, Memory: 1 << 20, Findings: 100, Bomb: 1 << 20},
	}
	f := one(t, s, name, data)
	if f.Verdict == scan.Clean && f.Completeness != scan.Complete {
		t.Errorf("clean, but %s", f.Completeness)
	}
	for g := range f.All() {
		if _, err := prerun.SplitPath(g.Path); err != nil {
			t.Error(err)
		}
		for _, x := range g.Findings {
			if err := x.Check(); err != nil {
				t.Error(err)
			}
			for _, l := range x.Locations {
				if l.Offset < 0 || l.Length < 0 || l.Offset+l.Length > g.Size && x.Rule.ID != "scan.pickle.divergence" {
					t.Errorf("%s at %d+%d of %d", x.Rule.ID, l.Offset, l.Length, g.Size)
				}
			}
		}
		for _, gap := range g.Gaps {
			if strings.Contains(gap.Reason, "fault in format") {
				t.Error(gap.Reason)
			}
		}
	}
}

func seeds() [][]byte {
	floats := make([]byte, 16)
	zipped := build.Zip(build.Member{Name: "a/data.pkl", Data: build.Harmless()}, build.Member{Name: "b", Data: floats, Method: 8})
	return [][]byte{
		build.Attack(), build.Harmless(), zipped,
		build.Archive{Members: []build.Member{{Name: "a", Data: zipped}}, Prefix: []byte("x"), Suffix: []byte("y")}.Bytes(),
		build.Tar(build.TarMember{Name: "../a", Data: floats}, build.TarMember{Name: "l", Link: "b", Kind: '2'}),
		build.Gzip(zipped),
		build.Safetensors(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, floats),
		build.NPY("|O", "(1,)", build.Attack()),
		build.ONNX([]build.Proto{build.Node("F", "own")}, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "x", "offset", "1")}),
		[]byte(`{"auto_map": {"A": ["x--y.Z", null]}, "chat_template": [{"name": "a", "template": "b"}], "_target_": "os.system"}`),
		build.GGUF([]string{"tokenizer.chat_template", ordinaryTemplate}, []build.GGUFTensor{{Name: "a", Dims: []uint64{4}}}, floats),
		savedModel("MatMul", "ReadFile"), frozenGraph("PyFunc"),
		[]byte(ordinaryTemplate), []byte(`{{ x["\x5f_class__"] ~ '__' }}{# c #}{%- include "y" -%}`),
		[]byte(`{"class_name": "X", "config": {"layers": [{"class_name": "Lambda", "config": {"function": ["4wEAAAA="]}}]}}`),
		[]byte("# text\n"), build.ELF(), build.PE(),
	}
}

// FuzzScan gives any bytes to all formats at once.
func FuzzScan(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	for e, d := range technique.Make(technique.Denied(), false) {
		if e.Containers > 0 {
			f.Add(d.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "f", data, nil) })
}

// FuzzPickle starts at what hides calls in pickles.
func FuzzPickle(f *testing.F) {
	for e, d := range technique.Make(technique.Denied(), false) {
		if e.Containers == 0 {
			f.Add(d.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 1<<14 {
			check(t, "a.pkl", data, only("pickle"))
		}
	})
}

// FuzzZip starts at the headers of zip archives.
func FuzzZip(f *testing.F) { fuzzFormat(f, "zip", "a.zip") }

// FuzzTar starts at the headers of tar archives.
func FuzzTar(f *testing.F) { fuzzFormat(f, "tar", "a.tar") }

// FuzzONNX starts at the fields of models.
func FuzzONNX(f *testing.F) { fuzzFormat(f, "onnx", "a.onnx") }

// FuzzGGUF starts at the keys and tensors of GGUF files.
func FuzzGGUF(f *testing.F) { fuzzFormat(f, "gguf", "a.gguf") }

// FuzzTensorFlow starts at graphs.
func FuzzTensorFlow(f *testing.F) { fuzzFormat(f, "tensorflow", "a.pb") }

// FuzzTemplate starts at Jinja.
func FuzzTemplate(f *testing.F) { fuzzFormat(f, "jinja", "chat_template.jinja") }

// FuzzConfig starts at JSON, under each name that means something.
func FuzzConfig(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Add([]byte(`[{"type": "x.Y"}]`))
	f.Add([]byte(`{"_class_name": ["a", "b"], "unet": ["diffusers", "U"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"config.json", "tokenizer_config.json", "modules.json", "model_index.json"} {
			check(t, name, data, append(only("json"), only("keras-config")...))
		}
	})
}

// only is the one built-in format of that id.
func only(id string) []scan.Format {
	for _, f := range scan.Builtin() {
		if f.Info().ID == id {
			return []scan.Format{f}
		}
	}
	panic("no format " + id)
}

func fuzzFormat(f *testing.F, id, name string) {
	for _, s := range seeds() {
		f.Add(s)
	}
	formats := only(id)
	f.Fuzz(func(t *testing.T, data []byte) { check(t, name, data, formats) })
}

func BenchmarkScan(b *testing.B) {
	weights := make([]byte, 64<<20)
	big := build.Safetensors(`{"a":{"dtype":"F32","shape":[16777216],"data_offsets":[0,67108864]}}`, weights)
	noise := bytes.Repeat([]byte{0xff, 0xd8, 3, 4, 5, 6, 7, 8}, 2<<20)
	vocabulary := []byte("\x80\x04}\x94(")
	for i := range 1 << 18 {
		word := fmt.Sprintf("token_%d", i)
		vocabulary = append(append(vocabulary, '\x8c', byte(len(word))), word...)
		vocabulary = append(vocabulary, '\x94', 'J', byte(i), byte(i>>8), byte(i>>16), 0)
	}
	vocabulary = append(vocabulary, "u."...)
	for _, bb := range []struct {
		name string
		data []byte
		s    scan.Scanner
	}{
		{"safetensors_64MiB_header_only", big, scan.Scanner{NoDigests: true}},
		{"safetensors_64MiB_hashed", big, scan.Scanner{}},
		{"unrecognised_16MiB", noise, scan.Scanner{NoDigests: true}},
		{"zip_stored_64MiB", build.Zip(build.Member{Name: "m.safetensors", Data: big}), scan.Scanner{NoDigests: true}},
		{"pickle_5MiB", vocabulary, scan.Scanner{NoDigests: true}},
		{"config", []byte(`{"model_type": "bert", "hidden_size": 768}`), scan.Scanner{NoDigests: true}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.data)))
			b.ReportAllocs()
			for b.Loop() {
				one(b, bb.s, "x", bb.data)
			}
		})
	}
	b.Run("folder_1000_files", func(b *testing.B) {
		files := make(map[string][]byte)
		for name, data := range mixed() {
			for i := range 20 {
				files[strings.Repeat("d/", i%5)+string(rune('a'+i))+"/"+name] = data
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			folder(b, scan.Scanner{NoDigests: true}, files)
		}
	})
}
