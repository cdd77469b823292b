"""Metrics of maps: does the Grad-CAM cover the entire object, and only it? Pure functions.

A map and the object are compared on one grid over the whole image: the image's own pixels, or fewer
where its longest side is above a limit.
"""

from __future__ import annotations

import numpy as np

from camground.matcher.map_geometry import area_matrix, interval_cover

STATISTICS = ("coverage", "iou", "energy", "spill")


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
