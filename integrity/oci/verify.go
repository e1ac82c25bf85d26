package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/limits"
)

// A Verifier verifies images by their digests. The zero value is safe.
type Verifier struct {
	// Integrity says what a signature must fulfil. Its BundleName is not used:
	// findings name a bundle by its digest.
	Integrity integrity.Verifier

	// RequireWhole accepts only signatures over the whole image, as
	// [Signing.Whole] makes them.
	RequireWhole bool
}

// A Result is what a verification found. It is a [prerun.Source].
type Result struct {
	Image     *Image
	Signature *integrity.Result // of the bundle that verified, nil if none did
	Bundle    Descriptor        // of that bundle
	Whole     bool              // the signature covers the image's manifest too
	Uncovered []string          // layers that it does not cover, by name
	Rejected  []Rejection       // candidates that did not do, by digest

	bytes    []byte // of the bundle
	subjects []prerun.Subject
	findings []prerun.Finding
	gaps     []prerun.Gap
}

// A Rejection is a referrer that was no good.
type Rejection struct {
	Referrer digest.Digest // the manifest
	Bundle   digest.Digest // the bundle in it, "" if it did not come that far
	Err      error
}

// Verified reports whether a signature verified the image: the twin of a nil
// error.
func (r *Result) Verified() bool { return r != nil && r.Signature.Verified() }

// Subjects ranges over the image, the bundles that were tried and, once one
// verified, the layers.
func (r *Result) Subjects() iter.Seq[prerun.Subject] { return r.source().Subjects() }

// Findings ranges over what is wrong. Where one signature verifies, the failure
// of others is no finding.
func (r *Result) Findings() iter.Seq[prerun.Finding] { return r.source().Findings() }

// Gaps ranges over what could not be checked.
func (r *Result) Gaps() iter.Seq[prerun.Gap] { return r.source().Gaps() }

func (r *Result) source() prerun.Source {
	if r == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return prerun.NewSource(r.subjects, r.findings, r.gaps)
}

func (r *Result) add(src prerun.Source) {
	r.subjects = slices.AppendSeq(r.subjects, src.Subjects())
	r.findings = slices.AppendSeq(r.findings, src.Findings())
	r.gaps = slices.AppendSeq(r.gaps, src.Gaps())
}

func (r *Result) find(rule prerun.Rule, d digest.Digest, message string) {
	r.findings = append(r.findings, prerun.Finding{
		Rule: rule, Severity: rule.Severity, Confidence: prerun.ConfidenceHigh,
		Subject: r.subject(), Locations: []prerun.Location{{Path: r.subject().Path}},
		Message: message, Key: d.String(),
	})
}

// fail files err as a finding or as a gap, and returns it.
func (r *Result) fail(err error) error {
	for _, k := range ruleOfKind {
		if errors.Is(err, k.kind) {
			r.find(k.rule, "", err.Error())
			return err
		}
	}
	r.gaps = append(r.gaps, prerun.Gap{Location: prerun.Location{Path: r.subject().Path}, Reason: err.Error()})
	return err
}

func (r *Result) subject() prerun.Subject {
	return prerun.Subject{Path: "image@" + r.Image.Digest.String(), Digest: r.Image.Digest.String()}
}

// Verify looks for model signatures that refer to the image, and compares what
// they signed with its layers, by digest: no layer is read. Bundles are tried
// in the order of their digests until one verifies. Other attestations of the
// image are passed over.
//
// The error is nil only when one signature verified. [ErrUnsigned] means that
// there is none, or none that is the image's; else the error holds that of each
// candidate. [Rejected] tells a bad image from one that could not be checked.
// The result is nil only when nothing was looked at, for want of trust, a store
// or an image.
func (v Verifier) Verify(ctx context.Context, store Store, img *Image, trust prerun.Verifier) (*Result, error) {
	switch {
	case trust == nil:
		return nil, errors.New("verify: no trust")
	case store == nil:
		return nil, errNoStore
	case img == nil:
		return nil, errNoImage
	}
	r := &Result{Image: img}
	r.subjects = append(r.subjects, r.subject())
	if _, err := img.Manifest(); err != nil {
		return r, r.fail(err)
	}
	found, err := r.candidates(ctx, store)
	if err != nil {
		return r, r.fail(err)
	}
	return r, v.try(ctx, store, found, trust, r)
}

// VerifyFiles is Verify for an image whose layers were fetched: fsys holds each
// layer as a file under its name, and nothing else that is not ignored. The
// signature that verified the image must verify them too, byte for byte.
func (v Verifier) VerifyFiles(ctx context.Context, store Store, img *Image, fsys fs.FS, trust prerun.Verifier) (*Result, error) {
	if fsys == nil {
		return nil, errors.New("verify: no files")
	}
	r, err := v.Verify(ctx, store, img, trust)
	if err != nil {
		return r, err
	}
	settings := v.Integrity
	settings.BundleName = "bundle@" + r.Bundle.Digest.String()
	var files *integrity.Result
	if r.Whole {
		hasher := integrity.Hasher{Workers: settings.Workers, Progress: settings.Progress, Ignore: settings.Ignore}
		m, err := hasher.Hash(ctx, fsys)
		if err != nil {
			return r, r.unverify(err)
		}
		m.Resources = append(m.Resources, img.resource())
		files, err = settings.VerifyManifest(ctx, m, r.bytes, trust)
		r.replace(files)
		return r, err
	}
	files, err = settings.Verify(ctx, fsys, r.bytes, trust)
	r.replace(files)
	return r, err
}

func (r *Result) unverify(err error) error {
	r.Signature = nil
	return r.fail(err)
}

// replace puts what was found in the files beside what the digests said.
func (r *Result) replace(files *integrity.Result) {
	r.Signature = files
	r.subjects, r.findings, r.gaps = []prerun.Subject{r.subject()}, nil, nil
	r.add(files)
	r.reportForeign()
	r.reportUncovered()
}

// A candidate is a manifest that refers to the image and holds a bundle.
type candidate struct {
	referrer digest.Digest
	bundle   Descriptor
}

// candidates fetches the referrers and keeps those that are what they are said
// to be, one for each bundle, by the digest of the bundle.
func (r *Result) candidates(ctx context.Context, store Store) ([]candidate, error) {
	list, err := store.Referrers(ctx, r.Image.Digest)
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list) // the store's own, perhaps
	if len(list) > MaxReferrers {
		return nil, &limits.Error{Name: r.Image.Digest.String(), Unit: "referrers", Max: MaxReferrers}
	}
	slices.SortFunc(list, func(a, b Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	list = slices.CompactFunc(list, func(a, b Descriptor) bool { return a.Digest == b.Digest && a.ArtifactType == b.ArtifactType })
	var found []candidate
	seen := make(map[digest.Digest]bool)
	for _, d := range list {
		// The label is a hint that saves fetching what is clearly something else.
		if seen[d.Digest] || d.ArtifactType != "" && !isBundleType(d.ArtifactType) {
			continue
		}
		seen[d.Digest] = true
		bundle, err := r.inspect(ctx, store, d)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			r.Rejected = append(r.Rejected, Rejection{Referrer: d.Digest, Err: err})
		case bundle != nil:
			found = append(found, candidate{d.Digest, *bundle})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return strings.Compare(a.bundle.Digest.String(), b.bundle.Digest.String()) })
	found = slices.CompactFunc(found, func(a, b candidate) bool { return a.bundle.Digest == b.bundle.Digest })
	return found, nil
}

var errForeign = errors.New("its subject is another image")

// inspect fetches a referrer and returns the bundle that it holds; nil when it
// holds something else.
func (r *Result) inspect(ctx context.Context, store Store, d Descriptor) (*Descriptor, error) {
	if _, err := parseDigest(d.Digest.String()); err != nil {
		return nil, err
	}
	content, _, stated, err := fetchManifest(ctx, store, d.Digest.String())
	if err != nil {
		return nil, err
	}
	m, isIndex, err := parseManifest(content, stated)
	if err != nil {
		return nil, err
	}
	if isIndex || !isBundleType(m.ArtifactType) && !(m.ArtifactType == "" && isBundleType(m.Config.MediaType)) {
		return nil, nil
	}
	switch {
	case m.Subject == nil || m.Subject.Digest != r.Image.Digest.String():
		return nil, errForeign
	case len(m.Layers) != 1 || !isBundleType(m.Layers[0].MediaType):
		return nil, &Error{Kind: ErrMalformed, Digest: d.Digest, Detail: "not one layer that is a bundle"}
	}
	bundle, err := m.Layers[0].descriptor()
	if err != nil {
		return nil, &Error{Kind: ErrMalformed, Digest: d.Digest, Err: err}
	}
	return &bundle, nil
}

// try verifies bundles until one will do.
func (v Verifier) try(ctx context.Context, store Store, found []candidate, trust prerun.Verifier, r *Result) error {
	var failed []*integrity.Result
	var loose, errs []error // those of the former are told by no result
	rejected := r.Rejected
	var fetched int64
	for _, c := range found {
		if fetched += c.bundle.Size; fetched > maxBundles {
			err := &limits.Error{Name: r.Image.Digest.String(), Unit: "bytes of bundles", Max: maxBundles}
			loose, errs = append(loose, err), append(errs, err)
			break
		}
		result, whole, bundle, err := v.tryOne(ctx, store, c, trust, r)
		if err == errOther {
			continue
		}
		if ctx.Err() != nil {
			return r.fail(context.Cause(ctx))
		}
		if err == nil {
			r.Signature, r.Whole, r.Bundle, r.bytes = result, whole, c.bundle, bundle
			r.add(result)
			r.reportForeign()
			r.reportUncovered()
			r.Rejected = sortRejected(rejected)
			return nil
		}
		rejected = append(rejected, Rejection{c.referrer, c.bundle.Digest, err})
		if result != nil {
			failed = append(failed, result)
		} else {
			loose = append(loose, err)
		}
		errs = append(errs, fmt.Errorf("referrer %s: %w", c.referrer, err))
	}
	r.reportForeign()
	for _, x := range r.Rejected {
		if x.Err != errForeign {
			loose = append(loose, x.Err)
			errs = append(errs, fmt.Errorf("referrer %s: %w", x.Referrer, x.Err))
		}
	}
	r.Rejected = sortRejected(rejected)
	for _, result := range failed {
		r.add(result)
	}
	for _, err := range loose {
		r.fail(err)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return r.fail(&Error{Kind: ErrUnsigned, Reference: r.Image.Reference, Digest: r.Image.Digest})
}

// errOther marks an attestation that is no model signature.
var errOther = errors.New("not a model signature")

func (v Verifier) tryOne(ctx context.Context, store Store, c candidate, trust prerun.Verifier, r *Result) (result *integrity.Result, whole bool, bundle []byte, err error) {
	if bundle, err = fetchBlob(ctx, store, c.bundle, MaxBundle); err != nil {
		return nil, false, nil, err
	}
	// What cannot be read is left to the verification, which says why.
	if isModel, err := isModelSignature(bundle); err == nil && !isModel {
		return nil, false, nil, errOther
	}
	result, whole, err = v.verify(ctx, r.Image, c.bundle.Digest, bundle, trust)
	return result, whole, bundle, err
}

func sortRejected(list []Rejection) []Rejection {
	slices.SortStableFunc(list, func(a, b Rejection) int { return strings.Compare(a.Referrer.String(), b.Referrer.String()) })
	return list
}

// reportUncovered files the layers that a signature of the files leaves out.
func (r *Result) reportUncovered() {
	m, err := r.Image.Manifest()
	if err != nil || r.Whole {
		return
	}
	r.Uncovered = m.Uncovered
	for _, name := range m.Uncovered {
		r.find(ruleUncovered, "", fmt.Sprintf("the layer %q is not covered by the signature", name))
		r.findings[len(r.findings)-1].Key = prerun.EscapePath(name)
	}
}

// reportForeign files the referrers that were listed for the wrong image.
func (r *Result) reportForeign() {
	for _, x := range r.Rejected {
		if x.Err == errForeign {
			r.find(ruleForeign, x.Referrer, fmt.Sprintf("the store lists %s as a signature of this image, and it is not", x.Referrer))
		}
	}
}

// verify compares one bundle with the image: with its files alone or, where the
// signature has the image's manifest among the files, with that too.
func (v Verifier) verify(ctx context.Context, img *Image, d digest.Digest, bundle []byte, trust prerun.Verifier) (result *integrity.Result, whole bool, err error) {
	settings := v.Integrity
	settings.BundleName = "bundle@" + d.String()
	if v.RequireWhole {
		settings.InsecureIgnoreUnsigned = false // the image must be among what is signed
	}
	m, err := img.wholeManifest()
	if err != nil {
		return nil, false, err
	}
	result, err = settings.VerifyManifest(ctx, m, bundle, trust)
	if result == nil || result.Manifest == nil {
		return result, false, err
	}
	whole = slices.ContainsFunc(result.Manifest.Resources, func(r integrity.Resource) bool { return r.Path == img.resource().Path })
	if whole || v.RequireWhole {
		return result, whole, err
	}
	if m, err = img.Manifest(); err != nil {
		return nil, false, err
	}
	result, err = settings.VerifyManifest(ctx, m, bundle, trust)
	return result, false, err
}
