"""Measures scanners beside one another; speed.sh says how.

    speed.py make WORK MODELS CORPUS   writes what is scanned
    speed.py decode TOOL FILE          prints seconds of processor and wall time
    speed.py decode-all WORK ROUNDS    measures and prints Markdown: pickles,
    speed.py start WORK ROUNDS         the start, and files of 20 GiB,
    speed.py folder WORK ROUNDS        a folder, which modelaudit reads once only
"""
import collections
import datetime
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
import time

BIG = 20 << 30  # bytes of the sparse files
FILES = 1000
FICKLING = 64  # fickling gets one part in so many
OBJECTS = (
    lambda i: collections.OrderedDict(a=i, b=i / 2),
    lambda i: datetime.datetime.fromtimestamp(i, datetime.timezone.utc),
    lambda i: collections.Counter({"w%d" % i: i}),
)
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


def timed(command, cwd):
    """Runs a command and returns its wall seconds, processor seconds and KiB of memory."""
    with open(os.devnull, "w") as null:
        start = time.perf_counter()
        p = subprocess.Popen(command, cwd=cwd, stdout=null, stderr=null)
        _, status, usage = os.wait4(p.pid, 0)
        wall = time.perf_counter() - start
    p.returncode = os.waitstatus_to_exitcode(status)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, p.returncode


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
    prerun = os.path.join(work, "prerun")
    commands = {
        "prerun": [prerun, "scan", "--quiet", "mixed"],
        "modelscan": [os.path.join(work, "env/modelscan/bin/modelscan"), "-p", "mixed", "-r", "json", "-o", "out.json"],
        "modelaudit": [os.path.join(work, "env/modelaudit/bin/modelaudit"), "scan", "--no-cache", "-f", "json", "-o", "out.json", "mixed"],
    }
    print("### Folder of %d mixed files\n\n| tool | wall, s | processor time, s | peak memory, MB | times slower, wall | processor time |\n|---|---:|---:|---:|---:|---:|" % FILES)
    got = {t: [] for t in commands}
    for i in range(rounds):
        for t, command in commands.items():
            if i == 0 or t != "modelaudit":
                got[t].append(timed(command, work))
    ours = [statistics.median(x[i] for x in got["prerun"]) for i in (0, 1)]
    for t in commands:
        there = [statistics.median(x[i] for x in got[t]) for i in (0, 1)]
        print("| %s | %s | %s | %.0f | %.0f | %.0f |" % (
            t, spread([x[0] for x in got[t]], "%.2f"), spread([x[1] for x in got[t]], "%.2f"),
            max(x[2] for x in got[t]) / 1024, there[0] / ours[0], there[1] / ours[1]))


def row(label, got):
    if any(x[3] for x in got):
        sys.exit("%s: exit code %d" % (label, max(x[3] for x in got)))
    print("| %s | %s | %s | %.0f |" % (
        label, spread([1e3 * x[0] for x in got], "%.1f"), spread([1e3 * x[1] for x in got], "%.1f"), max(x[2] for x in got) / 1024), flush=True)


if __name__ == "__main__":
    {"make": make, "decode": decode, "decode-all": decode_all, "start": start, "folder": folder}[sys.argv[1]](*sys.argv[2:])
