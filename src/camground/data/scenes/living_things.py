"""Plants, animals and the snowman of the scenes; see `categories`."""

from __future__ import annotations

import numpy as np

from camground.data.scenes import palette as p
from camground.data.scenes.parts import (
    DARK,
    LIGHT,
    MAIN,
    PLAIN_MAIN,
    Part,
    arc,
    box,
    curve,
    ellipse,
    line,
    mirror,
    polygon,
)


def tree(rng: np.random.Generator) -> list[Part]:
    trunk = box(-6, 52, 6, 100, p.DARK_WOOD)
    if rng.random() < 0.4:
        tiers = []
        for top, base, half in ((44, 80, 38), (20, 56, 30), (0, 32, 21)):
            tiers.append(polygon((-half, base), (0, top), (half, base)))
        return [trunk, *tiers]
    lobes = int(rng.integers(6, 9))
    angles = np.linspace(0, 360, 72, endpoint=False)
    radius = 31 + 4.5 * np.abs(np.sin(np.radians(angles) * lobes / 2)) + float(rng.uniform(-2, 3))
    crown = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1)
    return [
        trunk,
        line((0, 74), (16, 60), fill=p.DARK_WOOD, width=4),
        curve(crown * radius[:, None] + (0, 36)),
    ]


def flower(rng: np.random.Generator) -> list[Part]:
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


def fish(rng: np.random.Generator) -> list[Part]:
    deep = float(rng.uniform(23, 31))
    return [
        polygon((-32, 36), (-64, 10), (-56, 36), (-64, 62), fill=DARK),
        polygon((-16, 36 - deep * 0.7), (0, 36 - deep - 13), (24, 36 - deep * 0.7), fill=DARK),
        polygon((-6, 36 + deep * 0.8), (-16, 40 + deep + 9), (16, 36 + deep * 0.7), fill=DARK),
        ellipse(4, 36, 44, deep),
        curve(np.concatenate([arc(22, 36, 27, deep * 0.9, -50, 50), [[30, 36]]]), LIGHT),
        polygon((-4, 38), (-20, 50), (2, 50), fill=DARK),
        ellipse(33, 29, 6, fill=p.WHITE),
        ellipse(34.5, 29, 2.8, fill=p.INK, outlined=False),
    ]


def mushroom(rng: np.random.Generator) -> list[Part]:
    reach, stalk = float(rng.uniform(38, 48)), float(rng.uniform(11, 15))
    outline = [[stalk * 0.8, 44], [stalk * 0.9, 70], [stalk * 1.4, 94], [stalk * 0.8, 100]]
    return [
        curve(mirror(np.array(outline)), p.CREAM),
        curve(np.concatenate([arc(0, 64, stalk + 3, 7, 0, 180, 10)]), p.WHITE),
        curve(np.concatenate([arc(0, 48, reach, 46, 180, 360, 24), arc(0, 48, reach, 10, 0, 180)])),
        ellipse(0, 50, reach * 0.7, 5, p.CREAM),
    ]


def snowman(rng: np.random.Generator) -> list[Part]:
    belly = float(rng.uniform(25, 30))
    parts = [
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
    ]
    parts += [ellipse(x, 21, 1.9, fill=p.INK, outlined=False) for x in (-5.0, 5.0)]
    return parts + [ellipse(0, y, 2.2, fill=p.INK, outlined=False) for y in (44.0, 54.0, 70.0)]


def bird(rng: np.random.Generator) -> list[Part]:
    plump = float(rng.uniform(22, 27))
    return [
        line((-4, 60), (-4, 86), (4, 87), fill=p.CARROT, width=2.6),
        line((9, 60), (9, 86), (17, 87), fill=p.CARROT, width=2.6),
        polygon((-26, 42), (-58, 22), (-54, 36), (-60, 42), (-30, 54), fill=DARK),
        ellipse(0, 46, 34, plump, MAIN, tilt=-10),
        ellipse(28, 22, 17, fill=PLAIN_MAIN),
        polygon((42, 16), (60, 23), (42, 29), fill=p.CARROT),
        ellipse(-8, 44, 19, 11, DARK, tilt=18),
        ellipse(32, 18, 4.4, fill=p.WHITE),
        ellipse(33, 18, 2.2, fill=p.INK, outlined=False),
    ]


def butterfly(rng: np.random.Generator) -> list[Part]:
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


def snail(rng: np.random.Generator) -> list[Part]:
    radius = float(rng.uniform(28, 33))
    turns = np.radians(np.linspace(0, 560, 40))
    spiral = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (radius * 0.82 * turns / turns[-1])[:, None]
    neck = arc(46, 46, 10.5, 11, 180, 365, 12)
    foot = np.concatenate([[[-54, 89], [-46, 81], [-20, 77], [24, 76], [33, 68]], neck, [[52, 82], [46, 89]]])
    return [
        line((44, 40), (40, 18), fill=p.WOOD, width=2.5),
        line((50, 40), (56, 20), fill=p.WOOD, width=2.5),
        ellipse(40, 17, 3, fill=p.INK),
        ellipse(56, 18, 3, fill=p.INK),
        curve(foot, p.CREAM),
        ellipse(-4, 80 - radius, radius),
        Part(spiral + (-4, 80 - radius), DARK, stroke=2.2),
        ellipse(50, 47, 1.8, fill=p.INK, outlined=False),
    ]
