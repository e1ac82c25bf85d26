"""Choose the rows: fit for showing, without duplicates, split for good.

Order never depends on the file system: rows are sorted by a hash of their id,
which also serves as the seedless shuffle that decides the split.
"""

import hashlib
import re
import unicodedata
from collections import defaultdict
from dataclasses import asdict, dataclass

from mailtext import MIN_CHARS, NameLexicon, clean, parse_mail

GROUPS = {
    "easy-ham-1": "ham",
    "easy-ham-2": "ham",
    "hard-ham-1": "ham",
    "spam-1": "spam",
    "spam-2": "spam",
}
SHINGLE_SIZES = (3, 5)
MAX_JACCARD = 0.5
OPENING_WORDS = 6

# Rows are dropped, not masked: what is left of such a text is no better.
_UNFIT = re.compile(
    r"\b(?:sex\w*|porn\w*|xxx|nude\w*|naked|erotic\w*|orgasm\w*|horny|slut\w*|whore\w*|lesbian\w*|incest|rape\w*"
    r"|virgins?|penis\w*|penile|vagina\w*|breasts?|bust|erecti\w*|libido|impoten\w*|aphrodis\w*|manhood|enlargement"
    r"|masturbat\w*|cum|cock|dick|pussy|cunt|fuck\w*|shit\w*|bitch\w*|bastards?|ass|asshole|crap|tits?|boobs?"
    r"|wank\w*|hung|piss\w*|condoms?|lovers?|ghetto|stfu|escorts?|hardcore|adults?|webcams?|fetish\w*|lust\w*"
    r"|viagra|semen|testosterone|viacreme|pheromones?|singles"
    r"|hitler|nazis?|suicid\w*|murder\w*|terroris\w*|nigg\w*|fag\w*)\b",
    re.I,
)
_CREDENTIAL = re.compile(r"\b(?:pass(?:word|wd|phrase)?|login|user(?:name| ?id)?|pin|api[ _-]?key|secret)\s*(?:is|[:=])\s*\S", re.I)
_HEADER_RESIDUE = re.compile(r"\bESMTP\b|\bcharset=|\bMIME-Version|\bboundary=|\bMultipart Boundary|\bfilename=", re.I)
_COMMON = frozenset("a and are be for have i in is it of on or that the this to we with you your".split())


@dataclass(frozen=True)
class Row:
    """One example, in the form it is written to disk."""

    id: str
    text: str
    label: str

    def as_dict(self):
        return asdict(self)


def load_rows(corpus):
    """All usable rows of the unpacked corpus, in hash order, with a count of what was dropped."""
    mails = {
        f"{group}-{path.name[:5]}": (parse_mail(path.read_bytes()), label)
        for group, label in GROUPS.items()
        for path in sorted((corpus / group).glob("*.txt"))
    }
    lexicon = NameLexicon([mail for mail, _ in mails.values()])
    rows, dropped = [], defaultdict(int)
    for name, (mail, label) in mails.items():
        text = clean(mail, lexicon)
        reason = unusable(text)
        if reason:
            dropped[reason] += 1
        else:
            rows.append(Row(name, text, label))
    rows.sort(key=lambda row: hash_key(row.id))
    return rows, {"messages": len(mails), **dict(sorted(dropped.items()))}


def hash_key(text):
    """A stable pseudo-random sort key."""
    return hashlib.sha256(text.encode()).hexdigest()


def unusable(text):
    """The reason for dropping a text, or None."""
    if len(text) < MIN_CHARS:
        return "short"
    if _UNFIT.search(text):
        return "unfit to show"
    if _HEADER_RESIDUE.search(text):
        return "broken headers"
    if _CREDENTIAL.search(text):
        return "credential-like"
    if not _looks_english(text):
        return "not English"
    return None


def _looks_english(text):
    """Latin letters only, few of them accented, and some everyday words."""
    letters = [c for c in text if c.isalpha()]
    if "\ufffd" in text or any("LATIN" not in unicodedata.name(c, "") for c in letters if not c.isascii()):
        return False
    accented = sum(not c.isascii() for c in text)
    words = re.findall(r"[a-z']+", text.lower())
    common = [w for w in words if w in _COMMON]
    return accented * 50 <= len(text) and len(set(common)) >= 3 and len(common) * 10 >= len(words)


def deduplicate(rows):
    """Keep the first row of every family of near duplicates.

    A family whose members disagree on the label is dropped whole: there is no
    telling which of them is right.
    """
    duplicates = _near_duplicates(rows)
    family = list(range(len(rows)))
    for a, b in duplicates:
        family[_root(family, b)] = _root(family, a)
    members = defaultdict(list)
    for i in range(len(rows)):
        members[_root(family, i)].append(i)
    kept = [min(group) for group in members.values() if len({rows[i].label for i in group}) == 1]
    return [rows[i] for i in sorted(kept)]


def _root(family, i):
    while family[i] != i:
        family[i] = family[family[i]]
        i = family[i]
    return i


def _near_duplicates(rows):
    """Index pairs whose shingle sets overlap too much, or that open with the same words.

    The second rule finds the issues of one newsletter, which share a template
    and little else.
    """
    pairs = _same_opening(rows)
    for size in SHINGLE_SIZES:
        sets = [shingles(row.text, size) for row in rows]
        seen = defaultdict(list)
        for i, own in enumerate(sets):
            common = defaultdict(int)
            for shingle in own:
                for j in seen[shingle]:
                    common[j] += 1
                seen[shingle].append(i)
            pairs.update((j, i) for j, n in common.items() if n > MAX_JACCARD * (len(own) + len(sets[j]) - n))
    return sorted(pairs)


def _same_opening(rows):
    first, pairs = {}, set()
    for i, row in enumerate(rows):
        opening = tuple(re.findall(r"[a-z0-9]+", row.text.lower())[:OPENING_WORDS])
        pairs.add((first.setdefault(opening, i), i))
    return {(a, b) for a, b in pairs if a != b}


def shingles(text, size):
    """The set of runs of `size` words; a shorter text is one shingle."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def split(rows, train_counts, heldout_counts):
    """The first rows of each label are held out, the next are trained on.

    Near duplicates are gone before, so no held-out row has a sibling in train.
    """
    train, heldout = [], []
    for label in sorted(train_counts):
        mine = [row for row in rows if row.label == label]
        first, last = heldout_counts[label], heldout_counts[label] + train_counts[label]
        if len(mine) < last:
            raise SystemExit(f"only {len(mine)} {label} rows, {last} wanted")
        heldout += mine[:first]
        train += mine[first:last]
    return sorted(train, key=lambda r: r.id), sorted(heldout, key=lambda r: r.id)
