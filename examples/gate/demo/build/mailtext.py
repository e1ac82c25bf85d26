"""Turn a raw e-mail into one line of plain text that can be shown to anyone.

The corpus is public mail, but public does not mean that every reader of this
repository needs the addresses, phone numbers and signatures in it. Everything
here errs on the side of removing too much: a classifier loses little when a
name becomes NAME, and nobody has to be asked.
"""

import email
import quopri
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.utils import getaddresses
from html.parser import HTMLParser

MAX_CHARS = 450
MIN_CHARS = 120

_BLOCK_TAGS = frozenset(
    "address blockquote br center dd div dl dt form h1 h2 h3 h4 h5 h6 hr li ol p pre table td th tr ul".split()
)
_SILENT_TAGS = frozenset("script style title".split())


class _HTMLText(HTMLParser):
    """Collects the text a mail reader would show."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts = []
        self._silent = 0

    def handle_starttag(self, tag, attrs):
        if tag in _SILENT_TAGS:
            self._silent += 1
        elif tag in _BLOCK_TAGS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        if tag in _SILENT_TAGS:
            self._silent = max(0, self._silent - 1)
        elif tag in _BLOCK_TAGS:
            self.parts.append("\n")

    def handle_data(self, data):
        if not self._silent:
            self.parts.append(re.sub(r"\s+", " ", data))


def html_to_text(markup):
    """Plain text of possibly broken HTML."""
    parser = _HTMLText()
    parser.feed(markup)
    parser.close()
    return "".join(parser.parts)


@dataclass
class Mail:
    """The two things later steps need: the body and the correspondents."""

    body: str
    names: list


def parse_mail(raw):
    """Parse the bytes of one message; never fails on malformed mail."""
    message = email.message_from_bytes(raw)
    return Mail(body=_body(message), names=_display_names(message))


def _body(message):
    """The first text/plain part, or else the first text/html part as text."""
    parts = [p for p in message.walk() if p.get_content_maintype() == "text"]
    for wanted in ("text/plain", "text/html"):
        for part in parts:
            if part.get_content_type() == wanted:
                text = _decode(part)
                if text.strip():
                    return _plain(text, wanted)
    return ""


def _plain(text, content_type):
    if re.search(r"=\r?\n", text) and re.search(r"=(?:3D|20|\r?\n\S)", text):
        text = quopri.decodestring(text.encode("utf-8")).decode("utf-8", errors="ignore")
    # Much spam declares text/plain and sends HTML, so the type alone decides nothing.
    if content_type == "text/html" or re.search(r"</?(?:html|body|font|table|br|p|a)\b[^>]*>", text, re.I):
        return html_to_text(text)
    return text


def _decode(part):
    """Decode a part; UTF-8 first, because the package re-encoded some bodies."""
    payload = part.get_payload(decode=True) or b""
    for charset in ("utf-8", part.get_content_charset(), "latin-1"):
        try:
            return payload.decode(charset)
        except (UnicodeDecodeError, LookupError, TypeError):
            continue
    return ""


def _display_names(message):
    """Names of the people in the address headers, without the addresses."""
    names = []
    for header in ("From", "To", "Cc", "Reply-To", "Sender"):
        try:
            values = [str(make_header(decode_header(v))) for v in message.get_all(header, [])]
        except (LookupError, UnicodeError, ValueError, email.errors.MessageError):
            continue
        names += [name for name, _ in getaddresses(values) if name]
    return names


# Words that look like names in address headers and are none.
_NOT_NAMES = frozenset(
    """
    alert american apple apr april asia aug august bank black boston broadway brown burger bush business
    canada celebs center checker chicago china club cnet com computer customer daily dallas debian dec
    december dept dublin editor email english essex europe european eve exmh feb february field fork free
    french fri friday german germany gnome green group groups hall hat help hill homeowner inn insider
    internet ireland irish jan january java jul july jun june labs lake linux list london lone luna mail
    mailing mar march media microsoft mon monday money more net network networks news newsletter nov
    november oct october offer offers omaha online paris perl post powerball press razor real red redmond
    reg report reports sales sat saturday security sep sept september service services smokes software
    spam spamassassin sterling subscriber sun sunday support systems team tech technology the thu thursday
    times troy tue tuesday unix usa users ward washington web wed wednesday white windows wired world
    xenical yahoo york zdnet
    """.split()
)
_PERSONAL = re.compile(r"([A-Z][a-z]{2,})(?: [A-Z]\.?)? ((?:Mc|Mac|O'|de |van |von )?[A-Z][a-zA-Z-]{2,})")


class NameLexicon:
    """Personal names seen in the corpus's own address headers.

    A name word is replaced on its own only if the corpus hardly ever writes
    it in lower case: "John" goes, "Will" and "Mark" stay unless they stand
    next to the surname they were seen with.
    """

    def __init__(self, mails):
        pairs = {m.groups() for mail in mails for n in mail.names if (m := _PERSONAL.fullmatch(n.strip("\"' ")))}
        self._pairs = {p for p in pairs if not {w.lower() for w in p} & _NOT_NAMES}
        capital, lower = _case_counts(mails)
        self._lower = lower
        words = {w for pair in self._pairs for w in pair}
        self._words = {w for w in words if lower[w.lower()] * 3 < capital[w]}

    def mask(self, text):
        """Replace known names by NAME."""
        text = re.sub(r"\b([A-Z][\w'-]+) (?:[A-Z]\. ?)?([A-Z][\w'-]+)", self._mask_pair, text)
        text = re.sub(r"(?<![A-Za-z])[A-Z][A-Za-z]+\b", self._mask_word, text)
        text = re.sub(r"\bO'NAME", "NAME", text)
        text = re.sub(r"\bNAME (?:[A-Z]\.? )?([A-Z]\w[\w-]+)(?: [JS]r\b\.?)?", self._mask_surname, text)
        return re.sub(r"\bNAME(?:[ ,]+NAME\b)+", "NAME", text)

    def _mask_word(self, match):
        word = match[0]
        known = word in self._words or (len(word) > 3 and word.isupper() and word.title() in self._words)
        return "NAME" if known else word

    def _mask_surname(self, match):
        # After a known first name, a word nobody writes in lower case is a surname.
        word = match[1].lower()
        return match[0] if self._lower[word] or word in _NOT_NAMES else "NAME"

    def _mask_pair(self, match):
        return "NAME" if match.groups() in self._pairs else match[0]


def _case_counts(mails):
    """How often each word occurs capitalised, and how often in lower case."""
    capital, lower = Counter(), Counter()
    for mail in mails:
        for word in re.findall(r"\b[A-Za-z][a-z]+\b", mail.body):
            (lower if word[0].islower() else capital)[word] += 1
    return capital, lower


_GENERIC = (
    "friend|friends|sir|madam|sirs|all|folks|everyone|everybody|there|homeowner|customer|reader|member|subscriber"
    "|guys|again|world|sir/madam|ladies"
)
_LINE_NOISE = re.compile(
    r"""^\s*(?:
        [>|}:\]]                                             # quoted
      | \w{0,12}>                                            # quoted with initials or a name
      | [-=_*~\#+.\s]{4,}$                                   # rulers
      | (?:URL|Date|Sent|From|To|Cc|Bcc|Subject|Reply-To|Message-ID|Organi[sz]ation|X-[\w-]+|Received|Return-Path
          |Content-[\w-]+|MIME-Version|Hash|Version|Comment)\s*:
      | --?[-=_\w.]*(?:Part|Boundary|=_)[\w.=-]*             # stray MIME boundaries
      | .*\b(?:wrote|writes|said|schrieb|typed|spake|scribbled)\s*:?\s*$
      | (?:On|At)\ .{0,80}\b(?:19|20)\d\d\b.{0,80}$          # first line of an attribution
      | (?:Quoting|Once\ upon\ a\ time).*
      | .*in\ message\ <.*
      | (?:by|from|for|via)\ .*\b(?:E?SMTP|SMTPD\S*|id|HTTP|Postfix)\b.*
      | \(?SMTPD.*
      | SPAM:                                                # report of an earlier filter
    )""",
    re.X | re.I,
)
_CUT_HERE = re.compile(
    r"""^\s*(?:
        --\s*$                                               # signature
      | _{5,}.*$ | -{5,}\s*(?:Original|Forwarded|Begin|This\ sf).*$
      | .*\bmailing\ list\s*$ | .*mailing\ list\ (?:-|EMAIL).*$
      | This\ sf\.net\ email\ is\ sponsored.*$
      | (?:To\ unsubscribe|Un/subscription\ info|Irish\ Linux\ Users).*$
      | Your\ use\ of\ Yahoo!\ Groups.*$
    )""",
    re.X | re.I,
)
_CLOSING = re.compile(
    r"^\s*(?:(?:best|kind|warm)?\s*(?:regards|wishes)|cheers|thanks(?: again| in advance)?|thank you|sincerely"
    r"|yours(?: \w+)?|bye|later|ciao|rgds|tia|love|respectfully)[\s,.!-]*$",
    re.I,
)
_YAHOO_BOX = re.compile(r"-{5,} Yahoo! Groups Sponsor -.*?\n-{10,}[~_>-]*", re.S)


# A footer mark in the first characters stands above the text, not below it.
_FOOTER_AFTER = 40


def _content_lines(body):
    """The lines the sender wrote: no quotes, no signature, no list footer."""
    body = _YAHOO_BOX.sub("\n", body)
    body = body.replace("-----BEGIN PGP SIGNED MESSAGE-----", "\n")
    body = re.sub(r"-----BEGIN PGP .*", "\n", body, flags=re.S)
    lines, size = [], 0
    for line in body.splitlines():
        if size >= _FOOTER_AFTER and _CUT_HERE.match(line):
            break
        if _LINE_NOISE.match(line) or _CUT_HERE.match(line):
            continue
        lines.append(line.strip())
        size += len(line.strip())
    return _drop_sign_off([line for line in lines if line])


def _drop_sign_off(lines):
    """Cut the closing formula and what follows it, and a lone name at the end."""
    for i in range(max(1, len(lines) - 8), len(lines)):
        if _CLOSING.match(lines[i]):
            lines = lines[:i]
            break
    while len(lines) > 1 and len(lines[-1]) < 32 and not re.search(r"[.!?:;)]\s*$", lines[-1]):
        lines = lines[:-1]
    return lines


_TLD = "com|net|org|edu|gov|mil|info|biz|us|uk|ie|de|fr|ca|au|nl|it|es|se|ch|jp|kr|cn|ru|br|tv|ws|cc|to|nu|int"
_STREET = (
    r"Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|(?<!Hard )(?<!Disk )Drive|Lane|Ln|(?:Suite|Ste)(?= ?#?\d)"
    r"|Parkway|Pkwy|Highway|Hwy|Plaza"
)
_NOT_A_DATE = r"(?!(?:(?:19|20)\d\d[\s,.-]*)+\b(?!\d))(?!(?:19|20)\d\d-\d\d-\d\d)"
_NOT_DECIMALS = r"(?!\d+\.\d+\s)"
_PRIVATE = [
    (re.compile(r"<?\b(?:https?|ftp|file|mailto|telnet|news|irc)\s?:\s?/{0,2}[^\s<>\"]+>?", re.I), " URL "),
    (re.compile(r"[\w.+%-]+\s?(?:@|\(at\)|\[at\]| at (?=\w+ dot ))\s?[\w-]+(?:(?:\.| dot )[\w-]+)*", re.I), " EMAIL "),
    (re.compile(r"\S*@\S*"), " EMAIL "),
    (re.compile(rf"\b(?:www\.)?(?:[\w-]+\.)+(?:{_TLD})\b(?:[:/?][^\s<>\"]*)?", re.I), " URL "),
    (re.compile(r"\bwww\.\S+", re.I), " URL "),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b(?:[:/]\d+)?|\b(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}\b", re.I), " IPADDRESS "),
    (re.compile(r"(?<!\w)(?=[A-Za-z0-9+/=_-]{24,})(?=\S*\d)[A-Za-z0-9+/=_-]+"), " CODE "),
    (re.compile(r"\b(?=\w*\d)(?=\w*[a-f])[0-9a-f]{10,}\b|\b0x[0-9a-f]{5,}\b", re.I), " CODE "),
    (re.compile(r"\S{45,}"), " CODE "),
    (re.compile(r"\b1?[ -]?\(?8(?:00|88|77|66|55)\)?[ -][A-Z0-9][A-Z0-9-]{5,}\b"), " PHONE "),
    (re.compile(r"\b\d{7,}\b"), " NUMBER "),
    (re.compile(rf"(?:\+|\b|\(){_NOT_A_DATE}{_NOT_DECIMALS}\d(?:[ \t().-]{{0,3}}\d){{6,}}\b"), " PHONE "),
    (re.compile(r"\b(?:tel|phone|fax|call|mobile|cell|ext)\b[.:]?\s*\(?\+?\d[\d ().-]{4,}\d", re.I), " PHONE "),
    (
        re.compile(
            rf"\b(?!(?:19|20)\d\d )\d{{1,5}}(?:-\d+)?,? (?:[NSEW]\.? )?(?:[A-Z0-9][\w.]*,? ){{1,3}}(?:{_STREET})\b"
            r"\.?,?(?: ?(?:\#|Suite|Ste|Apt)\.? ?\w+)?"
        ),
        " ADDRESS ",
    ),
    (re.compile(r"\bP\.? ?O\.? ?Box:? ?\#?\d*", re.I), " ADDRESS "),
    (re.compile(r"\b[A-Z][a-z]+,? [A-Z]{2},? \d{5}(?:-\d{4})?\b|\b[A-Z]{2}\.? \d{5}(?:-\d{4})?\b"), " ADDRESS "),
    (re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Barr|Chief|Capt|Gen)\b\.? ?(?:[A-Z][\w'.-]*\s?){1,4}"), " NAME "),
    (
        re.compile(
            r"(?i:\b(my name is|i am called|contact|attn:?|regards,?|cheers,?|sincerely,?|signed,?) )"
            r"[A-Z][a-z]+(?: [A-Z][\w'-]+)+"
        ),
        r"\1 NAME",
    ),
]
_TRAILING_NAME = re.compile(r"(?<=[.!?)\]:;])(?: [-–~]* ?[A-Z][\w'-]{1,14}){1,2}\.?$")
_GREETING = re.compile(
    rf"^(\s*(?:dear|hi|hello|hey|hiya|howdy|greetings|good morning)[ ,]+)(?!(?:{_GENERIC})\b)"
    r"[\w'-]+(?: [A-Z][\w'-]+)?(?=\s*(?:[,:;!.-]|$))",
    re.I | re.M,
)
# A name followed by several ways to reach it is a signature without a signature mark.
_CONTACT_BLOCK = re.compile(r"\bNAME\b(?=(?:.{0,80}?\b(?:URL|EMAIL|ADDRESS|PHONE)\b){2}).*$")
_SPONSOR = re.compile(r"\bThis (?:sf\.net|URL) email is sponsored by.*$")
_PLACEHOLDER_RUN = re.compile(r"\b(URL|EMAIL|PHONE|NUMBER|CODE|ADDRESS|NAME|IPADDRESS)\b(?:[\s,;:/|<>()-]*\b\1\b)+")


def mask_private(text):
    """Replace addresses, numbers and codes that could point at somebody."""
    for pattern, replacement in _PRIVATE:
        text = pattern.sub(replacement, text)
    return text


def visible(text):
    """NFKC text without control, format, private-use and unassigned characters."""
    kept = []
    for char in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(char)
        if char.isspace():
            kept.append(" ")
        elif category[0] != "C" and not _blank_looking(char):
            kept.append(char)
    return "".join(kept)


def _blank_looking(char):
    """Fillers and variation selectors are letters or marks that show nothing."""
    code = ord(char)
    return code in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0) or 0xFE00 <= code <= 0xFE0F


def clean(mail, lexicon):
    """One line of text, truncated at a word boundary."""
    text = "\n".join(visible(line) for line in _content_lines(mail.body))
    text = _GREETING.sub(r"\1NAME", text)
    text = re.sub(r"</?[A-Za-z!][^<>]{0,200}>|&[a-z]{2,6};|&\#\d+;", " ", text)
    text = mask_private(re.sub(r"\s+", " ", text))
    text = lexicon.mask(text)
    text = re.sub(r"([^\w\s])\1{2,}", r"\1\1", text)
    text = re.sub(r"(?:[-=_*~#+|<>^\\]\s?){2,}", " ", text)
    text = re.sub(r"\s+([,.;:!?)])(?=\s|$)", r"\1", _SPONSOR.sub("", text))
    text = _PLACEHOLDER_RUN.sub(r"\1", re.sub(r"\s+", " ", text)).strip()
    text = _CONTACT_BLOCK.sub("", text).strip()
    return truncate(_TRAILING_NAME.sub("", text))


def truncate(text):
    """At most MAX_CHARS characters, ending with a whole word."""
    if len(text) <= MAX_CHARS:
        return text
    return text[: MAX_CHARS + 1].rsplit(" ", 1)[0].rstrip()
