"""Buildings, vehicles, tools and toys of the scenes; see `categories`."""

from __future__ import annotations

import numpy as np

from camground.data.scenes import palette as p
from camground.data.scenes.parts import (
    DARK,
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


def house(rng: np.random.Generator) -> list[Part]:
    half, eaves = float(rng.uniform(34, 44)), float(rng.uniform(38, 48))
    roof = (p.DARK_WOOD, p.SLATE)[int(rng.integers(2))]
    parts = [
        box(half * 0.35, 6, half * 0.6, eaves, p.SLATE),
        box(-half, eaves - 2, half, 100),
        polygon((-half - 8, eaves), (0, 0), (half + 8, eaves), fill=roof),
        box(-8, 70, 8, 100, p.WOOD),
        ellipse(4, 86, 1.8, fill=p.GLOW),
    ]
    for x in (-half * 0.62, half * 0.62):
        parts += [box(x - 7, 56, x + 7, 71, p.GLASS), line((x, 56), (x, 71), fill=p.INK, width=1)]
    return parts


def car(rng: np.random.Generator) -> list[Part]:
    cabin = float(rng.uniform(24, 34))
    parts = [
        polygon((-40, 40), (-cabin, 10), (cabin * 0.6, 10), (36, 40), fill=DARK),
        polygon((-32, 38), (-cabin + 4, 15), (-4, 15), (-4, 38), fill=p.GLASS),
        polygon((1, 38), (1, 15), (cabin * 0.5, 15), (27, 38), fill=p.GLASS),
        box(-60, 36, 62, 66, MAIN, corner=10),
        box(52, 56, 66, 63, p.STEEL, corner=2),
        ellipse(57, 46, 4, 5, p.GLOW),
        line((-12, 46), (-4, 46), fill=p.INK, width=2),
    ]
    for x in (-34, 36):
        parts += [ellipse(x, 66, 15, fill=p.INK), ellipse(x, 66, 7, fill=p.STEEL)]
    return parts


def boat(rng: np.random.Generator) -> list[Part]:
    mast = float(rng.uniform(-8, 2))
    return [
        line((mast, 2), (mast, 76), fill=p.DARK_WOOD, width=4),
        polygon((mast + 4, 8), (mast + 4, 66), (mast + 44, 66)),
        polygon((mast - 4, 18), (mast - 4, 66), (mast - 32, 66), fill=p.CREAM),
        polygon((mast, 0), (mast - 14, 5), (mast, 10), fill=DARK),
        polygon((-50, 74), (54, 74), (38, 98), (-36, 98), fill=PLAIN_MAIN),
        polygon((-50, 74), (54, 74), (50, 80), (-46, 80), fill=p.WOOD),
    ]


def cup(rng: np.random.Generator) -> list[Part]:
    half, slope = float(rng.uniform(26, 33)), float(rng.uniform(2, 9))
    handle = arc(half - 2, 52, 22, 17, -88, 88)
    return [
        line((2, 40), (18, 2), fill=p.STEEL, width=4.5),
        Part(handle, DARK, stroke=8),
        polygon((-half, 28), (half, 28), (half - slope, 86), (-half + slope, 86)),
        ellipse(0, 28, half, 7, DARK),
        ellipse(0, 29, half - 4, 4.5, p.DARK_WOOD),
        ellipse(0, 90, half + 16, 6.5, p.CREAM),
    ]


def lamp(rng: np.random.Generator) -> list[Part]:
    top, bottom, tall = (float(rng.uniform(13, 20)), float(rng.uniform(28, 36)), float(rng.uniform(34, 42)))
    return [
        line((0, tall - 4), (0, 92), fill=p.STEEL, width=6),
        ellipse(0, tall + 2, 9, 9, p.GLOW),
        line((bottom * 0.6, tall), (bottom * 0.6, tall + 16), fill=p.INK, width=1.5),
        ellipse(bottom * 0.6, tall + 18, 2.5, fill=p.GLOW),
        polygon((-top, 0), (top, 0), (bottom, tall), (-bottom, tall)),
        ellipse(0, 62, 8, 12, DARK),
        curve(np.concatenate([arc(0, 99, 24, 12, 180, 360), [[24, 100], [-24, 100]]]), DARK),
    ]


def umbrella(rng: np.random.Generator) -> list[Part]:
    rise = float(rng.uniform(36, 44))
    hook = np.concatenate([[[0.0, 4.0], [0.0, 88.0]], arc(-8, 88, 8, 9, 0, 170, 8)])
    scallops = [arc(x, 50, 12.5, 7, 0, -180, 8) for x in (37.5, 12.5, -12.5, -37.5)]
    dome = np.concatenate([arc(0, 50, 50, rise, 180, 360, 24), *scallops])
    parts = [Part(hook, p.DARK_WOOD, stroke=5), curve(dome)]
    for x in (-25.0, 25.0):
        parts.append(line((x * 0.1, 50 - rise), (x * 0.75, 50 - rise * 0.6), (x, 43), fill=DARK, width=1))
    return [*parts, line((0, 50 - rise), (0, 44 - rise), fill=p.INK, width=3)]


def rocket(rng: np.random.Generator) -> list[Part]:
    half = float(rng.uniform(15, 19))
    body = mirror(np.array([[0, 0], [half * 0.6, 14], [half, 34], [half, 60], [half * 0.7, 78]]))
    nose = mirror(np.array([[0, 0], [half * 0.6, 14], [half * 0.84, 25]]))
    flame = mirror(np.array([[0, 104], [7, 92], [half * 0.6, 78]]))
    return [
        curve(flame, p.FLAME),
        polygon((0, 96), (4, 84), (-4, 84), fill=p.GLOW, outlined=False),
        polygon((-half + 1, 52), (-half - 15, 84), (-half * 0.6, 76), fill=DARK),
        polygon((half - 1, 52), (half + 15, 84), (half * 0.6, 76), fill=DARK),
        curve(body),
        curve(nose, DARK),
        ellipse(0, 40, 8.5, fill=p.STEEL),
        ellipse(0, 40, 5.5, fill=p.GLASS),
    ]


def balloon(rng: np.random.Generator) -> list[Part]:
    half = float(rng.uniform(31, 36))
    outline = np.concatenate([arc(0, 34, half, 34, -90, 20, 14), [[11, 70]]])
    return [
        line((-10, 68), (-8, 86), fill=p.INK, width=1.2),
        line((10, 68), (8, 86), fill=p.INK, width=1.2),
        curve(mirror(outline)),
        polygon((-11, 68), (11, 68), (8, 74), (-8, 74), fill=DARK),
        box(-10, 85, 10, 100, p.WOOD, corner=2),
        line((-10, 90), (10, 90), fill=p.DARK_WOOD, width=1.5),
    ]


def guitar(rng: np.random.Generator) -> list[Part]:
    lower = float(rng.uniform(22, 26))
    outline = np.concatenate([arc(0, 52, lower * 0.72, 12, -90, 25, 10), arc(0, 78, lower, 21, -38, 90, 12)])
    return [
        curve(mirror(outline)),
        box(-4, 12, 4, 56, p.DARK_WOOD),
        box(-6.5, 0, 6.5, 14, p.INK, corner=2),
        ellipse(0, 63, 7.5, fill=p.INK),
        box(-9, 82, 9, 87, p.DARK_WOOD),
        line((-1.5, 10), (-1.5, 84), fill=p.CREAM, width=0.8),
        line((1.5, 10), (1.5, 84), fill=p.CREAM, width=0.8),
    ]


def robot(rng: np.random.Generator) -> list[Part]:
    half = float(rng.uniform(20, 25))
    parts = [
        line((0, 14), (0, 4), fill=p.STEEL, width=2.5),
        ellipse(0, 3, 4, fill=p.FLAME),
        line((-half, 48), (-half - 13, 58), (-half - 13, 70), fill=p.STEEL, width=6),
        line((half, 48), (half + 13, 58), (half + 13, 70), fill=p.STEEL, width=6),
        box(-13, 76, -5, 94, p.STEEL),
        box(5, 76, 13, 94, p.STEEL),
        box(-18, 92, -2, 100, p.SLATE, corner=3),
        box(2, 92, 18, 100, p.SLATE, corner=3),
        box(-half, 40, half, 80, MAIN, corner=4),
        box(-17, 12, 17, 38, PLAIN_MAIN, corner=4),
        box(-13, 18, 13, 31, p.INK, corner=3),
        box(-10, 52, 10, 66, p.STEEL, corner=2),
        ellipse(-4, 59, 2.6, fill=p.FLAME, outlined=False),
        ellipse(4, 59, 2.6, fill=p.LEAF, outlined=False),
    ]
    return parts + [ellipse(x, 24.5, 4, fill=p.GLOW, outlined=False) for x in (-6.0, 6.0)]


def teapot(rng: np.random.Generator) -> list[Part]:
    half = float(rng.uniform(32, 37))
    return [
        Part(arc(-half + 3, 54, 20, 20, 95, 265), DARK, stroke=7),
        polygon((half - 8, 72), (half + 24, 34), (half + 16, 30), (half - 6, 46), fill=DARK),
        box(-18, 86, 18, 94, DARK, corner=2),
        ellipse(0, 58, half, 31),
        curve(np.concatenate([arc(0, 32, 20, 11, 180, 360), [[20, 34], [-20, 34]]]), DARK),
        ellipse(0, 18, 5, fill=p.WOOD),
    ]


def kite(rng: np.random.Generator) -> list[Part]:
    half = float(rng.uniform(25, 31))
    bend = float(rng.uniform(6, 12))
    parts = [
        line((0, 56), (bend, 68), (-bend * 0.5, 82), (bend, 100), fill=p.DARK_WOOD, width=2),
        polygon((0, 0), (half, 22), (0, 58), (-half, 22)),
        line((0, 1), (0, 57), fill=p.DARK_WOOD, width=1.4),
        line((-half + 1, 22), (half - 1, 22), fill=p.DARK_WOOD, width=1.4),
    ]
    for x, y in ((bend, 68.0), (-bend * 0.5, 82.0), (bend, 97.0)):
        parts += [
            polygon((x, y), (x - 9, y - 5), (x - 9, y + 5), fill=DARK),
            polygon((x, y), (x + 9, y - 5), (x + 9, y + 5), fill=DARK),
        ]
    return parts
