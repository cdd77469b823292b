"""Which objects a scene has, how big they are and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.random import Generator

from camground.data.boxes import area as area_of
from camground.data.scenes.backdrop import paint
from camground.data.scenes.categories import CATEGORIES, FLYING, SIDED
from camground.data.scenes.parts import NAMED, PATTERNS, Look, Part, extent, render, shade, turned

CATEGORY_NAMES = tuple(CATEGORIES)
COLOUR_NAMES = tuple(NAMED)
PATTERN_SHARES = (0.46, 0.2, 0.2, 0.14)  # in the order of PATTERNS
SMALLEST, LARGEST = 0.024, 0.29  # an object's box, as a share of the image
LEAST_VISIBLE = 0.72  # share of an object's silhouette that no other object hides
LONGEST_SIDE = 0.7  # of an object's box, as a share of the image's side
Kind = tuple[str, str, str]  # category, colour, pattern


@dataclass(frozen=True)
class Layout:
    """Objects on a ground, in the order they are drawn (the last is nearest).

    picture (side, side, 3) uint8 RGB; masks (n, side, side) bool, what is seen of each object;
    hides (n, n): share of the silhouette of object j that object i covers.
    """

    picture: np.ndarray
    masks: np.ndarray
    hides: np.ndarray
    kinds: tuple[Kind, ...]


def choose_kinds(count: int, rng: Generator) -> list[Kind]:
    """Category, colour and pattern of each object; many share a category or a colour."""
    chosen: list[Kind] = []
    shares = np.cumsum(PATTERN_SHARES)
    while len(chosen) < count:
        category = CATEGORY_NAMES[int(rng.integers(len(CATEGORY_NAMES)))]
        colour = COLOUR_NAMES[int(rng.integers(len(COLOUR_NAMES)))]
        pattern = PATTERNS[int(np.searchsorted(shares, rng.random() * shares[-1]))]
        if chosen and rng.random() < 0.5:
            category = chosen[int(rng.integers(len(chosen)))][0]
        if chosen and rng.random() < 0.4:
            colour = chosen[int(rng.integers(len(chosen)))][1]
        # twins can only be told apart by size, place or neighbours: rare
        if (category, colour, pattern) in chosen and rng.random() < 0.75:
            continue
        chosen.append((category, colour, pattern))
    return chosen


def _fit_in(
    width: float, height: float, lowest_base: float, boxes: np.ndarray, rng: Generator
) -> np.ndarray | None:
    """A box (4,) xyxy in shares of the image that overlaps the earlier ones only a little, or None.

    `lowest_base`: where the bottom of the box may be at the least, to stand on the ground.
    """
    edge = 0.012
    top = max(edge, lowest_base - height)
    if top > 1 - edge - height:
        return None
    # tolerance differs from object to object: most stand free, some hide a part of another
    tolerance = 0.03 if rng.random() < 0.55 else 0.3
    corners = rng.uniform((edge, top), (1 - edge - width, 1 - edge - height), (48, 2))
    candidates: np.ndarray = np.concatenate([corners, corners + (width, height)], axis=1)
    if len(boxes) == 0:
        return np.asarray(candidates[0])
    low = np.maximum(candidates[:, None, :2], boxes[:, :2])
    high = np.minimum(candidates[:, None, 2:], boxes[:, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    worst = (inter / np.minimum(area_of(boxes), width * height)).max(axis=1)
    index = int(np.argmax(worst <= tolerance))
    return np.asarray(candidates[index]) if worst[index] <= tolerance else None


def compose(side: int, count: int, rng: Generator) -> Layout | None:
    """Draw a scene of `count` objects; None where they did not fit, to be tried again."""
    kinds = choose_kinds(count, rng)
    horizon = float(rng.uniform(0.1, 0.24))
    # of the boxes, largest first; smaller where there are more objects
    areas = 0.15 / (0.35 + 0.25 * count) * np.exp(rng.normal(0, 0.6, count))
    areas = np.sort(np.clip(areas, SMALLEST, LARGEST))[::-1]
    boxes = np.zeros((0, 4))
    shapes: list[list[Part]] = []
    for (category, _, _), area in zip(kinds, areas.tolist(), strict=True):
        tilt = float(rng.normal(0, 0.09 if category in FLYING else 0.04))
        parts = turned(CATEGORIES[category](rng), tilt, category in SIDED and rng.random() < 0.5)
        x0, y0, x1, y1 = extent(parts)
        aspect = (x1 - x0) / (y1 - y0)
        base = 0.0 if category in FLYING else horizon + 0.05
        for _ in range(5):
            width, height = np.sqrt(area * aspect), np.sqrt(area / aspect)
            shrink = min(1.0, LONGEST_SIDE / max(width, height))
            box = _fit_in(width * shrink, height * shrink, base, boxes, rng)
            if box is not None:
                break
            area = max(area * 0.8, SMALLEST)
        else:
            return None
        boxes = np.concatenate([boxes, box[None]])
        shapes.append(parts)
    order = np.argsort(boxes[:, 3], kind="stable").tolist()
    return _draw(side, horizon, [(boxes[i], shapes[i], kinds[i]) for i in order], rng)


def _shadowed(picture: np.ndarray, boxes: list[np.ndarray]) -> np.ndarray:
    """The picture with shadows below the boxes, xyxy in shares of its side."""
    side = len(picture)
    dark = np.zeros((side, side), dtype=np.uint8)
    for x0, _, x1, y1 in ((box * side * 16).tolist() for box in boxes):
        half = (x1 - x0) / 2
        centre, axes = (round(x0 + half), round(y1 - half * 0.08)), (round(half * 0.92), round(half * 0.2))
        cv2.ellipse(dark, centre, axes, 0, 0, 360, 255, -1, cv2.LINE_AA, 4)
    share = 1 - dark.astype(np.float32) * np.float32(0.2 / 255)
    shaded: np.ndarray = picture * share[..., None]
    return shaded.astype(np.uint8)


def _draw(
    side: int, horizon: float, objects: list[tuple[np.ndarray, list[Part], Kind]], rng: Generator
) -> Layout | None:
    """Paint ground, shadows and objects (box, parts, kind) back to front; None if one is hidden too much."""
    count = len(objects)
    standing = [box for box, _, (category, *_) in objects if category not in FLYING]
    picture = _shadowed(paint(side, horizon, rng), standing)
    whole = np.zeros((count, side, side), dtype=bool)
    for index, (box, parts, (_, colour, pattern)) in enumerate(objects):
        angle = float(rng.uniform(0, np.pi)) if pattern == "striped" else float(rng.uniform(-0.4, 0.4))
        shaded = shade(NAMED[colour][0], float(rng.uniform(0.94, 1.06)))
        look = Look(colour, shaded, pattern, angle, float(rng.random()))
        x0, _, x1, _ = extent(parts)
        patch = render(parts, look, float((box[2] - box[0]) * side / (x1 - x0)))
        height, width = patch.shape[:2]
        centre = (box[:2] + box[2:]) / 2 * side
        x = int(np.clip(round(float(centre[0]) - width / 2), 0, side - width))
        y = int(np.clip(round(float(centre[1]) - height / 2), 0, side - height))
        under = picture[y : y + height, x : x + width]
        alpha = patch[..., 3:].astype(np.uint16)
        under[:] = (under * (255 - alpha) // 255 + patch[..., :3]).clip(0, 255)
        whole[index, y : y + height, x : x + width] = patch[..., 3] >= 128
    masks = whole.copy()
    hides = np.zeros((count, count))
    for far, near in combinations(range(count), 2):
        if shared := int(np.count_nonzero(whole[far] & whole[near])):
            hides[near, far] = shared / np.count_nonzero(whole[far])
            masks[far] &= ~whole[near]
    seen = masks.sum(axis=(1, 2)) / whole.sum(axis=(1, 2))
    if seen.min() < LEAST_VISIBLE:
        return None
    return Layout(picture, masks, hides, tuple(kind for *_, kind in objects))
