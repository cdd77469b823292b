"""Selective search: whatever the picture, boxes lie inside it, are ranked, thinned and the same again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from camground.data.boxes import area, pairwise_iou
from camground.data.photographs import read_reduced
from camground.proposals import evidence
from camground.proposals.candidates import find_candidates
from camground.proposals.config import ProposalsConfig
from camground.proposals.drawing import draw
from camground.proposals.grouping import Strategy, group
from camground.proposals.objectness import WEIGHTS, objectness
from camground.proposals.objectness_fit import fitted_weights, logistic, sample
from camground.proposals.proposer import propose_one_image
from camground.proposals.segmentation import measure_leaves, measure_pixels, segment
from camground.proposals.selective_search import search
from camground.proposals.thinning import WHOLE, suppress
from camground.study.errors import UserError
from proposals_stage import boxes_of, run_proposals, write_images


def config_with(**changes: object) -> ProposalsConfig:
    return ProposalsConfig.parse({"min_size": 0.05, **changes})


def drawn(seed: int, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    return draw(np.random.default_rng(seed), side)


def save_images(folder: Path, pictures: dict[str, Image.Image]) -> Path:
    """The pictures in `folder`, and their table."""
    for name, picture in pictures.items():
        picture.save(folder / name)
    return write_images(folder, {name: picture.size for name, picture in pictures.items()})


@pytest.mark.parametrize("seed", range(4))
def test_boxes_are_inside_ranked_thinned_and_large_enough(seed: int) -> None:
    rgb, _ = drawn(seed)
    size = (480, 300)
    wanted = config_with()
    found = search(rgb, wanted, size)
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
        found = search(rgb, config_with(min_size=share, count=200), (480, 300))
        sides = (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]) / (480, 300)
        assert (sides.min() < 0.2) == (share == 0)
        assert sides.min() >= share - 1e-6


def test_without_the_whole_image_all_places_go_to_found_boxes() -> None:
    rgb, _ = drawn(0)
    found = search(rgb, config_with(whole_image=False, count=5), (96, 96))
    assert len(found.sources) == 5
    assert WHOLE not in found.sources


@pytest.mark.parametrize("count", [1, 2])
def test_count_includes_the_whole_image(count: int) -> None:
    found = search(drawn(0)[0], config_with(count=count), (96, 96))
    assert len(found.sources) == count
    assert WHOLE in found.sources


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (3, 3), (5, 5), (4, 128), (17, 3), (128, 128)])
@pytest.mark.parametrize("whole_image", [True, False])
def test_a_plain_picture_of_any_size_gets_the_whole_image(shape: tuple[int, int], whole_image: bool) -> None:
    size = (shape[1], shape[0])
    rgb = np.full((*shape, 3), 90, np.uint8)
    found = search(rgb, config_with(whole_image=whole_image), size)
    assert found.sources == [WHOLE]
    assert found.boxes_xyxy.tolist() == [[0, 0, *size]]


@pytest.mark.parametrize("shape", [(5, 5), (3, 90), (60, 7)])
def test_tiny_and_thin_noise_is_searched(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = search(rgb, config_with(), (shape[1], shape[0]))
    assert np.isfinite(found.objectness).all()
    assert (area(found.boxes_xyxy) > 0).all()


@pytest.mark.parametrize("box", [(20, 30, 60, 100), (70, 8, 120, 40), (0, 50, 45, 128)])
def test_a_contrasting_thing_is_found_and_ranked_high(box: tuple[int, int, int, int]) -> None:
    rgb = np.full((128, 128, 3), (90, 120, 70), np.uint8)
    rgb = np.clip(rgb + np.random.default_rng(1).normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    cv2.rectangle(rgb, (box[0], box[1]), (box[2] - 1, box[3] - 1), (230, 40, 50), -1)
    found = search(rgb, config_with(), (256, 256))
    overlap = pairwise_iou(2 * np.array([box]), found.boxes_xyxy)[0]
    assert overlap[:3].max() > 0.8


def test_things_of_parts_are_recalled() -> None:
    """The bound that the study stands on, on pictures that the weights were not fitted on."""
    hit = total = 0
    for seed in range(1000, 1015):
        rgb, things = drawn(seed, 128)
        found = search(rgb, config_with(min_size=0.02), (128, 128))
        if len(things):
            hit += int((pairwise_iou(things, found.boxes_xyxy).max(axis=1) >= 0.5).sum())
            total += len(things)
    assert hit / total > 0.8


def test_objectness_ranks_things_above_other_candidates() -> None:
    right = []
    for seed in range(2000, 2012):
        rgb, things = drawn(seed, 128)
        found = find_candidates(rgb)
        if len(things):
            best = pairwise_iou(found.boxes_xyxy, things).max(axis=1)
            scores = objectness(found.evidence)
            good, poor = scores[best >= 0.7], scores[best < 0.3]
            right.append((good[:, None] > poor).mean() if good.size and poor.size else 1.0)
    assert np.mean(right) > 0.85


def test_the_weights_come_from_the_fit() -> None:
    """A fit on fewer pictures agrees with the committed weights on how candidates rank."""
    measured, fit = sample(seed=7, pictures=40)
    weights, intercept = logistic(measured, fit)
    refitted = 1 / (1 + np.exp(-(measured @ weights + intercept)))
    assert np.corrcoef(refitted, objectness(measured))[0, 1] > 0.9
    assert refitted.mean() == pytest.approx(fit.mean(), abs=1e-6)
    printed: dict = {}
    exec(fitted_weights(seed=7, pictures=40), printed)
    assert list(printed["WEIGHTS"].values()) == pytest.approx(weights, abs=1e-3)
    assert printed["INTERCEPT"] == pytest.approx(intercept, abs=1e-3)


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
        row = dict(zip([*WEIGHTS][:-2], measured[region], strict=True))
        assert row["fill"] == pytest.approx(mask.sum() / hull)
        across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
        edge = pixels.edge
        strengths = np.concatenate(
            [np.maximum(edge[:, 1:], edge[:, :-1])[across], np.maximum(edge[1:], edge[:-1])[down]]
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
    images = save_images(tmp_path, pictures)
    contents = []
    for threads in (1, 2):
        table = run_proposals(images, {}, threads)
        contents.append((tmp_path / "proposals.parquet").read_bytes())
    assert contents[0] == contents[1]
    assert table["image_id"].drop_duplicates().tolist() == list(pictures)
    for name, rows in table.groupby("image_id"):
        assert rows["rank"].tolist() == list(range(len(rows)))
        alone = propose_one_image(ProposalsConfig(), tmp_path / str(name), (64, 64))
        boxes, scores, sources = boxes_of(table, str(name))
        assert np.array_equal(boxes, alone.boxes_xyxy)
        assert np.array_equal(scores, alone.objectness)
        assert sources == alone.sources


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_pictures_of_every_mode_are_searched(tmp_path: Path, mode: str) -> None:
    rgb = np.full((200, 300, 3), 40, np.uint8)
    rgb[60:140, 90:210] = 220
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.fromarray(rgb).convert(mode).save(tmp_path / name)
    small = read_reduced(tmp_path / name, 128, (300, 200))
    assert small.shape == (85, 128, 3)
    found = search(small, config_with(), (300, 200))
    assert pairwise_iou(np.array([[90, 60, 210, 140]]), found.boxes_xyxy).max() > 0.8


def test_a_large_jpeg_is_read_small_and_its_boxes_are_of_full_size(tmp_path: Path) -> None:
    rgb = np.full((900, 1200, 3), 40, np.uint8)
    rgb[300:600, 400:1000] = (220, 60, 60)
    Image.fromarray(rgb).save(tmp_path / "a.jpg")
    small = read_reduced(tmp_path / "a.jpg", 128, (1200, 900))
    assert small.shape == (96, 128, 3)
    found = search(small, config_with(), (1200, 900))
    assert pairwise_iou(np.array([[400, 300, 1000, 600]]), found.boxes_xyxy).max() > 0.85


def test_an_unreadable_picture_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    images = save_images(tmp_path, {"a.png": Image.new("RGB", (32, 32), "red")})
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"a\.png"):
        run_proposals(images, {})
    assert not (tmp_path / "proposals.parquet").exists()


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    images = save_images(tmp_path, {"a.png": Image.new("RGB", (32, 32), "red")})
    Image.new("RGB", (40, 32), "red").save(tmp_path / "a.png")
    with pytest.raises(UserError, match="40x32 pixels but 32x32"):
        run_proposals(images, {})


def test_no_images_give_an_empty_table(tmp_path: Path) -> None:
    assert run_proposals(save_images(tmp_path, {}), {}).empty
