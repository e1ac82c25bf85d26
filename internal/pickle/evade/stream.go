package evade

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prerun/prerun/internal/pickle"
)

// streams are ways to make a pickle of instructions, and pickles of a pickle.
func streams() []Technique {
	end := func(name, row string, f func(*Draft)) Technique {
		return Technique{Name: name, Row: row, Takes: Code, Gives: Stream, Apply: f}
	}
	around := func(name, row string, before, behind []byte) Technique {
		return Technique{Name: name, Row: row, Takes: Stream, Gives: Stream, Apply: func(d *Draft) {
			d.Data = slices.Concat(before, d.Data, behind)
		}}
	}
	stop := op(pickle.OpStop)
	harmless := []byte("\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.")
	magic := []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")
	torch := slices.Concat(magic, []byte("\x80\x02M\xe9\x03."), []byte("\x80\x02}."))
	return []Technique{
		end("stop", "4.1", func(d *Draft) { d.stream(d.Code, stop) }),
		end("truncated", "4.4#10", func(d *Draft) { d.stream(d.Code) }),
		end("invalid-opcode-behind", "4.4#10", func(d *Draft) { d.stream(d.Code, Instruction{Bytes: []byte{0xff, 0xff, '.'}}) }),
		end("text-behind", "4.4#10", func(d *Draft) { d.stream(d.Code, Instruction{Bytes: []byte("XXXX is no end")}) }),
		end("cut-argument-behind", "4.4#10", func(d *Draft) { d.stream(d.Code, op(pickle.OpBinunicode, 0xff, 0xff, 0xff, 0x00, 'x')) }),
		end("no-protocol", "4.4#20", func(d *Draft) {
			d.protocols(0, 0)
			d.bare(d.Code, stop)
		}),
		end("long-first-line", "4.4#24", func(d *Draft) {
			// No opcode of a binary protocol, and no end of a line where a file is looked at first.
			d.protocols(0, 0)
			d.bare(line(pickle.OpUnicode, strings.Repeat("weights ", 1200)), op(pickle.OpPop), d.Code, stop)
		}),
		end("framed", "4.1", func(d *Draft) { d.stream(frame(len(assemble(d.Code))+1), d.Code, stop) }),
		end("frame-too-long", "4.4#14", func(d *Draft) { d.stream(frame(1<<20), d.Code, stop) }),
		end("frame-in-frame", "4.4#14", func(d *Draft) {
			n := len(assemble(d.Code)) + 1
			d.stream(frame(n+9), frame(n), d.Code, stop)
		}),
		end("frame-too-short", "4.4#13", func(d *Draft) {
			// The frame ends in the middle of a call, between opcodes.
			d.stream(op(pickle.OpNone), op(pickle.OpPop), frame(len(assemble(d.Code[:len(d.Code)/2]))), d.Code, stop)
		}),
		end("frame-straddled", "4.4#13", func(d *Draft) { d.stream(straddled(d.Code)) }),
		end("frame-straddled-buffered", "4.4#13", func(d *Draft) {
			// Files of CPython up to 3.13 have a buffer of 8 KiB; the frame is
			// read by itself when it crosses the end.
			const header, frame = 2 + 5 + 1, 9
			d.stream(counted(pickle.OpBinbytes, 4, string(make([]byte, 8<<10-1-frame-header))), op(pickle.OpPop), straddled(d.Code))
		}),
		end("zip-magic", "4.4#30", func(d *Draft) {
			// A loader that tries zip first fails there and goes on to pickle.
			d.protocols(0, 0)
			d.bare(line(pickle.OpPersid, "K\x03\x04"), op(pickle.OpPop), d.Code, stop)
		}),
		around("second-stream", "4.4#16", harmless, nil),
		around("fifth-stream", "4.4#16", bytes.Repeat(harmless, 4), nil),
		around("junk-byte-between", "4.4#16", append(slices.Clone(harmless), 0), nil),
		around("junk-between", "4.4#16", append(slices.Clone(harmless), "\xff\xfe junk \x00"...), nil),
		around("stream-behind", "4.4#16", nil, harmless),
		around("torch-object", "4.4#16", torch, []byte("\x80\x02].")),
		around("torch-keys", "4.4#16", slices.Concat(torch, harmless), nil),
		around("torch-magic", "4.4#17", nil, torch[len(magic):]),
		around("noise-behind", "4.4#10", nil, bytes.Repeat([]byte{0xff, 0xd8, 0, 1}, 64)),
		// No loader starts behind text, so it is a file and nothing to nest.
		{Name: "text-first", Row: "4.4#24", Takes: Stream, Gives: File, Apply: func(d *Draft) {
			d.Data, d.Behind = append([]byte("version https://git-lfs.github.com/spec/v1\n"), d.Data...), true
		}},
		around("long-first-stream", "4.4#16", assemble(join(op(pickle.OpProto, 4), counted(pickle.OpBinbytes, 4, string(make([]byte, 8<<10))), op(pickle.OpStop))), nil),
	}
}

func frame(n int) Instruction { return op(pickle.OpFrame, le.AppendUint64(nil, uint64(n))...) }

// straddled ends a frame within the length of a bytes object. Read on, the
// object is all that follows; C drops what is in the frame, and the object is
// one byte.
func straddled(code []Instruction) Instruction {
	rest := assemble(join(op(pickle.OpPop), code, op(pickle.OpStop)))
	cut := []byte{byte(pickle.OpBinbytes), 7}
	const linear = 0x107 - 2 // bytes that belong to the object, by a reading on
	var fill []byte
	if len(rest) > linear {
		cut = append(cut, 0x10) // 64 KiB and more: beyond the end
	} else {
		fill = append(bytes.Repeat([]byte{byte(pickle.OpNone)}, linear-len(rest)), byte(pickle.OpNone), byte(pickle.OpStop))
	}
	return Instruction{Bytes: slices.Concat(frame(len(cut)).Bytes, cut, []byte{1, 0, 0, 0, 'x'}, rest, fill)}
}

// nests are ways to put a pickle into a literal of another.
func nests() []Technique {
	way := func(name, row string, dormant bool, f func(data []byte) []Instruction) Technique {
		return Technique{Name: name, Row: row, Takes: Stream, Gives: Code, Dormant: dormant, Apply: func(d *Draft) {
			d.Code, d.Data = f(d.Data), nil
		}}
	}
	bin := func(data []byte) Instruction { return counted(pickle.OpBinbytes, 4, string(data)) }
	deflate := func(data []byte) []byte {
		return packed(data, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
	}
	zip := func(data []byte) []byte {
		return packed(data, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	}
	loads := func(code ...Instruction) []Instruction { return reduce("_pickle", "loads", code...) }
	return []Technique{
		way("loads", "4.4#18", false, func(b []byte) []Instruction { return loads(bin(b)) }),
		way("loads-cpickle", "4.4#18", false, func(b []byte) []Instruction {
			return join(op(pickle.OpProto, 2), reduce("cPickle", "loads", bin(b)))
		}),
		way("loads-base64", "4.4#18", false, func(b []byte) []Instruction {
			return loads(reduce("base64", "b64decode", str(base64.StdEncoding.EncodeToString(b)))...)
		}),
		way("loads-hex", "4.4#18", false, func(b []byte) []Instruction {
			return loads(reduce("binascii", "unhexlify", str(hex.EncodeToString(b)))...)
		}),
		way("loads-zlib", "4.4#18", false, func(b []byte) []Instruction {
			return loads(reduce("zlib", "decompress", bin(deflate(b)))...)
		}),
		way("loads-gzip", "4.4#18", false, func(b []byte) []Instruction {
			return loads(reduce("gzip", "decompress", bin(zip(b)))...)
		}),
		way("loads-latin1", "4.4#18", false, func(b []byte) []Instruction {
			return loads(reduce("_codecs", "encode", str(latin1(b)), str("latin1"))...)
		}),
		way("load-of-bytesio", "4.4#18", false, func(b []byte) []Instruction {
			return reduce("_pickle", "load", reduce("_io", "BytesIO", bin(b))...)
		}),
		way("torch-load-from-bytes", "4.4#18", false, func(b []byte) []Instruction {
			return reduce("torch.storage", "_load_from_bytes", bin(b))
		}),
		way("joblib-object-array", "4.8", false, func(b []byte) []Instruction {
			return join(joblib("O8"), Instruction{Bytes: b})
		}),
		way("joblib-array-data", "4.8", false, func(b []byte) []Instruction {
			// joblib skips the bytes of the array; other loaders run them, up to
			// the STOP that they hold.
			return join(joblib("S"+strconv.Itoa(len(b))), Instruction{Bytes: b})
		}),
		way("dormant-bytes", "4.4#18", true, func(b []byte) []Instruction { return join(bin(b)) }),
		way("dormant-bytearray", "4.4#18", true, func(b []byte) []Instruction {
			return join(counted(pickle.OpBytearray8, 8, string(b)))
		}),
		way("dormant-string", "4.4#18", true, func(b []byte) []Instruction {
			return join(line(pickle.OpString, "'"+escape(`\x%02x`, string(b))+"'"))
		}),
		way("dormant-base64", "4.4#18", true, func(b []byte) []Instruction {
			return join(str(base64.StdEncoding.EncodeToString(b)))
		}),
		way("dormant-hex", "4.4#18", true, func(b []byte) []Instruction { return join(str(hex.EncodeToString(b))) }),
		way("dormant-base64-zlib", "4.4#18", true, func(b []byte) []Instruction {
			return join(str(base64.URLEncoding.EncodeToString(deflate(b))))
		}),
		way("dormant-gzip", "4.4#18", true, func(b []byte) []Instruction { return join(bin(zip(b))) }),
	}
}

// joblib is a wrapper behind which joblib reads an array of one element.
func joblib(dtype string) []Instruction {
	return join(
		global("joblib.numpy_pickle", "NumpyArrayWrapper"), op(pickle.OpEmptyTuple), op(pickle.OpNewobj),
		op(pickle.OpEmptyDict), op(pickle.OpMark),
		str("subclass"), global("numpy", "ndarray"), str("shape"), integer(1), op(pickle.OpTuple1), str("order"), str("C"),
		str("dtype"), reduce("numpy", "dtype", str(dtype), op(pickle.OpNewfalse), op(pickle.OpNewtrue)),
		str("allow_mmap"), op(pickle.OpNewfalse),
		op(pickle.OpSetitems), op(pickle.OpBuild))
}

func packed(data []byte, w func(io.Writer) io.WriteCloser) []byte {
	var out bytes.Buffer
	z := w(&out)
	z.Write(data) // to memory
	z.Close()
	return out.Bytes()
}

// latin1 is what Python's str(b, "latin1") is, in UTF-8.
func latin1(b []byte) string {
	var out []byte
	for _, c := range b {
		out = utf8.AppendRune(out, rune(c))
	}
	return string(out)
}
