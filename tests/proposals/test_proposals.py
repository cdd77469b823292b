"""Proposals: whatever the picture, boxes lie inside it, are ranked, thinned and the same again."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from camground.data.boxes import area, pairwise_iou
from camground.data.photographs import read_reduced
from camground.proposals import evidence, settings
from camground.proposals.candidates import NAMES, SEARCHES, find
from camground.proposals.drawing import draw
from camground.proposals.fit import logistic, sample
from camground.proposals.ground_truth import read_objects
from camground.proposals.grouping import Strategy, group
from camground.proposals.nms import suppress
from camground.proposals.objectness import WEIGHTS, objectness
from camground.proposals.segmentation import measure_leaves, measure_pixels, segment
from camground.proposals.selective_search import WHOLE, propose
from camground.stages.proposals import main
from camground.study import tables
from camground.study.errors import UserError

CONFIG = {
    "method": "selective_search",
    "count": 24,
    "input_size": 128,
    "mode": "fast",
    "min_size": 0.05,
    "nms_iou": 0.6,
    "whole_image": True,
}


def settings_with(**changes: object) -> settings.Settings:
    return settings.read({"proposals": CONFIG | changes})


def drawn(seed: int, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    return draw(np.random.default_rng(seed), side)


def run(images: Path, output: Path, *extra: str, threads: int = 1, **changes: object) -> None:
    config = json.dumps({"proposals": CONFIG | changes})
    arguments = ["--config", config, "--images", str(images), "--output", str(output)]
    main([*arguments, "--threads", str(threads), *extra])


def write_images(folder: Path, pictures: dict[str, Image.Image]) -> Path:
    rows = []
    for name, picture in pictures.items():
        picture.save(folder / name)
        width, height = picture.size
        row = {"image_id": name, "path": name, "width": width, "height": height, "split": "train"}
        rows.append(row)
    tables.write("images", rows, folder / "images.parquet")
    return folder / "images.parquet"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", SEARCHES)
def test_boxes_are_inside_ranked_thinned_and_large_enough(seed: int, mode: str) -> None:
    rgb, _ = drawn(seed)
    size = (480, 300)
    wanted = settings_with(mode=mode)
    found = propose(rgb, wanted, size)
    assert 1 < len(found.objectness) <= wanted.count
    assert (np.diff(found.objectness) <= 0).all()
    assert ((found.objectness >= 0) & (found.objectness <= 1)).all()
    low, high = found.boxes_xyxy[:, :2], found.boxes_xyxy[:, 2:]
    assert (low >= 0).all()
    assert (high <= size).all()
    assert (high - low >= wanted.min_size * np.array(size) - 1e-3).all()
    whole = np.array(found.sources) == WHOLE
    assert whole.sum() == 1
    assert found.boxes_xyxy[whole].tolist() == [[0, 0, *size]]
    overlaps = pairwise_iou(found.boxes_xyxy[~whole], found.boxes_xyxy[~whole])
    assert overlaps[np.triu_indices(len(overlaps), 1)].max() <= wanted.nms_iou + 1e-6
    assert len(np.unique(found.boxes_xyxy, axis=0)) == len(found.boxes_xyxy)


def test_no_side_is_smaller_than_min_size() -> None:
    rgb, _ = drawn(0)
    for share in (0.0, 0.3):
        found = propose(rgb, settings_with(min_size=share, count=200), (480, 300))
        sides = (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]) / (480, 300)
        assert (sides.min() < 0.2) == (share == 0)
        assert sides.min() >= share - 1e-6


def test_without_the_whole_image_all_places_go_to_found_boxes() -> None:
    rgb, _ = drawn(0)
    found = propose(rgb, settings_with(whole_image=False, count=5), (96, 96))
    assert len(found.sources) == 5
    assert WHOLE not in found.sources


@pytest.mark.parametrize("count", [1, 2])
def test_count_includes_the_whole_image(count: int) -> None:
    found = propose(drawn(0)[0], settings_with(count=count), (96, 96))
    assert len(found.sources) == count
    assert WHOLE in found.sources


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (2, 2), (3, 3), (5, 5), (4, 128), (17, 3), (128, 128)]
)
@pytest.mark.parametrize("whole_image", [True, False])
def test_a_plain_picture_of_any_size_gets_the_whole_image(
    shape: tuple[int, int], whole_image: bool
) -> None:
    size = (shape[1], shape[0])
    rgb = np.full((*shape, 3), 90, np.uint8)
    found = propose(rgb, settings_with(whole_image=whole_image), size)
    assert found.sources == [WHOLE]
    assert found.boxes_xyxy.tolist() == [[0, 0, *size]]


@pytest.mark.parametrize("shape", [(5, 5), (3, 90), (60, 7)])
def test_tiny_and_thin_noise_is_searched(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = propose(rgb, settings_with(), (shape[1], shape[0]))
    assert np.isfinite(found.objectness).all()
    assert (area(found.boxes_xyxy) > 0).all()


@pytest.mark.parametrize("box", [(20, 30, 60, 100), (70, 8, 120, 40), (0, 50, 45, 128)])
def test_a_contrasting_thing_is_found_and_ranked_high(box: tuple[int, int, int, int]) -> None:
    rgb = np.full((128, 128, 3), (90, 120, 70), np.uint8)
    rgb = np.clip(rgb + np.random.default_rng(1).normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    cv2.rectangle(rgb, (box[0], box[1]), (box[2] - 1, box[3] - 1), (230, 40, 50), -1)
    found = propose(rgb, settings_with(), (256, 256))
    overlap = pairwise_iou(2 * np.array([box]), found.boxes_xyxy)[0]
    assert overlap[:3].max() > 0.8


def test_things_of_parts_are_recalled() -> None:
    """The bound that the study stands on, on pictures that the weights were not fitted on."""
    hit = total = 0
    for seed in range(1000, 1015):
        rgb, things = drawn(seed, 128)
        found = propose(rgb, settings_with(min_size=0.02), (128, 128))
        if len(things):
            hit += int((pairwise_iou(things, found.boxes_xyxy).max(axis=1) >= 0.5).sum())
            total += len(things)
    assert hit / total > 0.8


def test_objectness_ranks_things_above_other_candidates() -> None:
    right = []
    for seed in range(2000, 2012):
        rgb, things = drawn(seed, 128)
        found = find(rgb, SEARCHES["fast"])
        if len(things):
            best = pairwise_iou(found.boxes_xyxy, things).max(axis=1)
            scores = objectness(found.evidence)
            good, poor = scores[best >= 0.7], scores[best < 0.3]
            right.append((good[:, None] > poor).mean() if good.size and poor.size else 1.0)
    assert np.mean(right) > 0.85


def test_the_weights_come_from_the_fit() -> None:
    """A fit on fewer pictures agrees with the committed weights on how candidates rank."""
    data = sample(seed=7, pictures=40)
    weights, intercept = logistic(data)
    refitted = 1 / (1 + np.exp(-(data.evidence @ weights + intercept)))
    assert np.corrcoef(refitted, objectness(data.evidence))[0, 1] > 0.9
    assert refitted.mean() == pytest.approx(data.fit.mean(), abs=1e-6)
    assert tuple(WEIGHTS) == NAMES


def test_sums_over_leaves_equal_measurements_of_the_region() -> None:
    rgb, _ = drawn(3)
    pixels = measure_pixels(rgb)
    labels = segment(pixels.lab, sigma=0.8, scale=100, min_pixels=20)
    leaves = measure_leaves(labels, pixels)
    tree = group(leaves, Strategy(colour=1, texture=1, size=1, fill=1, boundary=1))
    assert len(tree.members) == 2 * len(leaves) - 1
    assert tree.members[-1].all()
    measured = evidence.measure(leaves, tree)
    for region in range(0, len(tree.members), 7):
        mask = tree.members[region][labels]
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert tree.boxes_xyxy[region].tolist() == box
        hull = (box[2] - box[0]) * (box[3] - box[1])
        row = dict(zip(evidence.NAMES, measured[region], strict=True))
        assert row["fill"] == pytest.approx(mask.sum() / hull)
        across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
        edge = pixels.edge
        strengths = np.concatenate(
            [
                np.maximum(edge[:, 1:], edge[:, :-1])[across],
                np.maximum(edge[1:], edge[:-1])[down],
            ]
        )
        expected = strengths.mean() if strengths.size else 0.0
        assert row["edge_outside"] == pytest.approx(expected)
        assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] == 2


def test_suppression_keeps_the_better_of_two_that_overlap() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 5]], float)
    scores = np.array([0.5, 0.9, 0.1, 0.2])
    assert suppress(boxes, scores, 0.7, 9).tolist() == [1, 3, 2]
    assert suppress(boxes, scores, 0.95, 9).tolist() == [1, 0, 3, 2]
    assert suppress(boxes, scores, 0.7, 2).tolist() == [1, 3]
    assert suppress(boxes[:0], scores[:0], 0.7, 2).tolist() == []


def test_any_number_of_processes_writes_the_same_bytes(tmp_path: Path) -> None:
    pictures = {f"{i:03d}.png": Image.fromarray(drawn(i, 64)[0]) for i in range(40)}
    images = write_images(tmp_path, pictures)
    run(images, tmp_path / "one.parquet", threads=1)
    run(images, tmp_path / "two.parquet", threads=2)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    table = tables.read("proposals", tmp_path / "one.parquet")
    assert table["image_id"].drop_duplicates().tolist() == list(pictures)
    for name, rows in table.groupby("image_id"):
        assert rows["rank"].tolist() == list(range(len(rows)))
        alone = propose(np.array(pictures[str(name)]), settings_with(), (64, 64))
        assert np.array_equal(np.stack(rows["box_xyxy"].tolist()), alone.boxes_xyxy)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_pictures_of_every_mode_are_searched(tmp_path: Path, mode: str) -> None:
    rgb = np.full((200, 300, 3), 40, np.uint8)
    rgb[60:140, 90:210] = 220
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.fromarray(rgb).convert(mode).save(tmp_path / name)
    small = read_reduced(tmp_path / name, 128, (300, 200))
    assert small.shape == (85, 128, 3)
    found = propose(small, settings_with(), (300, 200))
    assert pairwise_iou(np.array([[90, 60, 210, 140]]), found.boxes_xyxy).max() > 0.8


def test_a_large_jpeg_is_read_small_and_its_boxes_are_of_full_size(tmp_path: Path) -> None:
    rgb = np.full((900, 1200, 3), 40, np.uint8)
    rgb[300:600, 400:1000] = (220, 60, 60)
    Image.fromarray(rgb).save(tmp_path / "a.jpg")
    small = read_reduced(tmp_path / "a.jpg", 128, (1200, 900))
    assert small.shape == (96, 128, 3)
    found = propose(small, settings_with(), (1200, 900))
    assert pairwise_iou(np.array([[400, 300, 1000, 600]]), found.boxes_xyxy).max() > 0.85


def test_an_unreadable_picture_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    images = write_images(tmp_path, {"a.png": Image.new("RGB", (32, 32), "red")})
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"a\.png"):
        run(images, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    images = write_images(tmp_path, {"a.png": Image.new("RGB", (32, 32), "red")})
    Image.new("RGB", (40, 32), "red").save(tmp_path / "a.png")
    with pytest.raises(UserError, match="40x32 pixels but 32x32"):
        run(images, tmp_path / "out.parquet")


def test_no_images_give_an_empty_table(tmp_path: Path) -> None:
    run(write_images(tmp_path, {}), tmp_path / "out.parquet")
    assert tables.read("proposals", tmp_path / "out.parquet").empty


def write_truth(
    folder: Path, expression_of: dict[str, str], targets: list[dict]
) -> tuple[str, ...]:
    no_swap = dict.fromkeys(("swap_of", "word_class", "false_of_image"))
    asked = [
        {"expression_id": e, "image_id": i, "text": "it", "kind": "phrase", "split": "test"}
        | no_swap
        for e, i in expression_of.items()
    ]
    tables.write("expressions", asked, folder / "expressions.parquet")
    blank = dict.fromkeys(("mask", "flavour", "category", "distractors", "object_index"))
    tables.write("targets", [blank | one for one in targets], folder / "targets.parquet")
    paths = (str(folder / f"{name}.parquet") for name in ("targets", "expressions"))
    targets_path, expressions_path = paths
    return "--targets", targets_path, "--expressions", expressions_path


def test_ground_truth_gives_each_object_once_in_an_order_that_tells_nothing(tmp_path: Path) -> None:
    blank = {name: Image.new("RGB", (50, 40)) for name in ("a.png", "b.png", "c.png")}
    images = write_images(tmp_path, blank)
    first, second = [4.0, 5.0, 20.0, 30.0], [1.0, 2.0, 10.0, 12.0]
    truth = write_truth(
        tmp_path,
        {"e0": "a.png", "e1": "a.png", "e2": "b.png"},
        [
            {"expression_id": "e0", "boxes_xyxy": [first], "objects_xyxy": [first, second]},
            {"expression_id": "e1", "boxes_xyxy": [second], "objects_xyxy": [first, second]},
            {"expression_id": "e2", "boxes_xyxy": [second], "objects_xyxy": []},
        ],
    )
    run(images, tmp_path / "out.parquet", *truth, method="ground_truth")
    table = tables.read("proposals", tmp_path / "out.parquet")
    boxes = {
        name: np.stack(rows["box_xyxy"].tolist()).tolist()
        for name, rows in table.groupby("image_id")
    }
    assert boxes == {"a.png": [second, first], "b.png": [second], "c.png": [[0, 0, 50, 40]]}
    assert table["source"].tolist() == ["ground_truth"] * 3 + [WHOLE]
    assert (table["objectness"] == 1).all()


def test_the_order_of_ground_truth_does_not_depend_on_the_targets(tmp_path: Path) -> None:
    objects = np.random.default_rng(0).uniform(0, 20, (12, 4)) + [0, 0, 20, 20]
    orders = []
    for seed in range(2):
        shuffled = np.random.default_rng(seed).permutation(objects).tolist()
        target = {"expression_id": "e", "boxes_xyxy": shuffled[:1], "objects_xyxy": shuffled}
        _, targets, _, expressions = write_truth(tmp_path, {"e": "a.png"}, [target])
        orders.append(read_objects(targets, expressions)["a.png"])
    assert np.array_equal(*orders)
    assert np.array_equal(orders[0][:, 0], np.sort(orders[0][:, 0]))


def test_ground_truth_needs_targets_and_selective_search_refuses_them(tmp_path: Path) -> None:
    images = write_images(tmp_path, {"a.png": Image.new("RGB", (8, 8))})
    with pytest.raises(UserError, match="give --targets"):
        run(images, tmp_path / "out.parquet", method="ground_truth")
    with pytest.raises(UserError, match="ground_truth alone"):
        run(images, tmp_path / "out.parquet", "--targets", str(images))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "edge_boxes"}, "proposals.method"),
        ({"mode": "slow"}, "proposals.mode"),
        ({"count": 0}, "proposals.count"),
        ({"count": True}, "proposals.count"),
        ({"input_size": 16}, "proposals.input_size"),
        ({"min_size": 2}, "proposals.min_size"),
        ({"nms_iou": 0}, "proposals.nms_iou"),
        ({"whole_image": "yes"}, "proposals.whole_image"),
        ({"cuont": 3}, "proposals.cuont is not a key"),
    ],
)
def test_a_wrong_key_is_named(changes: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        settings_with(**changes)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UserError, match=r"proposals\.mode is missing"):
        settings.read({"proposals": {key: CONFIG[key] for key in CONFIG if key != "mode"}})
