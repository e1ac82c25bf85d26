package scan

import (
	"fmt"
	"path"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/pickle"
)

var (
	ruleTensorWrite = prerun.Rule{
		ID: "scan.pickle.tensor-write", Title: "items written into a tensor", Severity: prerun.High,
		Help: "The pickle sets items of a tensor or a storage while it loads, as if that were a list or a dictionary. No pickler writes this. PyTorch before 2.10 does as it is told, even with weights_only=True, which corrupts memory. Do not load the file.",
		Refs: []prerun.Reference{cve("2026-24747"), cwe("CWE-843"), refUnsafeModel},
	}
	ruleTensorSize = prerun.Rule{
		ID: "scan.pickle.tensor-size", Title: "tensor beyond its data", Severity: prerun.High,
		Help: "A tensor claims more than its storage has, or a storage more than its file in the archive. PyTorch before 2.10 believes the claim, even with weights_only=True, and reads or writes memory that is not the tensor's. Do not load the file.",
		Refs: []prerun.Reference{cve("2026-24747"), cwe("CWE-125"), refUnsafeModel},
	}
)

// tensorMaker reports what makes tensors, or storages of them.
func tensorMaker(module, name string) bool {
	switch module {
	case "torch._utils":
		return strings.HasPrefix(name, "_rebuild_")
	case "torch._tensor", "torch.tensor":
		return strings.HasPrefix(name, "_rebuild_from_type") || name == "Tensor"
	case "torch.nn.parameter", "torch.nn":
		return name == "Parameter" || name == "Buffer" || strings.HasPrefix(name, "Uninitialized")
	case "torch", "torch.cuda", "torch.sparse", "torch.cuda.sparse", "torch.storage":
		return strings.HasSuffix(name, "Tensor") || strings.HasSuffix(name, "Storage")
	}
	return false
}

// tensorWrites reports items set in, or appended to, tensors and storages.
func (s *pickleScan) tensorWrites(t *pickle.Trace) {
	for _, c := range t.Calls {
		switch c.Method {
		case "__setitem__", "append", "extend", "add":
		default:
			continue
		}
		what := "a storage"
		if c.Global >= 0 {
			g := t.Globals[c.Global]
			if !tensorMaker(g.Module, g.Name) {
				continue
			}
			what = "a result of " + excerpt(g.Module+"."+g.Name, 80)
		} else if c.Callee.Type != pickle.Persistent {
			continue
		}
		s.tensor(ruleTensorWrite, c.Offset, c.AfterFault, c.Method, fmt.Sprintf("%s on %s", c.Op, what))
	}
}

// overruns reports tensors that do not lie in their storage.
func (s *pickleScan) overruns(t *pickle.Trace) {
	for _, o := range t.Overruns {
		g := t.Globals[o.Global]
		switch {
		case o.Computed:
			s.out.Gap("where a tensor lies in its storage is computed while loading", o.Offset, 0)
		case o.Need < 0:
			s.tensor(ruleTensorSize, o.Offset, o.AfterFault, g.Name, fmt.Sprintf("%s with a negative number", excerpt(g.Name, 80)))
		default:
			s.tensor(ruleTensorSize, o.Offset, o.AfterFault, g.Name, fmt.Sprintf("%s lays a tensor over %d bytes of a storage of %d", excerpt(g.Name, 80), o.Need, o.Have))
		}
	}
}

// storages compares the sizes of storages with their files, which lie beside
// the pickle in a folder of its name. Other pickles than these are not loaded:
// that of traced inputs has files without content.
func (s *pickleScan) storages(t *pickle.Trace) {
	folder, ok := strings.CutSuffix(s.a.Name, ".pkl")
	if base := path.Base(folder); !ok || base != "data" && base != "constants" {
		return
	}
	for _, p := range t.PersistentIDs {
		id := p.ID.Items
		if p.ID.Type != pickle.Tuple || len(id) < 5 || id[0].Text != "storage" || id[1].Type != pickle.GlobalRef || id[4].Type != pickle.Int {
			continue
		}
		file, here := s.a.Tree.Lookup(path.Join(folder, id[2].Text))
		if !here || !file.Mode.IsRegular() {
			continue // loading fails, or what is scanned is elsewhere
		}
		class := t.Globals[id[1].Int].Name
		need := pickle.TorchStorage(class, id[4].Int)
		if id[4].Text != "" {
			need = 1<<63 - 1
		}
		if need > file.Size {
			s.tensor(ruleTensorSize, p.Offset, false, "storage", fmt.Sprintf("%s claims %d bytes of the %d of %s", excerpt(class, 80), need, file.Size, excerpt(id[2].Text, 80)))
		}
	}
}

// tensor reports what a loader does to memory, or would do if it did not stop
// at a fault before.
func (s *pickleScan) tensor(rule prerun.Rule, at int64, dormant bool, key, what string) {
	sev := rule.Severity
	if dormant {
		sev = prerun.Medium
	}
	s.out.Finding(prerun.Finding{
		Rule: rule, Severity: sev, Confidence: prerun.ConfidenceHigh,
		Locations: []prerun.Location{{Offset: at, Length: 1}},
		Message:   what, Key: key,
	})
}
