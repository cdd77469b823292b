"""Boxes `xyxy` in pixels, x2 and y2 exclusive: area, overlap, clipping, and checks of those in files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from camground.study.errors import UserError

Box = tuple[float, float, float, float]
# A box may reach this many pixels over the edge (rounding in other tools); it is cut back.
OVERHANG = 1.0


class SharesError(ValueError):
    """A box whose numbers are all from 0 to 1: no pixels, but shares of the photograph's width and height."""


def refuse_shares(path: Path, key: str, shares: int, boxes: int) -> None:
    """`UserError` where more than half of the `boxes` of the file that the config's `key` names are
    `shares`: then it is the file's unit, and no matter of single rows."""
    if 2 * shares > boxes:
        raise UserError(
            f"{path} ({key}): {shares} of its {boxes} boxes are from 0 to 1, shares of the photograph; boxes"
            " are in pixels: multiply x and width by the photograph's width, y and height by its height"
        )


def area(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Areas (...,) of boxes (..., 4); an empty or inverted box has area 0."""
    size = np.clip(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0, None)
    areas: np.ndarray = size[..., 0] * size[..., 1]
    return areas


def pairwise_iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) in [0, 1] of boxes (N, 4) and (M, 4)."""
    a = np.asarray(a_xyxy, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(b_xyxy, dtype=np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = area(a)[:, None] + area(b)[None, :] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0))


def clip(boxes_xyxy: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes (..., 4) cut to the image."""
    limit = np.array([width, height, width, height], dtype=np.float64)
    return np.asarray(np.minimum(np.maximum(boxes_xyxy, 0), limit))


def xywh_to_xyxy(values: Any) -> Box:
    """Box xyxy, in pixels, of the x, y, width, height in a file, numbers or text; ValueError says what is
    wrong, `SharesError` that they are no pixels."""
    try:
        x, y, width, height = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("the box is not four numbers") from None
    if not all(map(math.isfinite, (x, y, width, height))):
        raise ValueError("the box is not finite")
    if width <= 0 or height <= 0:
        raise ValueError("the box has no positive width and height")
    if max(x, y, width, height) <= 1:
        raise SharesError("the box is from 0 to 1, a share of the photograph; boxes are in pixels")
    return x, y, x + width, y + height


def fit_box(box_xyxy: Box, width: int, height: int) -> Box:
    """The box cut to an image of `width` by `height` pixels. Raises `ValueError`: it reaches more than
    `OVERHANG` pixels outside, or nothing of it is inside."""
    x1, y1, x2, y2 = box_xyxy
    # Coordinates written with two decimals add up to a hair more than the edge.
    slack = OVERHANG + 1e-6
    cut = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    outside = x1 < -slack or y1 < -slack or x2 > width + slack or y2 > height + slack
    if outside or cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise ValueError(f"the box lies outside its image of {width} x {height} pixels")
    return cut
