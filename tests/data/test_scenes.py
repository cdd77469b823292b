"""The embedded scenes: same seed same bytes, exact boxes, and expressions that mean one object.

`Reader` below parses expressions from their text alone and decides by its own geometry, so that it
can disagree with the code that wrote them.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from camground.data.scenes import scenes
from camground.data.scenes.facts import Item
from camground.data.scenes.grammar import CONCEPTS, WORD_CLASSES
from camground.study import tables
from camground.study.errors import UserError

CONFIG = {
    "seed": 3,
    "scenes": {
        "image_size": 128,
        "train": 66,
        "val": 6,
        "test": 10,
        "min_objects": 3,
        "max_objects": 7,
        "expressions_per_scene": 6,
        "swaps_per_expression": 2,
        "flavours": ["ref", "ref+", "refg"],
    },
}
PLAIN_WORDS = {
    "the",
    "a",
    "an",
    "and",
    "with",
    "that",
    "is",
    "which",
    "in",
    "at",
    "on",
    "to",
    "near",
    "toward",
    "side",
    "part",
    "corner",
    "of",
    "picture",
}


def changed(**keys: object) -> dict:
    return {**CONFIG, "scenes": {**CONFIG["scenes"], **keys}}


def write(config: dict, folder: Path, processes: int = 1) -> Path:
    names = ("images", "expressions", "targets")
    paths = [folder / f"{name}.parquet" for name in names]
    scenes.write(config, *paths, folder / "pictures", processes=processes)
    return folder


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(CONFIG, tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def made() -> list[scenes.Scene]:
    wanted = scenes.settings(changed(expressions_per_scene=9))
    return [scenes.make(wanted, "train", index) for index in range(80)]


class Reader:
    """Which objects an expression means, read strictly (doubt = 0) up to loosely (doubt = 1)."""

    def __init__(self, items: list[Item], hides: np.ndarray, doubt: float) -> None:
        self.items, self.hides, self.doubt = items, hides, doubt
        self.relations = sorted(WORD_CLASSES["relation"], key=len, reverse=True)

    def between(self, strict: float, loose: float) -> float:
        return strict + self.doubt * (loose - strict)

    def read(self, text: str) -> set[int]:
        pattern = r"\b(" + "|".join(map(re.escape, self.relations)) + r")\b"
        # "to the left of" is a relation, "to the left" a place
        head, *rest = re.split(pattern, text)
        met = self.noun_phrase(head)
        for phrase, landmark in zip(rest[::2], rest[1::2], strict=True):
            relation = CONCEPTS["relation"][phrase]
            words = re.sub(r"( and)?( that is| which is| and)? *$", "", landmark).strip()
            things = re.split(r"\band the\b", words) if relation == "between" else [words]
            marks = [self.noun_phrase(thing) for thing in things]
            assert all(len(mark) == 1 for mark in marks), (text, landmark, marks)
            single = [next(iter(mark)) for mark in marks]
            met = {i for i in met if i not in single and self.related(relation, i, *single)}
        return met

    def noun_phrase(self, text: str) -> set[int]:
        said: dict[str, list[str]] = {}
        for token in text.split():
            kinds = [kind for kind in CONCEPTS if token in CONCEPTS[kind] and kind != "relation"]
            assert len(kinds) == 1 or token in PLAIN_WORDS, (text, token)
            for kind in kinds:
                said.setdefault(kind, []).append(CONCEPTS[kind][token])
        items = self.items
        met = set(range(len(items)))
        for kind, attribute in (
            ("category", "category"),
            ("colour", "colour"),
            ("pattern", "pattern"),
            ("pattern_noun", "pattern"),
        ):
            for value in said.get(kind, []):
                met = {i for i in met if getattr(items[i], attribute) == value}
        if not met:
            return met
        bare = set(met)
        for size in said.get("size", []):
            met &= self.sized(size, bare, said.get("category", [None])[0])
        for place in said.get("location", []):
            met &= self.placed(place, bare)
        return met

    def area(self, i: int) -> float:
        x0, y0, x1, y1 = self.items[i].box
        return (x1 - x0) * (y1 - y0)

    def middle(self, i: int) -> np.ndarray:
        return np.array(self.items[i].box).reshape(2, 2).mean(axis=0)

    def sized(self, size: str, bare: set[int], category: str | None) -> set[int]:
        if size == "smallest":
            return {min(bare, key=self.area)}
        if size == "biggest":
            return {max(bare, key=self.area)}
        group = [i for i in range(len(self.items)) if category in (None, self.items[i].category)]
        areas = np.sort([self.area(i) for i in group])
        edge = areas[int(np.argmax(areas[1:] / areas[:-1]))]
        return {i for i in group if (self.area(i) <= edge) == (size == "small")}

    def placed(self, place: str, bare: set[int]) -> set[int]:
        everything = range(len(self.items))
        if place == "middle":
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
        }[place]
        offset = {i: sign * (self.middle(i)[axis] - 0.5) for i in everything}
        if place in ("left", "right", "top", "bottom"):
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
            return self.items[a].colour == self.items[b].colour
        if relation in ("in_front_of", "behind"):
            near, far = (a, b) if relation == "in_front_of" else (b, a)
            return bool(self.hides[near, far] > self.between(0.03, 0.0))
        one, two = (np.array(self.items[i].box) for i in (a, b))
        gaps = np.maximum(np.maximum(one[:2] - two[2:], two[:2] - one[2:]), 0)
        return bool(np.linalg.norm(gaps) < self.between(0.05, 0.17))


@pytest.mark.parametrize("doubt", [0.0, 0.5, 0.95])
def test_each_expression_means_its_object_alone(made: list[scenes.Scene], doubt: float) -> None:
    for scene in made:
        reader = Reader(scene.facts.items, scene.facts.hides, doubt)
        for expression in scene.expressions:
            assert reader.read(expression.text) == {expression.item}, expression.text


def test_a_changed_colour_means_another_object_or_none(made: list[scenes.Scene]) -> None:
    tried = 0
    for scene in made:
        reader = Reader(scene.facts.items, scene.facts.hides, 0.5)
        for expression in scene.expressions:
            words = expression.text.split()
            if expression.flavour != "refg" and expression.said.colour:
                at = next(i for i, word in enumerate(words) if word in WORD_CLASSES["colour"])
                other = "red" if CONCEPTS["colour"][words[at]] != "red" else "blue"
                words[at] = other
                assert expression.item not in reader.read(" ".join(words))
                tried += 1
    assert tried > 50


def test_flavours_keep_their_rules(made: list[scenes.Scene]) -> None:
    relations = re.compile(r"\b(" + "|".join(map(re.escape, WORD_CLASSES["relation"])) + r")\b")
    lengths: dict[str, list[int]] = {"ref": [], "ref+": [], "refg": []}
    located = 0
    for scene in made:
        for expression in scene.expressions:
            words = expression.text.split()
            lengths[expression.flavour].append(len(words))
            places = WORD_CLASSES["location"] & set(words)
            assert (relations.search(expression.text) is not None) == (
                expression.flavour == "refg"
            ), expression.text
            if expression.flavour == "ref+":
                assert not places, expression.text
            located += bool(places) and expression.flavour == "ref"
    assert {flavour: len(found) for flavour, found in lengths.items()} == dict.fromkeys(
        lengths, 240
    )
    assert located > 120
    assert np.mean(lengths["refg"]) > 1.8 * np.mean(lengths["ref"])


def test_wording_varies_and_several_objects_are_named(made: list[scenes.Scene]) -> None:
    texts = [expression.text for scene in made for expression in scene.expressions]
    assert len(set(texts)) > 0.85 * len(texts)
    spread = [len({e.item for e in scene.expressions}) for scene in made]
    assert min(spread) >= 2
    assert np.mean(spread) > 3
    for scene in made:
        assert len({e.text for e in scene.expressions}) == len(scene.expressions)


def test_word_classes_tell_words_apart() -> None:
    counts = Counter(word for words in WORD_CLASSES.values() for word in words)
    assert max(counts.values()) == 1
    assert len(set(CONCEPTS["category"].values())) >= 12


def test_objects_are_of_many_sizes_and_mostly_seen(made: list[scenes.Scene]) -> None:
    sides = np.array([item.area for scene in made for item in scene.facts.items])
    assert 0.07 < np.median(sides) < 0.12
    assert (sides > 0.2).any()
    assert (sides < 0.04).any()
    assert sides.min() > 0.012
    assert sides.max() < 0.34
    hidden = [scene.facts.hides.sum(axis=0).max() for scene in made]
    assert max(hidden) < 0.5
    assert np.mean(np.array(hidden) > 0.03) > 0.1


def test_scenes_have_distractors(made: list[scenes.Scene]) -> None:
    same_category = same_colour = 0
    for scene in made:
        items = scene.facts.items
        same_category += max(Counter(item.category for item in items).values()) > 1
        same_colour += max(Counter(item.colour for item in items).values()) > 1
    assert same_category > 0.6 * len(made)
    assert same_colour > 0.6 * len(made)


def test_same_seed_same_bytes_with_any_number_of_processes(written: Path, tmp_path: Path) -> None:
    first = digest(written)
    assert len(first) == 66 + 6 + 10 + 3
    assert digest(write(CONFIG, tmp_path / "again")) == first
    assert digest(write(CONFIG, tmp_path / "two", processes=2)) == first


def test_another_seed_gives_other_scenes(written: Path, tmp_path: Path) -> None:
    other = digest(write({**changed(train=8), "seed": 4}, tmp_path))
    assert not set(other.values()) & set(digest(written).values())


def test_more_scenes_keep_the_first_ones(written: Path, tmp_path: Path) -> None:
    fewer = digest(write(changed(train=3, val=1, test=0), tmp_path))
    full = digest(written)
    pictures = [name for name in fewer if name.endswith(".png")]
    assert len(pictures) == 4
    assert all(full[name] == fewer[name] for name in pictures)


def test_splits_share_no_picture_and_no_id(written: Path) -> None:
    images = tables.read("images", written / "images.parquet")
    texts = tables.read("expressions", written / "expressions.parquet")
    said = texts[texts.kind == "phrase"]
    targets = tables.read("targets", written / "targets.parquet")
    assert images.split.value_counts().to_dict() == {"train": 66, "val": 6, "test": 10}
    pictures = [hashlib.sha256((written / path).read_bytes()).digest() for path in images.path]
    assert len(set(pictures)) == len(images)
    assert images.image_id.is_unique
    assert texts.expression_id.is_unique
    assert said.expression_id.tolist() == targets.expression_id.tolist()
    assert (said.groupby("image_id").size() == 6).all()
    assert set(texts.kind) == {"phrase", "swap"}
    owner = images.set_index("image_id").split
    assert (owner[texts.image_id].to_numpy() == texts.split.to_numpy()).all()


def test_box_is_the_masks_box(written: Path) -> None:
    images = tables.read("images", written / "images.parquet").set_index("image_id")
    texts = tables.read("expressions", written / "expressions.parquet")
    said = texts[texts.kind == "phrase"]
    targets = tables.read("targets", written / "targets.parquet")
    for image_id, row in zip(said.image_id, targets.itertuples(), strict=True):
        height, width = images.height[image_id], images.width[image_id]
        mask = coco_mask.decode({"size": [height, width], "counts": row.mask})
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert len(row.boxes_xyxy) == 1
        assert row.boxes_xyxy[0].tolist() == box
        assert row.objects_xyxy[row.object_index].tolist() == box
    picture = cv2.imread(str(written / images.path.iloc[0]))
    assert picture.shape == (128, 128, 3)


def test_masks_cover_what_is_drawn() -> None:
    """Repainting a scene's objects must change the picture inside the masks, not outside."""
    wanted = scenes.settings(changed())
    scene = scenes.make(wanted, "test", 0)
    edges = cv2.Laplacian(cv2.cvtColor(scene.picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    anywhere = scene.masks.any(axis=0)
    # outlines lie along the inside of the masks, the ground is softer
    assert np.abs(edges)[anywhere].mean() > 2 * np.abs(edges)[~anywhere].mean()
    assert (scene.masks.sum(axis=0) <= 1).all()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"min_objects": 6, "max_objects": 4}, "min_objects"),
        ({"min_objects": 1}, "min_objects"),
        ({"max_objects": 40}, "max_objects"),
        ({"image_size": 16}, "image_size"),
        ({"train": -1}, "train"),
        ({"expressions_per_scene": 0}, "expressions_per_scene"),
        ({"expressions_per_scene": 2.5}, "expressions_per_scene"),
        ({"swaps_per_expression": -1}, "swaps_per_expression"),
        ({"swaps_per_expression": 9}, "swaps_per_expression"),
        ({"flavours": []}, "flavours"),
        ({"flavours": ["ref", "refs"]}, "flavours"),
        ({"flavours": "ref"}, "flavours"),
    ],
)
def test_impossible_configs_are_named(keys: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"data.scenes.{says}"):
        write(changed(**keys), tmp_path)
    assert not list(tmp_path.rglob("*.png"))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    config = {"seed": 0, "scenes": {k: v for k, v in CONFIG["scenes"].items() if k != "val"}}
    with pytest.raises(UserError, match="val"):
        write(config, tmp_path)


def test_extreme_but_possible_configs() -> None:
    for keys in (
        {"min_objects": 2, "max_objects": 2, "expressions_per_scene": 6},
        {"min_objects": 10, "max_objects": 10, "expressions_per_scene": 12, "image_size": 160},
        {"expressions_per_scene": 24},
    ):
        wanted = scenes.settings(changed(**keys))
        for index in range(4):
            scene = scenes.make(wanted, "val", index)
            assert len(scene.expressions) == wanted.expressions_per_scene


def test_rate() -> None:
    """80 a second on 2 cores are asked for; a core's own time is measured, bound generously."""
    wanted = scenes.settings(CONFIG)
    scenes.make(wanted, "train", 0)
    start = time.process_time()
    for index in range(40):
        scenes.make(wanted, "train", index)
    assert 40 / (time.process_time() - start) > 20
