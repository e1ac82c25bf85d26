package scan_test

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

//go:embed testdata/hdf5/*.gz
var hdf5Files embed.FS

// hdf5File is a file that h5py wrote; generate.py beside it says how.
func hdf5File(name string) []byte {
	z := must(gzip.NewReader(bytes.NewReader(must(hdf5Files.ReadFile("testdata/hdf5/" + name + ".h5.gz")))))
	return must(io.ReadAll(z))
}

const kerasDense = `{"class_name": "Sequential", "config": {"layers": [{"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}, "registered_name": null}]}}`

func kerasH5(config string) build.HDF5 {
	return build.HDF5{Messages: []build.HDF5Message{
		build.HDF5Text("keras_version", "2.15.0"), build.HDF5Text("backend", "tensorflow"), build.HDF5Text("model_config", config),
	}}
}

func TestHDF5(t *testing.T) {
	with := func(h build.HDF5, f func(*build.HDF5)) []byte {
		f(&h)
		return h.Bytes()
	}
	ok := kerasH5(kerasDense)
	links := []string{"scan.hdf5.external-link", "scan.hdf5.external-storage", "scan.hdf5.virtual-dataset"}
	runRows(t, []row{
		{"keras", "m.h5", ok.Bytes(), scan.Clean, scan.Complete, nil},
		{"any_name", "m", ok.Bytes(), scan.Clean, scan.Complete, nil},
		{"empty", "m.h5", build.HDF5{}.Bytes(), scan.Clean, scan.Complete, nil},
		{"soft_link", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "", "/b")}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"filter_gzip", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Filter(1)}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"filter_blosc", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Filter(32001)}}.Bytes(), scan.Clean, scan.Complete, nil},

		{"layer_named_lambda", "m.h5", kerasH5(`{"class_name": "Sequential", "config": {"name": "Lambda", "layers": [{"class_name": "Dense", "config": {"name": "lambda_1", "function": "relu"}}]}}`).Bytes(), scan.Clean, scan.Complete, nil},
		{"function_of_keras", "m.h5", kerasH5(`{"class_name": "Dense", "config": {"activation": {"module": "keras.activations", "class_name": "function", "config": "relu"}}}`).Bytes(), scan.Clean, scan.Complete, nil},
		{"layer_of_keras_registered", "m.h5", kerasH5(`{"class_name": "Functional", "config": {"layers": [{"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "Dense"}]}}`).Bytes(), scan.Clean, scan.Complete, nil},
		{"layer_named_get_file", "m.h5", kerasH5(`{"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"name": "get_file"}}]}}`).Bytes(), scan.Clean, scan.Complete, nil},
		{"module_in_a_name", "m.h5", kerasH5(`{"class_name": "Sequential", "config": {"name": "os.system", "layers": [{"class_name": "Dense", "config": {"name": "subprocess"}}]}}`).Bytes(), scan.Clean, scan.Complete, nil},
		{"training_config", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Text("training_config", `{"loss": "mse", "optimizer_config": {"class_name": "Adam", "config": {"learning_rate": 0.001}}}`)}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"attribute_of_code", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Text("note", "eval(__import__('os').system('id'))")}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"attribute_of_json", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Text("history", `{"class_name": "Lambda"}`)}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"soft_link_climbs", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "", "/b/../../c")}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"soft_link_like_a_file", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("b.h5", "", "/etc/passwd")}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"filter_shuffle", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Filter(2)}}.Bytes(), scan.Clean, scan.Complete, nil},
		{"filter_zstd", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Filter(32015)}}.Bytes(), scan.Clean, scan.Complete, nil},

		{"lambda", "m.h5", kerasH5(`{"class_name": "Model", "config": {"layers": [{"class_name": "Lambda", "config": {"function": ["4wEAAAA=", null, null]}}]}}`).Bytes(), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"gadget", "m.h5", kerasH5(`{"class_name": "X", "config": {"f": {"module": "keras.utils", "class_name": "function", "config": "get_file"}}}`).Bytes(), scan.Malicious, scan.Complete, []string{"scan.keras.gadget"}},
		{"module", "m.h5", kerasH5(`{"class_name": "X", "config": {"f": {"module": "os", "class_name": "function", "config": "system"}}}`).Bytes(), scan.Malicious, scan.Complete, []string{"scan.keras.foreign-module"}},
		{"custom", "m.h5", kerasH5(`{"class_name": "X", "config": {}, "registered_name": "mine>X"}`).Bytes(), scan.Clean, scan.Complete, []string{"scan.keras.custom-object"}},
		{"custom_loss", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Text("training_config", `{"loss": {"class_name": "function", "module": "evil", "config": "f"}}`)}}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.keras.foreign-module"}},
		{"config_broken", "m.h5", kerasH5(`{"class_name": `).Bytes(), scan.Unknown, scan.Inconclusive, nil},
		{"external_link", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "b.h5", "/b")}}.Bytes(), scan.Suspicious, scan.Complete, links[:1]},
		{"external_link_out", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "x/../../b.h5", "/b")}}.Bytes(), scan.Malicious, scan.Complete, links[:1]},
		{"external_link_drive", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", `C:\b.h5`, "/b")}}.Bytes(), scan.Malicious, scan.Complete, links[:1]},
		{"filter_unknown", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Filter(300)}}.Bytes(), scan.Clean, scan.Complete, []string{"scan.hdf5.plugin-filter"}},
		{"user_block", "m.h5", with(ok, func(h *build.HDF5) { h.Prefix = make([]byte, 512) }), scan.Clean, scan.Complete, []string{"scan.hdf5.user-block"}},
		{"pickle_before", "m.h5", with(ok, func(h *build.HDF5) { h.Prefix = append(build.Attack(), make([]byte, 512-len(build.Attack()))...) }), scan.Malicious, scan.Complete, []string{"scan.file.polyglot", "scan.hdf5.user-block", "scan.pickle.call-on-load"}},
		{"trailing", "m.h5", with(ok, func(h *build.HDF5) { h.Suffix = make([]byte, 9) }), scan.Clean, scan.Complete, []string{"scan.hdf5.trailing-data"}},
		{"trailing_program", "m.h5", with(ok, func(h *build.HDF5) { h.Suffix = build.ELF() }), scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable", "scan.hdf5.trailing-data"}},
		{"cut", "m.h5", ok.Bytes()[:100], scan.Unknown, scan.Inconclusive, nil},
		{"version", "m.h5", append([]byte("\x89HDF\r\n\x1a\n\x09"), make([]byte, 90)...), scan.Unknown, scan.Failed, nil},
		{"user_link", "m.h5", build.HDF5{Messages: []build.HDF5Message{{Type: 6, Body: []byte("\x01\x08\x46\x01a\x00\x00")}}}.Bytes(), scan.Unknown, scan.Inconclusive, nil},

		{"h5py_model", "m.h5", hdf5File("model_earliest"), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"h5py_model_latest", "m.h5", hdf5File("model_latest"), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"h5py_links", "m.h5", hdf5File("links_earliest"), scan.Malicious, scan.Complete, links},
		{"h5py_links_latest", "m.h5", hdf5File("links_latest"), scan.Malicious, scan.Complete, append(slices.Clone(links), "scan.keras.lambda")},
	})
}

func TestKerasArchive(t *testing.T) {
	archive := func(config string, more ...build.Member) []byte {
		return build.Zip(append([]build.Member{
			{Name: "metadata.json", Data: []byte(`{"keras_version": "3.8.0", "date_saved": "2025-01-01@00:00:00"}`), Method: 8},
			{Name: "config.json", Data: []byte(config), Method: 8},
			{Name: "model.weights.h5", Data: build.HDF5{}.Bytes()},
		}, more...)...)
	}
	const lambda = `{"module": "keras", "class_name": "Sequential", "config": {"layers": [{"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}]}}`
	out := build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "/etc/passwd", "/b")}}.Bytes()
	runRows(t, []row{
		{"ordinary", "m.keras", archive(kerasDense), scan.Clean, scan.Complete, nil},
		{"assets", "m.keras", archive(kerasDense, build.Member{Name: "assets/vocabulary.txt", Data: []byte("a\n")}), scan.Clean, scan.Complete, nil},
		{"not_keras", "m.zip", build.Zip(build.Member{Name: "config.json", Data: []byte("{}")}, build.Member{Name: "x", Data: []byte("metadata.json")}), scan.Clean, scan.Complete, nil},
		{"lambda", "m.keras", archive(lambda), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"foreign", "m.keras", archive(kerasDense, build.Member{Name: "x.txt", Data: []byte("a\n")}), scan.Clean, scan.Complete, []string{"scan.keras.foreign-member"}},
		{"external_weights", "m.keras", archive(kerasDense, build.Member{Name: "assets/w.h5", Data: out}), scan.Malicious, scan.Complete, []string{"scan.hdf5.external-link"}},
	})
	f := one(t, scan.Scanner{}, "m.keras", archive(kerasDense))
	if f.Facts["version"] != "3.8.0" || !slices.Contains(f.Formats, "keras") {
		t.Errorf("%v %v", f.Formats, f.Facts)
	}
}

// TestHDF5Links counts what is found in the heaps and trees of large groups.
func TestHDF5Links(t *testing.T) {
	for _, name := range []string{"links_earliest", "links_latest"} {
		f := one(t, scan.Scanner{}, "m.h5", hdf5File(name))
		if f.Facts["soft_links"] != "301" {
			t.Errorf("%s: %s soft links", name, f.Facts["soft_links"])
		}
		for _, want := range []string{`"/e" is in file "/etc/passwd"`, `"/many/e2" is in file "b.h5"`, `"/d" has its data in file "../d.bin"`, `"/v" is made of file "other.h5"`} {
			if !slices.ContainsFunc(f.Findings, func(x prerun.Finding) bool { return strings.Contains(x.Message, want) }) {
				t.Errorf("%s: no finding that %s", name, want)
			}
		}
	}
}

// FuzzHDF5 starts at files of both generations.
func FuzzHDF5(f *testing.F) {
	f.Add(kerasH5(kerasDense).Bytes())
	f.Add(build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "b.h5", "/b"), build.HDF5Filter(300)}, Prefix: make([]byte, 512)}.Bytes())
	f.Add(hdf5File("model_earliest")[:6000])
	f.Add(hdf5File("links_latest")[:6000])
	formats := only("hdf5")
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "a.h5", data, formats) })
}
