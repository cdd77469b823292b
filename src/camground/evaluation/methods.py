"""Somebody else's boxes: what they must answer, written out, and their file read as predictions.

`questions` lists the evaluated expressions for another program: as CSV, or as JSON in the form of a COCO data
set (`images`, each with a number, file name, size and caption), which is how programs for referring
expressions (MDETR and those after it) take them: one "image" for each expression. An answer is

    expression_id,x,y,width,height,score                        a CSV; or x1,y1,x2,y2; score may be left out
    [{"image_id": 7283..., "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}, ...]

in pixels of the upright photograph. In JSON, COCO's results, an entry names its expression by
`expression_id`, or by `image_id`, the number or the expression_id that the JSON of questions gives it. Of
several boxes of an expression the one of the highest score is the answer.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from camground.data.boxes import Box, SharesError, fit_box, refuse_shares, xywh_to_xyxy
from camground.data.readers.inputs import plain_id, read_csv_rows
from camground.data.rejected import Rejected
from camground.evaluation.config import MethodConfig
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log

LISTS = ("annotations", "detections", "predictions")
FORMS = (
    "a CSV with expression_id, x, y, width, height, or COCO's results: a JSON list of {image_id, bbox, score}"
)
XYWH, XYXY = ("x", "y", "width", "height"), ("x1", "y1", "x2", "y2")
SHOWN = 3


def number_of(expression_id: str) -> int:
    """The number that stands for an expression where a format wants one: below 2^48, which JSON, doubles and
    COCO's tools keep, and of the id alone, so that no photograph's number can be mistaken for it."""
    return int.from_bytes(hashlib.sha256(expression_id.encode()).digest()[:6])


def questions(images: Path, expressions: Path, splits: Collection[str]) -> pd.DataFrame:
    """The phrases of the splits, in the order of the table: expression_id, split, image (the photograph's
    absolute path), text, width, height in pixels of the upright photograph. No target is read."""
    texts = tables.read("expressions", expressions)
    texts = texts[(texts["kind"] == "phrase") & texts["split"].isin(splits)].drop(columns="split")
    asked = texts.merge(tables.read("images", images), on="image_id", validate="many_to_one")
    asked["image"] = [str(tables.image_path(images, path).resolve()) for path in asked["path"]]
    return asked[["expression_id", "split", "image", "text", "width", "height"]]


def write_questions(asked: pd.DataFrame, output: Path) -> None:
    """`questions` as CSV, or, where `output` ends with .json, in the form of a COCO data set."""
    with tables.atomic(output) as temporary:
        if output.suffix.lower() != ".json":
            asked.to_csv(temporary, index=False, lineterminator="\n")
            return
        named = {"image": "file_name", "text": "caption"}
        rows = asked.rename(columns=named).to_dict(orient="records")
        listed = [{"id": number_of(row["expression_id"]), **row} for row in rows]
        coco = {"images": listed, "annotations": [], "categories": [{"id": 1, "name": "object"}]}
        temporary.write_text(json.dumps(coco, indent=1, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True)
class Entry:
    """An answer as the file has it. row: its line, or its number from 1; box: four numbers, xywh, or, if
    `corners`, xyxy."""

    row: int
    expression: Any
    box: Any
    score: Any
    corners: bool = False


def read_answers(
    name: str, config: MethodConfig, images: Path, expressions: Path, splits: Collection[str], rejected: Path
) -> pd.DataFrame:
    """Rows of the `predictions` table of method `name` for the phrases of `splits`.

    Entries that cannot be used go to the table `rejected`; those of the study's other expressions are counted
    and left out. An expression without a box gets no row, which the evaluation counts as wrong. Raises
    `UserError` when the file is missing or of another format, answers none of the expressions, has its boxes
    in shares of the photograph, or more entries cannot be used than `max_rejected_share` allows.
    """
    path, key = Path(str(config.boxes)), f"methods.{name}"
    study = tables.read("expressions", expressions, ["expression_id", "image_id", "kind", "split"])
    study = study.merge(tables.read("images", images, ["image_id", "width", "height"]), on="image_id")
    asked = set(study.loc[(study["kind"] == "phrase") & study["split"].isin(splits), "expression_id"])
    listed = zip(*(study[column].tolist() for column in ("expression_id", "width", "height")), strict=True)
    sizes: dict[str, tuple[int, int]] = {str(name): (width, height) for name, width, height in listed}
    known = {str(number_of(expression)): expression for expression in sizes} | {each: each for each in sizes}
    photographs = set(study["image_id"])
    refused, best = Rejected(), dict[str, tuple[float, Box]]()
    shares = total = others = 0
    for entry in _entries(path, f"{key}.boxes", refused):
        total += 1
        value = repr(entry.expression)
        try:
            given = plain_id(entry.expression)
            if given not in known:
                of_image = (
                    "; it is a photograph's id, and a photograph has several" if given in photographs else ""
                )
                raise ValueError(f"no expression of the study{of_image}")
            expression = known[given]
            if expression not in asked:
                others += 1
                continue
            value = f"{expression}: {entry.box!r}"
            box = fit_box(_xyxy(entry), *sizes[expression])
            value = f"{expression}: score {entry.score!r}"
            score = _score(entry.score)
            if expression in best and score is None:
                raise ValueError("a second box of the expression, and no score says which is the answer")
        except ValueError as error:
            shares += isinstance(error, SharesError)
            refused.add(path, entry.row, value, error)
            continue
        score = 1.0 if score is None else score
        if expression not in best or score > best[expression][0]:
            best[expression] = score, box
    refuse_shares(path, f"{key}.boxes", shares, total)
    refused.settle(
        total + len(refused.rows), config.max_rejected_share, rejected, f"{key}.max_rejected_share"
    )
    if asked and not best:
        one = next(expression for expression in sizes if expression in asked)
        raise UserError(
            f"{path}: answers none of the {len(asked)} expressions of {', '.join(splits)}, such as {one!r};"
            " list them with `camground compare --expressions FILE`"
        )
    if others:
        log.info("%s: %d boxes are of expressions that are not evaluated, and left out", path, others)
    return to_predictions(str(path), best, [expression for expression in sizes if expression in asked])


def to_predictions(source: str, best: Mapping[str, tuple[float, Box]], asked: list[str]) -> pd.DataFrame:
    """Rows of the `predictions` table, in the order of the expressions `asked`, of the score and box of each.

    One without gets no row, which the evaluation counts as wrong; the log says how many `source` has none of.
    """
    from camground.evaluation.outcomes import SCORES

    missing = [expression for expression in asked if expression not in best]
    if missing:
        few = ", ".join(missing[:SHOWN])
        count = f"{len(missing)} of {len(asked)} expressions have no box and count as wrong"
        log.warning("%s: %s, such as %s", source, count, few)
    rows = [(expression, *best[expression]) for expression in asked if expression in best]
    frame = pd.DataFrame(rows, columns=["expression_id", "score", "box_xyxy"])
    frame["chosen_box_xyxy"] = frame["box_xyxy"]
    frame["rank"] = -1
    frame[["cam_height", "cam_width", "cam", *SCORES]] = None
    return frame


def _xyxy(entry: Entry) -> Box:
    """Its box; `ValueError` as of `xywh_to_xyxy`."""
    if not entry.corners:
        return xywh_to_xyxy(entry.box)
    try:
        x1, y1, x2, y2 = map(float, entry.box)
    except (TypeError, ValueError):
        raise ValueError("the box is not four numbers") from None
    return xywh_to_xyxy((x1, y1, x2 - x1, y2 - y1))


def _score(value: Any) -> float | None:
    """A score of any scale; None where the file has none."""
    if value is None or value == "":
        return None
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise ValueError("the score is not a number") from None
    if not math.isfinite(score):
        raise ValueError("the score is not finite")
    return score


def _entries(path: Path, key: str, refused: Rejected) -> Iterator[Entry]:
    """The entries of the file that the config's `key` names; rows of a CSV that are broken are refused."""
    try:
        read = _csv_entries if path.suffix.lower() == ".csv" else _json_entries
        yield from read(path, key, refused)
    except OSError as error:
        raise UserError(f"{key}: {path}: {error.strerror}; give {FORMS}") from None


def _csv_entries(path: Path, key: str, refused: Rejected) -> Iterator[Entry]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        header = [name.strip() for name in next(csv.reader(stream), [])]
    corners = set(XYXY) <= set(header)
    columns = XYXY if corners else XYWH
    scored = ["score"] if "score" in header else []
    for line, row in read_csv_rows(path, ["expression_id", *columns, *scored], refused):
        box = [row[column] for column in columns]
        yield Entry(line, row["expression_id"], box, row.get("score"), corners)


def _json_entries(path: Path, key: str, refused: Rejected) -> Iterator[Entry]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: truncated, or not JSON ({error}); {key} takes {FORMS}") from None
    if isinstance(content, dict):
        content = next((content[name] for name in LISTS if isinstance(content.get(name), list)), None)
    if not isinstance(content, list):
        raise UserError(f"{path}: holds no list of boxes; {key} takes {FORMS}")
    for number, values in enumerate(content, start=1):
        if isinstance(values, dict):
            expression = values.get("expression_id", values.get("image_id"))
            yield Entry(number, expression, values.get("bbox"), values.get("score"))
        else:
            refused.add(path, number, repr(values)[:80], "no box: it has no image_id and no bbox")
