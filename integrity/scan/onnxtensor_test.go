package scan_test

import (
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// tensorPB is a tensor of two by two floats in a file of its own.
const tensorPB = "\x08\x02\x08\x02\x10\x01\x42\x01w\x4a\x10aaaabbbbccccdddd"

func TestONNXTensor(t *testing.T) {
	for _, tt := range []struct {
		name, file, data string
		verdict          scan.Verdict
		completeness     scan.Completeness
	}{
		{"raw", "input_0.pb", tensorPB, scan.Clean, scan.Complete},
		{"strings", "input_0.pb", "\x08\x01\x10\x08\x32\x03day", scan.Clean, scan.Complete},
		{"scalar", "input_0.pb", "\x10\x07\x3a\x01\x05", scan.Clean, scan.Complete},
		{"size", "input_0.pb", "\x08\x03" + tensorPB, scan.Unknown, scan.Inconclusive},
		{"huge", "input_0.pb", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + tensorPB, scan.Unknown, scan.Inconclusive},
		{"no_data", "input_0.pb", "\x08\x7f\x08\x7f\x10\x07", scan.Unknown, scan.Inconclusive},
		{"external", "input_0.pb", tensorPB + "\x6a\x02\x0a\x00", scan.Unknown, scan.Inconclusive},
		{"two_types", "input_0.pb", tensorPB + "\x10\x01", scan.Unknown, scan.Inconclusive},
		{"type_unknown", "input_0.pb", "\x10\x7f", scan.Unknown, scan.Inconclusive},
		{"cut", "input_0.pb", tensorPB[:20], scan.Unknown, scan.Inconclusive},
		{"other_name", "input_0.dat2", tensorPB, scan.Unknown, scan.Complete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := one(t, scan.Scanner{}, tt.file, []byte(tt.data))
			if f.Verdict != tt.verdict || f.Completeness != tt.completeness {
				report(t, f)
				t.Errorf("%s, %s; want %s, %s", f.Verdict, f.Completeness, tt.verdict, tt.completeness)
			}
		})
	}
}

// What is known by its place is taken as it is, unless it is something else and
// that has a finding; and where loaders open files of that name, what fails to
// be read stays a gap.
func TestKnownByPlace(t *testing.T) {
	broken := []byte("\xa2\x38\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x4f\xff\xff") // reads like Core ML up to its end
	for _, tt := range []struct {
		name    string
		files   map[string][]byte
		file    string
		verdict scan.Verdict
	}{
		{"shard", map[string][]byte{"model.json": []byte("{}"), "group1-shard1of2.bin": make([]byte, 64)}, "group1-shard1of2.bin", scan.Clean},
		{"shard_alone", map[string][]byte{"group1-shard1of2.bin": make([]byte, 64)}, "group1-shard1of2.bin", scan.Unknown},
		{"other_name", map[string][]byte{"model.json": []byte("{}"), "pytorch_model.bin": make([]byte, 64)}, "pytorch_model.bin", scan.Unknown},
		{"shard_attack", map[string][]byte{"model.json": []byte("{}"), "group1-shard1of2.bin": build.Attack()}, "group1-shard1of2.bin", scan.Malicious},
		{"storage", map[string][]byte{"data.pkl": build.Harmless(), "data/0": broken}, "data/0", scan.Clean},
		{"storage_attack", map[string][]byte{"data.pkl": build.Harmless(), "data/0": append(build.Attack(), 0xff)}, "data/0", scan.Malicious},
		{"gzip_beside_xml", map[string][]byte{"m.xml": []byte("<net/>"), "m.bin": build.Gzip(make([]byte, 4096))[:34]}, "m.bin", scan.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := folder(t, scan.Scanner{}, tt.files)
			for i := range res.Files {
				if f := &res.Files[i]; f.Path == tt.file && f.Verdict != tt.verdict {
					report(t, f)
					t.Errorf("%s, want %s", f.Verdict, tt.verdict)
				}
			}
		})
	}
}

// FuzzONNXTensor starts at a tensor.
func FuzzONNXTensor(f *testing.F) {
	f.Add([]byte(tensorPB))
	f.Add([]byte("\x10\x07\x3a\x01\x05"))
	formats := only("onnx-tensor")
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "input_0.pb", data, formats) })
}
