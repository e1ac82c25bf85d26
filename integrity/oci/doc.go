// Package oci verifies and signs models that lie in an OCI registry or layout,
// without fetching them.
//
// The layers of a model image are its files, and the manifest has their
// digests. [Reader.Image] resolves a reference once and reads the manifest;
// [Verifier.Verify] finds the model signatures that refer to the image and
// compares what was signed with those digests. [Signing.Sign] signs them, and
// [Attach] stores the bundle as a referrer of the image:
//
//	registry := &oci.Registry{Repository: "registry.example/models/tiny", Transport: transport}
//	image, err := oci.Reader{}.Image(ctx, registry, "v1")
//	result, err := oci.Verifier{}.Verify(ctx, registry, image, trust)
//
// A nil error means that a trusted signer signed exactly these names and
// digests. Whoever then fetches the layers must fetch them by digest and check
// it, as every puller does; [Verifier.VerifyFiles] checks files that were
// fetched. For a scanner, [Image.Files] shows the layers as files that are read
// where they are, each a [Blob] that fetches the parts that are asked for.
//
// # Formats
//
// ModelPack, KitOps, Docker Model Runner, Ollama, and any other image whose
// layers carry a title. A layer is named by its annotation
// org.cncf.model.filepath or org.opencontainers.image.title; in a KitOps image
// by the Kitfile; in an Ollama image by its name or its role ("model",
// "template", "license-2" for the second of several); in a Docker image of the
// first version by its role ("model.gguf"). A layer that is an archive is named
// after the folder that it holds, with the archive's suffix: its digest is that
// of the archive, not of a file in it. Layers without a name are an error, as
// are names that are absolute, lead out of the model or occur twice.
//
// Where every layer is a file, the signature is the same that signing the
// fetched folder makes, and verifies that folder as well. The config and the
// annotations are not part of it unless [Signing.Whole] asks for that.
//
// A signature is of one image. An index of images for several platforms is an
// error until [Reader.Platform] or a digest chooses one.
//
// # Threat model
//
// Registry and layout are hostile: each manifest, config and bundle is hashed
// and compared with the digest it was asked for by, manifests are parsed
// strictly, and one that could be read as image and as index is refused. The
// subject of each referrer must be the image, whatever a list says; lists are
// followed over several pages, and the fallback tag is read besides. All sizes
// and numbers are bounded: see [MaxManifest] and its neighbours. The store can
// still withhold: it can hide signatures, which makes verification fail, and
// return an older image under a tag, which no signature prevents. Ask by digest
// where that matters.
//
// Nothing is dialled but through the transport that the caller hands in, and
// the environment is not read. Access is anonymous without a keychain.
package oci
