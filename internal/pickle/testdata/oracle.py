"""Runs harmless pickles through CPython's readers and says what they resolve.

Standard input holds one pickle in hexadecimal per line. For each, one line of
JSON says for every reader which (module, name) pairs it looked up, what it
called, whether it came to the end, and at which offset. No name is imported:
find_class returns an inert recorder whatever is asked for.
"""
import io
import json
import pickle
import pickletools
import sys


def readers(data):
    log = {}

    def recorder(key):
        class Inert:
            def __init__(self, *args, **kwargs):
                log[key]["calls"] += 1

            def __setstate__(self, state):
                pass

            def append(self, item):
                pass

            def extend(self, items):
                pass

            def add(self, item):
                pass

            def __setitem__(self, k, v):
                pass

            def __hash__(self):
                return 1

        def find_class(self, module, name):
            log[key]["globals"].append([module, name])
            return Inert

        return find_class

    class Unbuffered(io.BytesIO):
        pass  # has no peek, so C reads exactly what it needs

    for key, base, source in [
        ("c", pickle.Unpickler, io.BytesIO),
        ("python", pickle._Unpickler, io.BytesIO),
    ]:
        log[key] = {"globals": [], "calls": 0, "done": False, "end": -1}
        cls = type("U", (base,), {
            "find_class": recorder(key),
            "persistent_load": lambda self, pid: None,
        })
        f = source(data)
        try:
            cls(f).load()
            log[key]["done"], log[key]["end"] = True, f.tell()
        except Exception as e:  # every error is an answer
            log[key]["error"] = type(e).__name__ + ": " + str(e)[:80]

    class Peeking(io.BufferedReader):
        pass  # C prefetches: the linear reading, as in pickle.loads

    key = "loads"
    log[key] = {"globals": [], "calls": 0, "done": False, "end": -1}
    cls = type("U", (pickle.Unpickler,), {
        "find_class": recorder(key),
        "persistent_load": lambda self, pid: None,
    })
    try:
        cls(Peeking(io.BytesIO(data), 1 << 20)).load()
        log[key]["done"] = True
    except Exception as e:
        log[key]["error"] = type(e).__name__ + ": " + str(e)[:80]

    key = "pickletools"
    log[key] = {"globals": [], "calls": 0, "done": False, "end": -1}
    ops = 0
    try:
        for op, arg, pos in pickletools.genops(data):
            ops += 1
            if op.name in ("GLOBAL", "INST"):
                log[key]["globals"].append(arg.split(" ", 1))
            if op.name == "STOP":
                log[key]["done"], log[key]["end"] = True, pos + 1
    except Exception as e:
        log[key]["error"] = type(e).__name__ + ": " + str(e)[:80]
    log[key]["ops"] = ops
    return log


for line in sys.stdin:
    sys.stdout.write(json.dumps(readers(bytes.fromhex(line.strip()))) + "\n")
