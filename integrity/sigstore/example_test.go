package sigstore_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
)

// A release is signed by whoever can show an identity token, and verified by
// whom that was. The services here are in memory; a real program takes a clone
// of http.DefaultTransport, and a trust configuration or PublicGoodServices.
func Example() {
	ctx := context.Background()
	instance := sigstoretest.New("example", time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	config := instance.TrustConfig("signingConfig", 2)
	services, err := sigstore.ParseServices(config, instance.Now)
	if err != nil {
		panic(err)
	}
	root, err := sigstore.ParseTrustedRoot(config)
	if err != nil {
		panic(err)
	}

	manifest, err := integrity.Hasher{}.Hash(ctx, model())
	if err != nil {
		panic(err)
	}
	signer := sigstore.Signer{
		IDToken:   sigstoretest.Token("release@example.org", "https://accounts.example.org"),
		Services:  services,
		Transport: instance,
		Root:      root,
	}
	bundle, err := integrity.Signing{Name: "tiny"}.Sign(ctx, manifest, signer)
	if err != nil {
		panic(err)
	}

	trust := sigstore.Verifier{Root: root, Identities: []sigstore.Identity{{
		SubjectPattern: `(release|security)@example\.org`, Issuer: "https://accounts.example.org",
	}}}
	result, err := integrity.Verifier{Strict: true}.Verify(ctx, model(), bundle, trust)
	if err != nil {
		panic(err)
	}
	fmt.Println(result.Signed.Signer)
	for _, by := range slices.Sorted(maps.Keys(result.Signed.Times)) {
		fmt.Println(result.Signed.Times[by].Format(time.RFC3339), "by", by)
	}
	// Output:
	// release@example.org
	// 2026-06-01T12:00:00Z by https://tsa.test/api/v1/timestamp
}

// A long-lived certificate expires; a timestamp keeps what it signed before.
func ExampleTimestampVerifier() {
	ctx := context.Background()
	office := sigstoretest.New("office", time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	signer, leaf, err := certificateOfTwoDays()
	if err != nil {
		panic(err)
	}
	manifest, err := integrity.Hasher{}.Hash(ctx, model())
	if err != nil {
		panic(err)
	}
	bundle, err := integrity.Signing{Name: "tiny"}.Sign(ctx, manifest, sigstore.TimestampSigner{
		Signer: signer, Authorities: []string{sigstoretest.Stamps}, Transport: office,
	})
	if err != nil {
		panic(err)
	}

	trust, err := integrity.NewCertificateVerifier(leaf)
	if err != nil {
		panic(err)
	}
	trust.Now = func() time.Time { return time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC) }
	_, err = integrity.Verifier{}.Verify(ctx, model(), bundle, trust)
	fmt.Println("expired:", integrity.Rejected(err))

	authority, err := sigstore.NewTimestampRoot("office", office.TimestampChain()...)
	if err != nil {
		panic(err)
	}
	trust.Times = sigstore.TimestampVerifier{Root: authority}
	result, err := integrity.Verifier{}.Verify(ctx, model(), bundle, trust)
	if err != nil {
		panic(err)
	}
	fmt.Println("signed", result.Signed.Times["office"].Format(time.DateOnly))
	// Output:
	// expired: true
	// signed 2026-06-01
}
