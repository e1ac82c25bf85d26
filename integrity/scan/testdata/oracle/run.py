"""Loads harmless files of package technique under a real CPython, 3.6 or newer,
and says which loaders make the hidden call.

    go run ./integrity/scan/internal/technique/write -harmless -pairs DIR
    python3 run.py run DIR > RESULT
    python3 run.py table DIR RESULT... > TECHNIQUES.md

A result starts with the version; each further line is a file, a tab and one
letter for each loader that made the call:

    l  pickle.load of a BytesIO            s  pickle.loads
    f  pickle.load of an unbuffered file   p  the unpickler written in Python
    b  pickle.load of a buffered file      e  pickle.load with encoding=
    m  pickle.load again and again, over what does not load, as torch does for
       its older format
    t  an unpickler that takes persistent ids, as torch's does
    j  what joblib does: array data is read, not executed

What the files call is prerun_mark.Hit, a class made here. Where they need a
library, a stand-in is made here that reads pickles as it does. Run it in a
process of its own: the files change modules, which are put right between loads.
"""
import argparse
import bz2
import copyreg
import gzip
import io
import json
import lzma
import os
import pickle
import platform
import struct
import sys
import tarfile
import tempfile
import types
import zlib

sys.dont_write_bytecode = True
hits = []
LETTERS = "lfbspemtj"


def stand_ins():
    """Makes the modules that the files name, anew for each load."""
    mark = types.ModuleType("prerun_mark")

    class Hit(object):
        def __new__(cls, *args, **kwargs):
            hits.append(args)

    mark.Hit = Hit
    setattr(mark, "\u00e9", 1)
    host = types.ModuleType("prerun_host")
    host.prerun_mark = mark
    numpy = types.ModuleType("numpy")
    numpy.ndarray = type("ndarray", (object,), {})
    numpy.dtype = lambda text, *rest: text
    wrapper = types.ModuleType("joblib.numpy_pickle")
    wrapper.NumpyArrayWrapper = type("NumpyArrayWrapper", (object,), {})
    torch = types.ModuleType("torch.storage")
    torch._load_from_bytes = lambda b: again_and_again(io.BytesIO(b))
    sys.modules.update({
        "prerun_mark": mark, "prerun_host": host, "configparser": mark, "numpy": numpy,
        "joblib": types.ModuleType("joblib"), "joblib.numpy_pickle": wrapper,
        "torch": types.ModuleType("torch"), "torch.storage": torch,
    })
    for name in ("__setstate__", "__setitem__", "append", "extend"):
        if name in vars(argparse.Namespace):
            delattr(argparse.Namespace, name)
    for registry in (copyreg._inverted_registry, copyreg._extension_registry, copyreg._extension_cache):
        registry.clear()


def again_and_again(f):
    size = f.seek(0, 2)
    pos = 0
    for _ in range(24):
        if pos >= size:
            return
        f.seek(pos)
        try:
            pickle.load(f)
            pos = f.tell()
        except Exception:
            pos += 1


class Persistent(pickle.Unpickler):
    def persistent_load(self, pid):
        return None


class Joblib(pickle._Unpickler):
    """Reads arrays as joblib does, all sizes being in bytes here."""
    dispatch = pickle._Unpickler.dispatch.copy()

    def __init__(self, f):
        pickle._Unpickler.__init__(self, f)
        self.handle = f

    def load_build(self):
        pickle._Unpickler.load_build(self)
        array = self.stack[-1]
        if type(array).__name__ == "NumpyArrayWrapper":
            if array.dtype.startswith("O"):
                pickle.load(self.handle)
            else:
                self.handle.read(array.shape[0] * int(array.dtype[1:]))

    dispatch[pickle.BUILD[0]] = load_build


def with_encodings(data):
    for encoding in ("utf-8", "latin1", "bytes"):
        try:
            pickle.load(io.BytesIO(data), encoding=encoding)
        except Exception:
            pass


def from_file(path, buffering):
    with open(path, "rb", buffering=buffering) as f:
        pickle.load(f)


def runs(data, path):
    """Says which loaders make the call."""
    letters = ""
    for letter, load in (
        ("l", lambda: pickle.load(io.BytesIO(data))),
        ("f", lambda: from_file(path, 0)),
        ("b", lambda: from_file(path, -1)),
        ("s", lambda: pickle.loads(data)),
        ("p", lambda: pickle._Unpickler(io.BytesIO(data)).load()),
        ("e", lambda: with_encodings(data)),
        ("m", lambda: again_and_again(io.BytesIO(data))),
        ("t", lambda: Persistent(io.BytesIO(data)).load()),
        ("j", lambda: Joblib(io.BytesIO(data)).load()),
    ):
        stand_ins()
        del hits[:]
        try:
            load()
        except Exception:  # most raise once they have made the call
            pass
        if hits:
            letters += letter
    return letters


def opened(data, step):
    """Takes one container off."""
    if step == "gzip":
        return [gzip.decompress(data)]
    if step == "zlib":
        return [zlib.decompress(data)]
    if step == "bz2":
        return [bz2.decompress(data)]
    if step == "xz":
        return [lzma.decompress(data)]
    if step == "tar":
        with tarfile.open(fileobj=io.BytesIO(data)) as t:
            return [t.extractfile(m).read() for m in t if m.isfile()]
    if step == "npy":
        return [data[10 + struct.unpack("<H", data[8:10])[0]:]]
    if step == "zip":
        return list(zip_members(data))
    return [data] if step == "here" else []


def zip_members(data):
    """Follows local headers, as torch's reader does: no checksums, no flags."""
    pos = data.find(b"PK\x03\x04")
    while pos >= 0:
        method, packed, size, name, extra = struct.unpack("<8xH8xIIHH", data[pos:pos + 30])
        start = pos + 30 + name + extra
        body = data[start:start + packed]
        yield zlib.decompress(body, -15) if method == 8 else body
        pos = data.find(b"PK\x03\x04", start + packed)


def pickles(data, steps):
    """Yields what lies in the containers, each once."""
    inside = [data]
    for step in (word for step in steps or [] for word in (step or "none").split()):
        inside = [x for outer in inside for x in unwrapped(outer, step)]
    return inside


def unwrapped(data, step):
    try:
        return opened(data, step)
    except Exception:
        return []


def manifest(folder):
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
        return json.load(f)["Files"]


def version():
    return "%s %s" % (platform.python_implementation(), platform.python_version())


def run(folder, out):
    out.write(version() + "\n")
    handle, path = tempfile.mkstemp()
    os.close(handle)
    for entry in manifest(folder):
        with open(os.path.join(folder, entry["file"]), "rb") as f:
            data = f.read()
        letters = set()
        for inner in pickles(data, entry["open"]):
            with open(path, "wb") as f:
                f.write(inner)
            letters |= set(runs(inner, path))
        out.write("%s\t%s\n" % (entry["file"], "".join(x for x in LETTERS if x in letters)))
    os.remove(path)


def table(folder, results, out):
    """Writes TECHNIQUES.md, and fails when something runs that is not found."""
    versions, columns = [], []
    for path in results:
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
        versions.append(lines[0].split()[1])
        columns.append(dict(line.split("\t") for line in lines[1:]))
    entries = manifest(folder)
    single = [e for e in entries if len(e["techniques"]) == 1]
    pairs = [e for e in entries if len(e["techniques"]) == 2]
    out.write(HEAD % (len(single), len(pairs), ", ".join(versions)))
    out.write("| pairs | " + " | ".join(versions) + " |\n|---" + "|---:" * len(versions) + "|\n")
    out.write("| run by some loader | %s |\n" % " | ".join(
        str(sum(1 for e in pairs if c[e["file"]])) for c in columns))
    missed = [[e["file"] for e in entries if c[e["file"]] and e["verdict"] not in ("suspicious", "malicious")]
              for c in columns]
    out.write("| run and not found | %s |\n\n" % " | ".join(str(len(m)) for m in missed))
    out.write("| technique | row | " + " | ".join(versions) + " | verdict |\n")
    out.write("|---" * (3 + len(versions)) + "|\n")
    for entry in single:
        cells = [{"": "-", LETTERS: "all"}.get(c[entry["file"]], c[entry["file"]]) for c in columns]
        out.write("| %s | %s | %s | %s |\n" % (
            entry["techniques"][0], entry["rows"][0], " | ".join(cells), entry["verdict"]))
    if any(missed):
        sys.exit("run and not found: %s" % missed)


HEAD = """# What real Pythons make of the techniques

Written by testdata/oracle/run.py, which also says how to repeat it. %d
techniques hide a call of a harmless class in a file; %d ordered pairs of them
compose. Each file was loaded by CPython
%s.
The last two are those of the npm packages pyodide 314.0.7 and 315.0.0-alpha.2,
the others were built from source. 3.13.15 and 3.14.7, the first that read
frames as 3.15 does (python/cpython#154848), could not be obtained.

A cell says which loaders made the call: l pickle.load of a BytesIO, f of an
unbuffered file, b of a buffered one, s pickle.loads, p the unpickler written in
Python, e with an encoding, m loading again and again over what does not load,
t with persistent ids, j as joblib does. "row" is where the technique stands in
the notes on scanning, facts/scan.md. "verdict" is that of package scan on the
harmless file; where the callee is denied it is malicious, or suspicious where
nothing calls it on load.
Dormant pickles and those behind other content run nowhere. Python's library
cannot open 7z, lz4 and zstd, so their files were not run.

"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2], sys.stdout)
    elif sys.argv[1:2] == ["table"]:
        table(sys.argv[2], sys.argv[3:], sys.stdout)
    else:
        sys.exit(__doc__)
