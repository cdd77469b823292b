"""Files as accidents leave them: cut short, with bytes changed, and with values that nobody expects."""

from __future__ import annotations

import random
import re

# What stands in for a value or a word of a file of text.
ODD = [
    *(b"", b"null", b"NaN", b"1e999", b"-1", b"0.5", b"99999999999999999999999", b"true", b"{}", b"[]"),
    *(b'""', b'"x"', b'"', b"'", b"\\", b"\n", b"\r\n", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"&a;", b"<"),
    *(b"\xef\xbb\xbf", b",", b";", b"]", b"[", b"/", b"../x", b": ", b"- ", b"!!python/name:os.system "),
    *(text.encode() for text in ("\u202e", "\U0001f6a2", "e\u0301", "\u00a0", "²")),
]
WORD = re.compile(rb"-?\d+(?:\.\d+)?|\w+|[^\w\s]")


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """`whole` after one to four accidents, or, one time in twenty, noise in its place."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(60))
    data = whole
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        length = min(rng.choice((1, 1, 4, 16, 200)), len(data) - at)
        accident = rng.choice(("cut", "drop", "noise", "repeat", "word", "word", "word"))
        if accident == "cut":
            data = data[:at] if rng.random() < 0.5 else data
        elif accident == "drop":
            data = data[:at] + data[at + length :]
        elif accident == "noise":
            data = data[:at] + rng.randbytes(length) + data[at + length :]
        elif accident == "repeat":
            data = data[:at] + data[max(0, at - length) : at] * rng.randint(1, 40) + data[at:]
        elif words := list(WORD.finditer(data, at, at + 4000)):
            word = rng.choice(words)
            new = rng.choice(ODD) if rng.random() < 0.7 else rng.choice(words)[0]
            data = data[: word.start()] + new + data[word.end() :]
    return data
