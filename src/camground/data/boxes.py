"""Boxes `xyxy` in pixels: area, intersection over union, clipping. NumPy; any leading shape."""

from __future__ import annotations

import numpy as np


def area(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Areas (...,) of boxes (..., 4); an empty or inverted box has area 0."""
    size = np.clip(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0, None)
    return size[..., 0] * size[..., 1]


def pairwise_iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray, legacy: bool = False) -> np.ndarray:
    """IoU (N, M) in [0, 1] of boxes (N, 4) and (M, 4).

    `legacy` adds one pixel to every width and height, as the REFER and Pascal VOC evaluations do.
    """
    a = np.asarray(a_xyxy, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(b_xyxy, dtype=np.float64).reshape(-1, 4)
    if legacy:
        a, b = a + [0, 0, 1, 1], b + [0, 0, 1, 1]
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = area(a)[:, None] + area(b)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def clip(boxes_xyxy: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes (..., 4) cut to the image."""
    limit = np.array([width, height, width, height], dtype=np.float64)
    return np.minimum(np.maximum(boxes_xyxy, 0), limit)
