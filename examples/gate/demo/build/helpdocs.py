"""The help corpus: paragraphs of the Apache SpamAssassin manual, and their vectors.

The manual is POD, the documentation format of Perl, embedded in the programs
and modules it describes. Only prose is taken: code samples make poor answers.
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from rows import MAX_JACCARD, shingles

# Paths below usr/ of the unpacked package, in reading order: what users ask for first.
SOURCES = (
    "share/perl5/spamassassin-run.pod",
    "bin/spamassassin",
    "bin/sa-learn",
    "bin/sa-update",
    "bin/sa-awl",
    "share/perl5/Mail/SpamAssassin/Conf.pm",
    "share/perl5/Mail/SpamAssassin/Conf/LDAP.pm",
    "share/perl5/Mail/SpamAssassin/Conf/SQL.pm",
    *(
        f"share/perl5/Mail/SpamAssassin/Plugin/{name}.pm"
        for name in (
            "AWL AntiVirus AuthRes AutoLearnThreshold Bayes DCC DKIM DMARC DNSEval DecodeShortURLs"
            " ExtractText FreeMail FromNameSpoof MIMEEval OLEVBMacro PDFInfo PhishTag Phishing Pyzor Razor2"
            " RelayCountry ReplaceTags ResourceLimits SPF Shortcircuit SpamCop TextCat TxRep URIDNSBL URILocalBL"
            " VBounce WelcomeListSubject"
        ).split()
    ),
)
CHUNKS = 400
SHORT_SOURCE = 20
MIN_CHARS, MAX_CHARS = 150, 450
DIMENSIONS = 64
SVD_SEED = 20021010

_SKIPPED_SECTIONS = frozenset(
    ["NAME", "SYNOPSIS", "AUTHOR", "AUTHORS", "COPYRIGHT", "LICENSE", "SEE ALSO", "BUGS", "REPORTING BUGS"]
    + ["PREREQUISITES"]
)
# Addresses, links, credentials and code do not belong in an answer.
_UNWANTED = re.compile(
    r"\S@\S|\b(?:\d{1,3}\.){3}\d{1,3}\b|https?:|passw|\b[0-9a-f]{16,}\b|=>|\{\s|--\w+=\S+.*--\w+=|\d{7,}",
    re.I,
)


@dataclass(frozen=True)
class Chunk:
    """One answerable piece of the manual."""

    id: str
    title: str
    text: str
    source: str

    def as_dict(self):
        return asdict(self)


@dataclass(frozen=True)
class _Paragraph:
    title: str
    text: str


def load_chunks(package):
    """A fixed number of chunks that cover the whole manual."""
    chunks = []
    for source in SOURCES:
        name = re.sub(r"^share/perl5/|\.p(?:m|od)$", "", source).removeprefix("bin/").replace("/", "::")
        text = (package / "usr" / source).read_text(encoding="utf-8", errors="replace")
        chunks += [(name, source, p) for p in _sized(_paragraphs(text)) if not _UNWANTED.search(f"{p.title} {p.text}")]
    chosen = _thinned(_distinct(chunks))
    return [
        Chunk(id=f"help-{i:04d}", title=f"{name}: {p.title}", text=p.text, source=f"usr/{source}")
        for i, (name, source, p) in enumerate(chosen)
    ]


def _thinned(chunks):
    """Keep short sources whole and thin the long ones evenly, so that no topic goes missing."""
    size = Counter(source for _, source, _ in chunks)
    long = [i for i, chunk in enumerate(chunks) if size[chunk[1]] > SHORT_SOURCE]
    wanted = CHUNKS - (len(chunks) - len(long))
    if not 0 < wanted <= len(long):
        raise SystemExit(f"cannot choose {CHUNKS} of {len(chunks)} chunks")
    dropped = set(long) - {long[i * len(long) // wanted] for i in range(wanted)}
    return [chunk for i, chunk in enumerate(chunks) if i not in dropped]


def _paragraphs(text):
    """Prose paragraphs with the heading or item they stand under."""
    heading, item = "", ""
    pod = re.findall(r"(?ms)^=[a-z].*?(?:^=cut\b|\Z)", text)
    for block in re.split(r"\n\s*\n", "\n\n".join(pod)):
        if m := re.match(r"=head\d\s+(.+)", block, re.S):
            heading, item = _plain(m[1]), ""
        elif m := re.match(r"=item\s+(.+)", block, re.S):
            item = _item_title(_plain(m[1]))
        elif not block.startswith(("=", " ", "\t")) and heading.upper() not in _SKIPPED_SECTIONS:
            if prose := _plain(block):
                yield _Paragraph(f"{heading}, {item}" if item else heading, prose)


def _item_title(item):
    """An option without its arguments, or the first words of a list item."""
    item = item.strip("* ")
    if option := re.match(r"(?:-\S+, )?-{1,2}[\w-]+|[a-z][a-z0-9]*_\w+", item):
        return option[0]
    return item if len(item) <= 60 else item[:60].rsplit(" ", 1)[0]


def _plain(pod):
    """POD text without its formatting codes, on one line."""
    pod = re.sub(r"E<(\w+)>", lambda m: {"gt": ">", "lt": "<", "sol": "/", "verbar": "|"}.get(m[1], ""), pod)
    previous = None
    while previous != pod:
        previous = pod
        pod = re.sub(r"L<(?:([^<>|]*)\|)?([^<>|]*)>", lambda m: m[1] or m[2].strip("/\""), pod)
        pod = re.sub(r"[BCFISXZ]<([^<>]*)>", r"\1", pod)
        pod = re.sub(r"[BCFI]<<+ (.*?) >>+", r"\1", pod)
    return re.sub(r"\s+", " ", "".join(c for c in pod if c.isascii())).strip()


def _sized(paragraphs):
    """Join short neighbours under one title, split long paragraphs at sentences."""
    title, text = None, ""
    for paragraph in paragraphs:
        for sentence in re.split(r"(?<=[.!?:]) (?=[A-Z])", paragraph.text):
            if paragraph.title != title or len(text) + 1 + len(sentence) > MAX_CHARS:
                yield from _finished(title, text)
                title, text = paragraph.title, ""
            text = f"{text} {sentence}".strip()
    yield from _finished(title, text)


def _finished(title, text):
    if MIN_CHARS <= len(text) <= MAX_CHARS and text[0].isupper():
        yield _Paragraph(title, text)


def _distinct(chunks):
    """Drop chunks that nearly repeat an earlier one; boilerplate is common in manuals."""
    kept, sets = [], []
    for chunk in chunks:
        own = shingles(chunk[2].text, 3)
        if all(len(own & other) <= MAX_JACCARD * len(own | other) for other in sets):
            kept.append(chunk)
            sets.append(own)
    return kept


def embed(chunks, questions):
    """LSA vectors of chunks and questions, rows of unit length, float32."""
    tfidf = TfidfVectorizer(sublinear_tf=True, stop_words="english", token_pattern=r"[A-Za-z][A-Za-z0-9_]+", norm="l2")
    svd = TruncatedSVD(DIMENSIONS, n_iter=10, random_state=SVD_SEED)
    corpus = svd.fit_transform(tfidf.fit_transform(f"{c.title}. {c.text}" for c in chunks))
    return _unit(corpus), _unit(svd.transform(tfidf.transform(questions)))


def _unit(matrix):
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    if norms.min() == 0:
        raise SystemExit(f"row {int(norms.argmin())} has no known word")
    return (matrix / norms).astype(np.float32)
