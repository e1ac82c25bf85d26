// Package technique writes files that call something when they are loaded: the
// pickles of package evade in every container and under every name that is
// known to hide them. It is imported by tests and by the generator of test
// files only.
package technique

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/internal/pickle/evade"
)

// Denied is a call that every scanner knows to be dangerous.
func Denied() evade.Call {
	return evade.Call{Module: "os", Name: "system", Host: "pathlib", Alias: [2]string{"commands", "getoutput"}, Argument: "echo hello"}
}

// Harmless is its twin: a class of a module that the script has which runs the
// files, so that it can tell whether the call was made.
func Harmless() evade.Call {
	return evade.Call{Module: "prerun_mark", Name: "Hit", Host: "prerun_host", Alias: [2]string{"ConfigParser", "Hit"}, Argument: "x"}
}

// All are the techniques of pickles, of containers and of names.
func All() []evade.Technique {
	return slices.Concat(evade.Techniques(), containers(), names())
}

// containers are files around a file. Open says how Python gets back at what
// is inside; an empty word where its standard library cannot.
func containers() []evade.Technique {
	way := func(name, row, file, open string, f func(data []byte) []byte) evade.Technique {
		return evade.Technique{Name: name, Row: row, Takes: evade.File, Gives: evade.File, Apply: func(d *evade.Draft) {
			d.Data, d.Name = f(d.Data), file
			d.Open = append([]string{open}, d.Open...)
		}}
	}
	const member = "archive/data.pkl"
	zipped := func(name string, f func(m build.Member) build.Archive) evade.Technique {
		return way(name, "4.4#21", "model.pt", "zip", func(data []byte) []byte {
			return f(build.Member{Name: member, Data: data}).Bytes()
		})
	}
	one := func(change func(m *build.Member)) func(m build.Member) build.Archive {
		return func(m build.Member) build.Archive {
			change(&m)
			return build.Archive{Members: []build.Member{m}}
		}
	}
	// behind puts the file behind something, where no loader looks by itself.
	behind := func(name, file, open string, before []byte) evade.Technique {
		t := way(name, "4.4#23", file, open, func(data []byte) []byte { return slices.Concat(before, data) })
		apply := t.Apply
		t.Apply = func(d *evade.Draft) {
			apply(d)
			d.Behind = true
		}
		return t
	}
	stream := func(name, row, file, open string, w func(io.Writer) io.WriteCloser) evade.Technique {
		return way(name, row, file, open, func(data []byte) []byte { return packed(data, w) })
	}
	return []evade.Technique{
		zipped("zip", one(func(*build.Member) {})),
		zipped("zip-deflated", one(func(m *build.Member) { m.Method = 8 })),
		zipped("zip-wrong-crc", one(func(m *build.Member) { m.WrongCRC = true })),
		zipped("zip-flag-encrypted", one(func(m *build.Member) { m.Flags = 1 })),
		zipped("zip-flag-patched", one(func(m *build.Member) { m.Flags = 0x20 })),
		zipped("zip-flag-strong", one(func(m *build.Member) { m.Flags = 0x40 })),
		zipped("zip-local-name", one(func(m *build.Member) { m.Local = "archive/datap.kl" })),
		zipped("zip-central-name", one(func(m *build.Member) { m.Local, m.Name = m.Name, "archive/notes" })),
		zipped("zip-text-name", one(func(m *build.Member) { m.Name = "archive/README.md" })),
		zipped("zip-no-extension", one(func(m *build.Member) { m.Name = "archive/data" })),
		zipped("zip-size-lie", one(func(m *build.Member) { m.SizeDelta = 7 })),
		zipped("zip-prefixed", func(m build.Member) build.Archive {
			return build.Archive{Members: []build.Member{m}, Prefix: []byte("#! not a zip\n")}
		}),
		zipped("zip-suffixed", func(m build.Member) build.Archive {
			return build.Archive{Members: []build.Member{m}, Suffix: make([]byte, 300)}
		}),
		zipped("zip-hidden-member", func(m build.Member) build.Archive {
			m.Hidden = true
			return build.Archive{Members: []build.Member{{Name: "archive/version", Data: []byte("3\n")}, m}}
		}),
		zipped("zip-no-directory", func(m build.Member) build.Archive {
			return build.Archive{Members: []build.Member{m}, NoEnd: true}
		}),
		zipped("zip-twice", func(m build.Member) build.Archive {
			return build.Archive{Members: []build.Member{{Name: m.Name, Data: build.Harmless()}, m}}
		}),
		zipped("zip-in-comment", func(m build.Member) build.Archive {
			return build.Archive{Members: []build.Member{{Name: "a.txt", Data: []byte("text\n")}}, Comment: build.Zip(m)}
		}),
		zipped("torch-zip", func(m build.Member) build.Archive {
			return build.Archive{Members: []build.Member{
				m, {Name: "archive/byteorder", Data: []byte("little")}, {Name: "archive/data/0", Data: make([]byte, 16)}, {Name: "archive/version", Data: []byte("3\n")},
			}}
		}),
		zipped("torch-constants", func(m build.Member) build.Archive {
			m.Name = "archive/constants.pkl"
			return build.Archive{Members: []build.Member{
				{Name: member, Data: build.Harmless()}, m, {Name: "archive/version", Data: []byte("3\n")},
			}}
		}),
		{Name: "torch-storage", Row: "4.4#20", Takes: evade.File, Gives: evade.File, Apply: func(d *evade.Draft) {
			if d.Behind { // weights hold everything by chance; only their start is looked at
				d.Refuse()
				return
			}
			d.Name, d.Open = "model.pt", append([]string{""}, d.Open...)
			d.Data = build.Zip(
				build.Member{Name: member, Data: build.Harmless()}, build.Member{Name: "archive/data/0", Data: d.Data},
				build.Member{Name: "archive/version", Data: []byte("3\n")})
		}},
		way("tar", "4.4#22", "model.tar", "tar", func(data []byte) []byte {
			return build.Tar(build.TarMember{Name: "a/data.pkl", Data: data})
		}),
		way("torch-tar", "4.4#22", "model.pt", "tar", func(data []byte) []byte {
			return build.Tar(
				build.TarMember{Name: "pickle", Data: data},
				build.TarMember{Name: "storages", Data: []byte("\x80\x02K\x00.")}, build.TarMember{Name: "tensors", Data: []byte("\x80\x02K\x00.")},
				build.TarMember{Name: "sys_info", Data: build.Harmless()})
		}),
		way("7z", "4.4#22", "model.7z", "", func(data []byte) []byte {
			return build.SevenZip{Members: []build.SevenZipMember{{Name: "data.pkl", Data: data}}}.Bytes()
		}),
		way("7z-lzma2", "4.4#22", "model.pt", "", func(data []byte) []byte {
			return build.SevenZip{Members: []build.SevenZipMember{{Name: "data.pkl", Data: data}}, Codec: build.LZMA2Codec, PackHead: true}.Bytes()
		}),
		stream("gzip", "4.4#22", "model.joblib", "gzip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		stream("zlib", "4.4#22", "model.joblib", "zlib", func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
		way("bzip2", "4.4#22", "model.joblib", "bz2", build.Bzip2),
		stream("xz", "4.4#22", "model.joblib", "xz", func(w io.Writer) io.WriteCloser {
			return must(xz.WriterConfig{DictCap: 1 << 16}.NewWriter(w))
		}),
		stream("lzma", "4.4#22", "model.joblib", "xz", func(w io.Writer) io.WriteCloser {
			return must(lzma.WriterConfig{DictCap: 1 << 16}.NewWriter(w))
		}),
		stream("lz4", "4.4#22", "model.joblib", "", func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) }),
		stream("zstd", "4.4#22", "model.pkl.zst", "", func(w io.Writer) io.WriteCloser {
			return must(zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<17), zstd.WithLowerEncoderMem(true)))
		}),
		way("npy-objects", "2", "array.npy", "npy", func(data []byte) []byte { return build.NPY("|O", "(1,)", data) }),
		way("npz-objects", "2", "arrays.npz", "zip npy", func(data []byte) []byte {
			return build.Zip(build.Member{Name: "arr_0.npy", Data: build.NPY("|O", "(1,)", data)})
		}),
		way("zip-at-tail", "4.4#23", "model.pt", "here", func(data []byte) []byte {
			return append(bytes.Clone(data), build.Zip(build.Member{Name: "a/data.pkl", Data: build.Harmless()})...)
		}),
		behind("behind-zip", "model.zip", "", build.Zip(build.Member{Name: "a.txt", Data: []byte("text\n")})),
		behind("behind-safetensors", "model.safetensors", "",
			build.Safetensors(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, []byte{1, 2, 3, 4})),
		way("page-aligned", "4.4#23", "model.pkl", "here", func(data []byte) []byte {
			return append(bytes.Clone(data), make([]byte, 9000)...)
		}),
	}
}

// names are what a file may be called without becoming another.
func names() []evade.Technique {
	var all []evade.Technique
	for _, name := range []string{
		"pytorch_model.bin", "model.pt", "model.dat", "model", "README.md", "config.json", "model.safetensors", "array.npy", "model.zip", "model.h5", ".pkl",
	} {
		all = append(all, evade.Technique{
			Name: "named-" + strings.ToLower(name), Row: "4.4#20", Takes: evade.File, Gives: evade.File,
			Apply: func(d *evade.Draft) { d.Name = name },
		})
	}
	return all
}

func packed(data []byte, w func(io.Writer) io.WriteCloser) []byte {
	var out bytes.Buffer
	z := w(&out)
	z.Write(data) // to memory
	z.Close()
	return out.Bytes()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
