"""The tokeniser of mailtriage for users of the Python ecosystem.

The serving program does not load this file: it has the same rules in its own
language. tokenizer_config.json names it, so that AutoTokenizer finds it where
somebody has decided to trust it.
"""

import re

_TOKEN = re.compile(rb"[a-z0-9$!']+")


class MailTriageTokenizer:
    """Splits a text into the ids that the classifier was trained with."""

    def __init__(self, vocab_file="vocab.txt", model_max_length=256):
        with open(vocab_file, encoding="utf-8") as lines:
            self.ids = {token.rstrip("\n"): number for number, token in enumerate(lines)}
        self.model_max_length = model_max_length

    def __call__(self, text):
        """Ids of the known tokens among the first model_max_length tokens."""
        tokens = _TOKEN.findall(text.encode("utf-8").lower())[: self.model_max_length]
        return [self.ids[t.decode()] for t in tokens if t.decode() in self.ids]
