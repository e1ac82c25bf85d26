package pkcs8

import "crypto"

// ParseWithin is Parse with bounds that a fuzzer has time for.
func ParseWithin(file, passphrase []byte, iterations, memory int) (crypto.Signer, error) {
	return bounds{iterations, memory}.parse(file, passphrase)
}
