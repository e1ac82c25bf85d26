package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/scan"
)

// attesting is who signs a scan, and where to.
type attesting struct{ file, key, password string }

func (s *attesting) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "attestation", "", "`FILE` for what was found, signed over the model's digests; a gate takes it for a scan of its own")
	cmd.Flags().StringVar(&s.key, "private-key", "", "PEM `FILE` of the key that signs the attestation")
	cmd.Flags().StringVar(&s.password, "password-file", "", "`FILE` with the password of an encrypted key")
}

func (s *attesting) check(args []string, registry bool) error {
	switch {
	case (s.file == "") != (s.key == ""):
		return errors.New("--attestation and --private-key go together")
	case s.file != "" && (registry || len(args) != 1):
		return errors.New("--attestation is about one folder")
	}
	return nil
}

// write signs the scan of a folder, whose root digest is that of the files as
// they are now: a result that names other digests is not signed.
func (s *attesting) write(ctx context.Context, a *app, path string, res *scan.Result) error {
	p, err := open(path)
	if err != nil {
		return err
	}
	defer p.Close()
	switch {
	case p.file != "":
		return errors.New("--attestation is about one folder")
	case res == nil:
		return errors.New("nothing was scanned that could be signed")
	}
	m, err := integrity.Hasher{Progress: a.progress("hashing")}.Hash(ctx, p.fsys)
	if err != nil {
		return err
	}
	att := scan.Attestation{
		Model: prerun.Subject{Path: p.name(), Digest: m.Root().String()}, Scanner: "prerun", Time: a.now(), Result: res,
	}
	var files []prerun.Subject
	for name, d := range m.Files() {
		files = append(files, prerun.Subject{Path: prerun.EscapePath(name), Digest: d.String()})
	}
	if err := att.Covers(att.Model.Digest, files); err != nil {
		return fmt.Errorf("the model changed while it was scanned: %w", err)
	}
	key, err := readPrivateKey(s.key, s.password)
	if err != nil {
		return err
	}
	signer, err := integrity.NewKeySigner(key)
	if err != nil {
		return err
	}
	bundle, err := att.Sign(ctx, signer)
	if err != nil {
		return err
	}
	return outfile.Write(s.file, bundle, 0o644)
}
