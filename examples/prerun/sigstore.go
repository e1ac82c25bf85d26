package main

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun/integrity/sigstore"
)

func (a *app) signSigstoreCommand() *cobra.Command {
	var s signing
	var tokenFile, configFile string
	var publicGood, staging bool
	cmd := &cobra.Command{
		Use: "sigstore PATH", Short: "sign without a long-lived key", Args: takes,
		Long: `Sign with a key that is used once and certified for the identity of a token.

The services of the instance that a flag names are asked. Identity, certificate
and the digest of the signature are public in its logs for good.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := readFile(tokenFile)
			if err != nil {
				return err
			}
			token = bytes.TrimSpace(token)
			if len(token) == 0 {
				return named(tokenFile, errors.New("no token"))
			}
			// The one place of the command, but for validate's targets and
			// timestamp servers, that reaches the network.
			signer := sigstore.Signer{IDToken: string(token), Transport: http.DefaultTransport}
			switch {
			case publicGood:
				signer.Services, signer.Root = sigstore.PublicGoodServices(), sigstore.PublicGood()
			case staging:
				signer.Services, signer.Root = sigstore.StagingServices(), sigstore.Staging()
			default:
				config, err := readFile(configFile)
				if err != nil {
					return err
				}
				if signer.Services, err = sigstore.ParseServices(config, a.now()); err != nil {
					return named(configFile, err)
				}
				if signer.Root, err = sigstore.ParseTrustedRoot(config); err != nil {
					return named(configFile, err)
				}
			}
			return s.sign(cmd.Context(), a, args[0], signer)
		},
	}
	s.hashFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&s.form, "form", "spec", "form of the statement: spec, or python for the Python tool's verifier")
	flags.StringVar(&tokenFile, "identity-token-file", "", "`FILE` with an OpenID Connect identity token")
	flags.BoolVar(&publicGood, "public-good", false, "ask the services of sigstore.dev")
	flags.BoolVar(&staging, "staging", false, "ask the services of sigstage.dev")
	flags.StringVar(&configFile, "trust-config", "", "`FILE` of a client trust configuration, which names services and their keys")
	must(cmd.MarkFlagRequired("identity-token-file"))
	cmd.MarkFlagsOneRequired("public-good", "staging", "trust-config")
	cmd.MarkFlagsMutuallyExclusive("public-good", "staging", "trust-config")
	return cmd
}

func (a *app) verifySigstoreCommand() *cobra.Command {
	var v verifying
	var identity, provider, configFile string
	var staging bool
	cmd := &cobra.Command{
		Use: "sigstore PATH", Short: "verify a model that was signed without a long-lived key", Args: takes,
		Long: `Verify who signed: a subject and the provider of identities that vouches for it.

Trusted are the services of sigstore.dev or sigstage.dev as this program knows
them, or those of --trust-config. Nothing is fetched.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			trust := sigstore.Verifier{Identities: []sigstore.Identity{{Subject: identity, Issuer: provider}}}
			if staging {
				trust.Root = sigstore.Staging()
			}
			if configFile != "" {
				config, err := readFile(configFile)
				if err != nil {
					return err
				}
				if trust.Root, err = sigstore.ParseTrustedRoot(config); err != nil {
					return named(configFile, err)
				}
			}
			return v.verify(cmd.Context(), a, args[0], trust)
		},
	}
	v.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&identity, "identity", "", "who must have signed, such as a mail address or a workflow's URL, exactly")
	flags.StringVar(&provider, "identity-provider", "", "`URL` of the provider that vouches for the identity, exactly")
	flags.BoolVar(&staging, "staging", false, "trust sigstage.dev instead of sigstore.dev")
	flags.StringVar(&configFile, "trust-config", "", "`FILE` of a trusted root, or of a client trust configuration")
	must(cmd.MarkFlagRequired("identity"))
	must(cmd.MarkFlagRequired("identity-provider"))
	cmd.MarkFlagsMutuallyExclusive("staging", "trust-config")
	return cmd
}
