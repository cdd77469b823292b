"""Metrics of boxes (IoU, pointing game, right object) and of maps (does the Grad-CAM cover the entire object,
and only it?). Pure functions.

Every function of boxes takes all N expressions at once and returns a value for each; boxes are xyxy pixels. A
map and the object are compared on one grid over the whole image: the image's own pixels, or fewer where its
longest side is above a limit.
"""

from __future__ import annotations

import numpy as np

from camground.data.box_lists import BoxLists
from camground.data.boxes import area
from camground.matcher.map_geometry import area_matrix, interval_cover

STATISTICS = ("coverage", "iou", "energy", "spill")


def aligned_iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """IoU (N,) in [0, 1] of boxes (N, 4) with boxes (N, 4), row by row."""
    a = np.asarray(a_xyxy, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(b_xyxy, dtype=np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = area(a) + area(b) - inter
    iou: np.ndarray = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


def best_iou(boxes_xyxy: np.ndarray, targets: BoxLists) -> np.ndarray:
    """IoU (N,) of each box (N, 4) with the best of its list of targets; 0 for an empty list."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return targets.maximum(aligned_iou(boxes[targets.owner], targets.boxes_xyxy))


def best_proposal_iou(proposals: BoxLists, targets: BoxLists) -> tuple[np.ndarray, np.ndarray]:
    """The bound of a method that chooses proposals; `proposals` and `targets` hold N lists each.

    Returns the best IoU (N,) of any proposal with any target box, and the index (N,) of that proposal in its
    list, -1 without proposals.
    """
    iou = best_iou(proposals.boxes_xyxy, targets.take(proposals.owner))
    return proposals.maximum(iou), proposals.argmax(iou)


def hit(iou: np.ndarray, threshold: float, comparison: str) -> np.ndarray:
    """Whether each IoU (N,) passes the threshold, bool; `comparison` is ">=" or ">"."""
    return iou > threshold if comparison == ">" else iou >= threshold


def pointing(points_xy: np.ndarray, targets: BoxLists) -> np.ndarray:
    """Pointing game (Zhang et al. 2016, without its 15-pixel tolerance): whether each point (N, 2)
    lies in any box of its list, edges included; bool (N,)."""
    points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)[targets.owner]
    boxes = targets.boxes_xyxy
    inside = ((points >= boxes[:, :2]) & (points <= boxes[:, 2:])).all(axis=1)
    return targets.maximum(inside.astype(np.float64)) > 0


def right_object(boxes_xyxy: np.ndarray, objects: BoxLists, object_index: np.ndarray) -> np.ndarray:
    """Whether each box (N, 4) overlaps the object that is meant more, by IoU, than any other.

    `objects` holds all objects of the image for each expression and `object_index` (N,) which one
    is meant; -1, or an empty list, gives nan. A tie, or no overlap at all, is wrong. Float (N,).
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    iou = aligned_iou(boxes[objects.owner], objects.boxes_xyxy)
    meant = objects.position == object_index[objects.owner]
    of_meant = objects.maximum(np.where(meant, iou, 0.0))
    of_others = objects.maximum(np.where(meant, 0.0, iou))
    has_object = (object_index >= 0) & (objects.counts > 0)
    return np.where(has_object, (of_meant > of_others).astype(np.float64), np.nan)


def box_region(boxes_xyxy: np.ndarray, width: int, height: int, grid: tuple[int, int]) -> np.ndarray:
    """The union of boxes (n, 4), n > 0, as the share of each grid cell that they cover, float32.

    In a cell that several boxes cover in part, the largest share stands for the union's.
    """
    x1, y1, x2, y2 = boxes_xyxy.T
    rows = interval_cover(y1 * grid[0] / height, y2 * grid[0] / height, grid[0])
    columns = interval_cover(x1 * grid[1] / width, x2 * grid[1] / width, grid[1])
    union: np.ndarray = (rows[:, :, None] * columns[:, None, :]).max(axis=0)
    return union.astype(np.float32)


def mask_region(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A binary mask (height, width) as the share of each grid cell that it covers, float32."""
    if mask.shape == grid:
        return mask.astype(np.float32)
    rows, columns = area_matrix(grid[0], mask.shape[0]), area_matrix(grid[1], mask.shape[1])
    region: np.ndarray = rows @ mask.astype(np.float32) @ columns.T
    return region


def region_statistics(maps: np.ndarray, regions: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """How maps M (N, h, w) >= 0 fit objects G (N, h, w), each cell's covered share in [0, 1].

    With T = [M >= threshold * max M], all float64 (N,):
    coverage: sum(T G) / sum(G), the share of the object that the thresholded map covers;
    iou: sum(T G) / (sum(T) + sum(G) - sum(T G));
    energy: sum(M G) / sum(M), the share of the map's mass on the object (the energy-based pointing
    game of Score-CAM, Wang et al. 2020);
    spill: 1 - sum(T G) / sum(T), the share of the thresholded map beside the object.
    A map of zeros covers nothing: 0, 0, 0, and nan for spill. An object of no area: nan.
    """
    count = len(maps)
    flat = maps.reshape(count, -1).astype(np.float64)
    region = regions.reshape(count, -1).astype(np.float64)
    top = flat.max(axis=1, keepdims=True)
    covered = (flat >= threshold * top) & (top > 0)
    inside = np.einsum("np,np->n", covered.astype(np.float64), region)
    covered_area, object_area = covered.sum(axis=1).astype(np.float64), region.sum(axis=1)
    mass, mass_inside = flat.sum(axis=1), np.einsum("np,np->n", flat, region)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {
            "coverage": inside / object_area,
            "iou": inside / (covered_area + object_area - inside),
            "energy": np.where(mass > 0, mass_inside / mass, 0.0),
            "spill": 1 - inside / covered_area,
        }
    return {name: np.where(object_area > 0, value, np.nan) for name, value in values.items()}


def entropy(maps: np.ndarray) -> np.ndarray:
    """Entropy (N,) in [0, 1] of maps (N, h, w) >= 0 as distributions over their cells.

    0: all mass in one cell; 1: spread evenly. nan for a map of zeros; 0 for a map of one cell.
    """
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    mass = flat.sum(axis=1, keepdims=True)
    share = np.divide(flat, mass, out=np.zeros_like(flat), where=mass > 0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    value = -(share * logs).sum(axis=1) / max(np.log(flat.shape[1]), np.finfo(float).tiny)
    return np.where(mass[:, 0] > 0, np.clip(value, 0, 1), np.nan)
