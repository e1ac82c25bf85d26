package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/integrity/scan"
)

// images scans images of registries, with the credentials that docker login
// keeps. One that cannot be scanned is a gap. The stat "fetched_bytes" is what
// registries sent.
func (s *scanned) images(ctx context.Context, scanner scan.Scanner, refs []string) error {
	counter := &counting{RoundTripper: http.DefaultTransport}
	images := []map[string]any{}
	for i, full := range refs {
		if slices.Contains(refs[:i], full) {
			return fmt.Errorf("%q is given twice", full)
		}
		repository, ref, err := oci.ParseReference(full)
		if err != nil {
			return err
		}
		store := &oci.Registry{Repository: repository, Transport: counter, Keychain: authn.DefaultKeychain}
		image, res, err := scanImage(ctx, scanner, store, ref)
		switch {
		case ctx.Err() != nil:
			return err
		case err != nil:
			s.gap(prerun.EscapePath(full), err)
			continue
		}
		dir := ""
		if len(refs) > 1 {
			dir = prerun.EscapePath(full)
		}
		s.take(dir, res)
		images = append(images, map[string]any{"reference": full, "digest": image.Digest, "format": image.Format})
	}
	s.facts["images"] = images
	s.stats = map[string]any{"fetched_bytes": counter.n.Load()}
	return nil
}

func scanImage(ctx context.Context, scanner scan.Scanner, store oci.Store, ref string) (*oci.Image, *scan.Result, error) {
	image, err := oci.Reader{}.Image(ctx, store, ref)
	if err != nil {
		return nil, nil, err
	}
	files, err := image.Files(ctx, store)
	if err != nil {
		return nil, nil, err
	}
	res, err := scanner.Scan(ctx, files)
	return image, res, err
}

// counting counts the bytes of answers.
type counting struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = countedBody{resp.Body, &c.n}
	}
	return resp, err
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
