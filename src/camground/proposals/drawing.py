"""Pictures of random multi-part things, with their boxes: what the objectness weights are fitted on.

They hold no data set's boxes, so proposals stay free of labels. Things are unions of overlapping
parts with plain, striped or dotted fill over gradient and clutter; nearer ones hide farther ones.
"""

from __future__ import annotations

import cv2
import numpy as np


def draw(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (side, side, 3) uint8 RGB and the boxes xyxy (K, 4) of its things' visible pixels."""
    picture = _ground(rng, side)
    owner = np.full((side, side), -1)
    things = int(rng.integers(1, 8))
    for thing in range(things):
        _draw_thing(rng, picture, owner, thing)
    noise = rng.normal(0, rng.uniform(0, 8), picture.shape)
    picture = np.clip(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.9)) + noise, 0, 255)
    boxes = []
    for thing in range(things):
        ys, xs = np.nonzero(owner == thing)
        if ys.size >= 0.004 * side * side:
            boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return picture.astype(np.uint8), np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _ground(rng: np.random.Generator, side: int) -> np.ndarray:
    """Smooth colour change, sometimes a horizon, texture, and specks of clutter; float32."""
    corners = rng.uniform(0, 255, 3) + rng.normal(0, 30, (2, 2, 3))
    ground = cv2.resize(corners.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        horizon = int(side * rng.uniform(0.2, 0.8))
        ground[horizon:] = rng.uniform(0, 255, 3) + rng.normal(0, 8, (side - horizon, 1, 3))
    cells = int(rng.integers(4, side // 2))
    texture = rng.normal(0, rng.uniform(0, 25), (cells, cells, 1)).astype(np.float32)
    ground = ground + cv2.resize(texture, (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
    ground = np.ascontiguousarray(ground, dtype=np.float32)
    for _ in range(int(rng.integers(0, 25))):
        at = rng.integers(0, side, 2)
        axes = rng.integers(1, max(2, side // 16), 2)
        colour = ground[at[1], at[0]] + rng.normal(0, 30, 3)
        cv2.ellipse(ground, at.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, colour, -1)
    return ground


def _draw_thing(rng: np.random.Generator, picture: np.ndarray, owner: np.ndarray, thing: int) -> None:
    """Draw one thing into `picture` and mark its pixels in `owner`, both in place."""
    side = len(picture)
    radius = side * np.exp(rng.uniform(np.log(0.06), np.log(0.5)))
    centre = rng.uniform(0.05 * side, 0.95 * side, 2)
    palette = rng.uniform(0, 255, (int(rng.integers(1, 4)), 3))
    for _ in range(int(rng.integers(1, 6))):
        part = _shape(rng, side, centre, radius)
        picture[part] = _fill(rng, side, palette[rng.integers(len(palette))])[part]
        owner[part] = thing
        # The next part overlaps this one, above, below or beside it more often than askew.
        step = rng.normal(0, 0.15, 2) * radius
        step[rng.integers(2)] += rng.choice([-1, 1]) * radius * rng.uniform(0.5, 1.0)
        centre = centre + step
        radius *= rng.uniform(0.5, 1.1)


def _shape(rng: np.random.Generator, side: int, centre: np.ndarray, radius: float) -> np.ndarray:
    """Mask (side, side) bool of a random ellipse, box or convex polygon."""
    mask = np.zeros((side, side), dtype=np.uint8)
    axes = radius * np.exp(rng.uniform(-0.9, 0, 2))
    turn = rng.choice([0.0, rng.uniform(0, 180)])
    kind = rng.integers(3)
    if kind == 0:
        middle = np.round(centre).astype(int).tolist()
        cv2.ellipse(mask, middle, np.maximum(axes, 1).astype(int).tolist(), turn, 0, 360, 1, -1)
    else:
        corners = (
            np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) if kind == 1 else rng.uniform(-1.2, 1.2, (5, 2))
        )
        cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        points = (corners * axes) @ np.array([[cos, sin], [-sin, cos]]) + centre
        cv2.fillConvexPoly(mask, cv2.convexHull(np.round(points).astype(np.int32)), 1)
    return mask.astype(bool)


def _fill(rng: np.random.Generator, side: int, colour: np.ndarray) -> np.ndarray:
    """Colours (side, side, 3) of a plain, shaded, striped or dotted surface."""
    ys, xs = np.mgrid[:side, :side].astype(np.float32)
    kind = rng.integers(4)
    period = rng.uniform(4, 14)
    angle = rng.uniform(0, np.pi)
    along = xs * np.cos(angle) + ys * np.sin(angle)
    if kind <= 1:
        shaded: np.ndarray = colour + rng.normal(0, 25) * (along / side)[..., None]
        return shaded
    other = colour + rng.normal(0, 50, 3)
    if kind == 2:
        pattern = np.sin(2 * np.pi * along / period) > 0
    else:
        pattern = np.hypot((xs % period) - period / 2, (ys % period) - period / 2) < period / 4
    return np.where(pattern[..., None], other, colour)
