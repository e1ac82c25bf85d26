package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
)

// serveCertificate checks that the key of the request signs, and certifies it
// for the subject of the token.
func (i *Instance) serveCertificate(w http.ResponseWriter, req *http.Request) {
	var body struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Content string }
			ProofOfPossession []byte
		}
	}
	must(json.NewDecoder(req.Body).Decode(&body))
	parts := strings.Split(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "), ".")
	var claims struct{ Iss, Email string }
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(err)
	must(json.Unmarshal(payload, &claims))

	block, _ := pem.Decode([]byte(body.PublicKeyRequest.PublicKey.Content))
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	must(err)
	sum := sha256.Sum256([]byte(claims.Email))
	if !ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), sum[:], body.PublicKeyRequest.ProofOfPossession) {
		http.Error(w, "the key does not sign", http.StatusBadRequest)
		return
	}
	leaf := i.certify(pub.(*ecdsa.PublicKey), claims.Email, claims.Iss)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})
	_, _ = w.Write(object(map[string]any{"signedCertificateEmbeddedSct": map[string]any{
		"chain": map[string]any{"certificates": []string{string(text)}},
	}}))
}

// certify issues a leaf for ten minutes around now, logged in a certificate log
// (RFC 6962): the log signs the certificate without its own signature.
func (i *Instance) certify(pub *ecdsa.PublicKey, subject, issuer string) []byte {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	issuerText, err := asn1.MarshalWithParams(issuer, "utf8")
	must(err)
	template := &x509.Certificate{
		SerialNumber: serial, EmailAddresses: []string{subject}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		NotBefore:   i.Now.Add(-5 * time.Minute), NotAfter: i.Now.Add(5 * time.Minute),
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer)},
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuerText},
		},
	}
	if i.Leaf != nil {
		i.Leaf(template)
	}
	create := func() []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, i.middle, pub, i.key("middle"))
		must(err)
		return der
	}
	der := create()
	if i.NoSCT {
		return der
	}
	before, err := x509.ParseCertificate(der)
	must(err)
	value, err := asn1.Marshal(i.certificateTimestamps(before.RawTBSCertificate))
	must(err)
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{
		Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value,
	})
	return create()
}

// certificateTimestamps is a list of one signed certificate timestamp.
func (i *Instance) certificateTimestamps(tbs []byte) []byte {
	key := i.key("ct log")
	if i.BadSCT {
		key = i.key("other ct log")
	}
	millis := uint64(i.Now.UnixMilli())
	issuer := sha256.Sum256(spki(i.key("middle")))
	signed := binary.BigEndian.AppendUint64([]byte{0, 0}, millis) // version 1, certificate timestamp
	signed = append(signed, 0, 1)                                 // entry without its timestamp
	signed = append(signed, issuer[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(signed, tbs...)
	signed = append(signed, 0, 0) // extensions

	sct := append([]byte{0}, keyID(key)...)
	sct = binary.BigEndian.AppendUint64(sct, millis)
	sct = append(sct, 0, 0, 4, 3) // extensions; SHA-256 with ECDSA
	sig := signASN1(key, signed)
	sct = binary.BigEndian.AppendUint16(sct, uint16(len(sig)))
	sct = append(sct, sig...)
	out := binary.BigEndian.AppendUint16(nil, uint16(len(sct)+2))
	out = binary.BigEndian.AppendUint16(out, uint16(len(sct)))
	return append(out, sct...)
}

// An inclusion is the second entry of a log of two.
type inclusion struct {
	sibling, root []byte
	checkpoint    string
}

func include(key *ecdsa.PrivateKey, host, origin string, body []byte) inclusion {
	leaf := func(b []byte) []byte {
		sum := sha256.Sum256(append([]byte{0}, b...))
		return sum[:]
	}
	first := leaf([]byte("first"))
	root := sha256.Sum256(append(append([]byte{1}, first...), leaf(body)...))
	text := fmt.Sprintf("%s\n2\n%s\n", origin, b64(root[:]))
	line := append(keyID(key)[:4:4], signASN1(key, []byte(text))...)
	return inclusion{first, root[:], fmt.Sprintf("%s\n\u2014 %s %s\n", text, host, b64(line))}
}

func (i *Instance) logTime() int64 {
	if !i.LogTime.IsZero() {
		return i.LogTime.Unix()
	}
	return i.Now.Unix()
}

// record is the body of an entry.
func (i *Instance) record(version, kind string, spec map[string]any) []byte {
	if i.Recorded != nil {
		i.Recorded(spec)
	}
	return object(map[string]any{"apiVersion": version, "kind": kind, "spec": spec})
}

// serveLogV1 records an envelope as dsse 0.0.1, with a promise and a proof.
func (i *Instance) serveLogV1(w http.ResponseWriter, req *http.Request) {
	var proposed struct {
		Spec struct {
			ProposedContent struct {
				Envelope  string
				Verifiers []string
			}
		}
	}
	must(json.NewDecoder(req.Body).Decode(&proposed))
	var envelope struct {
		Payload    []byte
		Signatures []struct{ Sig string }
	}
	content := proposed.Spec.ProposedContent
	must(json.Unmarshal([]byte(content.Envelope), &envelope))
	hash := func(b []byte) map[string]string {
		sum := sha256.Sum256(b)
		return map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
	}
	body := i.record("0.0.1", "dsse", map[string]any{
		"envelopeHash": hash([]byte(content.Envelope)),
		"payloadHash":  hash(envelope.Payload),
		"signatures":   []any{map[string]any{"signature": envelope.Signatures[0].Sig, "verifier": content.Verifiers[0]}},
	})
	key := i.key("log 1")
	logID := hex.EncodeToString(keyID(key))
	promise := signASN1(key, object(map[string]any{
		"body": b64(body), "integratedTime": i.logTime(), "logID": logID, "logIndex": 1,
	}))
	in := include(key, "rekor1.test", "rekor1.test - 1", body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", "entry")
	w.Header().Set("Location", "/api/v1/log/entries/entry")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(object(map[string]any{"entry": map[string]any{
		"body": b64(body), "integratedTime": i.logTime(), "logID": logID, "logIndex": 1,
		"verification": map[string]any{
			"signedEntryTimestamp": b64(promise),
			"inclusionProof": map[string]any{
				"checkpoint": in.checkpoint, "hashes": []string{hex.EncodeToString(in.sibling)},
				"logIndex": 1, "rootHash": hex.EncodeToString(in.root), "treeSize": 2,
			},
		},
	}}))
}

// serveLogV2 records a signature as hashedrekord 0.0.2, with a proof and
// without a time.
func (i *Instance) serveLogV2(w http.ResponseWriter, req *http.Request) {
	var add struct {
		HashedRekordRequestV002 struct {
			Digest    string         `json:"digest"`
			Signature map[string]any `json:"signature"`
		} `json:"hashedRekordRequestV002"`
	}
	must(json.NewDecoder(req.Body).Decode(&add))
	body := i.record("0.0.2", "hashedrekord", map[string]any{
		"hashedRekordV002": map[string]any{
			"data":      map[string]any{"algorithm": "SHA2_256", "digest": add.HashedRekordRequestV002.Digest},
			"signature": add.HashedRekordRequestV002.Signature,
		},
	})
	key := i.key("log 2")
	in := include(key, "rekor2.test", "rekor2.test", body)
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(object(map[string]any{
		"logIndex": "1", "logId": map[string]string{"keyId": b64(keyID(key))},
		"kindVersion": map[string]string{"kind": "hashedrekord", "version": "0.0.2"},
		"inclusionProof": map[string]any{
			"logIndex": "1", "rootHash": b64(in.root), "treeSize": strconv.Itoa(2),
			"hashes": []string{b64(in.sibling)}, "checkpoint": map[string]string{"envelope": in.checkpoint},
		},
		"canonicalizedBody": b64(body),
	}))
}

// serveTimestamp answers a request for a token.
func (i *Instance) serveTimestamp(w http.ResponseWriter, req *http.Request) {
	data, err := io.ReadAll(req.Body)
	must(err)
	query, err := timestamp.ParseRequest(data)
	must(err)
	if i.StampOver != nil {
		sum := sha256.Sum256(i.StampOver)
		query.HashedMessage = sum[:]
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(i.stamp(query.HashedMessage, query.Nonce, query.Certificates))
}

// Timestamp is a token over a message.
func (i *Instance) Timestamp(message []byte) []byte {
	sum := sha256.Sum256(message)
	return i.stamp(sum[:], nil, true)
}

// stamp makes an RFC 3161 response.
func (i *Instance) stamp(sum []byte, nonce *big.Int, certificate bool) []byte {
	if i.StampNonce != nil {
		nonce = i.StampNonce
	}
	stamp := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum, Time: i.Now,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: certificate, Nonce: nonce,
	}
	if !i.StampTime.IsZero() {
		stamp.Time = i.StampTime
	}
	answer, err := stamp.CreateResponseWithOpts(i.tsa, i.key("tsa"), crypto.SHA256)
	must(err)
	return answer
}
