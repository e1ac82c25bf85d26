"""Writes embeddings of real text as NumPy matrices, for TestHubRates.

    pip install numpy scipy scikit-learn [onnxruntime tokenizers]
    python embeddings.py OUT GO_SOURCE_TREE [MODEL.onnx TOKENIZER.json]

Text is what a development machine has: doc comments of Go's standard library,
docstrings of CPython's, of scikit-learn and SciPy, manual pages, and the notes
below the documentation folder. Each corpus gives 20 LSA matrices of 400
paragraphs and 64 dimensions, fitted on these paragraphs; and, where a sentence
encoder is named, one matrix of 1500 paragraphs.
"""

import ast
import glob
import gzip
import os
import re
import subprocess
import sys
import sysconfig

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer


def paragraphs(text, least):
    for p in re.split(r"\n\s*\n", text):
        p = re.sub(r"\s+", " ", p).strip()
        if len(p) >= least and sum(c.isalpha() for c in p) > 0.6 * len(p):
            yield p


def read(path):
    try:
        with gzip.open(path, "rt", errors="ignore") if path.endswith(".gz") else open(path, errors="ignore") as f:
            return f.read()
    except OSError:
        return ""


def go_comments(root):
    for path in sorted(glob.glob(root + "/**/*.go", recursive=True)):
        if re.search(r"_test|testdata|/vendor/", path):
            continue
        for block in re.finditer(r"(?:^//(?: .*)?\n)+", read(path), re.M):
            text = re.sub(r"^// ?", "", block.group(0), flags=re.M)
            if "Copyright" not in text:
                yield from paragraphs(text, 80)


def docstrings(root, skip=None):
    for path in sorted(glob.glob(root + "/**/*.py", recursive=True)):
        if "/test" in path or skip and skip in path:
            continue
        try:
            tree = ast.parse(read(path))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                yield from paragraphs(ast.get_docstring(node) or "", 80)


def manual(section):
    roots = subprocess.run(["manpath"], capture_output=True, text=True).stdout.strip().split(":")
    for root in roots:
        for path in sorted(glob.glob(f"{root}/man{section}/*.gz"))[:6000]:
            text = read(path)
            if text.startswith(".so"):
                continue
            text = re.sub(r"^\.(PP|P|TP|IP|SH|SS|LP|Pp|It|Sh|sp).*$", "\n\n", text, flags=re.M)
            text = re.sub(r"^[.'].*$", "", text, flags=re.M)
            yield from paragraphs(re.sub(r"\\f.|\\s.\d?|\\", "", text), 100)


def notes(root):
    for path in sorted(glob.glob(root + "/**/*", recursive=True)):
        if os.path.isfile(path) and re.search(r"README|NEWS|TODO|FAQ", path):
            yield from paragraphs(read(path), 100)


def corpora(go):
    paths = sysconfig.get_paths()
    yield "godoc", go_comments(go)
    yield "pystd", docstrings(paths["stdlib"], skip="site-packages")
    yield "sklearn", docstrings(paths["purelib"] + "/sklearn")
    yield "scipy", docstrings(paths["purelib"] + "/scipy")
    for section in "13578":
        yield "man" + section, manual(section)
    yield "usrdoc", notes("/usr/share/doc")


def unit(x):
    n = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(n == 0, 1, n)).astype("float32")


def lsa(texts, seed):
    x = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2).fit_transform(texts)
    return unit(TruncatedSVD(64, random_state=seed, n_iter=7).fit_transform(x))


def encoder(model, tokenizer):
    import onnxruntime
    from tokenizers import Tokenizer

    tok = Tokenizer.from_file(tokenizer)
    tok.enable_truncation(128)
    tok.enable_padding()
    session = onnxruntime.InferenceSession(model)

    def encode(texts):
        out = []
        for at in range(0, len(texts), 32):
            batch = tok.encode_batch(texts[at : at + 32])
            ids = np.array([e.ids for e in batch], dtype=np.int64)
            mask = np.array([e.attention_mask for e in batch], dtype=np.int64)
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden = session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})[0]
            out.append((hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True))
        return unit(np.vstack(out))

    return encode


def main(out, go, model=None, tokenizer=None):
    os.makedirs(out, exist_ok=True)
    encode = encoder(model, tokenizer) if model else None
    for name, texts in corpora(go):
        texts = list(dict.fromkeys(texts))
        print(name, len(texts), flush=True)
        if len(texts) < 1500:
            continue
        for seed in range(20):
            rng = np.random.default_rng(1000 + seed)
            picked = [texts[i] for i in rng.choice(len(texts), 400, False)]
            np.save(f"{out}/lsa-{name}-{seed:02d}.npy", lsa(picked, seed))
        if encode:
            rng = np.random.default_rng(1)
            np.save(f"{out}/encoder-{name}-0.npy", encode([texts[i] for i in rng.choice(len(texts), 1500, False)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
