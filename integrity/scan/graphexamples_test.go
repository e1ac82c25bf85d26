package scan_test

import (
	"bytes"
	"slices"

	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// graphFileExamples are those of Core ML, OpenVINO and the formats after them.
func graphFileExamples() map[string]ruleExample {
	p := build.Proto(nil)
	return map[string]ruleExample{
		"scan.coreml.custom-model": {looks: "a model that is the class `MyModel`.", file: "m.mlmodel", data: build.CoreML(555, p.Text(10, "MyModel"))},
		"scan.coreml.custom-layer": {
			looks: "a layer that is the class `MyLayer`.", file: "m.mlmodel",
			data: build.CoreML(500, build.CoreMLNetwork(p.Bytes(500, p.Text(10, "MyLayer")))),
		},
		"scan.coreml.linked-model": {
			looks: "a model that stands for `Other.mlmodelc`.", file: "m.mlmodel",
			data: build.CoreML(556, p.Bytes(1, p.Bytes(1, p.Text(1, "Other.mlmodelc")))),
		},
		"scan.coreml.weights-path": {looks: "a constant kept in `/etc/passwd`.", file: "m.mlmodel", data: build.CoreML(502, build.CoreMLProgram("/etc/passwd", 0))},
		"scan.coreml.weights-range": {
			looks: "a constant at offset 4096 of a file of 64 bytes.", file: "m.mlmodel",
			data: build.CoreML(502, build.CoreMLProgram("@model_path/weight.bin", 4096)), beside: map[string][]byte{"weight.bin": build.CoreMLWeights()},
		},
		"scan.coreml.manifest-path": {
			looks: "an item with the path `../../.ssh/id_rsa`.", file: "Manifest.json",
			data: []byte(`{"itemInfoEntries": {"a": {"path": "../../.ssh/id_rsa"}}}`),
		},
		"scan.openvino.custom-layer": {
			looks: "a layer of type `Magic` and version `extension`.", file: "m.xml",
			data: build.OpenVINO("0", "0", `<layer name="x" type="Magic" version="extension"/>`),
		},
		"scan.openvino.library-reference": {
			looks: "an attribute that is `libmagic.so`.", file: "m.xml",
			data: build.OpenVINO("0", "0", `<layer name="x" type="Add" version="opset1" library="libmagic.so"/>`),
		},
		"scan.openvino.weights-range": {
			looks: "a constant of 16 bytes at offset 8 of a file of 16 bytes.", file: "m.xml", data: build.OpenVINO("8", "16"),
			beside: map[string][]byte{"m.bin": make([]byte, 16)},
		},
		"scan.xml.document-type": {
			looks: "`<!DOCTYPE net [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>` in an OpenVINO model.", file: "m.xml",
			data: bytes.Replace(build.OpenVINO("0", "0"), []byte("<net"), []byte("<!DOCTYPE net [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>\n<net"), 1),
		},
		"scan.paddle.python-operator":  {looks: "the operator `py_func`.", file: "m.pdmodel", data: build.Paddle(build.PaddleOp("py_func"))},
		"scan.paddle.file-operator":    {looks: "the operator `load_combine`.", file: "m.pdmodel", data: build.Paddle(build.PaddleOp("load_combine"))},
		"scan.paddle.network-operator": {looks: "the operator `listen_and_serv`.", file: "m.pdmodel", data: build.Paddle(build.PaddleOp("listen_and_serv"))},
		"scan.paddle.custom-operator":  {looks: "the operator `3.magic`: dialect 3 is that of custom libraries.", file: "m.json", data: paddleJSON("3.magic")},
		"scan.mxnet.custom-operator":   {looks: "a node with the operator `Custom` of type `magic`.", file: "m-symbol.json", data: mxnetNode("Custom", "op_type", "magic")},
		"scan.mxnet.native-operator":   {looks: "a node with the operator `_Native` and an address.", file: "m-symbol.json", data: mxnetNode("_Native", "info", "0x7f0000000000")},
		"scan.mxnet.file-operator":     {looks: "a node that reads the image `/etc/passwd`.", file: "m-symbol.json", data: mxnetNode("_cvimread", "filename", "/etc/passwd")},
		"scan.tensorflow.asset-path":   {looks: "an asset called `../../etc/passwd`.", file: "saved_model.pb", data: savedModelWith(6, p.Text(2, "../../etc/passwd"))},
		"scan.tensorflow.checkpoint-range": {
			looks: "a tensor of 20 bytes at offset 90 of a data file of 100 bytes.", file: "m.index",
			data: build.Checkpoint(1, 0, build.BundleEntry{Name: "w", Off: 90, Size: 20}), beside: map[string][]byte{"m.data-00000-of-00001": make([]byte, 100)},
		},
		"scan.cntk.user-function": {
			looks: "a function of the module `magic`, made by its function `create`.", file: "m.cntk",
			data: cntkModel(build.CNTKInner(build.CNTKDict("module", build.CNTKText("magic"), "deserialize_method", build.CNTKText("create")))),
		},
		"scan.tensorrt.host-code": {looks: "an ELF program for the host in an engine.", file: "m.engine", data: slices.Concat([]byte("ptrt"), make([]byte, 60), build.ELF())},
	}
}

func mxnetNode(op, key, value string) []byte {
	return []byte(`{"nodes": [{"op": "` + op + `", "name": "n", "attrs": {"` + key + `": "` + value + `"}, "inputs": []}], "arg_nodes": [], "heads": [[0, 0, 0]]}`)
}
