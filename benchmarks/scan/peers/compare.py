"""Runs scanners over the same files and compares what they say; compare.sh says how.

    compare.py choose BUILT HARMLESS N       keeps the single techniques and N pairs
    compare.py list WORK CORPUS MODELS       writes WORK/files.json
    compare.py scan TOOL WORK                runs a tool, writes WORK/TOOL.json
    compare.py table WORK                    prints the comparison as Markdown

Every tool gives each file one outcome, in this order:

    found      it raises the alarm by which it would stop a build
    notice     it says something, and would let the file pass
    unchecked  it says that it could not check all of the file
    unread     the file is of a format that it does not read
    crash      an exception leaves it, or it takes more than a minute
    clean      none of these: it lets the file pass
"""
import collections
import hashlib
import importlib.metadata
import json
import logging
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import zipfile

SEED = "prerun"
LIMIT = 60  # seconds for a file
OUTCOMES = "found notice unchecked unread crash clean".split()
PEERS = "picklescan modelscan fickling modelaudit".split()


def load(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return json.load(f)


def save(value, *path):
    with open(os.path.join(*path), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)


def choose(built, harmless, count):
    """Keeps the single techniques and those pairs whose names hash lowest."""
    entries = load(built, "manifest.json")["Files"]
    pairs = [e["file"] for e in entries if len(e["techniques"]) > 1]
    pairs.sort(key=lambda name: hashlib.sha256((SEED + "\0" + name).encode()).digest())
    dropped = set(pairs[int(count):])
    for folder in (built, harmless):
        kept = [e for e in load(folder, "manifest.json")["Files"] if e["file"] not in dropped]
        for name in dropped:
            shutil.rmtree(os.path.join(folder, os.path.dirname(name)), ignore_errors=True)
        save({"Files": kept, "pairs": len(pairs)}, folder, "manifest.json")


def listed(work, corpus, models):
    """Names every file with its set. The oracle's word decides which technique counts."""
    with open(os.path.join(work, "oracle.tsv"), encoding="utf-8") as f:
        python = f.readline().strip()
        runs = {name for name, letters in (line.rstrip("\n").split("\t") for line in f) if letters}
    built = load(work, "built", "manifest.json")
    files = []

    def add(kind, root, name):
        files.append({"set": kind, "root": root, "name": name})

    for entry in load(corpus, "manifest.json")["files"]:
        add("corpus, " + entry["verdict"], corpus, entry["file"])
    for entry in built["Files"]:
        kind = "techniques" if len(entry["techniques"]) == 1 else "pairs"
        kind += ", run" if entry["file"] in runs else ", not run"
        add(kind, os.path.join(work, "built"), entry["file"])
    for base, _, names in sorted(os.walk(models)):
        for name in sorted(names):
            full = os.path.relpath(os.path.join(base, name), models)
            if full not in ("MANIFEST.json", "README.md", "generate.py") and not full.startswith("requirements-"):
                add("ordinary models", models, full)
    save({"python": python, "pairs": built["pairs"], "files": files}, work, "files.json")


def picklescan():
    from picklescan.scanner import scan_file_path

    def scan(path):
        r = scan_file_path(path)
        if r.issues_count:
            return "found", ""
        if r.suspicious_count:
            return "notice", ""
        if r.scan_err:
            return "unchecked", ""
        return ("clean" if r.scanned_files else "unread"), ""

    return scan, ("pickle", "zip", "7z", "npy")


def modelscan():
    from modelscan.modelscan import ModelScan

    def scan(path):
        m = ModelScan()
        m.scan(path)
        if m.issues.all_issues:
            return "found", ""
        if m.errors:
            return "unchecked", str(m.errors[0])[:200]
        return ("clean" if m.scanned else "unread"), ""

    return scan, None


def fickling():
    from fickling.analysis import Severity
    from fickling.cli import HF_PICKLE_EXTENSIONS
    from fickling.loader import scan_file, scan_zip_archive

    def scan(path):
        """As its check of repositories does, but content goes before the name."""
        if zipfile.is_zipfile(path):
            results = list(scan_zip_archive(path, graceful=True).values())
        else:
            results = [scan_file(path, graceful=True)]
        worst = max((p.severity for r in results for p in r.results), default=Severity.LIKELY_SAFE)
        if worst > Severity.LIKELY_SAFE:
            return "found", worst.name
        errors = [e for r in results for e in r.errors]
        named = os.path.splitext(path)[1] in HF_PICKLE_EXTENSIONS
        if errors:
            return ("unchecked" if named or len(results) > 1 else "unread"), errors[0][:200]
        return ("clean" if results else "unread"), ""

    return scan, ("pickle", "zip")


def modelaudit():
    from modelaudit.core import determine_exit_code, scan_model_directory_or_file
    from modelaudit.core_results import results_have_security_findings

    def scan(path):
        r = scan_model_directory_or_file(path, cache_enabled=False)
        why = "; ".join(i.message for i in r.issues if getattr(i.severity, "value", i.severity) in ("warning", "critical"))[:200]
        if results_have_security_findings(r):
            return "found", why
        if not r.files_scanned:
            return "unread", ""
        return ("unchecked" if determine_exit_code(r) else "clean"), ""

    return scan, None


def content(path):
    """The outermost format, as far as it matters for who reads it."""
    with open(path, "rb") as f:
        head = f.read(600)
    for magic, kind in (
        (b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\0", "xz"), (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x5d\0\0", "lzma"),
        (b"\x93NUMPY", "npy"), (b"\x78\x9c", "zlib"), (b"\x78\x01", "zlib"), (b"\x78\xda", "zlib"),
    ):
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    return "zip" if zipfile.is_zipfile(path) else "pickle"


def late(*_):
    raise TimeoutError("more than %d s" % LIMIT)


def start(tool):
    """Makes this process one that runs a peer."""
    global peer, reads
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, late)
    peer, reads = globals()[tool]()


def judge(entry):
    path = os.path.join(entry["root"], entry["name"])
    signal.alarm(LIMIT)
    try:
        outcome, why = peer(path)
    except Exception as e:
        outcome, why = "crash", "%s: %s" % (type(e).__name__, str(e)[:200])
    finally:
        signal.alarm(0)
    if outcome in ("clean", "unchecked", "crash") and reads and content(path) not in reads:
        outcome, why = "unread", outcome
    return outcome, why


def scanned(tool, files):
    """Runs a peer on each file, in as many processes as there are cores."""
    with multiprocessing.Pool(initializer=start, initargs=(tool,)) as pool:
        yield from pool.imap(judge, files, chunksize=16)


def ours(work, files):
    """Runs the command on each folder and takes its report apart."""
    said = {}
    for root in sorted({entry["root"] for entry in files}):
        report = os.path.join(work, "report.json")
        code = subprocess.call([os.path.join(work, "prerun"), "scan", "--format", "json", "-o", report, root], stdout=subprocess.DEVNULL)
        if code > 2:
            sys.exit("prerun scan: exit code %d" % code)
        d = load(report)
        lines = collections.defaultdict(lambda: ("clean", ""))

        def note(path, outcome, why):
            name = path.split("!/")[0]
            if OUTCOMES.index(outcome) < OUTCOMES.index(lines[name][0]):
                lines[name] = outcome, why

        for x in d["findings"]:
            if x["severity"] != "info":
                note(x["path"], "notice" if x["severity"] == "low" else "found", x["rule"])
        unread = {x["path"] for x in d["facts"]["files"] if not x["formats"] and "!/" not in x["path"]}
        for x in d["gaps"]:
            note(x["path"], "unread" if x["path"] in unread else "unchecked", x["reason"])
        said[root] = lines
    for entry in files:
        yield said[entry["root"]][entry["name"]]


def scan(tool, work):
    files = load(work, "files.json")["files"]
    if tool == "prerun":
        version, results = "this checkout", list(ours(work, files))
    else:
        version, results = importlib.metadata.version(tool), list(scanned(tool, files))
    save({"version": version, "python": platform.python_version(), "results": results}, work, tool + ".json")


def table(work):
    listing = load(work, "files.json")
    files = listing["files"]
    tools = ["prerun"] + PEERS
    said = {t: load(work, t + ".json") for t in tools}
    sets = list(dict.fromkeys(f["set"] for f in files))
    print("Oracle: %s. Pairs: the %d of %d with the lowest SHA-256 of %r, NUL and name." % (
        listing["python"], sum(f["set"].startswith("pairs") for f in files), listing["pairs"], SEED))
    print("Versions: " + ", ".join("%s %s" % (t, said[t]["version"]) for t in tools) + "; peers on Python " + said["modelaudit"]["python"] + ".")
    counts = {(k, t): collections.Counter(said[t]["results"][i][0] for i, f in enumerate(files) if f["set"] == k) for k in sets for t in tools}
    print("\n| tool | %s |\n|---|%s" % (" | ".join("%s, %d" % (k, counts[k, "prerun"].total()) for k in sets), "---:|" * len(sets)))
    for t in tools:
        cells = ["%d (%d)" % (counts[k, t]["found"], counts[k, t]["clean"]) for k in sets]
        print("| %s | %s |" % (t, " | ".join(cells)))
    for kind in sets:
        print("\n**%s**\n" % kind)
        print("| tool | found | notice | could not check | not read | crash | clean |\n|---|---:|---:|---:|---:|---:|---:|")
        for t in tools:
            print("| %s | %s |" % (t, " | ".join(str(counts[kind, t][o]) for o in OUTCOMES)))
    print("\n**Where another is better**\n")
    print("| set | tool | there | here | files | such as |\n|---|---|---|---|---:|---|")
    for kind in sets:
        bad = kind in ("corpus, benign", "ordinary models")
        best, worst = ("clean", "found") if bad else ("found", "clean")
        order = {**dict.fromkeys(OUTCOMES, 1), best: 0, worst: 2}
        for t in PEERS:
            rows = collections.defaultdict(list)
            for i, f in enumerate(files):
                here, there = said["prerun"]["results"][i][0], said[t]["results"][i][0]
                if f["set"] == kind and order[there] < order[here]:
                    rows[there, here].append(f["name"])
            for (there, here), names in sorted(rows.items()):
                print("| %s | %s | %s | %s | %d | %s |" % (kind, t, there, here, len(names), ", ".join("`%s`" % n for n in names[:4])))


if __name__ == "__main__":
    verb, args = sys.argv[1], sys.argv[2:]
    {"choose": choose, "list": listed, "scan": scan, "table": table}[verb](*args)
