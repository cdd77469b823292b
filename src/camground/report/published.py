"""The published numbers beside a study's own: `published.yaml`, read and checked.

    python -m camground.report.published [FILE]

checks a table and says what it holds and lacks. How to add a row is said at the head of the file.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from camground.study import stage
from camground.study.errors import UserError
from camground.study.progress import log

TABLE = Path(__file__).with_name("published.yaml")
# Names of the data sets in the table, and their splits that have numbers, in a reader's order.
SPLITS = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog-google": ("val",),
    "refcocog-umd": ("val", "test"),
    "referit": ("val", "test"),
    "flickr30k": ("val", "test"),
}
TITLES = {
    "refcoco": "RefCOCO",
    "refcoco+": "RefCOCO+",
    "refcocog-google": "RefCOCOg, google split",
    "refcocog-umd": "RefCOCOg, umd split",
    "referit": "ReferItGame",
    "flickr30k": "Flickr30k Entities",
}
# REFER's folder and split to those names; on other splits nobody publishes weakly supervised numbers.
REFER = {
    ("refcoco", "unc"): "refcoco",
    ("refcoco+", "unc"): "refcoco+",
    ("refcocog", "google"): "refcocog-google",
    ("refcocog", "umd"): "refcocog-umd",
    ("refclef", "berkeley"): "referit",
}
METRICS = ("acc@0.5", "pointing")

_ADDRESS = {"type": "string", "pattern": r"^https?://\S+$"}
_TEXT = {"type": "string", "minLength": 1}
_TEXT_OR_NULL = {"type": ["string", "null"], "minLength": 1}


def _closed(**properties: Any) -> dict[str, Any]:
    """An object that has exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _per_cent(splits: tuple[str, ...]) -> dict[str, Any]:
    number = {"type": "number", "minimum": 0, "maximum": 100}
    return {
        "type": "object",
        "properties": dict.fromkeys(splits, number),
        "additionalProperties": False,
        "minProperties": 1,
    }


_RESULT = _closed(
    source=_ADDRESS,
    quoted_in=_TEXT_OR_NULL,
    metric={"enum": list(METRICS)},
    numbers={
        "type": "object",
        "properties": {name: _per_cent(splits) for name, splits in SPLITS.items()},
        "additionalProperties": False,
        "minProperties": 1,
    },
)
_METHOD = _closed(
    name=_TEXT,
    title=_TEXT,
    venue=_TEXT,
    year={"type": "integer", "minimum": 2010, "maximum": 2100},
    paper={"anyOf": [_ADDRESS, {"type": "null"}]},
    proposals=_TEXT_OR_NULL,
    detector=_TEXT_OR_NULL,
    pretraining=_TEXT_OR_NULL,
    supervision=_TEXT,
    note=_TEXT_OR_NULL,
    missing=_TEXT_OR_NULL,
    results={"type": "array", "items": _RESULT},
)
SCHEMA = _closed(methods={"type": "array", "items": {"type": "object"}, "minItems": 1})


@dataclass(frozen=True)
class Result:
    """Numbers read at `source`, in per cent, by data set and split; `quoted_in` None: its authors' own."""

    source: str
    quoted_in: str | None
    metric: str
    numbers: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Method:
    """A published method; the keys are explained at the head of the table. None: not found."""

    name: str
    title: str
    venue: str
    year: int
    paper: str | None
    proposals: str | None
    detector: str | None
    pretraining: str | None
    supervision: str
    note: str | None
    missing: str | None
    results: tuple[Result, ...]

    def on(self, dataset: str, metric: str) -> list[Result]:
        """The rows that have numbers of a data set."""
        return [row for row in self.results if row.metric == metric and dataset in row.numbers]


def benchmark(data: Mapping[str, Any]) -> str | None:
    """The table's name of a study's data set, from config section `data`; None where it has none."""
    if data.get("kind") == "flickr30k":
        return "flickr30k"
    if data.get("kind") == "refer":
        return REFER.get((data["refer"]["dataset"], data["refer"]["split_by"]))
    return None


def read_published(table: Path = TABLE) -> tuple[Method, ...]:
    """The checked table; `UserError` names the file, the method, the row and the key."""
    try:
        content = yaml.safe_load(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{table}: not a readable table of published numbers: {error}") from None
    _check(content, SCHEMA, str(table))
    methods = tuple(_method(table, at, row) for at, row in enumerate(content["methods"], 1))
    twice = [
        name for name, times in Counter(method.name for method in methods).items() if times > 1
    ]
    if twice:
        raise UserError(f"{table}: {', '.join(twice)}: listed twice; put all rows under one method")
    return methods


def _method(table: Path, at: int, row: dict[str, Any]) -> Method:
    where = f"{table}: method {at} ({row.get('name', 'without a name')})"
    _check(row, _METHOD, where)
    if bool(row["results"]) == bool(row["missing"]):
        raise UserError(
            f"{where}: key missing must say why there is no number where results is empty, and be null"
            " where it is not"
        )
    results = tuple(Result(**result) for result in row["results"])
    places = Counter(
        (result.metric, dataset, split)
        for result in results
        for dataset, numbers in result.numbers.items()
        for split in numbers
    )
    for (metric, dataset, split), times in places.items():
        if times > 1:
            raise UserError(f"{where}: results has {metric} of {dataset} {split} {times} times")
    return Method(**{**row, "results": results})


def _check(value: Any, schema: dict[str, Any], where: str) -> None:
    """`UserError` with the first place that does not fit."""
    problem = min(Draft202012Validator(schema).iter_errors(value), key=_depth, default=None)
    if problem is None:
        return
    steps = [
        f"row {step + 1}" if isinstance(step, int) else str(step) for step in problem.absolute_path
    ]
    place = f", {' '.join(steps)}" if steps else ""
    said = problem.message if len(problem.message) < 300 else problem.message[:300] + "…"
    raise UserError(f"{where}{place}: {said}; the head of the file says what each key holds")


def _depth(problem: ValidationError) -> tuple[int, list[str]]:
    return len(problem.absolute_path), [str(step) for step in problem.absolute_path]


def main(arguments: list[str] | None = None) -> None:
    """Check a table and say what it holds and lacks."""
    parser = argparse.ArgumentParser(prog="python -m camground.report.published")
    parser.add_argument("table", nargs="?", type=Path, default=TABLE, metavar="FILE")
    methods = read_published(parser.parse_args(arguments).table)
    for dataset in SPLITS:
        for metric in METRICS:
            names = [method.name for method in methods if method.on(dataset, metric)]
            if names:
                log.info("%s, %s: %d: %s", dataset, metric, len(names), ", ".join(names))
    for method in methods:
        if method.missing:
            log.info("%s: no number: %s", method.name, method.missing)


if __name__ == "__main__":
    stage.run("published", main)
