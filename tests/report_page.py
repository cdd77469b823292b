"""The report's HTML for tests: run the stage, read what is on the page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fake_study
from camground.stages.report import report

CONFIG: dict[str, Any] = {
    **fake_study.CONFIG,
    "report": {
        "groups": ["flavour", "size", "distractors", "words"],
        "gallery": {"successes": 3, "failures": 2},
    },
}


def write_page(root: Path, output: Path, **changes: Any) -> str:
    """The page of the study below `root`, written by the stage to `output`; `changes`: sections of the
    config."""
    report(json.dumps(CONFIG | changes), root, output)
    return output.read_text()


class Page(HTMLParser):
    """What is on a page, or in the section of one name alone.

    tags: names with attributes. addresses: of links and pictures. quotes: texts of the cards. lines: the
    rows of its tables as cells' texts; best: the row's name and the column of each cell in bold.
    """

    def __init__(self, page: str, section: str = "") -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.addresses: list[str] = []
        self.quotes: list[str] = []
        self.lines: list[list[str]] = []
        self.best: set[tuple[str, int]] = set()
        self._inside = ""
        if section:
            page = page.split(f'<section id="{section}">')[1].split("</section>")[0]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag == "tr":
            self.lines.append([])
        elif tag in ("td", "th"):
            if attributes.get("class") == "best":
                self.best.add((self.lines[-1][0], len(self.lines[-1])))
            self.lines[-1].append("")
            self._inside = "cell"
        elif tag == "p" and attributes.get("class") == "quote":
            self._inside = "quote"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "p"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "cell":
            self.lines[-1][-1] += data
        elif self._inside == "quote":
            self.quotes.append(data)
