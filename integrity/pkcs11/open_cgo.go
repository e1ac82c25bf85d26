//go:build pkcs11 && cgo

package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"sync"

	"github.com/miekg/pkcs11"

	"github.com/prerun/prerun/integrity"
)

// A module is initialised once for the whole program, whoever uses it, so what
// is loaded has to be known to all of the program: the one variable here.
var modules = struct {
	sync.Mutex
	loaded map[string]*module
}{loaded: make(map[string]*module)}

type module struct {
	*pkcs11.Ctx
	path    string
	users   int
	foreign bool // somebody else of this program has initialised it
}

func load(path string) (*module, error) {
	path, err := filepath.EvalSymlinks(path) // one library, one name
	if err != nil {
		return nil, fmt.Errorf("module: %w", err)
	}
	modules.Lock()
	defer modules.Unlock()
	if m := modules.loaded[path]; m != nil {
		m.users++
		return m, nil
	}
	m := &module{Ctx: pkcs11.New(path), path: path, users: 1}
	if m.Ctx == nil {
		return nil, errors.New("the module cannot be loaded")
	}
	switch err := m.Initialize(); {
	case is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED):
		m.foreign = true
	case err != nil:
		m.Destroy()
		return nil, fmt.Errorf("module: %w", err)
	}
	modules.loaded[path] = m
	return m, nil
}

func (m *module) release() error {
	modules.Lock()
	defer modules.Unlock()
	if m.users--; m.users > 0 {
		return nil
	}
	delete(modules.loaded, m.path)
	var err error
	if !m.foreign {
		err = m.Finalize()
	}
	m.Destroy()
	return err
}

func is(err error, code uint) bool {
	e, ok := errors.AsType[pkcs11.Error](err)
	return ok && uint(e) == code
}

// A session is one key in use.
type session struct {
	m      *module
	handle pkcs11.SessionHandle
	object pkcs11.ObjectHandle
	pub    crypto.PublicKey
	again  bool // the key wants the PIN for each signature
	pin    func(context.Context) (string, error)
}

func open(ctx context.Context, uri *URI, pin PINFunc) (_ token, _ crypto.PublicKey, err error) {
	m, err := load(uri.ModulePath)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			m.release()
		}
	}()
	slot, info, err := m.find(uri)
	if err != nil {
		return nil, nil, err
	}
	s := &session{m: m, pin: func(ctx context.Context) (string, error) {
		switch {
		case uri.PINValue != "":
			return uri.PINValue, nil
		case pin == nil:
			return "", fmt.Errorf("%w: none was given", ErrPIN)
		}
		return pin(ctx, uri)
	}}
	if s.handle, err = m.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return nil, nil, fmt.Errorf("session: %w", err)
	}
	defer func() {
		if err != nil {
			m.CloseSession(s.handle)
		}
	}()
	if info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0 {
		if err := s.login(ctx, pkcs11.CKU_USER); err != nil {
			return nil, nil, err
		}
	}
	if err := s.findKey(uri); err != nil {
		return nil, nil, err
	}
	return s, s.pub, nil
}

// find returns the one token that matches.
func (m *module) find(uri *URI) (uint, pkcs11.TokenInfo, error) {
	var none pkcs11.TokenInfo
	slots, err := m.GetSlotList(true)
	if err != nil {
		return 0, none, fmt.Errorf("slots: %w", err)
	}
	var found []uint
	var first pkcs11.TokenInfo
	for _, slot := range slots {
		if uri.SlotID != nil && *uri.SlotID != slot {
			continue
		}
		info, err := m.GetTokenInfo(slot)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // drawn out since, or empty
		}
		if matches(uri.Token, info.Label) && matches(uri.Serial, info.SerialNumber) &&
			matches(uri.Manufacturer, info.ManufacturerID) && matches(uri.Model, info.Model) {
			if len(found) == 0 {
				first = info
			}
			found = append(found, slot)
		}
	}
	switch len(found) {
	case 0:
		return 0, none, fmt.Errorf("token: %w", ErrNotFound)
	case 1:
		return found[0], first, nil
	}
	return 0, none, fmt.Errorf("token: %w", ErrAmbiguous)
}

func matches(want, got string) bool { return want == "" || want == got }

func (s *session) login(ctx context.Context, user uint) error {
	pin, err := s.pin(ctx)
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case pin == "": // which the module below cannot be given
		return fmt.Errorf("%w: it is empty", ErrPIN)
	}
	err = s.m.Login(s.handle, user, pin)
	switch {
	case is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) && user == pkcs11.CKU_USER:
		return nil // by another signer: sessions share the login
	case is(err, pkcs11.CKR_PIN_INCORRECT), is(err, pkcs11.CKR_PIN_INVALID), is(err, pkcs11.CKR_PIN_LEN_RANGE),
		is(err, pkcs11.CKR_PIN_EXPIRED), is(err, pkcs11.CKR_PIN_LOCKED):
		return fmt.Errorf("%w: %w", ErrPIN, err)
	case err != nil:
		return fmt.Errorf("login: %w", err)
	}
	return nil
}

func (s *session) findKey(uri *URI) error {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}
	if uri.Object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, uri.Object))
	}
	if len(uri.ID) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, uri.ID))
	}
	private, err := s.one(template)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	s.object = private
	if v, err := s.attributes(private, pkcs11.CKA_ALWAYS_AUTHENTICATE); err == nil {
		s.again = bytes.Equal(v[0], []byte{1})
	}
	// The public half carries the same id by convention.
	v, err := s.attributes(private, pkcs11.CKA_ID)
	if err != nil || len(v[0]) == 0 {
		return fmt.Errorf("public key: %w: the private key has no id", ErrNotFound)
	}
	public, err := s.one([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), pkcs11.NewAttribute(pkcs11.CKA_ID, v[0]),
	})
	if errors.Is(err, ErrNotFound) {
		return s.certified(v[0])
	}
	if err == nil {
		s.pub, err = s.publicKey(public)
	}
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	return nil
}

// certified takes the public key of the certificate that has the id, where the
// token has no public key as such.
func (s *session) certified(id []byte) error {
	object, err := s.one([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	})
	if err != nil {
		return fmt.Errorf("public key or certificate: %w", err)
	}
	v, err := s.attributes(object, pkcs11.CKA_VALUE)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	c, err := x509.ParseCertificate(v[0])
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	s.pub = c.PublicKey
	return nil
}

// one returns the only object that matches.
func (s *session) one(template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	if err := s.m.FindObjectsInit(s.handle, template); err != nil {
		return 0, err
	}
	var found []pkcs11.ObjectHandle
	var err error
	for len(found) < 2 {
		var some []pkcs11.ObjectHandle
		if some, _, err = s.m.FindObjects(s.handle, 2); err != nil || len(some) == 0 {
			break
		}
		found = append(found, some...)
	}
	err = errors.Join(err, s.m.FindObjectsFinal(s.handle))
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, ErrNotFound
	case len(found) > 1:
		return 0, ErrAmbiguous
	}
	return found[0], nil
}

func (s *session) attributes(object pkcs11.ObjectHandle, types ...uint) ([][]byte, error) {
	var template []*pkcs11.Attribute
	for _, t := range types {
		template = append(template, pkcs11.NewAttribute(t, nil))
	}
	got, err := s.m.GetAttributeValue(s.handle, object, template)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, a := range got {
		out = append(out, a.Value)
	}
	return out, nil
}

var curves = map[string]elliptic.Curve{ // by the DER of their object identifiers
	"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07": elliptic.P256(),
	"\x06\x05\x2b\x81\x04\x00\x22":             elliptic.P384(),
	"\x06\x05\x2b\x81\x04\x00\x23":             elliptic.P521(),
}

func (s *session) publicKey(object pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	unsupported := &integrity.Error{Kind: integrity.ErrUnsupported, Detail: "a key that is neither ECDSA on P-256, P-384 or P-521, nor RSA"}
	if v, err := s.attributes(object, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT); err == nil {
		curve := curves[string(v[0])]
		if curve == nil {
			return nil, unsupported
		}
		point := v[1]
		var inner []byte // as the standard has it; some tokens leave the wrapping out
		if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
			point = inner
		}
		return ecdsa.ParseUncompressedPublicKey(curve, point)
	}
	v, err := s.attributes(object, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT)
	if err != nil {
		return nil, unsupported
	}
	e := new(big.Int).SetBytes(v[1])
	if e.BitLen() > 31 {
		return nil, unsupported
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(v[0]), E: int(e.Int64())}, nil
}

func (s *session) sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
	mechanism, data := uint(pkcs11.CKM_ECDSA), digest
	if _, ok := s.pub.(*rsa.PublicKey); ok {
		prefix, ok := digestInfo[hash]
		if !ok {
			return nil, &integrity.Error{Kind: integrity.ErrUnsupported, Detail: "RSA with " + hash.String()}
		}
		mechanism, data = pkcs11.CKM_RSA_PKCS, append([]byte(prefix), digest...)
	}
	if err := s.m.SignInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, s.object); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if s.again {
		if err := s.login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC); err != nil {
			// The operation is begun, and only signing ends it; without the PIN
			// it comes to nothing.
			s.m.Sign(s.handle, data)
			return nil, err
		}
	}
	sig, err := s.m.Sign(s.handle, data)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if mechanism != pkcs11.CKM_ECDSA {
		return sig, nil
	}
	if len(sig) == 0 || len(sig)%2 != 0 {
		return nil, fmt.Errorf("token: a signature of %d bytes", len(sig))
	}
	r, t := new(big.Int).SetBytes(sig[:len(sig)/2]), new(big.Int).SetBytes(sig[len(sig)/2:])
	return asn1.Marshal(struct{ R, S *big.Int }{r, t})
}

// digestInfo is what PKCS #1 v1.5 signs before the digest (RFC 8017, 9.2).
var digestInfo = map[crypto.Hash]string{
	crypto.SHA256: "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
	crypto.SHA384: "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
	crypto.SHA512: "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
}

// close ends the session. The last one of a token logs out.
func (s *session) close() error {
	return errors.Join(s.m.CloseSession(s.handle), s.m.release())
}
