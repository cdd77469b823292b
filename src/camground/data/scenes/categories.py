"""The categories of the scenes: each a function from random proportions to a list of parts.

Every object has several clearly different parts, so that a map that fires on the most telling one
(a roof, a sail, a wheel) covers much less than the object. Units as in `parts`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from camground.data.scenes import parts as p
from camground.data.scenes.parts import DARK, LIGHT, MAIN, PLAIN_MAIN, Part, arc, box, ellipse, line, polygon

Drawing = Callable[[Generator], list[Part]]


def _mirror(*right_half: tuple[float, float]) -> np.ndarray:
    """An outline (N, 2) of its right half's points, closed by its mirror image."""
    points = np.array(right_half, dtype=np.float64)
    return np.concatenate([points, points[::-1] * (-1, 1)])


def house(rng: Generator) -> list[Part]:
    half, eaves = float(rng.uniform(34, 44)), float(rng.uniform(38, 48))
    roof = (p.DARK_WOOD, p.SLATE)[int(rng.integers(2))]
    panes = [(x, box(x - 7, 56, x + 7, 71, p.GLASS)) for x in (-half * 0.62, half * 0.62)]
    return [
        box(half * 0.35, 6, half * 0.6, eaves, p.SLATE),
        box(-half, eaves - 2, half, 100),
        polygon((-half - 8, eaves), (0, 0), (half + 8, eaves), fill=roof),
        box(-8, 70, 8, 100, p.WOOD),
        ellipse(4, 86, 1.8, fill=p.GLOW),
        *(part for x, pane in panes for part in (pane, line((x, 56), (x, 71), fill=p.INK, width=1))),
    ]


def car(rng: Generator) -> list[Part]:
    cabin = float(rng.uniform(24, 34))
    return [
        polygon((-40, 40), (-cabin, 10), (cabin * 0.6, 10), (36, 40), fill=DARK),
        polygon((-32, 38), (-cabin + 4, 15), (-4, 15), (-4, 38), fill=p.GLASS),
        polygon((1, 38), (1, 15), (cabin * 0.5, 15), (27, 38), fill=p.GLASS),
        box(-60, 36, 62, 66, MAIN, corner=10),
        box(52, 56, 66, 63, p.STEEL, corner=2),
        ellipse(57, 46, 4, 5, p.GLOW),
        line((-12, 46), (-4, 46), fill=p.INK, width=2),
        *(ellipse(x, 66, r, fill=fill) for x in (-34, 36) for r, fill in ((15, p.INK), (7, p.STEEL))),
    ]


def tree(rng: Generator) -> list[Part]:
    trunk = box(-6, 52, 6, 100, p.DARK_WOOD)
    if rng.random() < 0.4:
        tiers = ((44, 80, 38), (20, 56, 30), (0, 32, 21))
        return [trunk, *(polygon((-half, base), (0, top), (half, base)) for top, base, half in tiers)]
    lobes = int(rng.integers(6, 9))
    angles = np.linspace(0, 360, 72, endpoint=False)
    radius = 31 + 4.5 * np.abs(np.sin(np.radians(angles) * lobes / 2)) + float(rng.uniform(-2, 3))
    crown = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1)
    branch = line((0, 74), (16, 60), fill=p.DARK_WOOD, width=4)
    return [trunk, branch, Part(crown * radius[:, None] + (0, 36))]


def boat(rng: Generator) -> list[Part]:
    mast = float(rng.uniform(-8, 2))
    return [
        line((mast, 2), (mast, 76), fill=p.DARK_WOOD, width=4),
        polygon((mast + 4, 8), (mast + 4, 66), (mast + 44, 66)),
        polygon((mast - 4, 18), (mast - 4, 66), (mast - 32, 66), fill=p.CREAM),
        polygon((mast, 0), (mast - 14, 5), (mast, 10), fill=DARK),
        polygon((-50, 74), (54, 74), (38, 98), (-36, 98), fill=PLAIN_MAIN),
        polygon((-50, 74), (54, 74), (50, 80), (-46, 80), fill=p.WOOD),
    ]


def flower(rng: Generator) -> list[Part]:
    petals, reach = int(rng.integers(5, 8)), float(rng.uniform(15, 18))
    parts = [
        line((0, 30), (2, 64), (0, 100), fill=p.LEAF, width=4),
        ellipse(15, 76, 15, 6, p.LEAF, tilt=-32),
        ellipse(-14, 84, 14, 6, p.LEAF, tilt=32),
    ]
    for index in range(petals):
        angle = 360 * index / petals - 90
        x, y = np.cos(np.radians(angle)) * reach, np.sin(np.radians(angle)) * reach
        parts.append(ellipse(float(x), float(y) + 28, 14, 9.5, MAIN, tilt=angle))
    return [*parts, ellipse(0, 28, 8.5, fill=p.DARK_WOOD), ellipse(0, 28, 5, fill=p.GLOW)]


def fish(rng: Generator) -> list[Part]:
    deep = float(rng.uniform(23, 31))
    return [
        polygon((-32, 36), (-64, 10), (-56, 36), (-64, 62), fill=DARK),
        polygon((-16, 36 - deep * 0.7), (0, 36 - deep - 13), (24, 36 - deep * 0.7), fill=DARK),
        polygon((-6, 36 + deep * 0.8), (-16, 40 + deep + 9), (16, 36 + deep * 0.7), fill=DARK),
        ellipse(4, 36, 44, deep),
        Part(np.concatenate([arc(22, 36, 27, deep * 0.9, -50, 50), [[30, 36]]]), LIGHT),
        polygon((-4, 38), (-20, 50), (2, 50), fill=DARK),
        ellipse(33, 29, 6, fill=p.WHITE),
        ellipse(34.5, 29, 2.8, fill=p.INK, outlined=False),
    ]


def cup(rng: Generator) -> list[Part]:
    half, slope = float(rng.uniform(26, 33)), float(rng.uniform(2, 9))
    return [
        line((2, 40), (18, 2), fill=p.STEEL, width=4.5),
        Part(arc(half - 2, 52, 22, 17, -88, 88), DARK, stroke=8),
        polygon((-half, 28), (half, 28), (half - slope, 86), (-half + slope, 86)),
        ellipse(0, 28, half, 7, DARK),
        ellipse(0, 29, half - 4, 4.5, p.DARK_WOOD),
        ellipse(0, 90, half + 16, 6.5, p.CREAM),
    ]


def lamp(rng: Generator) -> list[Part]:
    top, bottom, tall = (float(rng.uniform(*limits)) for limits in ((13, 20), (28, 36), (34, 42)))
    return [
        line((0, tall - 4), (0, 92), fill=p.STEEL, width=6),
        ellipse(0, tall + 2, 9, 9, p.GLOW),
        line((bottom * 0.6, tall), (bottom * 0.6, tall + 16), fill=p.INK, width=1.5),
        ellipse(bottom * 0.6, tall + 18, 2.5, fill=p.GLOW),
        polygon((-top, 0), (top, 0), (bottom, tall), (-bottom, tall)),
        ellipse(0, 62, 8, 12, DARK),
        Part(np.concatenate([arc(0, 99, 24, 12, 180, 360), [[24, 100], [-24, 100]]]), DARK),
    ]


def umbrella(rng: Generator) -> list[Part]:
    rise = float(rng.uniform(36, 44))
    hook = np.concatenate([[[0.0, 4.0], [0.0, 88.0]], arc(-8, 88, 8, 9, 0, 170, 8)])
    scallops = [arc(x, 50, 12.5, 7, 0, -180, 8) for x in (37.5, 12.5, -12.5, -37.5)]
    ribs = [((x * 0.1, 50 - rise), (x * 0.75, 50 - rise * 0.6), (x, 43)) for x in (-25.0, 25.0)]
    return [
        Part(hook, p.DARK_WOOD, stroke=5),
        Part(np.concatenate([arc(0, 50, 50, rise, 180, 360, 24), *scallops])),
        *(line(*rib, fill=DARK, width=1) for rib in ribs),
        line((0, 50 - rise), (0, 44 - rise), fill=p.INK, width=3),
    ]


def rocket(rng: Generator) -> list[Part]:
    half = float(rng.uniform(15, 19))
    fins = [((x * (half - 1), 52), (x * (half + 15), 84), (x * half * 0.6, 76)) for x in (-1, 1)]
    return [
        Part(_mirror((0, 104), (7, 92), (half * 0.6, 78)), p.FLAME),
        polygon((0, 96), (4, 84), (-4, 84), fill=p.GLOW, outlined=False),
        *(polygon(*fin, fill=DARK) for fin in fins),
        Part(_mirror((0, 0), (half * 0.6, 14), (half, 34), (half, 60), (half * 0.7, 78))),
        Part(_mirror((0, 0), (half * 0.6, 14), (half * 0.84, 25)), DARK),
        *(ellipse(0, 40, r, fill=fill) for r, fill in ((8.5, p.STEEL), (5.5, p.GLASS))),
    ]


def mushroom(rng: Generator) -> list[Part]:
    reach, stalk = float(rng.uniform(38, 48)), float(rng.uniform(11, 15))
    return [
        Part(_mirror((stalk * 0.8, 44), (stalk * 0.9, 70), (stalk * 1.4, 94), (stalk * 0.8, 100)), p.CREAM),
        Part(arc(0, 64, stalk + 3, 7, 0, 180, 10), p.WHITE),
        Part(np.concatenate([arc(0, 48, reach, 46, 180, 360, 24), arc(0, 48, reach, 10, 0, 180)])),
        ellipse(0, 50, reach * 0.7, 5, p.CREAM),
    ]


def snowman(rng: Generator) -> list[Part]:
    belly = float(rng.uniform(25, 30))
    return [
        line((-20, 54), (-44, 38), fill=p.DARK_WOOD, width=3),
        line((20, 54), (44, 40), fill=p.DARK_WOOD, width=3),
        line((-36, 43), (-40, 34), fill=p.DARK_WOOD, width=2),
        ellipse(0, 76, belly, 24),
        ellipse(0, 46, belly * 0.72, 17),
        ellipse(0, 24, 13.5),
        box(-11, -2, 11, 13, p.INK),
        box(-17, 11, 17, 15, p.INK, corner=1.5),
        box(-11, 7, 11, 11, p.FLAME, outlined=False),
        polygon((0, 25), (17, 28), (0, 30), fill=p.CARROT),
        *(ellipse(x, 21, 1.9, fill=p.INK, outlined=False) for x in (-5.0, 5.0)),
        *(ellipse(0, y, 2.2, fill=p.INK, outlined=False) for y in (44.0, 54.0, 70.0)),
    ]


def balloon(rng: Generator) -> list[Part]:
    half = float(rng.uniform(31, 36))
    return [
        *(line((x, 68), (x * 0.8, 86), fill=p.INK, width=1.2) for x in (-10, 10)),
        Part(_mirror(*arc(0, 34, half, 34, -90, 20, 14), (11, 70))),
        polygon((-11, 68), (11, 68), (8, 74), (-8, 74), fill=DARK),
        box(-10, 85, 10, 100, p.WOOD, corner=2),
        line((-10, 90), (10, 90), fill=p.DARK_WOOD, width=1.5),
    ]


def guitar(rng: Generator) -> list[Part]:
    lower = float(rng.uniform(22, 26))
    return [
        Part(_mirror(*arc(0, 52, lower * 0.72, 12, -90, 25, 10), *arc(0, 78, lower, 21, -38, 90, 12))),
        box(-4, 12, 4, 56, p.DARK_WOOD),
        box(-6.5, 0, 6.5, 14, p.INK, corner=2),
        ellipse(0, 63, 7.5, fill=p.INK),
        box(-9, 82, 9, 87, p.DARK_WOOD),
        *(line((x, 10), (x, 84), fill=p.CREAM, width=0.8) for x in (-1.5, 1.5)),
    ]


def bird(rng: Generator) -> list[Part]:
    plump = float(rng.uniform(22, 27))
    return [
        *(line((x, 60), (x, 86), (x + 8, 87), fill=p.CARROT, width=2.6) for x in (-4, 9)),
        polygon((-26, 42), (-58, 22), (-54, 36), (-60, 42), (-30, 54), fill=DARK),
        ellipse(0, 46, 34, plump, MAIN, tilt=-10),
        ellipse(28, 22, 17, fill=PLAIN_MAIN),
        polygon((42, 16), (60, 23), (42, 29), fill=p.CARROT),
        ellipse(-8, 44, 19, 11, DARK, tilt=18),
        ellipse(32, 18, 4.4, fill=p.WHITE),
        ellipse(33, 18, 2.2, fill=p.INK, outlined=False),
    ]


def butterfly(rng: Generator) -> list[Part]:
    span = float(rng.uniform(23, 28))
    parts = []
    for side in (-1.0, 1.0):
        parts += [
            line((0, 22), (side * 8, 6), (side * 14, 2), fill=p.INK, width=1.6),
            ellipse(side * span * 0.86, 70, span * 0.72, 17, MAIN, tilt=side * 35),
            ellipse(side * span, 38, span, 19, MAIN, tilt=side * -28),
            ellipse(side * span * 1.1, 37, 6, fill=LIGHT),
        ]
    return [*parts, ellipse(0, 54, 5.5, 32, p.INK), ellipse(0, 22, 6.5, fill=p.INK)]


def robot(rng: Generator) -> list[Part]:
    half = float(rng.uniform(20, 25))
    arms = [((x * half, 48), (x * (half + 13), 58), (x * (half + 13), 70)) for x in (-1, 1)]
    return [
        line((0, 14), (0, 4), fill=p.STEEL, width=2.5),
        ellipse(0, 3, 4, fill=p.FLAME),
        *(line(*arm, fill=p.STEEL, width=6) for arm in arms),
        *(box(x, 76, x + 8, 94, p.STEEL) for x in (-13, 5)),
        *(box(x, 92, x + 16, 100, p.SLATE, corner=3) for x in (-18, 2)),
        box(-half, 40, half, 80, MAIN, corner=4),
        box(-17, 12, 17, 38, PLAIN_MAIN, corner=4),
        box(-13, 18, 13, 31, p.INK, corner=3),
        box(-10, 52, 10, 66, p.STEEL, corner=2),
        *(ellipse(x, 59, 2.6, fill=fill, outlined=False) for x, fill in ((-4, p.FLAME), (4, p.LEAF))),
        *(ellipse(x, 24.5, 4, fill=p.GLOW, outlined=False) for x in (-6.0, 6.0)),
    ]


def snail(rng: Generator) -> list[Part]:
    radius = float(rng.uniform(28, 33))
    turns = np.radians(np.linspace(0, 560, 40))
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    spiral = circle * (radius * 0.82 * turns / turns[-1])[:, None]
    tail, neck = [[-54, 89], [-46, 81], [-20, 77], [24, 76], [33, 68]], arc(46, 46, 10.5, 11, 180, 365, 12)
    return [
        line((44, 40), (40, 18), fill=p.WOOD, width=2.5),
        line((50, 40), (56, 20), fill=p.WOOD, width=2.5),
        *(ellipse(x, y, 3, fill=p.INK) for x, y in ((40, 17), (56, 18))),
        Part(np.concatenate([tail, neck, [[52, 82], [46, 89]]]), p.CREAM),
        ellipse(-4, 80 - radius, radius),
        Part(spiral + (-4, 80 - radius), DARK, stroke=2.2),
        ellipse(50, 47, 1.8, fill=p.INK, outlined=False),
    ]


def teapot(rng: Generator) -> list[Part]:
    half = float(rng.uniform(32, 37))
    return [
        Part(arc(-half + 3, 54, 20, 20, 95, 265), DARK, stroke=7),
        polygon((half - 8, 72), (half + 24, 34), (half + 16, 30), (half - 6, 46), fill=DARK),
        box(-18, 86, 18, 94, DARK, corner=2),
        ellipse(0, 58, half, 31),
        Part(np.concatenate([arc(0, 32, 20, 11, 180, 360), [[20, 34], [-20, 34]]]), DARK),
        ellipse(0, 18, 5, fill=p.WOOD),
    ]


def kite(rng: Generator) -> list[Part]:
    half, bend = float(rng.uniform(25, 31)), float(rng.uniform(6, 12))
    bows = [(x, y, end) for x, y in ((bend, 68.0), (-bend * 0.5, 82.0), (bend, 97.0)) for end in (-9, 9)]
    return [
        line((0, 56), (bend, 68), (-bend * 0.5, 82), (bend, 100), fill=p.DARK_WOOD, width=2),
        polygon((0, 0), (half, 22), (0, 58), (-half, 22)),
        line((0, 1), (0, 57), fill=p.DARK_WOOD, width=1.4),
        line((-half + 1, 22), (half - 1, 22), fill=p.DARK_WOOD, width=1.4),
        *(polygon((x, y), (x + end, y - 5), (x + end, y + 5), fill=DARK) for x, y, end in bows),
    ]


_DRAWINGS = (
    *(house, car, tree, boat, flower, fish, cup, lamp, umbrella, rocket, mushroom, snowman, balloon),
    *(guitar, bird, butterfly, robot, snail, teapot, kite),
)
CATEGORIES: dict[str, Drawing] = {draw.__name__: draw for draw in _DRAWINGS}
FLYING = frozenset(
    ["fish", "rocket", "balloon", "butterfly", "kite"]
)  # may hang in the air, without a shadow
SIDED = frozenset(
    ["car", "boat", "fish", "cup", "snowman", "bird", "snail", "teapot", "kite"]
)  # may be mirrored
