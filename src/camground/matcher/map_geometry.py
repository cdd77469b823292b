"""Geometry of maps: enlarging them, boxes around them, sums inside boxes. NumPy, pure functions.

Maps are enlarged bilinearly (half-pixel centres, held at the edges, as `torch.nn.functional.interpolate`
with `align_corners=False`). Masks are averaged, so a cell holds the share of it that the object covers.
Both are products with small matrices.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Of the ranking of boxes by a map, sum of the map inside / area^exponent (ALBEF, Li et al. 2021, section 6).
AREA_EXPONENT = 0.5


@lru_cache(maxsize=4096)
def bilinear_matrix(out: int, size: int) -> np.ndarray:
    """(out, size) float32: bilinear resampling of `size` cells to `out`; rows sum to 1."""
    centre = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    low = np.floor(centre).astype(int)
    high = np.minimum(low + 1, size - 1)
    matrix = np.zeros((out, size), dtype=np.float32)
    np.add.at(matrix, (np.arange(out), low), 1 - (centre - low))
    np.add.at(matrix, (np.arange(out), high), centre - low)
    return matrix


@lru_cache(maxsize=4096)
def area_matrix(out: int, size: int) -> np.ndarray:
    """(out, size) float32: the mean over the part of `size` cells that each out cell covers."""
    edges = np.arange(out + 1) * size / out
    return (interval_cover(edges[:-1], edges[1:], size) * (out / size)).astype(np.float32)


def interval_cover(low: np.ndarray, high: np.ndarray, size: int) -> np.ndarray:
    """(N, size): the share of each cell [i, i + 1) that intervals `low` to `high` (N,) cover."""
    cell = np.arange(size)
    cover = np.minimum(high[:, None], cell + 1) - np.maximum(low[:, None], cell)
    clipped: np.ndarray = np.clip(cover, 0, None)
    return clipped


def grid_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """(height, width) of an image's grid: its own size, or scaled down to `longest`; at least 1."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def enlarge(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) resampled bilinearly to (N, *grid) float32."""
    rows, columns = bilinear_matrix(grid[0], maps.shape[1]), bilinear_matrix(grid[1], maps.shape[2])
    enlarged: np.ndarray = rows @ maps.astype(np.float32) @ columns.T
    return enlarged


def peaks(maps: np.ndarray) -> np.ndarray:
    """Where maps (N, h, w) are largest: the centre (N, 2) of that cell as x, y shares of the image.

    Of several equal cells the one nearest to their common centre, so that a flat map points to the
    middle of the image instead of its first corner.
    """
    count, height, width = maps.shape
    flat = maps.reshape(count, -1)
    tied = flat == flat.max(axis=1, keepdims=True)
    grid = np.indices((height, width)).reshape(2, -1)
    rows, columns = (grid + 0.5) / [[height], [width]]
    ties = tied.sum(axis=1)
    middle_y, middle_x = tied @ rows / ties, tied @ columns / ties
    distance = (rows - middle_y[:, None]) ** 2 + (columns - middle_x[:, None]) ** 2
    cell = np.where(tied, distance, np.inf).argmin(axis=1)
    return np.stack([columns[cell], rows[cell]], axis=1)


def box_sums(maps: np.ndarray, map_index: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
    """Sums (P,) of maps (N, h, w) inside boxes (P, 4) in cells; box p lies on map `map_index[p]`.

    Exact for fractional boxes: the integral image of a map that is constant in each cell is
    bilinear between the cells' corners.
    """
    count, height, width = maps.shape
    integral = np.zeros((count, height + 1, width + 1))
    integral[:, 1:, 1:] = maps.cumsum(axis=1, dtype=np.float64).cumsum(axis=2)

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = np.clip(x, 0, width), np.clip(y, 0, height)
        left, top = np.minimum(x.astype(int), width - 1), np.minimum(y.astype(int), height - 1)
        right_share, bottom_share = x - left, y - top
        upper = integral[map_index, top, left] * (1 - right_share)
        upper += integral[map_index, top, left + 1] * right_share
        lower = integral[map_index, top + 1, left] * (1 - right_share)
        lower += integral[map_index, top + 1, left + 1] * right_share
        value: np.ndarray = upper * (1 - bottom_share) + lower * bottom_share
        return value

    x1, y1, x2, y2 = np.asarray(boxes_xyxy, dtype=np.float64).T
    sums: np.ndarray = at(x2, y2) - at(x1, y2) - at(x2, y1) + at(x1, y1)
    return sums


def threshold_boxes(maps: np.ndarray, threshold: float, component: str = "largest") -> np.ndarray:
    """Boxes (N, 4) xyxy in cells around where maps (N, h, w) reach threshold * maximum.

    component: "largest" takes the 8-connected component of most cells (the first of equals), "all"
    every cell. A map of zeros has no such place: its box is empty, all zeros.
    """
    from scipy import ndimage

    count, height, width = maps.shape
    covered = (maps >= threshold * maps.max(axis=(1, 2), keepdims=True)) & (maps > 0)
    if component == "largest":
        # Neighbours in a map, never across maps.
        structure = np.zeros((3, 3, 3), dtype=bool)
        structure[1] = True
        labels, count_of_labels = ndimage.label(covered, structure)
        sizes = np.bincount(labels.ravel(), minlength=count_of_labels + 1)
        sizes[0] = 0
        flat = labels.reshape(count, -1)
        largest = flat[np.arange(count), sizes[flat].argmax(axis=1)]
        covered &= labels == largest[:, None, None]
    rows, columns = covered.any(axis=2), covered.any(axis=1)
    x1, y1 = columns.argmax(axis=1), rows.argmax(axis=1)
    x2 = width - columns[:, ::-1].argmax(axis=1)
    y2 = height - rows[:, ::-1].argmax(axis=1)
    boxes = np.stack([x1, y1, x2, y2], axis=1).astype(np.float64)
    boxes[~rows.any(axis=1)] = 0
    return boxes
