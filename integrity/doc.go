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
// hashing a model again cost what changed.
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
// model's size.
//
// # Speed
//
// By files, one file is one chain of SHA-256 on one core. Several files, or the
// shards of one, are hashed on all cores, and on amd64 several on each core, up
// to three times as fast as one. BLAKE3 is a tree: one file is hashed on all
// cores, at about the speed of many files by SHA-256. A file is read while what
// was read before is hashed. Figures are in benchmarks/hashing of the source.
//
// # Format
//
// A bundle is JSON: mediaType "application/vnd.dev.sigstore.bundle.v0.3+json",
// verificationMaterial, and dsseEnvelope with payload (base64), payloadType
// "application/vnd.in-toto+json" and one signature (base64). The material is
// publicKey.hint, the SHA-256 in hexadecimal of the key's PEM text (64 columns,
// final line feed), or x509CertificateChain.certificates, DER in base64 as
// rawBytes, leaf first. The signature is ECDSA, ASN.1, by SHA-256, SHA-384 or
// SHA-512 for P-256, P-384 or P-521, over
//
//	"DSSEv1 28 application/vnd.in-toto+json " LENGTH " " PAYLOAD
//
// with the payload decoded and its length in decimal. The payload is an in-toto
// statement, _type "https://in-toto.io/Statement/v1", with one subject, whose
// digest.sha256 is the root, and predicateType
// "https://model_signing/signature/v1.0". Its predicate has
//
//   - resources: one object with name, algorithm and digest (hexadecimal) for
//     each file, or each shard, whose name is PATH:START:END, END excluded;
//   - serialization: method "files" or "shards", hash_type "sha256", "blake2b"
//     (of 512 bits) or "blake3" (of 256), allow_symlinks, shard_size for shards,
//     ignore_paths if there are any.
//
// Each shard of a file has shard_size bytes but the last, which may have fewer;
// a file of no bytes has none. Resources are sorted by the bytes of their names,
// and the root is the SHA-256 of their digests, decoded and joined in that
// order. A verifier computes it in the order that it finds.
//
// # Errors
//
// The error of a verification wraps one sentinel for each kind of trouble.
// [Rejected] tells a model that failed from one that could not be checked.
package integrity
