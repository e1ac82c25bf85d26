"""Measures scanners beside one another; speed.sh says how.

    speed.py make WORK MODELS CORPUS   writes what is scanned
    speed.py ordinary WORK             writes a folder of models of ordinary sizes; needs numpy and h5py
    speed.py decode TOOL FILE          prints seconds of processor and wall time
    speed.py decode-all WORK ROUNDS    measures and prints Markdown: pickles,
    speed.py start WORK ROUNDS         the start, and files of 20 GiB,
    speed.py folder WORK ROUNDS        folders, which modelaudit reads once at most
"""
import collections
import datetime
import io
import json
import logging
import os
import pickle
import platform
import random
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time
import types
import zipfile

BIG = 20 << 30  # bytes of the sparse files
FILES = 1000
FICKLING = 64  # fickling gets one part in so many
OBJECTS = (
    lambda i: collections.OrderedDict(a=i, b=i / 2),
    lambda i: datetime.datetime.fromtimestamp(i, datetime.timezone.utc),
    lambda i: collections.Counter({"w%d" % i: i}),
)
PATIENCE = int(os.environ.get("PATIENCE", "600"))  # seconds for one run over a folder
PEERS = "picklescan modelscan fickling modelaudit".split()


def make(work, models, corpus):
    """Writes four pickles, two sparse models of 20 GiB and a folder of mixed files."""
    r = random.Random(1)
    for part, suffix in ((1, ""), (FICKLING, ".part")):
        vocabulary = {"token %d" % i: i for i in range(1050000 // part)}
        tree = [{"name": "model.layers.%d.weight" % i, "size": r.random(), "id": i} for i in range(390000 // part)]
        objects = [OBJECTS[i % len(OBJECTS)](i) for i in range(300000 // part)]
        for name, value, protocol in (("vocabulary", vocabulary, 4), ("tree", tree, 4), ("objects", objects, 4), ("text", tree, 0)):
            with open(os.path.join(work, name + ".pkl" + suffix), "wb") as f:
                pickle.dump(value, f, protocol=protocol)
    header = json.dumps({"w": {"dtype": "F32", "shape": [BIG // 4], "data_offsets": [0, BIG]}}).encode()
    header += b" " * (-len(header) % 8)
    sparse(work, "big.safetensors", struct.pack("<Q", len(header)) + header, BIG)
    text = lambda s: struct.pack("<Q", len(s)) + s
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    head += text(b"w") + struct.pack("<IQIQ", 1, BIG // 4, 0, 0)
    sparse(work, "big.gguf", head + b"\0" * (-len(head) % 32), BIG)
    with open(os.path.join(work, "small.pkl"), "wb") as f:
        f.write(b"I1\n.")
    folder = os.path.join(work, "mixed")
    shutil.rmtree(folder, ignore_errors=True)
    sources = sorted(os.path.join(base, n) for root in (models, corpus) for base, _, names in os.walk(root) for n in names)
    for i in range(FILES):
        source = sources[i % len(sources)]
        into = os.path.join(folder, "%02d" % (i // len(sources)), os.path.basename(os.path.dirname(source)))
        os.makedirs(into, exist_ok=True)
        shutil.copyfile(source, os.path.join(into, "%04d-%s" % (i, os.path.basename(source))))


def ordinary(work):
    """Writes 1000 models, 100 of each of ten kinds, as large as such models often are.

    Those that modelscan reads are in "both", the others in "alone"."""
    import h5py
    import numpy

    r = random.Random(2)
    noise = numpy.random.default_rng(2)
    shutil.rmtree(os.path.join(work, "ordinary"), ignore_errors=True)
    for part in ("both", "alone"):
        os.makedirs(os.path.join(work, "ordinary", part))

    def between(low, high):
        return int(low * (high / low) ** r.random())

    def arrays(low, high):
        """Some arrays of float32, of so many bytes together."""
        n = r.randrange(4, 60)
        each = between(low, high) // n // 4 // 64 * 64 + 64
        return {"model.layers.%d.weight" % i: noise.standard_normal(each, numpy.float32).reshape(64, -1) for i in range(n)}

    def vocabulary(name):
        words = ["%s%d" % (r.choice("abcdefghijklmnopqrstuvwxyz") * r.randrange(1, 9), i) for i in range(between(2000, 60000))]
        write(name + ".pkl", pickle.dumps({"vocabulary_": {w: i for i, w in enumerate(words)}, "lowercase": True}, 4))

    def records(name):
        rows = [{"id": i, "loss": r.random(), "split": r.choice(("train", "test")), "tokens": r.randrange(4096)} for i in range(between(500, 20000))]
        write(name + ".pickle", pickle.dumps(rows, 4))

    def tokenizer(name):
        vocab = {"%s%d" % (r.choice(("\u0120", "##", "")), i): i for i in range(between(4000, 60000))}
        merges = ["%d %d" % (r.randrange(999), i) for i in range(len(vocab) // 2)]
        os.makedirs(os.path.join(folder, name))
        whole = {"version": "1.0", "model": {"type": "BPE", "vocab": vocab, "merges": merges}}
        write(name + "/tokenizer.json", json.dumps(whole, ensure_ascii=False).encode())

    def safetensors(name):
        header, at, data = {}, 0, []
        for key, a in arrays(1 << 17, 8 << 20).items():
            header[key] = {"dtype": "F32", "shape": a.shape, "data_offsets": [at, at + a.nbytes]}
            at += a.nbytes
            data.append(a.tobytes())
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        write(name + ".safetensors", struct.pack("<Q", len(text)) + text + b"".join(data))

    def weights(file):
        for key, a in arrays(1 << 17, 4 << 20).items():
            file.create_dataset(key.replace(".", "/") + "/vars/0", data=a)

    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "Dense", "module": "keras.layers", "config": {"name": "dense_%d" % i, "units": 64}} for i in range(24)]}}

    def hdf5(name):
        with h5py.File(os.path.join(folder, name + ".h5"), "w") as f:
            f.attrs["model_config"], f.attrs["keras_version"], f.attrs["backend"] = json.dumps(config), "2.15.0", "tensorflow"
            weights(f.create_group("model_weights"))

    def keras(name):
        inside = io.BytesIO()
        with h5py.File(inside, "w") as f:
            weights(f)
        with zipfile.ZipFile(os.path.join(folder, name + ".keras"), "w") as z:
            z.writestr("metadata.json", json.dumps({"keras_version": "3.8.0"}))
            z.writestr("config.json", json.dumps({"module": "keras", **config}))
            z.writestr("model.weights.h5", inside.getvalue())

    def write(name, data):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)

    kinds = {
        "vectorizer": vocabulary,
        "records": records,
        "arrays": lambda name: write(name + ".pkl", pickle.dumps(arrays(1 << 17, 4 << 20), 4)),
        "network": lambda name: write(name + ".pt", torch_zip(arrays(1 << 17, 8 << 20))),
        "array": lambda name: numpy.save(os.path.join(folder, name), next(iter(arrays(1 << 17, 16 << 20).values()))),
        "features": lambda name: numpy.savez(os.path.join(folder, name), **arrays(1 << 17, 4 << 20)),
        "hdf5": hdf5,
        "keras": keras,
        "weights": safetensors,
        "tokenizer": tokenizer,
    }
    for i in range(FILES):
        kind = list(kinds)[i % len(kinds)]
        folder = os.path.join(work, "ordinary", "alone" if kind in ("weights", "tokenizer") else "both")
        kinds[kind]("%04d-%s" % (i, kind))


def torch_zip(arrays):
    """A state dict as torch.save writes it, without torch: its names only."""
    utils, top = types.ModuleType("torch._utils"), types.ModuleType("torch")

    def rebuild(*args):
        raise NotImplementedError

    rebuild.__module__, rebuild.__name__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2", "_rebuild_tensor_v2"
    storage = type("FloatStorage", (), {"__module__": "torch"})
    utils._rebuild_tensor_v2, top.FloatStorage, top._utils = rebuild, storage, utils
    sys.modules.update({"torch": top, "torch._utils": utils})
    try:
        class Stored:
            def __init__(self, key, size):
                self.key, self.size = key, size

        class Tensor:
            def __init__(self, key, a):
                self.key, self.a = key, a

            def __reduce__(self):
                strides = tuple(s // self.a.itemsize for s in self.a.strides)
                return rebuild, (Stored(self.key, self.a.size), 0, self.a.shape, strides, False, collections.OrderedDict())

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj):
                return ("storage", storage, obj.key, "cpu", obj.size) if isinstance(obj, Stored) else None

        data, out = io.BytesIO(), io.BytesIO()
        Pickler(data, 2).dump(collections.OrderedDict((name, Tensor(str(i), a)) for i, (name, a) in enumerate(arrays.items())))
        with zipfile.ZipFile(out, "w") as z:
            z.writestr("archive/data.pkl", data.getvalue())
            z.writestr("archive/byteorder", "little")
            for i, a in enumerate(arrays.values()):
                z.writestr("archive/data/%d" % i, a.tobytes())
            z.writestr("archive/version", "3\n")
        return out.getvalue()
    finally:
        del sys.modules["torch"], sys.modules["torch._utils"]


def sparse(work, name, head, rest):
    with open(os.path.join(work, name), "wb") as f:
        f.write(head)
        f.truncate(len(head) + rest)


def decode(tool, path):
    """Reads a pickle with a peer's scanner, or with genops alone."""
    import io

    with open(path, "rb") as f:
        data = f.read()
    if tool == "picklescan":
        from picklescan.scanner import scan_pickle_bytes

        read = lambda: scan_pickle_bytes(io.BytesIO(data), path)
    elif tool == "fickling":
        from fickling.analysis import check_safety
        from fickling.fickle import StackedPickle

        read = lambda: [check_safety(p) for p in StackedPickle.load(io.BytesIO(data))]
    else:
        import pickletools

        read = lambda: sum(1 for _ in pickletools.genops(io.BytesIO(data)))
    logging.disable(logging.CRITICAL)
    cpu, wall = time.process_time(), time.perf_counter()
    read()
    print(time.process_time() - cpu, time.perf_counter() - wall)


def timed(command, cwd, limit=3600):
    """Runs a command and returns its wall seconds, processor seconds, KiB of memory and exit code, None when it was stopped."""
    with open(os.devnull, "w") as null:
        start = time.perf_counter()
        p = subprocess.Popen(command, cwd=cwd, stdout=null, stderr=null)
        stopped = []
        alarm = threading.Timer(limit, lambda: (stopped.append(True), p.kill()))
        alarm.start()
        _, status, usage = os.wait4(p.pid, 0)
        alarm.cancel()
        wall = time.perf_counter() - start
    p.returncode = os.waitstatus_to_exitcode(status)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, None if stopped else p.returncode


def spread(values, form):
    return "%s (%s–%s)" % tuple(form % v for v in (statistics.median(values), min(values), max(values)))


def load():
    return "%.1f" % os.getloadavg()[0]


def python(work, tool):
    return os.path.join(work, "env", tool, "bin", "python")


def head(work, rounds):
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    peers = ", ".join("%s %s" % (t, subprocess.check_output([python(work, t), "-c", code, t], text=True).strip()) for t in PEERS)
    print("%s, %d cores, CPython %s; %s; %d alternating rounds, median (fastest–slowest), load %s.\n" % (
        time.strftime("%Y-%m-%d"), os.cpu_count(), platform.python_version(), peers, rounds, load()))


def decode_all(work, rounds):
    rounds = int(rounds)
    head(work, rounds)
    tools = {
        "prerun": lambda f: [os.path.join(work, "readpickle"), f],
        "picklescan": lambda f: [python(work, "picklescan"), __file__, "decode", "picklescan", f],
        "pickletools": lambda f: [python(work, "picklescan"), __file__, "decode", "genops", f],
        "fickling": lambda f: [python(work, "fickling"), __file__, "decode", "fickling", f + ".part"],
    }
    print("### Pickles, one core\n\n| pickle | tool | processor time, s | wall, s | MB/s of processor time | times slower |\n|---|---|---:|---:|---:|---:|")
    for name in ("vocabulary.pkl", "tree.pkl", "objects.pkl", "text.pkl"):
        path = os.path.join(work, name)
        got = {t: [] for t in tools}
        for _ in range(rounds):
            for t, command in tools.items():
                ran = subprocess.run(command(path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=work)
                if ran.returncode == 0:
                    got[t].append([float(x) for x in ran.stdout.split()[-2:]])
                elif t == "prerun":
                    raise SystemExit("prerun: %s" % path)
        rates = {}
        for t in tools:
            size = os.path.getsize(path + (".part" if t == "fickling" else ""))
            if not got[t]:
                print("| %s, %.1f MB | %s | fails | | | |" % (name, size / 1e6, t), flush=True)
                continue
            rates[t] = size / 1e6 / statistics.median(x[0] for x in got[t])
            print("| %s, %.1f MB | %s | %s | %s | %.4g | %.0f |" % (
                name, size / 1e6, t, spread([x[0] for x in got[t]], "%.3f"), spread([x[1] for x in got[t]], "%.3f"),
                rates[t], rates["prerun"] / rates[t]), flush=True)


def start(work, rounds):
    rounds = int(rounds)
    head(work, rounds)
    prerun = os.path.join(work, "prerun")
    print("### Start, and files of 20 GiB\n\n| what | wall, ms | processor time, ms | peak memory, MB |\n|---|---:|---:|---:|")
    for label, name, flags in (
        ("pickle of 4 bytes", "small.pkl", []),
        ("pickle of 4 bytes, no digests", "small.pkl", ["--no-digests"]),
        ("safetensors of 20 GiB, no digests", "big.safetensors", ["--no-digests"]),
        ("GGUF of 20 GiB, no digests", "big.gguf", ["--no-digests"]),
    ):
        got = [timed([prerun, "scan", "--quiet", *flags, name], work) for _ in range(4 * rounds)]
        row(label, got)
    row("safetensors of 20 GiB, with its digest, once", [timed([prerun, "scan", "--quiet", "big.safetensors"], work)])


def folder(work, rounds):
    rounds = int(rounds)
    head(work, rounds)
    size = lambda name: sum(os.path.getsize(os.path.join(base, f)) for base, _, files in os.walk(os.path.join(work, name)) for f in files)
    for name in ("ordinary", "ordinary/both", "mixed"):
        commands = {
            "prerun, no digests": [os.path.join(work, "prerun"), "scan", "--quiet", "--no-digests", name],
            "prerun": [os.path.join(work, "prerun"), "scan", "--quiet", name],
            "modelscan": [os.path.join(work, "env/modelscan/bin/modelscan"), "-p", name, "-r", "json", "-o", "out.json"],
            "modelaudit": [os.path.join(work, "env/modelaudit/bin/modelaudit"), "scan", "--no-cache", "-f", "json", "-o", "out.json", name],
        }
        print("### Folder %s, %d files, %.0f MB\n\n| tool | wall, s | processor time, s | peak memory, MB | times slower, wall | processor time |\n|---|---:|---:|---:|---:|---:|" % (
            name, sum(len(files) for _, _, files in os.walk(os.path.join(work, name))), size(name) / 1e6))
        got = {t: [] for t in commands}
        for i in range(rounds):
            for t, command in commands.items():
                if t != "modelaudit" or i == 0 and name != "ordinary/both":
                    got[t].append(timed(command, work, PATIENCE))
        ours = [statistics.median(x[i] for x in got["prerun, no digests"]) for i in (0, 1)]
        for t in (t for t in commands if got[t]):
            there = [statistics.median(x[i] for x in got[t]) for i in (0, 1)]
            print("| %s%s | %s | %s | %.0f | %.1f | %.1f |" % (
                t, ", stopped" if any(x[3] is None for x in got[t]) else "", spread([x[0] for x in got[t]], "%.2f"), spread([x[1] for x in got[t]], "%.2f"),
                max(x[2] for x in got[t]) / 1024, there[0] / ours[0], there[1] / ours[1]))
        print()


def row(label, got):
    if any(x[3] for x in got):
        sys.exit("%s: exit code %d" % (label, max(x[3] for x in got)))
    print("| %s | %s | %s | %.0f |" % (
        label, spread([1e3 * x[0] for x in got], "%.1f"), spread([1e3 * x[1] for x in got], "%.1f"), max(x[2] for x in got) / 1024), flush=True)


if __name__ == "__main__":
    {"make": make, "ordinary": ordinary, "decode": decode, "decode-all": decode_all, "start": start, "folder": folder}[sys.argv[1]](*sys.argv[2:])
