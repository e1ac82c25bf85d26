package deflate64_test

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/prerun/prerun/integrity/scan/internal/deflate64"
)

// written is what 7-Zip 26.02 made of content (7zz a -tzip -mm=Deflate64 -mx=9).
const written = "OlbXmO39+9HvkG9779fIPGxn3G94L6yI3z09rT1yVYdN5Ksw4epLrQtv2ISE6puvS42+xVQ548xjqbK++Jsz++Xtzd45V/jy/tq37NaTtr47mrl+/8MeFij87t8YwTrhKOed4LOrrD1mBl0Omss2/9XWQ2zCMzw3McqtMeownBPkNrXQrD/8m6Ws2K+Okq8zasRjHHfnFvbxF0QeZ5TWN7adeEB2KS/vauPeurh+u2cZJcusNh6eLLgi5fjtUw8SHn7ez8mQvuix6gJFw/arSUdXMIx4MOLBiAcjHox4MOLBiAcjHox4MOLBiAcjHox4MOLBiAcA8uBAAAAAAADI/7UQ9Hq9Xq/X6/V6vV6v10MeHAgAAAAAAPm/FoJer9fr9Xq9Xq/X6/V6vV6v1+v1er1er9frIQ8OBAAAAACA/F8LQa/X6/V6vV6v1+v1er1er9fr9Xq9Xq/X6/V6vV6v1+v1er1er9fr9Xq9Xq/X6/V6vV6v11PuHdAAAMAwCPOv+tcxWiEEHo/H4/F4PB6Px+PxeDwej8fj8Xg8Ho/H4/F4PB6Px+MtqHzQHY/H4/F4PB6Px+PxeDwej8fj8Xg8Ho/H4/F4PB6Px+PxeDwej8fj8Xg8Ho/H4/F4PB6Px+PxeDwej8fj8Xg8Ho/H4/F6Kp27Bw=="

// content has matches of more than 258 bytes, and distances of both codes that
// Deflate does not have.
func content() []byte {
	x, noise := uint32(1), make([]byte, 200)
	for i := range noise {
		x = (x*1103515245 + 12345) & 0x7fffffff
		noise[i] = byte(x >> 16)
	}
	return slices.Concat(noise, make([]byte, 40_000), noise, bytes.Repeat([]byte{0xff}, 20_000), noise)
}

func TestWrittenBySevenZip(t *testing.T) {
	data, err := base64.StdEncoding.DecodeString(written)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(data), "byte_by_byte": iotest.OneByteReader(bytes.NewReader(data)),
	} {
		got, err := io.ReadAll(deflate64.NewReader(r))
		if err != nil || !bytes.Equal(got, content()) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := io.ReadAll(iotest.OneByteReader(deflate64.NewReader(bytes.NewReader(data[:len(data)/2])))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half of it: %v", err)
	}
}

// TestDeflate: a stream of Deflate without a match of 258 bytes means the same.
func TestDeflate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.ByteRange('a', 'd'), 0, 257).Draw(t, "content")
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, rapid.IntRange(flate.HuffmanOnly, flate.BestCompression).Draw(t, "level"))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(want)
		w.Close()
		got, err := io.ReadAll(deflate64.NewReader(&out))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		data string
		want error
	}{
		"empty":           {"", io.ErrUnexpectedEOF},
		"type":            {"\x07", deflate64.ErrMalformed},
		"stored_size":     {"\x01\x01\x00\x00\x00", deflate64.ErrMalformed},
		"stored_cut":      {"\x01\x02\x00\xfd\xffa", io.ErrUnexpectedEOF},
		"before_start":    {"\x03\x02\x00\x00", deflate64.ErrMalformed},
		"codes_too_many":  {"\xfd" + strings.Repeat("\xff", 40), deflate64.ErrMalformed},
		"no_code_lengths": {"\x05" + strings.Repeat("\x00", 40), deflate64.ErrMalformed},
	} {
		if _, err := io.ReadAll(deflate64.NewReader(strings.NewReader(tt.data))); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// FuzzRead: no input makes the reader fail otherwise than by an error, or read
// on without end.
func FuzzRead(f *testing.F) {
	data, _ := base64.StdEncoding.DecodeString(written)
	f.Add(data)
	f.Add([]byte("\x01\x01\x00\xfe\xffa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 1<<10)]
		r := deflate64.NewReader(bytes.NewReader(data))
		n, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
		if err != nil && !errors.Is(err, deflate64.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		if n > int64(len(data))*8*65538 {
			t.Errorf("%d bytes from %d", n, len(data))
		}
	})
}

func BenchmarkRead(b *testing.B) {
	data, _ := base64.StdEncoding.DecodeString(written)
	b.SetBytes(int64(len(content())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.Copy(io.Discard, deflate64.NewReader(bytes.NewReader(data))); err != nil {
			b.Fatal(err)
		}
	}
}
