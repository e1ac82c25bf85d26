"""The mailtriage classifier: tokens, training, files, robustness probes.

The forward pass is deliberately small enough to be re-implemented from a
paragraph of text in any language; the model card holds that paragraph.
"""

import re
from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

LABELS = ("ham", "spam")
MAX_TOKENS = 256
VOCAB_SIZE = 3500
EMBEDDING_DIM = 24
HIDDEN_DIM = 16
OPSET = 17
IR_VERSION = 8

_TOKEN = re.compile(rb"[a-z0-9$!']+")
_PUNCTUATION_ONLY = re.compile(rb"[$!']+")


def tokens(text):
    """Maximal runs of [a-z0-9$!'] after ASCII-only lower-casing of the UTF-8 bytes."""
    # bytes.lower() touches ASCII only, which is what makes the rule portable.
    return [t.decode("ascii") for t in _TOKEN.findall(text.encode("utf-8").lower())][:MAX_TOKENS]


def build_vocabulary(rows):
    """The tokens that occur in most training rows; ties in token order."""
    frequency = Counter(token for row in rows for token in set(tokens(row.text)))
    ranked = sorted(frequency, key=lambda token: (-frequency[token], token))
    return ranked[:VOCAB_SIZE]


def count_matrix(texts, vocabulary):
    """Token counts, one row per text; tokens outside the vocabulary are dropped."""
    index = {token: i for i, token in enumerate(vocabulary)}
    counts = np.zeros((len(texts), len(vocabulary)), dtype=np.float32)
    for i, text in enumerate(texts):
        for token in tokens(text):
            if token in index:
                counts[i, index[token]] += 1
    return counts


def bags(counts):
    """Counts divided by the number of known tokens; a row without any stays zero."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


@dataclass
class Model:
    """All parameters, float32, in the layout of the saved tensors."""

    embedding: np.ndarray
    dense_weight: np.ndarray
    dense_bias: np.ndarray
    classifier_weight: np.ndarray
    classifier_bias: np.ndarray

    TENSOR_NAMES = {
        "embedding": "embedding.weight",
        "dense_weight": "dense.weight",
        "dense_bias": "dense.bias",
        "classifier_weight": "classifier.weight",
        "classifier_bias": "classifier.bias",
    }

    def tensors(self):
        """Tensors under the names they are saved with."""
        return {self.TENSOR_NAMES[f.name]: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}

    def parameters(self):
        """The arrays themselves, in field order, to be updated in place."""
        return [getattr(self, f.name) for f in fields(self)]

    def logits(self, bag):
        """The forward pass from bag to logits."""
        return self.from_embedded(bag @ self.embedding)

    def from_embedded(self, x):
        """The forward pass from the mean embedding to logits."""
        hidden = np.maximum(x @ self.dense_weight + self.dense_bias, 0)
        return hidden @ self.classifier_weight + self.classifier_bias


def new_model(vocab_size, rng):
    """Small random weights; biases start at zero."""

    def normal(scale, *shape):
        return rng.normal(0, scale, shape).astype(np.float32)

    return Model(
        embedding=normal(0.1, vocab_size, EMBEDDING_DIM),
        dense_weight=normal((2 / EMBEDDING_DIM) ** 0.5, EMBEDDING_DIM, HIDDEN_DIM),
        dense_bias=np.zeros(HIDDEN_DIM, np.float32),
        classifier_weight=normal((1 / HIDDEN_DIM) ** 0.5, HIDDEN_DIM, len(LABELS)),
        classifier_bias=np.zeros(len(LABELS), np.float32),
    )


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of training, besides the rows."""

    seed: int = 20021010
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.03
    token_dropout: float = 0.4
    noise_tokens: int = 1
    label_smoothing: float = 0.05
    max_embedding_norm: float = 0.5


class _Adam:
    """Adam with decoupled weight decay, on a fixed list of arrays."""

    def __init__(self, parameters, recipe):
        self._parameters, self._recipe, self._step = parameters, recipe, 0
        self._mean = [np.zeros_like(p) for p in parameters]
        self._square = [np.zeros_like(p) for p in parameters]

    def update(self, gradients):
        self._step += 1
        rate = self._recipe.learning_rate * (1 - 0.999**self._step) ** 0.5 / (1 - 0.9**self._step)
        for p, g, m, v in zip(self._parameters, gradients, self._mean, self._square, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            decay = self._recipe.learning_rate * self._recipe.weight_decay * p
            p -= (rate * m / (np.sqrt(v) + 1e-8) + decay).astype(p.dtype)


def train(counts, labels, recipe):
    """Train on token counts.

    Three measures keep a single token from deciding alone: tokens are dropped
    at random, random tokens are mixed in under the unchanged label, and the
    norm of every embedding row is bounded. The result is the mean of the
    weights over the second half of the epochs, which varies less from seed to
    seed than any single epoch does.
    """
    rng = np.random.default_rng(recipe.seed)
    model = new_model(counts.shape[1], rng)
    optimiser = _Adam(model.parameters(), recipe)
    targets = _smoothed(labels, recipe.label_smoothing)
    mean, averaged = [np.zeros(p.shape, np.float64) for p in model.parameters()], recipe.epochs // 2
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(counts))
        for start in range(0, len(order), recipe.batch_size):
            batch = order[start : start + recipe.batch_size]
            bag = bags(_perturbed(counts[batch], recipe, rng))
            optimiser.update(_gradients(model, bag, targets[batch]))
            _clip_rows(model.embedding, recipe.max_embedding_norm)
        if epoch >= recipe.epochs - averaged:
            for total, p in zip(mean, model.parameters(), strict=True):
                total += p / averaged
    return Model(*(total.astype(np.float32) for total in mean))


def _smoothed(labels, amount):
    targets = np.full((len(labels), len(LABELS)), amount / len(LABELS), np.float32)
    targets[np.arange(len(labels)), labels] += 1 - amount
    return targets


def _perturbed(counts, recipe, rng):
    """Drop token types at random and mix a few random tokens in."""
    kept = counts * (rng.random(counts.shape) >= recipe.token_dropout)
    for _ in range(recipe.noise_tokens):
        chosen = rng.integers(0, counts.shape[1], len(counts))
        kept[np.arange(len(counts)), chosen] += rng.random(len(counts)) < 0.5
    return kept.astype(np.float32)


def _gradients(model, bag, targets):
    """Gradients of the mean cross-entropy, in parameter order."""
    x = bag @ model.embedding
    before = x @ model.dense_weight + model.dense_bias
    hidden = np.maximum(before, 0)
    logits = hidden @ model.classifier_weight + model.classifier_bias
    d_logits = (softmax(logits) - targets) / len(bag)
    d_before = (d_logits @ model.classifier_weight.T) * (before > 0)
    return [
        bag.T @ (d_before @ model.dense_weight.T),
        x.T @ d_before,
        d_before.sum(axis=0),
        hidden.T @ d_logits,
        d_logits.sum(axis=0),
    ]


def softmax(logits):
    """Class probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _clip_rows(matrix, limit):
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix *= np.minimum(1, limit / np.maximum(norms, 1e-12))


def predict(model, texts, vocabulary):
    """Class indices for texts."""
    return model.logits(bags(count_matrix(texts, vocabulary))).argmax(axis=1)


def save_safetensors(model, path):
    """Write the tensors with the reference writer."""
    save_file(model.tensors(), path, metadata={"format": "np"})


def save_onnx(model, path):
    """Write bag -> logits as two Gemms and a Relu over one MatMul."""
    vocab_size = model.embedding.shape[0]
    graph = helper.make_graph(
        nodes=[
            helper.make_node("MatMul", ["bag", "embedding.weight"], ["x"], name="embed"),
            helper.make_node("Gemm", ["x", "dense.weight", "dense.bias"], ["before"], name="dense"),
            helper.make_node("Relu", ["before"], ["hidden"], name="relu"),
            helper.make_node("Gemm", ["hidden", "classifier.weight", "classifier.bias"], ["logits"], name="classify"),
        ],
        name="mailtriage",
        inputs=[helper.make_tensor_value_info("bag", TensorProto.FLOAT, ["N", vocab_size])],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(LABELS)])],
        initializer=[numpy_helper.from_array(array, name) for name, array in model.tensors().items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mailtriage")
    proto.ir_version = IR_VERSION
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def check_onnx(model, path, bag):
    """The largest difference between onnxruntime and numpy; fails above 1e-5."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"bag": bag})
    difference = float(np.abs(logits - model.logits(bag)).max())
    if difference > 1e-5:
        raise SystemExit(f"ONNX and numpy disagree by {difference}")
    return difference


TRAILER = " Thank you for your time."
_VARIANTS = {
    "upper case": str.upper,
    "lower case": str.lower,
    "extra white space": lambda text: "  " + text.replace(" ", " \n\t ") + "\n",
    "trailing sentence": lambda text: text + TRAILER,
}


def invariance(model, texts, vocabulary):
    """Share of predictions that survive each harmless change."""
    before = predict(model, texts, vocabulary)
    return {
        name: float((predict(model, [change(t) for t in texts], vocabulary) == before).mean())
        for name, change in _VARIANTS.items()
    }


@dataclass(frozen=True)
class Flip:
    """The token that flips most predictions of one class, and how many."""

    token: str
    rate: float


def worst_tokens(model, texts, vocabulary):
    """For each class, the token that flips most rows when appended once."""
    counts = count_matrix(texts, vocabulary)
    # A text already at the limit has no room: its appended token is not read.
    room = np.array([len(tokens(t)) < MAX_TOKENS for t in texts])[:, None]
    total = counts.sum(axis=1, keepdims=True)
    summed = counts @ model.embedding
    before = model.logits(bags(counts)).argmax(axis=1)
    flipped = np.zeros((len(vocabulary), len(LABELS)), dtype=np.int64)
    for i, row in enumerate(model.embedding):
        after = model.from_embedded((summed + row * room) / np.maximum(total + room, 1)).argmax(axis=1)
        flipped[i] = np.bincount(before[after != before], minlength=len(LABELS))
    rates = flipped / np.maximum(np.bincount(before, minlength=len(LABELS)), 1)
    return {
        label: Flip(vocabulary[rates[:, c].argmax()], float(rates[:, c].max())) for c, label in enumerate(LABELS)
    }


def evaluate(model, rows, vocabulary):
    """Accuracy, error and confusion counts on labelled rows."""
    truth = np.array([LABELS.index(row.label) for row in rows])
    guess = predict(model, [row.text for row in rows], vocabulary)
    confusion = {
        f"{a} taken for {b}": int(((truth == i) & (guess == j)).sum())
        for i, a in enumerate(LABELS)
        for j, b in enumerate(LABELS)
    }
    return {"rows": len(rows), "accuracy": float((truth == guess).mean()), **confusion}
