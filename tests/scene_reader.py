"""Scenes for tests, and a reader of their expressions that can disagree with the code that wrote them.

`Reader` parses expressions from their text alone and decides by its own geometry.
"""

from __future__ import annotations

import hashlib
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from camground.data.config import DataConfig, ScenesConfig
from camground.data.kinds import Outputs
from camground.data.scenes.dataset import Scene, make_scene, write
from camground.data.scenes.grammar import CONCEPTS, WORD_CLASSES
from camground.data.scenes.semantics import SceneObject

SEED = 3
PLAIN_WORDS = frozenset(
    ("the", "a", "an", "and", "with", "that", "is", "which", "in", "at", "on", "to", "near")
) | {"toward", "side", "part", "corner", "of", "picture"}
RELATION = re.compile(
    r"\b(" + "|".join(map(re.escape, sorted(WORD_CLASSES["relation"], key=len)[::-1])) + r")\b"
)


def scenes_config(**keys: Any) -> ScenesConfig:
    return ScenesConfig.parse({"train": 66, "val": 6, "test": 10} | keys)


def make_scenes(count: int = 80, **keys: Any) -> list[Scene]:
    return [make_scene(scenes_config(**keys), SEED, "train", index) for index in range(count)]


def write_scenes(folder: Path, processes: int = 1, seed: int = SEED, **keys: Any) -> Path:
    config = DataConfig(seed=seed, scenes=scenes_config(**keys))
    paths = [folder / f"{name}.parquet" for name in ("images", "expressions", "targets", "rejected")]
    write(config, folder, Outputs(*paths, folder / "pictures"), processes)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


class Reader:
    """Which objects an expression means, read strictly (doubt = 0) up to loosely (doubt = 1)."""

    def __init__(self, objects: list[SceneObject], hides: np.ndarray, doubt: float) -> None:
        self.objects, self.hides, self.doubt = objects, hides, doubt

    def between(self, strict: float, loose: float) -> float:
        return strict + self.doubt * (loose - strict)

    def read(self, text: str) -> set[int]:
        # "to the left of" is a relation, "to the left" a location
        head, *rest = RELATION.split(text)
        meant = self.noun_phrase(head)
        for phrase, landmark in zip(rest[::2], rest[1::2], strict=True):
            relation = CONCEPTS["relation"][phrase]
            words = re.sub(r"( and)?( that is| which is| and)? *$", "", landmark).strip()
            things = re.split(r"\band the\b", words) if relation == "between" else [words]
            marks = [self.noun_phrase(thing) for thing in things]
            assert all(len(mark) == 1 for mark in marks), (text, landmark, marks)
            single = [next(iter(mark)) for mark in marks]
            meant = {i for i in meant if i not in single and self.related(relation, i, *single)}
        return meant

    def noun_phrase(self, text: str) -> set[int]:
        named: dict[str, list[str]] = {}
        for token in text.split():
            kinds = [kind for kind in CONCEPTS if token in CONCEPTS[kind] and kind != "relation"]
            assert len(kinds) == 1 or token in PLAIN_WORDS, (text, token)
            for kind in kinds:
                named.setdefault(kind, []).append(CONCEPTS[kind][token])
        objects = self.objects
        meant = set(range(len(objects)))
        for kind, attribute in (
            ("category", "category"),
            ("colour", "colour"),
            ("pattern", "pattern"),
            ("pattern_noun", "pattern"),
        ):
            for value in named.get(kind, []):
                meant = {i for i in meant if getattr(objects[i], attribute) == value}
        if not meant:
            return meant
        bare = set(meant)
        for size in named.get("size", []):
            meant &= self.sized(size, bare, named.get("category", [None])[0])
        for location in named.get("location", []):
            meant &= self.located(location, bare)
        return meant

    def area(self, i: int) -> float:
        x0, y0, x1, y1 = self.objects[i].box
        return (x1 - x0) * (y1 - y0)

    def middle(self, i: int) -> np.ndarray:
        return np.array(self.objects[i].box).reshape(2, 2).mean(axis=0)

    def sized(self, size: str, bare: set[int], category: str | None) -> set[int]:
        if size == "smallest":
            return {min(bare, key=self.area)}
        if size == "biggest":
            return {max(bare, key=self.area)}
        group = [i for i in range(len(self.objects)) if category in (None, self.objects[i].category)]
        areas = np.sort([self.area(i) for i in group])
        edge = areas[int(np.argmax(areas[1:] / areas[:-1]))]
        return {i for i in group if (self.area(i) <= edge) == (size == "small")}

    def located(self, location: str, bare: set[int]) -> set[int]:
        everything = range(len(self.objects))
        if location == "middle":
            reach = self.between(0.13, 0.26)
            return {i for i in everything if np.abs(self.middle(i) - 0.5).max() < reach}
        axis, sign = {
            "left": (0, 1),
            "right": (0, -1),
            "top": (1, 1),
            "bottom": (1, -1),
            "leftmost": (0, 1),
            "rightmost": (0, -1),
            "highest": (1, 1),
            "lowest": (1, -1),
        }[location]
        offset = {i: sign * (self.middle(i)[axis] - 0.5) for i in everything}
        if location in ("left", "right", "top", "bottom"):
            return {i for i in everything if offset[i] < -self.between(0.1, 0.0)}
        return {min(bare, key=lambda i: offset[i])}

    def related(self, relation: str, a: int, b: int, c: int = -1) -> bool:
        dx, dy = self.middle(b) - self.middle(a)
        if relation in ("left_of", "right_of", "above", "below"):
            along, across = (dx, dy) if relation.endswith("_of") else (dy, dx)
            along = along if relation in ("left_of", "above") else -along
            steep = self.between(1.1, 50)
            return along > self.between(0.13, 0.02) and abs(across) < steep * along
        if relation == "between":
            line = self.middle(c) - self.middle(b)
            share = -np.array([dx, dy]) @ line / (line @ line)
            off = np.linalg.norm(share * line + (dx, dy)) / np.linalg.norm(line)
            edge = self.between(0.25, 0.02)
            return edge < share < 1 - edge and off < self.between(0.22, 0.5)
        if relation == "bigger_than":
            return self.area(a) / self.area(b) > self.between(1.6, 1.0)
        if relation == "smaller_than":
            return self.area(b) / self.area(a) > self.between(1.6, 1.0)
        if relation == "same_colour_as":
            return self.objects[a].colour == self.objects[b].colour
        if relation in ("in_front_of", "behind"):
            near, far = (a, b) if relation == "in_front_of" else (b, a)
            return bool(self.hides[near, far] > self.between(0.03, 0.0))
        one, two = (np.array(self.objects[i].box) for i in (a, b))
        gaps = np.maximum(np.maximum(one[:2] - two[2:], two[:2] - one[2:]), 0)
        return bool(np.linalg.norm(gaps) < self.between(0.05, 0.17))


class Lenient(Reader):
    """Reads landmarks of which there are several or none: any of them may be meant."""

    def read(self, text: str) -> set[int]:
        head, *rest = RELATION.split(text)
        meant = self.noun_phrase(head)
        for phrase, landmark in zip(rest[::2], rest[1::2], strict=True):
            relation = CONCEPTS["relation"][phrase]
            words = re.sub(r"( and)?( that is| which is| and)? *$", "", landmark).strip()
            things = re.split(r"\band the\b", words) if relation == "between" else [words]
            marks = list(product(*(self.noun_phrase(thing) for thing in things)))
            meant = {i for i in meant if any(i not in m and self.related(relation, i, *m) for m in marks)}
        return meant

    def sized(self, size: str, bare: set[int], category: str | None) -> set[int]:
        group = [i for i in bare if category in (None, self.objects[i].category)]
        others = [i for i, item in enumerate(self.objects) if category in (None, item.category)]
        return super().sized(size, bare, category) if len(others) > 1 else set(group)
