package scan

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/tardir"
)

// tarModelFormat recognises NeMo models, which are tar archives, and the old tar
// files of torch. Their members are routed by the tar format. Facts:
// "framework", "layout".
type tarModelFormat struct{}

var ruleTorchTar = prerun.Rule{
	ID: "scan.torch.tar-layout", Title: "torch file of the oldest layout", Severity: prerun.Low,
	Help: "The file is a tar archive of pickles, which torch wrote before 2017. torch before 2.6 reads it past the check of weights_only. Save the model anew, as safetensors if possible.",
	Refs: []prerun.Reference{refDeserialize, cve("2025-32434")},
}

func (tarModelFormat) Info() Info {
	return Info{ID: "tar-model", Within: []string{"tar"}, Extensions: []string{".nemo"}, Rules: []prerun.Rule{ruleTorchTar}}
}

func (tarModelFormat) Match(p Probe) Match {
	if tardir.IsTar(p.Head) {
		return Maybe
	}
	return No
}

func (tarModelFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	found := make(map[string]bool)
	_, err := tardir.Read(a, a.Size, func(m tardir.Member) error {
		switch name := path.Clean(m.Name); name {
		case "model_config.yaml", "sys_info", "pickle", "storages", "tensors":
			found[name] = true
		}
		return nil // the tar format pays for the members
	})
	switch {
	case errors.Is(err, ErrBudget):
		return err
	case found["model_config.yaml"]:
		out.Fact("framework", "nemo")
	case found["pickle"] && found["storages"]:
		out.Fact("framework", "torch")
		out.Fact("layout", "tar")
		out.Finding(prerun.Finding{Rule: ruleTorchTar, Confidence: prerun.ConfidenceHigh, Message: "the archive holds a pickle and its storages"})
	default:
		return fmt.Errorf("tar: no model: %w", ErrNotFormat)
	}
	return nil
}
