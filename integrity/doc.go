// Package integrity says what the bytes of a model are and who vouches for
// them, in the OpenSSF Model Signing format (OMS v1.0).
//
// A [Hasher] turns a folder or a single file into a [Manifest]: one digest for
// each file, or for each range of a file (shard), and a root digest over them.
// [Signing] signs a manifest and returns a bundle, one small file that lies
// beside the model. A [Verifier] takes the bundle, checks the signature against
// trust material that the caller must supply, and only then reads the model and
// compares it with what was signed:
//
//	manifest, err := integrity.Hasher{}.Hash(ctx, root.FS())
//	bundle, err := integrity.Signing{Name: "tiny"}.Sign(ctx, manifest, signer)
//	result, err := integrity.Verifier{}.Verify(ctx, root.FS(), bundle, trust)
//
// [NewKeySigner], [NewKeyVerifier], [NewCertificateSigner] and
// [CertificateVerifier] make signers and trust; anything with their one method
// will do. A key may be elsewhere: [NewRemoteSigner] takes one of a key
// management service, package integrity/pkcs11 has those of tokens. Package
// integrity/sigstore has signers and trust of keyless signing, and a
// [TimeVerifier], by which a signature outlives its certificate. A [KeyPolicy]
// opens the door to Ed25519 and RSA. [Verifier.VerifyFile] is for a model of one file,
// [Verifier.VerifyPaths] for the files about to be used,
// [Verifier.VerifyManifest] for digests known from elsewhere. A [Cache] makes
// hashing a model again cost what changed, and [Hasher.HashEach] makes several
// manifests, by different algorithms or shards, of one reading.
//
// A nil error from Verify means that the signature is by a trusted signer and
// that each file of the model is signed and unchanged. It says nothing about
// whether the signer should have signed, or what the model does.
//
// # What is covered
//
// Regular files, byte for byte, under their exact names. Not covered: empty
// folders, permissions and times, what lies below an ignored path (by default
// the root's .git, .gitattributes, .github and .gitignore), files of zero bytes
// in a model hashed by shards, and folders reached through a symbolic link. A
// [Result] lists whatever of these it met. Symbolic links are refused, or,
// where the manifest allows them, stand for the content of the file they lead
// to; a link out of the model is refused in both cases, whatever file system
// lies below. A socket, pipe or device is refused: a file that is skipped is a
// file that nobody signed.
//
// The root digest commits to contents and their order. It commits neither to
// names nor to shard boundaries, the algorithm or the ignored paths: bind to
// the signed statement or to a verified [Manifest], not to the root alone.
//
// # Threat model
//
// Whoever hands over model and bundle is hostile, down to the last byte of
// both. The bundle is parsed strictly and within limits (64 MiB, 2^20
// resources); a duplicate or misspelt JSON member is an error. No byte of the
// model is read before the signature is verified, and no name from a bundle is
// ever opened: files are found by listing the model. A file whose size, times or
// identity change while it is read is an error. Not defended against: a party
// that can write to the model between verifying and loading, or that controls
// the file system and lies about times.
//
// Memory is the manifest plus 2 MiB of buffers for each worker, whatever the
// model's size. For verifying, the manifest is the bundle, the statement in it, and
// what was signed and what was found, some 600 bytes for each file, and the listing
// of the model, as much again.
//
// # Speed
//
// By files, one file is one chain of SHA-256 on one core. Several files, or the
// shards of one, are hashed on all cores, and on amd64 several on each core, up
// to three times as fast as one. BLAKE3 is a tree: one file is hashed on all
// cores, at about the speed of many files by SHA-256. A file is read while what
// was read before is hashed. A cancelled context ends a call before the next read.
// Figures are in benchmarks/hashing of the source.
//
// # Format
//
// A bundle is JSON that holds an envelope, whose payload is an in-toto statement
// that lists resources: one name, algorithm and digest for each file, or for each
// range of a file, and the parameters of hashing. Signed are the payload's bytes
// under the pre-authentication encoding of DSSE. FORMAT.md, beside the source,
// specifies every layer so that another language can implement it, with test
// vectors, every refusal, and the rule of this package for each point in which
// other implementations disagree. A [Leniency] names where a bundle departs from
// the specification; [Verifier.Strict] refuses those.
//
// # Errors
//
// The error of a verification wraps one sentinel for each kind of trouble.
// [Rejected] tells a model that failed from one that could not be checked.
package integrity
