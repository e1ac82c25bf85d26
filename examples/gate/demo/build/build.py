"""Build the mailtriage demo: data, model and help corpus, byte for byte reproducible.

    python build.py --corpus DIR --docs DIR [--out DIR]

README.md next to this file says where the two inputs come from.
"""

import os

# One thread keeps the order of floating-point additions, and so every bit, the same.
# The libraries read these variables when they are imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

import classifier  # noqa: E402
import helpdocs  # noqa: E402
from rows import deduplicate, load_rows, split  # noqa: E402

HERE = Path(__file__).resolve().parent
MAX_TOTAL_BYTES = 2_600_000
TRAIN_ROWS = {"ham": 1415, "spam": 585}
HELDOUT_ROWS = {"ham": 375, "spam": 185}
TARGETS = {"error": 0.06, "invariance": 0.97, "worst single-token flip": 0.15}


def main():
    """Write every generated file below --out and check the result."""
    options = _options()
    out = options.out
    for directory in ("model", "data", "corpus"):
        (out / directory).mkdir(parents=True, exist_ok=True)

    rows, dropped = load_rows(options.corpus)
    distinct = deduplicate(rows)
    dropped["near duplicate"] = len(rows) - len(distinct)
    train, heldout = split(distinct, TRAIN_ROWS, HELDOUT_ROWS)
    write_jsonl(out / "data" / "train.jsonl", (r.as_dict() for r in train))
    write_jsonl(out / "data" / "heldout.jsonl", (r.as_dict() for r in heldout))

    figures = {"corpus": dropped, **build_model(out / "model", train, heldout)}
    build_help(out / "corpus", options.docs)
    check_targets(figures)
    write_json(out / "build" / "figures.json", figures)
    update_readmes(out, figures)
    check_size(out)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="data directory of the unpacked npm package")
    parser.add_argument("--docs", type=Path, required=True, help="root of the unpacked Debian package")
    parser.add_argument("--out", type=Path, default=HERE.parent, help="demo directory (default: the parent directory)")
    return parser.parse_args()


def build_model(directory, train, heldout):
    """Train, save in both formats, check them against each other, and measure."""
    vocabulary = classifier.build_vocabulary(train)
    labels = np.array([classifier.LABELS.index(row.label) for row in train])
    recipe = classifier.Recipe()
    model = classifier.train(classifier.count_matrix([row.text for row in train], vocabulary), labels, recipe)

    classifier.save_safetensors(model, directory / "model.safetensors")
    classifier.save_onnx(model, directory / "model.onnx")
    write_lines(directory / "vocab.txt", vocabulary)
    write_json(directory / "config.json", model_config(len(vocabulary)))
    write_json(directory / "tokenizer_config.json", tokenizer_config())

    texts = [row.text for row in heldout]
    bag = classifier.bags(classifier.count_matrix(texts, vocabulary))
    classifier.check_onnx(model, directory / "model.onnx", bag)
    return {
        "recipe": asdict(recipe),
        "train": classifier.evaluate(model, train, vocabulary),
        "heldout": classifier.evaluate(model, heldout, vocabulary),
        "invariance": classifier.invariance(model, texts, vocabulary),
        "worst single-token flip": {
            label: asdict(flip) for label, flip in classifier.worst_tokens(model, texts, vocabulary).items()
        },
    }


def model_config(vocab_size):
    """A config.json of the shape model hubs expect; it names no code to run."""
    labels = dict(enumerate(classifier.LABELS))
    return {
        "architectures": ["MailTriageForSequenceClassification"],
        "model_type": "mailtriage",
        "vocab_size": vocab_size,
        "embedding_size": classifier.EMBEDDING_DIM,
        "hidden_size": classifier.HIDDEN_DIM,
        "hidden_act": "relu",
        "max_tokens": classifier.MAX_TOKENS,
        "id2label": {str(i): label for i, label in labels.items()},
        "label2id": {label: i for i, label in labels.items()},
        "torch_dtype": "float32",
    }


def tokenizer_config():
    """The tokeniser as data: everything needed to re-implement it."""
    return {
        "auto_map": {"AutoTokenizer": ["tokenizer.MailTriageTokenizer", None]},
        "tokenizer_class": "MailTriageTokenizer",
        "vocab_file": "vocab.txt",
        "do_lower_case": True,
        "lower_case": "ascii",
        "token_pattern": "[a-z0-9$!']+",
        "model_max_length": classifier.MAX_TOKENS,
        "unknown_tokens": "drop",
    }


def build_help(directory, docs):
    """Write the help chunks, their vectors, and the questions with theirs."""
    chunks = helpdocs.load_chunks(docs)
    questions = (HERE / "questions.txt").read_text(encoding="utf-8").splitlines()
    embeddings, queries = helpdocs.embed(chunks, questions)
    write_jsonl(directory / "help.jsonl", (c.as_dict() for c in chunks))
    write_jsonl(directory / "queries.jsonl", ({"id": f"query-{i:02d}", "text": q} for i, q in enumerate(questions)))
    np.save(directory / "embeddings.npy", embeddings)
    np.save(directory / "queries.npy", queries)
    # The licence asks that the attribution notices travel with derived works.
    shutil.copyfile(docs / "usr" / "share" / "doc" / "spamassassin" / "NOTICE", directory / "NOTICE")
    (directory / "NOTICE").chmod(0o644)


def check_targets(figures):
    """Fail rather than write a card for a model that misses its promises."""
    problems = []
    if 1 - figures["heldout"]["accuracy"] > TARGETS["error"]:
        problems.append("held-out error")
    if min(figures["invariance"].values()) < TARGETS["invariance"]:
        problems.append("invariance")
    if max(flip["rate"] for flip in figures["worst single-token flip"].values()) >= TARGETS["worst single-token flip"]:
        problems.append("single-token flips")
    if problems:
        raise SystemExit(f"targets missed: {', '.join(problems)}: {json.dumps(figures, indent=1)}")


def update_readmes(out, figures):
    """Refresh the measured sections, so that no document can quote an old figure."""
    replace_section(out / "build" / "README.md", "Measured figures", figures_table(figures))
    replace_section(out / "model" / "README.md", "Evaluation figures", figures_table(figures))
    replace_section(out / "data" / "README.md", "Counts", counts_table(figures["corpus"]))


def replace_section(path, heading, body):
    """Replace what stands between one level-two heading and the next."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(rf"(^## {re.escape(heading)}\n).*?(?=^## |\Z)", re.M | re.S)
    replaced, count = pattern.subn(lambda m: f"{m[1]}\n{body}\n", text)
    if count != 1:
        raise SystemExit(f"{path.name}: {count} sections named {heading}")
    path.write_text(replaced, encoding="utf-8")


def figures_table(figures):
    """The measured figures as a Markdown table."""
    heldout, train = figures["heldout"], figures["train"]
    flips = figures["worst single-token flip"]
    lines = [
        "| figure | value |",
        "|---|---|",
        f"| held-out rows | {heldout['rows']} |",
        f"| accuracy on held-out rows | {heldout['accuracy']:.1%} |",
        f"| ham taken for spam | {heldout['ham taken for spam']} of {HELDOUT_ROWS['ham']} |",
        f"| spam taken for ham | {heldout['spam taken for ham']} of {HELDOUT_ROWS['spam']} |",
        f"| accuracy on the {train['rows']} training rows | {train['accuracy']:.1%} |",
        *(f"| held-out predictions kept: {name} | {share:.1%} |" for name, share in figures["invariance"].items()),
        f"| worst single token, ham to spam | `{flips['ham']['token']}`, {flips['ham']['rate']:.1%} |",
        f"| worst single token, spam to ham | `{flips['spam']['token']}`, {flips['spam']['rate']:.1%} |",
    ]
    return "\n".join(lines) + "\n"


def counts_table(corpus):
    """What happened to the messages, as a Markdown table."""
    names = {"messages": "messages in the package"}
    lines = ["| | messages |", "|---|---|"]
    lines += [f"| {names.get(name, f'dropped: {name}')} | {count} |" for name, count in corpus.items()]
    lines += [
        f"| `train.jsonl` | {sum(TRAIN_ROWS.values())} ({TRAIN_ROWS['ham']} ham, {TRAIN_ROWS['spam']} spam) |",
        f"| `heldout.jsonl` | {sum(HELDOUT_ROWS.values())} ({HELDOUT_ROWS['ham']} ham, {HELDOUT_ROWS['spam']} spam) |",
    ]
    return "\n".join(lines) + "\n"


def check_size(out):
    """The demo is committed, so it has a budget."""
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    sizes = {p.relative_to(out): p.stat().st_size for p in files}
    for path, size in sizes.items():
        print(f"{size:>9}  {path}")
    total = sum(sizes.values())
    print(f"{total:>9}  total")
    if total > MAX_TOTAL_BYTES:
        raise SystemExit(f"over the budget of {MAX_TOTAL_BYTES} bytes")


def write_json(path, value):
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_jsonl(path, values):
    """One compact JSON object per line."""
    write_lines(path, (json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in values))


def write_lines(path, lines):
    """Lines with Unix endings on every platform."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))


if __name__ == "__main__":
    main()
