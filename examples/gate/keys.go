package main

import (
	"crypto/ecdsa"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/provenance"
)

// The roles of the DEMO keys. Each key is derived from its label by code that
// anybody can read, so that the demo needs no secret and gives the same bytes
// everywhere. They protect nothing: never trust them outside this demo.
const (
	demoModelSigner = "DEMO model signer"
	demoTrainer     = "DEMO trainer"
	demoCurator     = "DEMO data curator"
	demoApprover    = "DEMO approver"
	demoGate        = "DEMO gate"
	demoIntruder    = "DEMO intruder" // trusted by nobody
)

func demoKey(role string) *ecdsa.PrivateKey { return keys.Demo(role) }

// demoSigner signs as one of the roles.
func demoSigner(role string) (prerun.Signer, error) {
	return provenance.NewKeySigner(demoKey(role))
}
