// Package sigstore signs models without a long-lived key, verifies such
// signatures, and proves by timestamp authorities when a signature was made.
//
// A signer shows an identity token; an authority certifies a key that is used
// once for that identity; logs record certificate and signature. What is left
// to verify is who signed, so a [Verifier] needs an [Identity]:
//
//	trust := sigstore.Verifier{Identities: []sigstore.Identity{{
//		Subject: "release@example.org", Issuer: "https://accounts.example.org",
//	}}}
//	result, err := integrity.Verifier{}.Verify(ctx, root.FS(), bundle, trust)
//
// A bundle passes when the certificate is by an authority of the trusted root
// and was valid at every proven time of signing, at least one log of the root
// has recorded the signature (Rekor, version 1 or 2), at least one certificate
// log has recorded the certificate, and at least one time is proven, by a log
// or by a timestamp authority. A service counts for the time that the root says:
// one that was retired before, or began after a proven time, does not. Log
// entries and timestamps that nobody trusted vouches for do not count, and are
// named in the warnings of [prerun.Signed].
//
// Trust is the embedded root of the public-good instance or one that the
// caller supplies; see [ParseTrustedRoot]. Nothing is fetched and nothing is
// refreshed: verifying never opens a connection, and signing sends through
// the transport that it is given. The embedded root is of 2026-11-05 and knows
// no key that was added since.
//
// # Threat model
//
// The bundle is hostile. It is read by a strict decoder and by sigstore-go,
// which have to agree, within 64 MiB, 32 log entries and 32 timestamps. Trusted
// are the root and the services that it names: a log that colludes with an
// authority can make a signature in anybody's name. A log entry is proven to
// be in the log by what the bundle carries; whether the log shows others the
// same is for its monitors. Certificates are not checked for revocation: they
// live for minutes.
//
// # Cost
//
// This package links sigstore-go and some seventy modules, 18 MB of program.
// Whoever verifies by key or certificate only needs package integrity alone.
//
// # Errors
//
// An error of Verify wraps one of the kinds of package integrity, and one of
// [ErrLog], [ErrTime], [ErrCertificate], [ErrSCT] and [ErrIdentity] where
// integrity.ErrUntrusted says too little.
package sigstore
