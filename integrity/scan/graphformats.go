package scan

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
)

// graphFormats are the formats that hold a graph of operators in a flat buffer
// or a protocol buffer of their own.
func graphFormats() []Format {
	return append([]Format{
		tfliteFormat{},
		executorchFormat{},
		onnxruntimeFormat{},
		coremlFormat{},
		coremlWeightsFormat{},
		coremlPackageFormat{},
		openvinoFormat{},
		placedFormat{openvinoWeightsID, openvinoWeights},
		paddleFormat{},
		paddleJSONFormat{},
		paddleParamsFormat{},
		mxnetFormat{},
		mxnetParamsFormat{},
		tfCheckpointFormat{},
		placedFormat{"tensorflow-shard", tfShard},
		placedFormat{"tfjs-weights", tfjsShard},
		onnxTensorFormat{},
		tfTextFormat{},
		kerasMetadataFormat{},
		tfFingerprintFormat{},
		riegeliFormat{},
		cntkFormat{},
		tensorrtFormat{},
	}, closedFormats()...)
}

// graphFinding reports something at a range of a graph.
func graphFinding(out *Sink, rule prerun.Rule, sev prerun.Severity, at flatbuf.Range, key, format string, args ...any) {
	out.report(rule, sev, prerun.Location{Offset: at.Off, Length: at.Len}, key, format, args...)
}

// outside reports whether a file name that a model states leads out of the
// model's folder, for any of the systems that may load it, or is none.
func outside(location string) bool { return location == "" || leaves(location) }

// sibling finds a file that a model names relative to its own folder. linked
// says that a symbolic link is on the way.
func (p Probe) sibling(location string) (e Entry, linked, ok bool) {
	full := path.Join(path.Dir(p.Name), path.Clean(strings.ReplaceAll(location, `\`, "/")))
	for dir := full; dir != "." && dir != "/"; dir = path.Dir(dir) {
		if e, ok := p.Tree.Lookup(dir); ok && e.Mode&fs.ModeSymlink != 0 {
			return e, true, true
		}
	}
	e, ok = p.Tree.Lookup(full)
	return e, false, ok
}

// flatErr gives the error of a flat buffer its place among those of formats:
// one that was cut early is malformed, whatever the reader says.
func flatErr(format string, b *flatbuf.Buffer) error {
	err := b.Err()
	if err == nil || errors.Is(err, ErrBudget) {
		return err
	}
	return fmt.Errorf("%s: %w", format, err)
}
