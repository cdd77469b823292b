"""Greedy non-maximum suppression."""

from __future__ import annotations

import numpy as np

from camground.data.boxes import pairwise_iou


def suppress(boxes_xyxy: np.ndarray, scores: np.ndarray, iou: float, count: int) -> np.ndarray:
    """Indices of the boxes kept, best score first, at most `count`.

    boxes (N, 4), scores (N,). Kept boxes overlap one another by an IoU of at most `iou`. Ties go to
    the lower index.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < count:
        best = int(order[0])
        kept.append(best)
        order = order[1:]
        overlap = pairwise_iou(boxes_xyxy[best], boxes_xyxy[order])[0]
        order = order[overlap <= iou]
    return np.array(kept, dtype=np.int64)
