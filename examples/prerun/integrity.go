package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
)

// hashFlags are shared by hash and sign.
type hashFlags struct {
	algorithm string
	shardSize int64
	symlinks  bool
	ignore    []string
}

func (f *hashFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.algorithm, "algorithm", integrity.SHA256, "digest of files: sha256, blake2b, blake3")
	cmd.Flags().Int64Var(&f.shardSize, "shard-size", 0, "hash ranges of `BYTES` instead of whole files")
	cmd.Flags().BoolVar(&f.symlinks, "allow-symlinks", false, "let links stand for the files that they lead to")
	cmd.Flags().StringArrayVar(&f.ignore, "ignore", nil, "`PATH` to leave out, relative to the model or absolute below it (repeatable)")
}

func (f *hashFlags) manifest(ctx context.Context, a *app, p *place, own string) (*integrity.Manifest, error) {
	ignore, err := p.ignored(f.ignore, own)
	if err != nil {
		return nil, err
	}
	h := integrity.Hasher{
		Algorithm: f.algorithm, ShardSize: f.shardSize, AllowSymlinks: f.symlinks, Ignore: ignore,
		Progress: a.progress("hashing"),
	}
	if p.file != "" {
		return h.HashFile(ctx, p.fsys, p.file)
	}
	return h.Hash(ctx, p.fsys)
}

func (a *app) hashCommand() *cobra.Command {
	var flags hashFlags
	cmd := &cobra.Command{
		Use: "hash PATH", Short: "print the digests of a model's files and its root digest", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := open(args[0])
			if err != nil {
				return err
			}
			defer p.Close()
			m, err := flags.manifest(cmd.Context(), a, p, "")
			if err != nil {
				return err
			}
			if a.format == "text" {
				a.writer = func(w io.Writer, _ report.Document) error { return listManifest(w, m) }
			}
			return a.finish(manifestSource(p, m), manifestFacts(m), summary("root %s", m.Root()))
		},
	}
	flags.add(cmd)
	return cmd
}

// listManifest writes the digests as other programs of this kind do: one line
// for each file or shard, the root first.
func listManifest(w io.Writer, m *integrity.Manifest) error {
	fmt.Fprintf(w, "root %s\n", m.Root())
	if python := m.PythonRoot(); python != m.Root() {
		fmt.Fprintf(w, "python root %s\n", python)
	}
	for _, name := range m.Uncovered {
		fmt.Fprintf(w, "not covered %s\n", prerun.EscapePath(name))
	}
	fmt.Fprintln(w)
	for _, r := range m.Resources {
		if _, err := fmt.Fprintf(w, "%s  %s\n", r.Digest, prerun.EscapePath(r.Name())); err != nil {
			return err
		}
	}
	return nil
}

func manifestSource(p *place, m *integrity.Manifest) prerun.Source {
	subjects := []prerun.Subject{{Path: p.name(), Digest: m.Root().String()}}
	for name, d := range m.Files() {
		subjects = append(subjects, prerun.Subject{Path: prerun.EscapePath(name), Digest: d.String()})
	}
	return prerun.NewSource(subjects, slices.Collect(m.Findings()), nil)
}

// manifestFacts are root, resources[]{name, algorithm, digest}, uncovered[],
// and python_root where the Python tool's order gives another root.
func manifestFacts(m *integrity.Manifest) map[string]any {
	resources := []map[string]string{}
	for _, r := range m.Resources {
		resources = append(resources, map[string]string{"name": r.Name(), "algorithm": m.Algorithm, "digest": r.Digest.String()})
	}
	facts := map[string]any{"root": m.Root().String(), "resources": resources, "uncovered": append([]string{}, m.Uncovered...)}
	if python := m.PythonRoot(); python != m.Root() {
		facts["python_root"] = python.String()
	}
	return facts
}

func (a *app) signCommand() *cobra.Command {
	return group("sign", "sign a model",
		a.signKeyCommand(), a.signCertificateCommand(),
		a.signSigstoreCommand())
}

// A signing is what the sign commands share.
type signing struct {
	hashFlags
	form         string
	privateKey   string
	passwordFile string
	timestamps   timestampFlags
}

func (s *signing) add(cmd *cobra.Command) {
	s.hashFlags.add(cmd)
	cmd.Flags().StringVar(&s.form, "form", "spec", "form of the statement: spec, or python for the Python tool's verifier")
	cmd.Flags().StringVar(&s.privateKey, "private-key", "", "PEM `FILE` of the private key, or the URI of a key on a token (pkcs11:...)")
	cmd.Flags().StringVar(&s.passwordFile, "password-file", "", "`FILE` with the password of an encrypted key, or the PIN of a token")
	must(cmd.MarkFlagRequired("private-key"))
	s.timestamps.add(cmd)
	s.timestamps.addServers(cmd)
}

func (s *signing) key(ctx context.Context) (crypto.Signer, func(), error) {
	return openKey(ctx, s.privateKey, s.passwordFile)
}

// unfit is an error about a key that was read and does not serve. The URI of a
// token may hold its PIN, and is not repeated.
func (s *signing) unfit(err error) error {
	if onToken(s.privateKey) {
		return fmt.Errorf("--private-key: %w", err)
	}
	return named(s.privateKey, err)
}

// sign hashes, signs and writes the bundle; the report goes to standard output.
// A bundle inside the model is recorded as ignored.
func (s *signing) sign(ctx context.Context, a *app, path string, signer prerun.Signer) error {
	form := integrity.FormSpec
	switch s.form {
	case "spec":
	case "python":
		form = integrity.FormPython
	default:
		return fmt.Errorf("--form %q is neither spec nor python", s.form)
	}
	bundleFile := cmp.Or(a.bundle, "model.sig")
	p, err := open(path)
	if err != nil {
		return err
	}
	defer p.Close()
	m, err := s.manifest(ctx, a, p, bundleFile)
	if err != nil {
		return err
	}
	bundle, err := integrity.Signing{Name: p.name(), Form: form}.Sign(ctx, m, signer)
	if err != nil {
		return err
	}
	if err := outfile.Write(bundleFile, bundle, 0o644); err != nil {
		return err
	}
	told := fmt.Sprintf("signed; the bundle is %q", bundleFile)
	if n := len(m.Uncovered); n > 0 {
		told += fmt.Sprintf("; the signature cannot cover %s, such as %q", count(n, "path"), m.Uncovered[0])
	}
	return a.finish(manifestSource(p, m), manifestFacts(m), summary("%s", told))
}

func (a *app) signKeyCommand() *cobra.Command {
	var s signing
	cmd := &cobra.Command{
		Use: "key PATH", Short: "sign with a long-lived key", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, done, err := s.key(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			signer, err := integrity.NewKeySigner(key)
			if err != nil {
				return s.unfit(err)
			}
			stamped, err := s.timestamps.stamped(signer)
			if err != nil {
				return err
			}
			return s.sign(cmd.Context(), a, args[0], stamped)
		},
	}
	s.add(cmd)
	return cmd
}

func (a *app) signCertificateCommand() *cobra.Command {
	var s signing
	var leafFile string
	var chainFiles []string
	cmd := &cobra.Command{
		Use: "certificate PATH", Short: "sign with a key that a certificate vouches for", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, done, err := s.key(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			certs, err := readCertificates(append([]string{leafFile}, chainFiles...)...)
			if err != nil {
				return err
			}
			signer, err := integrity.NewCertificateSigner(key, certs[0], certs[1:]...)
			if err != nil {
				return fmt.Errorf("%w (certificate %q)", s.unfit(err), leafFile)
			}
			stamped, err := s.timestamps.stamped(signer)
			if err != nil {
				return err
			}
			return s.sign(cmd.Context(), a, args[0], stamped)
		},
	}
	s.add(cmd)
	cmd.Flags().StringVar(&leafFile, "signing-certificate", "", "PEM `FILE` of the key's certificate")
	cmd.Flags().StringArrayVar(&chainFiles, "certificate-chain", nil, "PEM `FILE` of certificates between it and a root (repeatable)")
	must(cmd.MarkFlagRequired("signing-certificate"))
	return cmd
}

func readCertificates(files ...string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, file := range files {
		data, err := readFile(file)
		if err != nil {
			return nil, err
		}
		certs, err := integrity.ParseCertificates(data)
		if err != nil {
			return nil, named(file, err)
		}
		out = append(out, certs...)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate given")
	}
	return out, nil
}

func (a *app) verifyCommand() *cobra.Command {
	return group("verify", "verify a signed model",
		a.verifyKeyCommand(), a.verifyCertificateCommand(),
		a.verifySigstoreCommand())
}

// A verifying is what the verify commands share.
type verifying struct {
	signature      string
	ignore         []string
	ignoreUnsigned bool
	strict         bool
}

func (v *verifying) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&v.signature, "signature", "", "bundle `FILE` that sign wrote")
	cmd.Flags().StringArrayVar(&v.ignore, "ignore", nil, "`PATH` that need not be signed, relative to the model or absolute below it (repeatable)")
	cmd.Flags().BoolVar(&v.ignoreUnsigned, "ignore-unsigned-files", false, "tolerate files that are not signed")
	cmd.Flags().BoolVar(&v.strict, "strict", false, "refuse every departure from the specification")
	must(cmd.MarkFlagRequired("signature"))
}

// verify accepts bundles of version 0.2, which the library does not by itself,
// and says so in the report's leniencies.
func (v *verifying) verify(ctx context.Context, a *app, path string, trust prerun.Verifier) error {
	bundle, err := readFile(v.signature)
	if err != nil {
		return err
	}
	p, err := open(path)
	if err != nil {
		return err
	}
	defer p.Close()
	ignore, err := p.ignored(v.ignore, v.signature)
	if err != nil {
		return err
	}
	verifier := integrity.Verifier{
		Ignore: ignore, Strict: v.strict, InsecureIgnoreUnsigned: v.ignoreUnsigned, InsecureAcceptV02: !v.strict,
		Progress: a.progress("verifying"), BundleName: prerun.EscapePath(filepath.Base(v.signature)),
	}
	var res *integrity.Result
	if p.file != "" {
		res, err = verifier.VerifyFile(ctx, p.fsys, p.file, bundle, trust)
	} else {
		res, err = verifier.Verify(ctx, p.fsys, bundle, trust)
	}
	if res == nil {
		return err
	}
	return a.finish(res, pipeline.VerifyFacts(res), func(doc *report.Document) {
		switch {
		case err == nil:
			doc.Verdict, doc.Summary = prerun.Pass, "verified, signed by "+res.Signed.Signer
		case integrity.Rejected(err):
			doc.Verdict = prerun.Fail // whatever the threshold
		default:
			doc.Verdict = prerun.Incomplete
		}
	})
}

func (a *app) verifyKeyCommand() *cobra.Command {
	var v verifying
	var times timestampFlags
	var publicKey string
	cmd := &cobra.Command{
		Use: "key PATH", Short: "verify with a public key", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			pub, err := readPublicKey(publicKey)
			if err != nil {
				return err
			}
			trust, err := integrity.NewKeyVerifier(pub)
			if err != nil {
				return named(publicKey, err)
			}
			if trust.Times, err = times.trust(); err != nil {
				return err
			}
			return v.verify(cmd.Context(), a, args[0], trust)
		},
	}
	v.add(cmd)
	times.add(cmd)
	cmd.Flags().StringVar(&publicKey, "public-key", "", "PEM `FILE` of the signer's public key")
	must(cmd.MarkFlagRequired("public-key"))
	return cmd
}

func (a *app) verifyCertificateCommand() *cobra.Command {
	var v verifying
	var times timestampFlags
	var chain []string
	cmd := &cobra.Command{
		Use: "certificate PATH", Short: "verify with trusted roots", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			certs, err := readCertificates(chain...)
			if err != nil {
				return err
			}
			trust, err := integrity.NewCertificateVerifier(certs...)
			if err != nil {
				return fmt.Errorf("--certificate-chain: %w", err)
			}
			trust.Now = a.now
			if trust.Times, err = times.trust(); err != nil {
				return err
			}
			return v.verify(cmd.Context(), a, args[0], trust)
		},
	}
	v.add(cmd)
	times.add(cmd)
	cmd.Flags().StringArrayVar(&chain, "certificate-chain", nil, "PEM `FILE` of trusted roots and of intermediates (repeatable)")
	must(cmd.MarkFlagRequired("certificate-chain"))
	return cmd
}
