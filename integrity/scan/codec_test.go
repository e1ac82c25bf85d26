package scan_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// A row is one file and what has to be said about it.
type row struct {
	name     string
	file     string
	data     []byte
	verdict  scan.Verdict
	complete scan.Completeness
	want     []string // rule ids
}

func runRows(t *testing.T, rows []row) {
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			f := one(t, scan.Scanner{}, tt.file, tt.data)
			judge(t, f, tt.verdict, tt.complete, tt.want)
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func xzOf(data []byte) []byte {
	return compressed(func(w io.Writer) io.WriteCloser { return must(xz.WriterConfig{DictCap: 1 << 16}.NewWriter(w)) }, data)
}

func xzChecked(check byte, data []byte) []byte {
	return compressed(func(w io.Writer) io.WriteCloser {
		return must(xz.WriterConfig{CheckSum: check, BlockSize: 100, DictCap: 1 << 16}.NewWriter(w))
	}, data)
}

func lzmaOf(data []byte) []byte {
	return compressed(func(w io.Writer) io.WriteCloser { return must(lzma.WriterConfig{DictCap: 1 << 16}.NewWriter(w)) }, data)
}

func lz4Of(data []byte, options ...lz4.Option) []byte {
	return compressed(func(w io.Writer) io.WriteCloser {
		z := lz4.NewWriter(w)
		if err := z.Apply(options...); err != nil {
			panic(err)
		}
		return z
	}, data)
}

// xzBlock is a stream up to the header of a block with one filter.
func xzBlock(filter, prop byte) []byte {
	out := append([]byte("\xfd7zXZ\x00\x00\x00"), binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte{0, 0}))...)
	h := []byte{2, 0, filter, 1, prop, 0, 0, 0}
	return append(append(out, h...), binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(h))...)
}

func flip(data []byte, at int) []byte {
	data = bytes.Clone(data)
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 1
	return data
}

func TestCodecs(t *testing.T) {
	pkl, attack := build.Harmless(), build.Attack()
	long := bytes.Repeat([]byte("a line of text\n"), 1000)
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(i*i*i>>5) | 0x80
	}
	zipped := build.Zip(build.Member{Name: "a/data.pkl", Data: attack})
	member := func(name string, data []byte) []build.SevenZipMember {
		return []build.SevenZipMember{{Name: name, Data: data}}
	}
	bad := []string{"scan.pickle.call-on-load"}
	rows := []row{
		{"xz", "a.pkl.xz", xzOf(pkl), scan.Clean, scan.Complete, nil},
		{"xz_blocks", "a.txt.xz", xzChecked(xz.SHA256, long), scan.Clean, scan.Complete, nil},
		{"xz_crc32", "a.txt.xz", xzChecked(xz.CRC32, long), scan.Clean, scan.Complete, nil},
		{"xz_streams", "a.txt.xz", slices.Concat(xzOf(long), make([]byte, 8), xzOf(long)), scan.Clean, scan.Complete, nil},
		{"xz_attack", "a", xzOf(attack), scan.Malicious, scan.Complete, bad},
		{"xz_attack_second", "a", append(xzOf(pkl), xzOf(attack)...), scan.Malicious, scan.Complete, bad},
		{"xz_trailing", "a.xz", append(xzOf(long), 1, 2, 3), scan.Clean, scan.Complete, []string{"scan.compressed.trailing-data"}},
		{"xz_cut", "a.xz", xzChecked(xz.CRC32, noise)[:2000], scan.Unknown, scan.Failed, nil},
		{"xz_no_footer", "a.xz", xzOf(long)[:len(xzOf(long))-12], scan.Unknown, scan.Failed, nil},
		{"xz_check", "a.xz", flip(xzOf(pkl), -40), scan.Unknown, scan.Failed, nil},
		{"xz_index", "a.xz", flip(xzOf(long), -18), scan.Unknown, scan.Failed, nil},
		// Written by Python's lzma: x86, delta, both of them, ARM.
		{"xz_x86_attack", "a", unbase64("/Td6WFoAAATm1rRGAgEEACEBCADSuXTLAQAYgAJjb3MKc3lzdGVtClgEAAAAZWNob4VSLgAAAAANSawhStiJagABMRlZGrCCH7bzfQEAAAAABFla"), scan.Malicious, scan.Complete, bad},
		{"xz_delta_attack", "a", unbase64("/Td6WFoAAATm1rRGAgEDAQMhAQj0sn4GAQAYgAJjb/MIEAoAavL0l+Sfk/aoYWNobyDvxgAAAAANSawhStiJagABMRlZGrCCH7bzfQEAAAAABFla"), scan.Malicious, scan.Complete, bad},
		{"xz_two_filters", "a.xz", unbase64("/Td6WFoAAATm1rRGAwIDAQMEACEBCAAAhxGlmOABKACoXQBAAIsp26Bggdi/B8k/3JMJxVNndRDJV23xqL73BIyt5fzPH0FemBb7nPSgFZGrx9rXw8U7ScS8wmRG4wTNmYP8V2K5nNteWQ2y1dYvETrdxDv/DEu7DXXpAklsUDVMs3kuNhCToQekLIB09//bgTOz7t2jFC2Ny+p1UkCCSKtqstbf42Ea0FUgcVlgrSDYoC2jusC4aRl5m3LtD7KXP8YfET871OCD+gAAyjLY/i7T6MoAAcgBqQIAAFXjaTCxxGf7AgAAAAAEWVo="), scan.Clean, scan.Complete, nil},
		{"xz_arm", "a", unbase64("/Td6WFoAAATm1rRGAgEHACEBCAB8y+BNAQAYgAJjb3MKc3lzdGVtClgEAAAAZWNob4VSLgAAAAANSawhStiJagABMRlZGrCCH7bzfQEAAAAABFla"), scan.Unknown, scan.Inconclusive, nil},
		{"gzip_long_name", "a", gzipNamed(attack, 5000), scan.Malicious, scan.Complete, bad},
		{"gzip_long_name_fine", "a", gzipNamed(pkl, 5000), scan.Clean, scan.Complete, nil},
		{"gzip_zeros_between", "a", slices.Concat(build.Gzip(attack[:9]), make([]byte, 700), build.Gzip(attack[9:])), scan.Malicious, scan.Complete, bad},
		{"gzip_zeros_behind", "a.gz", append(build.Gzip(pkl), make([]byte, 700)...), scan.Clean, scan.Complete, []string{"scan.compressed.trailing-data"}},
		{"gzip_checksum", "a.gz", flip(build.Gzip(pkl), -7), scan.Unknown, scan.Failed, nil},
		{"zfile_attack", "a", zfile("%-19s", attack), scan.Malicious, scan.Complete, bad},
		{"zfile_of_python_2", "a", zfile("%-20s", attack), scan.Malicious, scan.Complete, bad},
		{"zfile", "a", zfile("%-19s", pkl), scan.Clean, scan.Complete, nil},
		{"zfile_not", "ZF.txt", []byte("ZF 0123456789 is the number of a flight\n"), scan.Clean, scan.Complete, nil},
		{"xz_filter", "a", xzBlock(0x04, 0), scan.Unknown, scan.Inconclusive, nil},
		{"xz_dictionary", "a", xzBlock(0x21, 40), scan.Unknown, scan.Inconclusive, nil},
		{"xz_not", "a.xz", []byte("\xfd7zXZ\x00\x00\x04aaaa"), scan.Unknown, scan.Inconclusive, nil},

		{"lzma", "a.pkl.lzma", lzmaOf(pkl), scan.Clean, scan.Complete, nil},
		{"lzma_attack", "a.joblib", lzmaOf(attack), scan.Malicious, scan.Complete, bad},
		{"lzma_trailing", "a.lzma", append(lzmaOf(long), 1, 2, 3), scan.Clean, scan.Complete, []string{"scan.compressed.trailing-data"}},
		{"lzma_cut", "a.lzma", lzmaOf(noise)[:2000], scan.Unknown, scan.Failed, nil},
		{"lzma_dictionary", "a", append([]byte("\x5d\x00\x00\x00\x80\xff\xff\xff\xff\xff\xff\xff\xff"), lzmaOf(pkl)[13:]...), scan.Clean, scan.Complete, nil},
		{"lzma_dictionary_attack", "a", append([]byte("\x5d\x00\x00\x00\x40\xff\xff\xff\xff\xff\xff\xff\xff"), lzmaOf(attack)[13:]...), scan.Malicious, scan.Complete, bad},
		{"lzma_odd_dictionary", "a", append([]byte("\x5d\x00\x00\x18\x00\xff\xff\xff\xff\xff\xff\xff\xff"), lzmaOf(attack)[13:]...), scan.Malicious, scan.Complete, bad},
		{"lzma_not", "a", append([]byte("\x5d\x00\x00\x40\x00"), bytes.Repeat([]byte{0xff}, 40)...), scan.Unknown, scan.Complete, nil},

		{"lz4", "a.pkl.lz4", lz4Of(pkl), scan.Clean, scan.Complete, nil},
		{"lz4_sums", "a.txt.lz4", lz4Of(long, lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(long))), lz4.BlockSizeOption(lz4.Block64Kb)), scan.Clean, scan.Complete, nil},
		{"lz4_old", "a.txt.lz4", lz4Of(long, lz4.LegacyOption(true)), scan.Clean, scan.Complete, nil},
		{"lz4_old_trailing", "a.txt.lz4", append(lz4Of(long, lz4.LegacyOption(true)), 0x98, 0x3a, 0xff, 0xff), scan.Clean, scan.Complete, []string{"scan.compressed.trailing-data"}},
		{"lz4_old_attack", "a", append(lz4Of(long, lz4.LegacyOption(true)), lz4Of(attack)...), scan.Malicious, scan.Complete, []string{"scan.file.hidden-content", "scan.pickle.call-on-load"}},
		{"lz4_frames", "a.txt.lz4", append(lz4Of(long), lz4Of(long)...), scan.Clean, scan.Complete, nil},
		{"lz4_attack", "a", lz4Of(attack), scan.Malicious, scan.Complete, bad},
		{"lz4_attack_second", "a", append(lz4Of(pkl), lz4Of(attack)...), scan.Malicious, scan.Complete, bad},
		{"lz4_attack_skipped", "a", append([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), lz4Of(attack)...), scan.Malicious, scan.Complete, bad},
		{"lz4_trailing", "a.lz4", append(lz4Of(long), 1, 2, 3), scan.Clean, scan.Complete, []string{"scan.compressed.trailing-data"}},
		{"lz4_cut", "a.lz4", lz4Of(long)[:60], scan.Unknown, scan.Inconclusive, nil},
		{"lz4_sum", "a.lz4", flip(lz4Of(long), -1), scan.Unknown, scan.Failed, nil},
		{"lz4_not", "a", []byte("\x04\x22\x4d\x18\x64\x40\xa7abcdefgh"), scan.Unknown, scan.Complete, nil},

		{"7z", "a.7z", build.SevenZip{Members: member("a.pkl", pkl)}.Bytes(), scan.Clean, scan.Complete, nil},
		{"7z_empty", "a.7z", build.SevenZip{}.Bytes(), scan.Clean, scan.Complete, nil},
		{"7z_packed", "a.7z", build.SevenZip{Members: append(member("a.txt", long), member("b/c.pkl", pkl)...), Codec: build.LZMA2Codec, PackHead: true}.Bytes(), scan.Clean, scan.Complete, nil},
		{"7z_attack", "a", build.SevenZip{Members: append(member("a.txt", long), member("b/c", attack)...), Codec: build.LZMA2Codec, PackHead: true}.Bytes(), scan.Malicious, scan.Complete, bad},
		{"7z_zip", "a", build.SevenZip{Members: member("a.zip", zipped)}.Bytes(), scan.Malicious, scan.Complete, bad},
		{"7z_traversal", "a.7z", build.SevenZip{Members: member("../a", pkl)}.Bytes(), scan.Malicious, scan.Complete, []string{"scan.archive.path-traversal"}},
		{"7z_absolute", "a.7z", build.SevenZip{Members: member("/etc/a", pkl)}.Bytes(), scan.Malicious, scan.Complete, []string{"scan.archive.absolute-path"}},
		{"7z_duplicate", "a.7z", build.SevenZip{Members: append(member("a", pkl), member("a", long)...)}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.archive.duplicate-name"}},
		{"7z_link", "a.7z", build.SevenZip{Members: []build.SevenZipMember{{Name: "l", Data: []byte("x"), UnixMode: 0o120777}}}.Bytes(), scan.Clean, scan.Complete, []string{"scan.archive.link"}},
		{"7z_link_out", "a.7z", build.SevenZip{Members: []build.SevenZipMember{{Name: "l", Data: []byte("../x"), UnixMode: 0o120777}}}.Bytes(), scan.Malicious, scan.Complete, []string{"scan.archive.link"}},
		{"7z_device", "a.7z", build.SevenZip{Members: []build.SevenZipMember{{Name: "d", Data: []byte("x"), UnixMode: 0o020777}}}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.archive.special-member"}},
		{"7z_crc", "a.7z", build.SevenZip{Members: member("a.pkl", pkl), WrongCRC: true}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.sevenzip.wrong-checksum"}},
		{"7z_header_crc", "a.7z", build.SevenZip{Members: member("a.pkl", pkl), BadHead: true}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.sevenzip.wrong-checksum"}},
		{"7z_encrypted", "a.7z", build.SevenZip{Members: member("a.pkl", pkl), Codec: []byte{6, 0xf1, 7, 1}, Props: make([]byte, 18)}.Bytes(), scan.Unknown, scan.Inconclusive, nil},
		{"7z_ppmd", "a.7z", build.SevenZip{Members: member("a.pkl", pkl), Codec: []byte{3, 4, 1}, Props: make([]byte, 5)}.Bytes(), scan.Unknown, scan.Inconclusive, nil},
		{"7z_unused", "a.7z", build.SevenZip{Members: member("a.pkl", pkl), Prefix: []byte{1, 2, 3}}.Bytes(), scan.Clean, scan.Complete, []string{"scan.sevenzip.unused-data"}},
		{"7z_hidden", "a.7z", build.SevenZip{Members: member("a.pkl", pkl), Suffix: build.ELF()}.Bytes(), scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable", "scan.sevenzip.unused-data"}},
		{"7z_cut", "a.7z", build.SevenZip{Members: member("a.pkl", pkl)}.Bytes()[:60], scan.Unknown, scan.Failed, nil},
		{"7z_broken", "a.7z", build.SevenZip{Members: append(member("a", long), member("b", pkl)...), Codec: []byte{4, 1, 8}}.Bytes(), scan.Unknown, scan.Failed, nil},
	}
	runRows(t, rows)
}

// FuzzXZ starts at streams of xz.
func FuzzXZ(f *testing.F) {
	f.Add(xzOf(build.Harmless()))
	f.Add(xzChecked(xz.CRC32, bytes.Repeat([]byte("abc"), 100)))
	f.Add(xzBlock(0x21, 0))
	formats := only("xz")
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "a.xz", data, formats) })
}

// FuzzLZMA starts at streams of the old format.
func FuzzLZMA(f *testing.F) {
	f.Add(lzmaOf(build.Harmless()))
	f.Add(lzmaOf(bytes.Repeat([]byte("abc"), 100)))
	formats := only("lzma")
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "a.lzma", data, formats) })
}

// FuzzLZ4 starts at frames.
func FuzzLZ4(f *testing.F) {
	f.Add(lz4Of(build.Harmless(), lz4.BlockSizeOption(lz4.Block64Kb)))
	f.Add(lz4Of(bytes.Repeat([]byte("abc"), 100), lz4.LegacyOption(true)))
	formats := only("lz4")
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "a.lz4", data, formats) })
}

// FuzzSevenzip puts fuzzed bytes behind a start header that is right, so that
// they are read as the header of an archive.
func FuzzSevenzip(f *testing.F) {
	whole := build.SevenZip{Members: []build.SevenZipMember{{Name: "a", Data: build.Harmless()}, {Name: "../b", Data: []byte("x"), UnixMode: 0o120777}}}.Bytes()
	f.Add(whole[32:], uint16(32+len(build.Harmless())+1))
	packed := build.SevenZip{Members: []build.SevenZipMember{{Name: "a", Data: build.Harmless()}}, Codec: build.LZMA2Codec, PackHead: true}.Bytes()
	f.Add(packed[32:], uint16(binary.LittleEndian.Uint64(packed[12:])))
	formats := only("7z")
	f.Fuzz(func(t *testing.T, data []byte, at uint16) {
		at = min(at, uint16(min(len(data), 1<<16-1)))
		le := binary.LittleEndian
		start := le.AppendUint64(le.AppendUint64(nil, uint64(at)), uint64(len(data)-int(at)))
		start = le.AppendUint32(start, crc32.ChecksumIEEE(data[at:]))
		file := append([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), le.AppendUint32(nil, crc32.ChecksumIEEE(start))...)
		check(t, "a.7z", slices.Concat(file, start, data), formats)
	})
}

func unbase64(s string) []byte {
	return must(base64.StdEncoding.DecodeString(s))
}

// gzipNamed has a name of n bytes in its header, which the standard library
// refuses when it is long.
func gzipNamed(data []byte, n int) []byte {
	plain := build.Gzip(data)
	plain[3] |= 8
	return slices.Concat(plain[:10], bytes.Repeat([]byte("n"), n), []byte{0}, plain[10:])
}

// zfile is what joblib wrote before version 0.9.3.
func zfile(width string, data []byte) []byte {
	packed := compressed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, data)
	return append(fmt.Appendf(nil, "ZF"+width, fmt.Sprintf("%#x", len(data))), packed...)
}
