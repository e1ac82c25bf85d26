package scan

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// orbaxFormat reads the JSON of JAX checkpoints as Orbax writes them, and of
// the zarr arrays inside: names of parameters, their types, and where their
// bytes are. All of it is data: Orbax restores only types whose handlers the
// loading program registered. Facts: "framework", and sorted lists "handlers",
// "value_types" and "node_types" of the names that such a program must know.
type orbaxFormat struct{}

var (
	ruleCheckpointPath = prerun.Rule{
		ID: "scan.orbax.path", Title: "array outside the checkpoint", Severity: prerun.High,
		Help: "The checkpoint takes an array from a path that leaves its folder, from an absolute path or from another machine. Restoring it reads what is there, which was neither scanned nor signed with the checkpoint and may be secret. Do not restore it.",
		Refs: []prerun.Reference{refTraversal, refSupply},
	}
	ruleZarrPickle = prerun.Rule{
		ID: "scan.zarr.pickle-codec", Title: "array of pickled objects", Severity: prerun.High,
		Help: "The array's metadata names the pickle codec. Zarr for Python unpickles every chunk, which runs what the chunks say; the chunks were scanned only as far as they are plain pickles. Do not open the array.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
)

func (orbaxFormat) Info() Info {
	return Info{ID: "orbax", Within: []string{"text", "json"}, Rules: []prerun.Rule{ruleCheckpointPath, ruleZarrPickle}}
}

func (orbaxFormat) Match(p Probe) Match {
	if (configFormat{}).Match(p) == No {
		return No
	}
	switch p.Base() {
	case "_METADATA", "_CHECKPOINT_METADATA", "_sharding", "_strings.json",
		".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json":
		return Maybe
	}
	if path.Base(path.Dir(p.Name)) == "array_metadatas" {
		return Maybe
	}
	return No
}

func (orbaxFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	data, err := a.small(out, "metadata")
	if data == nil {
		return err
	}
	root, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxConfig, Nodes: 1 << 18})
	if err != nil {
		return fmt.Errorf("orbax: %w", err)
	}
	out.Claim(0, a.Size)
	zarr := strings.HasPrefix(a.Base(), ".z") || a.Base() == "zarr.json"
	if !zarr {
		out.Fact("framework", "orbax")
	}
	o := orbaxScan{configScan: configScan{a: a, out: out}, names: make(map[string]map[string]bool)}
	if a.Base() == "_sharding" {
		o.sharding(root)
	}
	o.walk(root, "", 0)
	for _, fact := range sortedKeys(o.names) {
		out.Fact(fact, strings.Join(slices.Sorted(maps.Keys(o.names[fact])), ", "))
	}
	return nil
}

// An orbaxScan is the reading of one metadata file.
type orbaxScan struct {
	configScan
	names map[string]map[string]bool
}

// maxNames bounds the names that one fact lists.
const maxNames = 32

func (o *orbaxScan) name(fact string, v *strictjson.Value) {
	if v.Kind != strictjson.String || v.Text == "" {
		for i := range v.Members {
			o.name(fact, &v.Members[i].Value)
		}
		for i := range v.Items {
			o.name(fact, &v.Items[i])
		}
		return
	}
	if o.names[fact] == nil {
		o.names[fact] = make(map[string]bool)
	}
	if len(o.names[fact]) < maxNames {
		o.names[fact][excerpt(v.Text, 120)] = true
	}
}

func (o *orbaxScan) path(v *strictjson.Value, at, name string) {
	shown := excerpt(name, 120)
	o.finding(ruleCheckpointPath, 0, v, at, shown, "an array is said to be in %q", shown)
}

func (o *orbaxScan) walk(v *strictjson.Value, at string, depth int) {
	if depth > 32 {
		return // the parser's own limit on depth is a gap
	}
	if v.Kind == strictjson.Object {
		o.object(v, at)
	}
	for i := range v.Items {
		o.walk(&v.Items[i], fmt.Sprintf("%s/%d", at, i), depth+1)
	}
	for i := range v.Members {
		m := &v.Members[i]
		here := at + "/" + pointerEscaper.Replace(m.Name)
		switch m.Name {
		case "item_handlers":
			o.name("handlers", &m.Value)
		case "value_type":
			o.name("value_types", &m.Value)
		case "clazz", "module_name":
			o.name("node_types", &m.Value)
		case "key_metadata":
			o.keys(&m.Value, here)
		}
		o.walk(&m.Value, here, depth+1)
	}
}

// keys reads the way to one parameter. Without OCDBT the parameter is a folder
// whose name is the keys with dots between.
func (o *orbaxScan) keys(v *strictjson.Value, at string) {
	var parts []string
	for i := range v.Items {
		parts = append(parts, textOf(v.Items[i].Get("key")))
	}
	if name := strings.Join(parts, "."); leaves(name) {
		o.path(v, at, name)
	}
}

// object looks at TensorStore specifications, which say where bytes are, and at
// the codecs of zarr arrays.
func (o *orbaxScan) object(v *strictjson.Value, at string) {
	driver, where := textOf(v.Get("driver")), textOf(v.Get("path"))
	switch driver {
	case "file":
		if leaves(where) {
			o.path(v, at, where)
		}
	case "gcs", "gcs_grpc", "s3", "http":
		o.path(v, at, driver+"://"+textOf(v.Get("bucket"))+textOf(v.Get("base_url"))+"/"+where)
	}
	for _, member := range []string{"kvstore", "base"} {
		if url := textOf(v.Get(member)); strings.Contains(url, "://") && !strings.HasPrefix(url, "file://.") || leaves(url) {
			o.path(v, at+"/"+member, url)
		}
	}
	codec := strings.ToLower(textOf(v.Get("id")))
	if name := strings.ToLower(textOf(v.Get("name"))); name == "pickle" || name == "numcodecs.pickle" {
		codec = "pickle"
	}
	if codec == "pickle" {
		o.finding(ruleZarrPickle, 0, v, at, "pickle", "the chunks are packed by the codec %q", codec)
	}
}

// sharding reads how arrays are spread over devices: names in base64, each with
// a description that is data.
func (o *orbaxScan) sharding(root *strictjson.Value) {
	for i := range root.Members {
		m := &root.Members[i]
		name, err := base64.StdEncoding.DecodeString(m.Name)
		if err == nil && leaves(string(name)) {
			o.path(&m.Value, "/"+pointerEscaper.Replace(m.Name), string(name))
		}
	}
}

// ocdbtFormat reads the manifest of TensorStore's database format, in which
// Orbax keeps arrays: checksum, configuration and the table of data files. The
// files themselves hold bytes of arrays. The layout is the one that TensorStore
// documents.
type ocdbtFormat struct{}

func (ocdbtFormat) Info() Info {
	return Info{ID: "ocdbt", Extensions: []string{".ocdbt"}, Rules: []prerun.Rule{ruleCheckpointPath}}
}

const ocdbtMagic = "\x0c\xdb\x3a\x2a"

func (ocdbtFormat) Match(p Probe) Match {
	if p.Starts(ocdbtMagic) {
		return Certain
	}
	return No
}

// Bounds of a manifest.
const (
	maxManifest  = 16 << 20 // bytes, packed or not
	maxDataFiles = 1 << 16
	maxDataPath  = 65535 // TensorStore's own bound
)

func (ocdbtFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	data, err := a.atMost(maxManifest, out, "manifest")
	if data == nil {
		return err
	}
	if len(data) < 18 || binary.LittleEndian.Uint64(data[4:]) != uint64(len(data)) {
		return errors.New("ocdbt: offset 4: the length is not the file's")
	}
	body, foot := data[:len(data)-4], data[len(data)-4:]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(foot) {
		return errors.New("ocdbt: wrong checksum")
	}
	out.Claim(0, a.Size)
	out.Fact("framework", "orbax")
	r := &varints{data: body, off: 12}
	if v := r.next(); v != 0 || r.err != nil {
		return fmt.Errorf("ocdbt: offset 12: version %d", v)
	}
	switch v := r.next(); v {
	case 0:
	case 1:
		plain, err := a.zstd(body[r.off:])
		if err != nil {
			return fmt.Errorf("ocdbt: %w", err)
		}
		r = &varints{data: plain}
	default:
		return fmt.Errorf("ocdbt: offset 13: compression %d", v)
	}
	return ocdbtBody(a, out, r)
}

// zstd decodes a whole stream of at most maxManifest bytes.
func (a *Artifact) zstd(data []byte) ([]byte, error) {
	d, err := newZstd(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer closeReader(d)
	plain, err := io.ReadAll(io.LimitReader(d, maxManifest+1))
	switch {
	case err != nil:
		return nil, err
	case len(plain) > maxManifest:
		return nil, fmt.Errorf("more than %d bytes: %w", maxManifest, ErrBudget)
	}
	return plain, a.Spend(Bytes, int64(len(plain)))
}

// ocdbtBody reads the configuration and the table of data files.
func ocdbtBody(a *Artifact, out *Sink, r *varints) error {
	r.take(16) // the database's id
	if kind := r.next(); kind != 0 {
		return r.err // the tables are in numbered manifests of their own
	}
	r.next() // bounds on values and nodes
	r.next()
	r.take(1) // arity
	if r.next() == 1 {
		r.take(4) // level of compression
	}
	paths, err := r.dataFiles(a)
	if err != nil {
		return fmt.Errorf("ocdbt: %w", err)
	}
	missing := 0
	for _, p := range paths {
		shown := excerpt(p, 120)
		if leaves(p) {
			out.Finding(prerun.Finding{
				Rule: ruleCheckpointPath, Confidence: prerun.ConfidenceHigh,
				Message: fmt.Sprintf("arrays are said to be in %q", shown), Key: shown,
			})
			continue
		}
		if _, ok := a.Tree.Lookup(path.Join(path.Dir(a.Name), p)); !ok {
			missing++
		}
	}
	if missing > 0 {
		out.Gap(fmt.Sprintf("%d of %d data files of the database are not here", missing, len(paths)), 0, 0)
	}
	return nil
}

// A varints reads a body of variable-length numbers. The first error stays.
type varints struct {
	data []byte
	off  int
	err  error
}

func (r *varints) next() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.data[r.off:])
	if n <= 0 {
		r.err = fmt.Errorf("offset %d of the body: no number", r.off)
		return 0
	}
	r.off += n
	return v
}

func (r *varints) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.data)-r.off {
		if r.err == nil {
			r.err = fmt.Errorf("offset %d of the body: %d bytes, %d are left", r.off, n, len(r.data)-r.off)
		}
		return nil
	}
	r.off += n
	return r.data[r.off-n : r.off]
}

// dataFiles reads the table of data files: prefix lengths, suffix lengths, base
// lengths, and then the suffixes.
func (r *varints) dataFiles(a *Artifact) ([]string, error) {
	n := r.next()
	if r.err != nil || n > maxDataFiles || n > uint64(len(r.data)-r.off) {
		return nil, cmpErr(r.err, fmt.Errorf("%d data files", n))
	}
	prefix, suffix := make([]uint64, n), make([]uint64, n)
	for i := 1; i < len(prefix); i++ {
		prefix[i] = r.next()
	}
	for i := range suffix {
		suffix[i] = r.next()
	}
	for range n {
		r.next() // how much of the path its children share
	}
	paths := make([]string, n)
	last := ""
	for i := range paths {
		if r.err != nil || prefix[i] > uint64(len(last)) || suffix[i] > maxDataPath || prefix[i]+suffix[i] > maxDataPath {
			return nil, cmpErr(r.err, fmt.Errorf("path of data file %d is too long", i))
		}
		if err := a.Spend(Memory, int64(prefix[i]+suffix[i])); err != nil {
			return nil, err
		}
		defer a.run.release(Memory, int64(prefix[i]+suffix[i]))
		last = last[:prefix[i]] + string(r.take(int(suffix[i])))
		paths[i] = last
	}
	return paths, r.err
}

// chunkFormat recognises the bytes of arrays by their place: chunks beside the
// metadata of a zarr array, and data files below the manifest of a database.
// Any bytes may stand there.
type chunkFormat struct{}

func (chunkFormat) Info() Info { return Info{ID: "array-chunk", Within: []string{"*"}} }

func (chunkFormat) Match(p Probe) Match {
	dir, base := path.Split(p.Name)
	dir = strings.TrimSuffix(dir, "/")
	here := func(name string) bool {
		_, ok := p.Tree.Lookup(path.Join(dir, name))
		return ok
	}
	switch {
	case base == "":
	case path.Base(dir) == "d" && len(base) == 32 && strings.Trim(base, "0123456789abcdef") == "":
		if here("../manifest.ocdbt") {
			return Maybe
		}
	case strings.Trim(base, "0123456789.") == "" && here(".zarray"):
		return Maybe
	default:
		top, rest, ok := cutLast(p.Name, "/c/")
		if _, known := p.Tree.Lookup(path.Join(top, "zarr.json")); ok && known && strings.Trim(rest, "0123456789/") == "" {
			return Maybe
		}
	}
	return No
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (chunkFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	out.Claim(0, a.Size)
	return nil
}
