"""Writes the HDF5 files of this folder with h5py 3.16 (HDF5 2.0)."""

import gzip
import io
import json
import sys

import h5py
import numpy as np

MODEL = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None},
            {"module": "keras.layers", "class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}},
        ],
    },
}


def model(libver):
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver) as f:
        f.attrs["keras_version"] = "2.15.0"
        f.attrs["backend"] = "tensorflow"
        # Beyond 64 KiB, where an attribute needs a heap of its own kind.
        f.attrs["model_config"] = json.dumps(MODEL).encode() + b" " * 70000
        g = f.create_group("model_weights")
        g.attrs["layer_names"] = np.array([b"dense"])
        for i in range(40):
            g.create_dataset(f"dense/x{i}", data=np.ones((2,), "f4"))
    return out.getvalue()


def links(libver):
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver) as f:
        f["e"] = h5py.ExternalLink("/etc/passwd", "/x")
        f["s"] = h5py.SoftLink("/nothing")
        f.create_dataset("d", (4,), "u1", external=[("../d.bin", 0, 4)])
        f.create_dataset("z", (40, 40), "f4", chunks=(10, 10), compression="gzip", shuffle=True)
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "d", (4,))
        f.create_virtual_dataset("v", layout)
        g = f.create_group("many")
        for i in range(300):
            g[f"l{i}"] = h5py.SoftLink("/d")
        g["e2"] = h5py.ExternalLink("b.h5", "/x")
        for i in range(30):
            g.attrs[f"a{i}"] = "v" * i
        if libver == "latest":
            g.attrs["model_config"] = np.bytes_(json.dumps(MODEL).encode() + b" " * 70000)
    return out.getvalue()


for libver in ("earliest", "latest"):
    for make in (model, links):
        with gzip.GzipFile(f"{make.__name__}_{libver}.h5.gz", "wb", 9, mtime=0) as z:
            z.write(make(libver))
