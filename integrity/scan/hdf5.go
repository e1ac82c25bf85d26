package scan

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/hdf5"
	"github.com/prerun/prerun/internal/strictjson"
)

// hdf5Format reads HDF5 files, among them the models that Keras saved before
// version 3 and the weights of those since. It looks at what leads out of the
// file, and at the configuration in a model's attributes. Facts: "framework",
// "version" of Keras, "backend", "soft_links" their number.
type hdf5Format struct{}

var (
	ruleHDF5Link = prerun.Rule{
		ID: "scan.hdf5.external-link", Title: "link into another file", Severity: prerun.Medium,
		Help: "An object of the file is in another file, which is opened when the object is read. The finding is high when the name is absolute or leads out of the folder: loading then reads files of the host. Put the object into this file.",
		Refs: []prerun.Reference{refTraversal, refLink, cve("2026-1669")},
	}
	ruleHDF5Storage = prerun.Rule{
		ID: "scan.hdf5.external-storage", Title: "data in another file", Severity: prerun.Medium,
		Help: "The data of a dataset is in another file. The finding is high when the name is absolute or leads out of the folder: loading then reads files of the host into the weights, where a model that is given away again carries them along. Put the data into this file.",
		Refs: []prerun.Reference{refTraversal, cve("2026-1669")},
	}
	ruleHDF5Virtual = prerun.Rule{
		ID: "scan.hdf5.virtual-dataset", Title: "dataset made of other files", Severity: prerun.Medium,
		Help: "A dataset is put together from datasets of other files, which are opened when it is read. The finding is high when a name is absolute or leads out of the folder. Copy the data into this file.",
		Refs: []prerun.Reference{refTraversal, cve("2026-1669")},
	}
	ruleHDF5Filter = prerun.Rule{
		ID: "scan.hdf5.plugin-filter", Title: "data that needs a plug-in", Severity: prerun.Low,
		Help: "Data is encoded by a filter that neither the library nor the usual plug-in package has. The library loads a shared object of the machine to decode it. Save the model with gzip or without a filter.",
		Refs: []prerun.Reference{refForeignCode},
	}
	ruleHDF5UserBlock = prerun.Rule{
		ID: "scan.hdf5.user-block", Title: "bytes before the file's structure", Severity: prerun.Low,
		Help: "Bytes stand before the HDF5 structure. The format allows it, and some programs write a text there, but a loader of another format may take the file for its own. The bytes were searched for executables and hidden content. Remove them if you cannot explain them.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleHDF5Trailing = prerun.Rule{
		ID: "scan.hdf5.trailing-data", Title: "data after the file's structure", Severity: prerun.Low,
		Help: "Bytes follow where the file says that it ends. The library ignores them; they were searched for executables and hidden content. Write the file again if you cannot explain them.",
		Refs: []prerun.Reference{refAmbiguous},
	}
)

func (hdf5Format) Info() Info {
	return Info{
		ID: "hdf5", Extensions: []string{".h5", ".hdf5", ".keras"},
		Operators: []string{"keras"},
		Rules: slices.Concat(kerasRules, []prerun.Rule{
			ruleHDF5Link, ruleHDF5Storage, ruleHDF5Virtual, ruleHDF5Filter, ruleHDF5UserBlock, ruleHDF5Trailing,
		}),
	}
}

// superblock is where the signature stands in the head of a file, or -1.
func superblock(head []byte) int64 {
	for off := 0; off < len(head); off = max(512, 2*off) {
		if strings.HasPrefix(string(head[off:min(off+8, len(head))]), hdf5.Signature) {
			return int64(off)
		}
	}
	return -1
}

func (hdf5Format) Match(p Probe) Match {
	switch superblock(p.Head) {
	case -1:
		if p.Size > ProbeSize {
			return Maybe // the library looks at every power of two
		}
		return No
	case 0:
		return Certain
	}
	return Maybe
}

// hdf5Names reports names that Keras 3 hands to the library. Keras 2 asks the
// library whether a file is one, whatever its name.
func hdf5Names(ext string) bool { return ext == ".h5" || ext == ".hdf5" || ext == ".keras" }

// farSuperblock looks for the signature behind the head of a file, where the
// library looks for it. What stands before may be a whole file of another format.
// Content that is decoded on demand is left alone unless its name speaks for it,
// and so are files whose names other loaders open: each look is a request where
// the file is in a registry.
func farSuperblock(a *Artifact) (int64, error) {
	if !hdf5Names(a.Ext()) && (a.lvl > 0 || a.run.loads(a.Ext())) {
		return 0, fmt.Errorf("hdf5: %w", ErrNotFormat)
	}
	for off := int64(ProbeSize); off < a.Size; off *= 2 {
		b, err := a.Bytes(off, min(int64(len(hdf5.Signature)), a.Size-off))
		if err != nil {
			return 0, err
		}
		if string(b) == hdf5.Signature {
			return off, nil
		}
	}
	return 0, fmt.Errorf("hdf5: %w", ErrNotFormat)
}

func (hdf5Format) Scan(_ context.Context, a *Artifact, out *Sink) error {
	h := hdf5Scan{a: a, out: out, filters: make(map[int]bool)}
	off := superblock(a.Head)
	if off < 0 {
		var err error
		if off, err = farSuperblock(a); err != nil {
			return err
		}
	}
	info, err := hdf5.Read(a, a.Size, off, hdf5.Visitor{
		Spend:     func() error { return a.Spend(Entries, 1) },
		Claim:     h.claim,
		Attribute: h.attribute,
		Link:      h.link,
		Storage: func(p, file string, off int64) {
			h.leaves(ruleHDF5Storage, p, file, off, "dataset %q has its data in file %q")
		},
		Virtual: func(p, file string, off int64) {
			if file != "." {
				h.leaves(ruleHDF5Virtual, p, file, off, "dataset %q is made of file %q")
			}
		},
		Filter: h.filter,
		Gap:    func(reason string, off int64) { out.Gap(reason, off, 0) },
	})
	if errors.Is(err, hdf5.ErrMalformed) && off > 0 && len(h.claims) == 0 {
		return fmt.Errorf("hdf5: %w: %w", err, ErrNotFormat)
	}
	if info.Whole {
		h.claims = []span{{off, max(min(info.End, a.Size), off)}}
	}
	for _, c := range h.claims {
		out.Claim(c.off, c.end-c.off)
	}
	if off > 0 {
		h.finding(ruleHDF5UserBlock, 0, 0, off, "", "%d bytes stand before the structure", off)
	}
	if end := max(info.End, off); end < a.Size && err == nil {
		h.finding(ruleHDF5Trailing, 0, end, a.Size-end, "", "%d bytes follow the end of the file by its own account", a.Size-end)
	}
	if h.soft > 0 {
		out.Fact("soft_links", strconv.Itoa(h.soft))
	}
	return err
}

// An hdf5Scan is the reading of one file.
type hdf5Scan struct {
	a       *Artifact
	out     *Sink
	soft    int
	claims  []span
	filters map[int]bool
}

// claim keeps a range until it is known whether all of them are.
func (h *hdf5Scan) claim(off, n int64) {
	if len(h.claims) < maxClaims {
		h.claims = append(h.claims, span{off, off + n})
	}
}

func (h *hdf5Scan) finding(rule prerun.Rule, sev prerun.Severity, off, n int64, key, format string, args ...any) {
	off = min(max(off, 0), h.a.Size)
	h.out.report(rule, sev, prerun.Location{Offset: off, Length: min(n, h.a.Size-off)}, key, format, args...)
}

// leaves reports something that is in another file.
func (h *hdf5Scan) leaves(rule prerun.Rule, object, file string, off int64, format string) {
	slashed := strings.ReplaceAll(file, `\`, "/")
	sev := prerun.Medium
	if absolute(slashed) || climbs(slashed) || strings.Contains(slashed, "://") {
		sev = prerun.High
	}
	if h.out.full(rule, sev) {
		return
	}
	h.finding(rule, sev, off, 1, excerpt(object, 120), format, excerpt(object, 120), excerpt(file, 120))
}

func (h *hdf5Scan) link(p string, kind hdf5.LinkKind, _, file string, off int64) {
	if kind == hdf5.External {
		h.leaves(ruleHDF5Link, p, file, off, "object %q is in file %q")
		return
	}
	h.soft++
}

// filter reports filters that a program would have to load. Those up to 6 are
// of the library, 32000 is of h5py; the others are of the plug-in package that
// the HDF Group and hdf5plugin distribute.
func (h *hdf5Scan) filter(p string, id int, off int64) {
	known := []int{32000, 32001, 32004, 32008, 32013, 32015, 32017, 32026}
	if id <= 6 || slices.Contains(known, id) || h.filters[id] || len(h.filters) >= 64 {
		return
	}
	h.filters[id] = true
	h.finding(ruleHDF5Filter, 0, off, 1, strconv.Itoa(id), "dataset %q is encoded by filter %d", excerpt(p, 120), id)
}

// attribute reads what Keras keeps in attributes.
func (h *hdf5Scan) attribute(object, name string, off int64, v hdf5.Value) {
	root := object == ""
	switch name {
	case "keras_version", "backend", "layer_names":
		if root || path.Dir(object) == "/" {
			h.out.Fact("framework", "keras")
		}
		if root && len(v.Texts) == 1 {
			h.out.Fact(map[string]string{"keras_version": "version", "backend": "backend"}[name], excerpt(v.Texts[0], 40))
		}
	case "model_config", "training_config":
		h.out.Fact("framework", "keras")
		if len(v.Texts) != 1 {
			h.out.Gap(fmt.Sprintf("attribute %s of %q is no text", name, excerpt(object, 120)), min(off, h.a.Size), 0)
			return
		}
		h.config(name, v.Texts[0], off)
	}
}

func (h *hdf5Scan) config(name, text string, off int64) {
	off = min(off, h.a.Size)
	data := []byte(text)
	if len(data) > maxConfig {
		h.out.Gap(fmt.Sprintf("attribute %s of %d bytes; %d are read", name, len(data), maxConfig), off, 0)
		return
	}
	root, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxConfig, Nodes: 1 << 18})
	if err != nil {
		h.out.Gap(fmt.Sprintf("attribute %s: %v", name, err), off, 0)
		return
	}
	k := kerasScan{out: h.out, in: &prerun.Location{Offset: off, Length: min(1, h.a.Size-off), Fragment: name}}
	k.walk(root, "", 0)
}
