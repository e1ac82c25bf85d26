// Package pkcs11 signs with keys on tokens and in hardware security modules,
// through the PKCS #11 module that their vendor supplies.
//
// A key is named by a URI (RFC 7512). [Open] loads the module that it names,
// finds the one token and the one key that it describes, and returns a
// [Signer], a [crypto.Signer] for integrity.NewKeySigner and
// integrity.NewCertificateSigner:
//
//	uri, err := pkcs11.ParseURI("pkcs11:token=release;object=models?module-path=/usr/lib/softhsm/libsofthsm2.so")
//	key, err := pkcs11.Open(ctx, uri, pin)
//	defer key.Close()
//	signer, err := integrity.NewKeySigner(key)
//
// Whatever the URI leaves out matches anything, and more than one match is an
// error: it is never left to chance which key signs. Nothing is read from the
// environment and no folder is searched for modules. (A module itself may do
// both.) The PIN comes from the URI or from a function of the caller.
//
// # Build
//
// Modules are C libraries. Open works in programs that are built with cgo and
// the tag pkcs11, and fails with [ErrNotBuilt] in all others:
//
//	CGO_ENABLED=1 go build -tags pkcs11 ./cmd/signer
//
// # Threat model
//
// The module runs inside the program and can do whatever the program can, so
// module-path must come from whoever may choose code to run, never from a model
// or its bundle. What the module answers is not believed: the signers of
// package integrity verify each signature before they write it. A PIN appears
// in no error and not in [URI.String].
//
// A call into a module cannot be cut short. A context that ends is noticed
// before and after each, and while another goroutine has the token.
package pkcs11
