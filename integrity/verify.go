package integrity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/walk"
)

// A Verifier verifies models. The zero value accepts what the specification
// and the Python tool write, and follows the parameters that were signed. It is
// safe for concurrent use, and results do not depend on Workers.
type Verifier struct {
	// Ignore lists paths that need not be signed, with all that lies below,
	// besides the signed list and [DefaultIgnore]. The bundle's own path belongs
	// here when it lies inside the model and the signer did not record it.
	Ignore []string

	// Strict refuses every [Leniency] but LenientTrust: what a trust verifier
	// lets pass is its own to decide.
	Strict bool

	// ForbidSymlinks refuses a manifest that was made by following links.
	ForbidSymlinks bool

	// InsecureIgnoreUnsigned tolerates files that are not signed. Each is
	// listed in the result.
	InsecureIgnoreUnsigned bool

	// InsecureAcceptV02 accepts bundles of version 0.2 of the Python tool. They
	// have no root digest, say nothing about links or ignored paths, and are
	// signed over an encoding of their own, by SHA-256 whatever the key. The
	// trust verifier must know that encoding, as [CertificateVerifier] does.
	InsecureAcceptV02 bool

	// InsecureCache believes a cache about files that it has seen in the same
	// state, instead of reading them. See [Cache] for what it cannot see.
	InsecureCache *Cache

	Workers  int                     // 0 means GOMAXPROCS
	Progress func(done, total int64) // see [Hasher.Progress]

	// BundleName is the bundle's path in findings; "" means "model.sig".
	BundleName string
}

// Verify checks the bundle by trust, which must not be nil, and then compares
// the folder with the signed manifest.
//
// The error is nil only when everything was verified. Otherwise it wraps
// [ErrBundle], [ErrSignature], [ErrUntrusted], [ErrStatement], [ErrManifest] or
// a [MismatchError] with all differences, for which [Rejected] reports true; or
// [ErrUnsupported], [ErrRead], [ErrChanged] or the context's cause, when the
// model could not be checked. Trust may return errors of these kinds; any other
// of its errors counts as the latter sort.
//
// The result is nil only when nothing was looked at: no model, no trust, a bad
// Ignore entry, or a context that was over before.
func (v Verifier) Verify(ctx context.Context, fsys fs.FS, bundle []byte, trust prerun.Verifier) (*Result, error) {
	return v.verify(ctx, fsys, "", bundle, trust)
}

// VerifyFile is [Verifier.Verify] for a model that is one file. The manifest
// must list exactly that file, under its base name or as the Python tool does.
func (v Verifier) VerifyFile(ctx context.Context, fsys fs.FS, name string, bundle []byte, trust prerun.Verifier) (*Result, error) {
	if err := checkPath(name); err != nil {
		return nil, fmt.Errorf("model %q: %w", name, err)
	}
	return v.verify(ctx, fsys, name, bundle, trust)
}

func (v Verifier) verify(ctx context.Context, fsys fs.FS, file string, bundle []byte, trust prerun.Verifier) (*Result, error) {
	if fsys == nil {
		return nil, errNoModel
	}
	if _, err := newIgnoreList(v.Ignore); err != nil {
		return nil, err
	}
	r, err := v.open(ctx, bundle, trust)
	if err != nil {
		return r, err
	}
	if file == "" {
		err = v.compareFolder(ctx, fsys, r)
	} else {
		err = v.compareFile(ctx, fsys, file, r)
	}
	r.verified = err == nil
	return r, err
}

func (v Verifier) bundleName() string {
	if v.BundleName == "" {
		return "model.sig"
	}
	return v.BundleName
}

// open does all that comes before the first look at the model.
func (v Verifier) open(ctx context.Context, bundle []byte, trust prerun.Verifier) (*Result, error) {
	if trust == nil {
		return nil, errors.New("verify: no trust was given")
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r := &Result{Bundle: digestx.Of(bundle)}
	r.subjects = []prerun.Subject{{Path: prerun.EscapePath(v.bundleName()), Digest: r.Bundle.String()}}
	b, err := parseBundle(bundle)
	if err == nil && ctx.Err() != nil { // a bundle may be large
		err = context.Cause(ctx)
	}
	if err != nil {
		return r, r.fail(v.bundleName(), err)
	}
	const keyless = "the certificate stands in the field of keyless signing"
	misplaced := b.Material.Certificate != nil && methodOf(b) == MethodCertificate
	if misplaced && v.Strict {
		return r, r.fail(v.bundleName(), newError(ErrBundle, "", keyless))
	}
	signed, old, err := v.authenticate(ctx, bundle, b, trust)
	if err != nil {
		return r, r.fail(v.bundleName(), err)
	}
	s, err := parseStatement(ctx, signed.Payload, v.Strict, v.InsecureAcceptV02)
	if err == nil && old && !s.old {
		return r, r.fail(v.bundleName(), newError(ErrSignature, "", "it is by the encoding of version 0.2, under a statement of version 1.0"))
	}
	r.Signed = signed
	if err != nil {
		return r, r.fail(v.bundleName(), err)
	}
	if v.ForbidSymlinks && s.manifest.AllowSymlinks {
		return r, r.fail(v.bundleName(), newError(ErrManifest, "", "it was made by following links, which the caller forbids"))
	}
	if misplaced {
		r.Leniencies = append(r.Leniencies, Leniency{LenientCertificate, keyless})
	}
	for _, w := range signed.Warnings {
		r.Leniencies = append(r.Leniencies, Leniency{LenientTrust, w})
	}
	r.accept(s)
	return r, nil
}

// v02Verifier is a trust verifier that also knows the encoding of version 0.2.
type v02Verifier interface {
	VerifyV02(ctx context.Context, bundle []byte) (*prerun.Signed, error)
}

// A parsedVerifier is a trust verifier of this package, which need not parse
// again.
type parsedVerifier interface {
	verifyParsed(ctx context.Context, b *dsse.Bundle) (*prerun.Signed, error)
}

// authenticate asks trust who signed. Old says that it was by the encoding of
// version 0.2, which goes with statements of that version alone.
func (v Verifier) authenticate(ctx context.Context, bundle []byte, b *dsse.Bundle, trust prerun.Verifier) (signed *prerun.Signed, old bool, err error) {
	if own, ok := trust.(parsedVerifier); ok {
		signed, err = own.verifyParsed(ctx, b)
	} else {
		signed, err = trust.Verify(ctx, bundle)
	}
	if legacy, ok := trust.(v02Verifier); ok && errors.Is(err, ErrSignature) {
		if bySHA256, errOld := legacy.VerifyV02(ctx, bundle); errOld == nil {
			if !v.InsecureAcceptV02 {
				return nil, false, newError(ErrUnsupported, "", "a bundle of version 0.2, which commits to less")
			}
			signed, old, err = bySHA256, true, nil
		}
	}
	switch {
	case err != nil:
		return nil, false, trustError(err)
	case signed == nil:
		return nil, false, errors.New("trust could not be decided: the verifier returned nothing")
	case signed.PayloadType != StatementType:
		return nil, false, newError(ErrBundle, "", "payload type %q, want %q", signed.PayloadType, StatementType)
	}
	return signed, old, nil
}

func (v Verifier) compareFolder(ctx context.Context, fsys fs.FS, r *Result) error {
	r.describe(v.bundleName(), r.Manifest)
	if r.Manifest.Resources[0].Path == selfName {
		return v.conclude(r, []Difference{{Change: KindChanged, Path: selfName, Detail: "a folder, where a single file was signed"}}, nil)
	}
	t, err := v.list(ctx, fsys, r)
	if err != nil {
		return err
	}
	return v.compare(ctx, fsys, t, r)
}

// list lists the model but for what the signer or the caller left out.
func (v Verifier) list(ctx context.Context, fsys fs.FS, r *Result) (*tree, error) {
	ignore, err := newIgnoreList(v.Ignore, r.Manifest.Ignore)
	if err != nil {
		return nil, err
	}
	t, err := listTree(ctx, fsys, ignore, links{allow: r.Manifest.AllowSymlinks})
	if err != nil {
		return nil, r.fail(".", listError(ctx, err))
	}
	r.Ignored = t.ignored
	v.reportIgnored(ctx, fsys, r)
	return t, nil
}

func (v Verifier) compareFile(ctx context.Context, fsys fs.FS, name string, r *Result) error {
	base := path.Base(name)
	if r.Manifest.Resources[0].Path == selfName {
		r.Manifest.rename(base)
	}
	r.describe(v.bundleName(), r.Manifest)
	t, err := fileTree(fsys, name, links{allow: r.Manifest.AllowSymlinks})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t = &tree{}
	case err != nil:
		return r.fail(base, listError(ctx, err))
	}
	for i := range t.files {
		t.files[i].name = base
	}
	if odd, ok := t.irregular[name]; ok {
		t.irregular = map[string]oddity{base: odd}
	}
	return v.compare(ctx, fsys, t, r)
}

func (v Verifier) compare(ctx context.Context, fsys fs.FS, t *tree, r *Result) error {
	differences, bad, err := v.differences(ctx, fsys, t, r.Manifest, r)
	if err != nil {
		return r.fail(".", err)
	}
	return v.conclude(r, differences, bad)
}

// differences hashes the files that are signed; of any other, being there is
// all that matters. Files that could not be read are in the map.
func (v Verifier) differences(ctx context.Context, fsys fs.FS, t *tree, want *Manifest, r *Result) ([]Difference, map[string]error, error) {
	signed := make([]string, 0, len(want.Resources))
	for name := range want.Files() {
		signed = append(signed, name)
	}
	slices.Sort(signed)
	files := make([]source, 0, len(t.files))
	var extra []Resource
	for _, f := range t.files {
		switch _, ok := slices.BinarySearch(signed, f.name); {
		case ok:
			files = append(files, f)
			if n := linksOf(f.info); n > 1 {
				r.HardLinks = append(r.HardLinks, f.name)
				r.find(ruleHardLink, f.name, "", fmt.Sprintf("the file has %d names, by any of which it can be changed", n), nil)
			}
		case want.ShardSize > 0 && f.size == 0:
			r.Uncovered = append(r.Uncovered, f.name)
		default:
			extra = append(extra, Resource{Path: f.name})
		}
	}
	r.Uncovered = append(r.Uncovered, t.uncovered...)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	h := Hasher{Cache: v.InsecureCache, Workers: v.Workers, Progress: v.Progress}
	got, bad, err := h.hashSources(ctx, fsys, files, want.Parameters)
	if err != nil {
		return nil, nil, err
	}
	if len(bad) > 0 { // a file that could not be read is neither there nor missing
		want = &Manifest{Parameters: want.Parameters, Resources: slices.DeleteFunc(slices.Clone(want.Resources), func(res Resource) bool {
			return bad[res.Path] != nil
		})}
	}
	got.Resources = append(got.Resources, extra...)
	return diff(want, got, t.irregular), bad, nil
}

// conclude files what was found and makes the error of it.
func (v Verifier) conclude(r *Result, differences []Difference, bad map[string]error) error {
	for _, d := range differences {
		if d.Change == Extra && d.Detail == "" && v.InsecureIgnoreUnsigned {
			r.Unsigned = append(r.Unsigned, d.Path)
			what := "the file is"
			if loadable(d.Path) {
				what = "weights or code are"
			}
			r.find(ruleUnsigned, d.Path, "", what+" not signed, which the caller tolerates", nil)
			continue
		}
		r.Differences = append(r.Differences, d)
		r.report(d)
	}
	slices.Sort(r.Uncovered)
	for _, name := range r.Uncovered {
		r.find(ruleUncovered, name, "", "the signature cannot cover this path", nil)
	}
	var errs []error
	if len(r.Differences) > 0 {
		errs = append(errs, &MismatchError{slices.Clone(r.Differences)})
	}
	for _, name := range sortedKeys(bad) {
		errs = append(errs, r.fail(name, bad[name]))
	}
	return errors.Join(errs...)
}

// reportIgnored looks for weights and code below ignored paths. It looks at
// names only, and what cannot be listed there was asked to be left out.
func (v Verifier) reportIgnored(ctx context.Context, fsys fs.FS, r *Result) {
	for _, top := range r.Ignored {
		names := []string{top}
		// A link is not entered: fs.Sub would follow it to anywhere.
		if info, err := fs.Lstat(fsys, top); err == nil && info.IsDir() {
			if sub, err := fs.Sub(fsys, top); err == nil {
				entries, _ := walk.Files(ctx, sub, nil)
				for _, e := range entries {
					names = append(names, path.Join(top, e.Path))
				}
			}
		}
		for _, name := range names {
			if loadable(name) {
				r.find(ruleIgnored, name, "", "weights or code on the ignore list", nil)
			}
		}
	}
}
