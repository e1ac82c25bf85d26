package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/prerun/prerun/integrity/scan/internal/zipdir"
	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/redact"
)

// torchFormat recognises the zip archives of torch.save and TorchScript. Their
// pickles are routed by the zip format; this one states what the archive is.
// Facts: "framework" (torch or torchscript), "version", "byteorder",
// "format_version".
type torchFormat struct{}

func (torchFormat) Info() Info {
	return Info{ID: "torch", Within: []string{"zip"}, Extensions: []string{".pt", ".pth", ".ptl"}}
}

func (torchFormat) Match(p Probe) Match {
	if zipAtStart(p) && strings.Contains(string(p.Head), "data.pkl") {
		return Maybe
	}
	return No
}

func (torchFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	dir, err := a.zipDir()
	if errors.Is(err, ErrBudget) {
		return err
	}
	top := ""
	members := make(map[string]*zipdir.Member, len(dir.Members))
	for i := range dir.Members {
		m := &dir.Members[i]
		members[m.Name] = m
		if path.Base(m.Name) == "data.pkl" {
			top = path.Dir(m.Name)
		}
	}
	if top == "" {
		return fmt.Errorf("torch: %w", ErrNotFormat)
	}
	out.Fact("framework", "torch")
	if members[path.Join(top, "constants.pkl")] != nil {
		out.Fact("framework", "torchscript")
	}
	for _, name := range []string{"version", "byteorder", ".format_version"} {
		v := members[path.Join(top, name)]
		if v == nil || v.Method != 0 || v.DataAt < 0 || v.Packed >= 16 {
			continue
		}
		text, err := a.Bytes(v.DataAt, v.Packed)
		if err != nil {
			return err
		}
		out.Fact(strings.TrimPrefix(name, "."), redact.Excerpt(bytes.TrimSpace(text), 16))
	}
	return nil
}

// torchMagic is the first pickle of what torch.save wrote before it wrote zip
// archives; protocol, system, object and storage keys follow.
const torchMagic = "0x1950a86a20f9469cfc6c"

// pickler states which program wrote a pickle, as far as that shows: torch in
// its old layout, or a library whose helpers it names. Facts: "framework",
// "layout" and "version" of torch, "pickler".
func pickler(t *pickle.Trace, out *Sink) {
	if len(t.Streams) > 1 && t.Streams[0].Start == 0 && t.Streams[0].Result.Text == torchMagic {
		out.Fact("framework", "torch")
		out.Fact("layout", "legacy")
		if v := t.Streams[1].Result; v.Type == pickle.Int {
			out.Fact("version", strconv.FormatInt(v.Int, 10))
		}
	}
	for _, g := range t.Globals {
		switch top, _, _ := strings.Cut(g.Module, "."); top {
		case "dill", "cloudpickle", "joblib":
			out.Fact("pickler", top)
		}
	}
}

// storageFormat recognises the raw tensor data of a torch archive by its place:
// data/0, data/1, ... beside data.pkl. Any bytes may stand there; torch.load
// copies them into a tensor.
type storageFormat struct{}

func (storageFormat) Info() Info { return Info{ID: "torch-storage", Within: []string{"*"}} }

func (storageFormat) Match(p Probe) Match {
	dir, base := path.Split(p.Name)
	dir = strings.TrimSuffix(dir, "/")
	if base == "" || strings.Trim(base, "0123456789") != "" || path.Base(dir) != "data" {
		return No
	}
	if _, ok := p.Tree.Lookup(path.Join(path.Dir(dir), "data.pkl")); ok {
		return Maybe
	}
	return No
}

func (storageFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	out.Claim(0, a.Size)
	return nil
}

// tensorPlace reports files that hold the bytes of tensors, which start like
// anything.
func tensorPlace(p Probe) bool {
	return (storageFormat{}).Match(p) == Maybe || (chunkFormat{}).Match(p) == Maybe
}
