"""The documents for tests: which there are, and the commands in them."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


@functools.cache
def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def code(document: Path) -> list[str]:
    """Lines of fenced blocks and spans of code; a line that ends with a backslash goes on."""
    fenced, spans = [], []
    for index, part in enumerate(re.split(r"^```.*$", text_of(document), flags=re.M)):
        if index % 2:
            fenced += part.replace("\\\n", " ").splitlines()
        else:
            spans += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", part)]
    return fenced + spans


def command_lines(document: Path, program: str) -> list[list[str]]:
    """The arguments of every call of a program; an import from a package of its name is none."""
    found = re.compile(rf"(?:^|(?<!from)\s){program} (.+)")
    calls = [match[1] for line in code(document) if (match := found.search(line))]
    return [shlex.split(call, comments=True) for call in calls]
