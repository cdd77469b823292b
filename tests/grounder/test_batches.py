"""Batches of pairs with their features, proposals, CAMs and swaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camground.data.pairs import Pairs
from camground.grounder.batches import CamTable, GroundingData, ProposalTable
from camground.study import tables
from camground.study.errors import UserError
from tiny_pairs import write_pairs, write_swaps

CPU = torch.device("cpu")


class Store:
    """Stands for a FeatureStore: the row of an image, the length of a text."""

    def images(self, rows: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(rows).float().view(-1, 1, 1, 1)

    def texts(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.tensor([[[float(len(text))]] for text in texts]).view(len(texts), 1, 1)
        return tokens, torch.ones(len(texts), 1, dtype=torch.bool)


def cam_row(expression_id: str, cells: np.ndarray) -> dict[str, Any]:
    height, width = cells.shape
    row = {"expression_id": expression_id, "height": height, "width": width, "source": "made"}
    return {**row, "map": cells.astype(np.uint8).tobytes()}


def test_a_batch_is_loaded_with_its_swaps(tmp_path: Path) -> None:
    images, expressions = write_pairs(tmp_path)
    write_swaps(expressions)
    pairs = Pairs(images, expressions, "train", ["phrase"])
    cam = np.zeros((4, 4))
    cam[1:3, 1:3] = 255
    tables.write("cams", [cam_row("i4#0", cam)], tmp_path / "cams.parquet")
    tables.write("proposals", [], tmp_path / "proposals.parquet")
    proposals = ProposalTable(images, tmp_path / "proposals.parquet")
    store: Any = Store()
    data = GroundingData(pairs, store, proposals, tmp_path / "cams.parquet")
    for indices in pairs.epoch(3, 3, np.random.default_rng(2)):
        batch = data.load(indices, CPU)
        assert batch.image_rows.tolist() == batch.features.flatten().tolist()
        assert batch.owner.tolist() == indices.owner.tolist()
        assert batch.text_ids.tolist() == pairs.text_ids[indices.expressions].tolist()
        lengths = [len(pairs.texts[row]) for row in indices.expressions]
        assert batch.tokens[:, 0, 0].tolist() == lengths
        has_cam = [pairs.expression_ids[row] == "i4#0" for row in indices.expressions]
        assert batch.has_cam.tolist() == has_cam
        assert batch.swaps is not None
        assert batch.swaps.expression.tolist() == np.flatnonzero(indices.swaps >= 0).tolist()
        rows = indices.swaps[indices.swaps >= 0]
        lengths = [len(pairs.swaps.texts[row]) for row in rows]
        assert batch.swaps.tokens[:, 0, 0].tolist() == lengths
        assert batch.swaps.mask.shape == (len(rows), 1)
        assert batch.swaps.false.dtype == torch.bool
        assert batch.swaps.false.tolist() == pairs.swaps.false[rows].tolist()
    (indices,) = pairs.in_order(20)
    assert data.load(indices, CPU).swaps is None


def write_spot(path: Path, expression: str, row: int) -> torch.Tensor:
    """A table of one CAM, two cells wide from this row on; the map."""
    cells = np.zeros((4, 4))
    cells[row : row + 2, 1:3] = 255
    tables.write("cams", [cam_row(expression, cells)], path)
    return torch.from_numpy(cells / 255).float()


def test_the_cams_of_the_teacher_and_of_the_encoder_are_of_their_own_files(tmp_path: Path) -> None:
    images, expressions = write_pairs(tmp_path)
    pairs = Pairs(images, expressions, "train", ["phrase"])
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    maps = {one: write_spot(one, "i4#0", 0), two: write_spot(two, "i0#0", 2)}
    named = {one: "i4#0", two: "i0#0"}
    tables.write("proposals", [], tmp_path / "proposals.parquet")
    proposals = ProposalTable(images, tmp_path / "proposals.parquet")
    (indices,) = pairs.in_order(20)
    names = [pairs.expression_ids[row] for row in indices.expressions]
    assert set(named.values()) <= set(names)
    store: Any = Store()
    for shown, taught in ((one, two), (two, one), (one, one), (one, None)):
        data = GroundingData(pairs, store, proposals, shown, [0.5, 0.7], teacher_cams=taught)
        batch = data.load(indices, CPU)
        taught = taught or shown
        has_cam, is_taught = ([name == named[path] for name in names] for path in (shown, taught))
        assert batch.has_cam.tolist() == has_cam
        assert batch.taught.tolist() == is_taught
        assert torch.equal(batch.matcher_cam[has_cam.index(True)], maps[shown])
        assert torch.equal(batch.teacher_cam[is_taught.index(True)], maps[taught])
        assert batch.matcher_cam.sum() == batch.teacher_cam.sum() == 4
        assert batch.cam_boxes.any(-1).tolist() == [[each] * 2 for each in is_taught]
        middles = batch.cam_boxes[is_taught.index(True), :, 1::2].mean(1).tolist()
        assert middles == pytest.approx([0.25 if taught == one else 0.75] * 2, abs=0.05)


def test_proposals_are_shares_of_the_image_and_padding_is_invalid(tmp_path: Path) -> None:
    images, _ = write_pairs(tmp_path)
    boxes = [("i0", 0, [0, 0, 20, 10]), ("i0", 1, [20, 10, 40, 20]), ("i3", 0, [0, 0, 40, 20])]
    rows = [
        {"image_id": image, "rank": rank, "box_xyxy": box, "objectness": 0.9, "source": "made", "label": None}
        for image, rank, box in boxes
    ]
    tables.write("proposals", rows, tmp_path / "proposals.parquet")
    table = ProposalTable(images, tmp_path / "proposals.parquet")
    assert table.boxes[0].tolist() == [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]
    none, one, two = [False, False], [True, False], [True, True]
    assert table.valid.tolist() == [two, none, none, one, none]
    tables.write("proposals", [{**rows[0], "image_id": "x"}], tmp_path / "proposals.parquet")
    with pytest.raises(UserError, match=r"image 'x' is not in .*; rerun `proposals`"):
        ProposalTable(images, tmp_path / "proposals.parquet")


def test_cam_boxes_surround_the_thresholded_map(tmp_path: Path) -> None:
    """Of "b" the table has no CAM, and that of "c" says nothing."""
    cam = np.zeros((8, 8))
    cam[2:5, 1:7] = 100
    cam[2:4, 1:3] = 255
    rows = [cam_row("a", cam), cam_row("c", np.zeros((8, 8)))]
    tables.write("cams", rows, tmp_path / "cams.parquet")
    table = CamTable(tmp_path / "cams.parquet", ["a", "b", "c"], [0.2, 0.7])
    maps = table.take(np.array([1, 0, 2]))
    assert maps.flatten(1).sum(1).tolist() == pytest.approx([0, 4 + 14 * 100 / 255, 0])
    assert table.has_cam.tolist() == [True, False, False]
    # a box for each share of the maximum, in their order
    assert table.boxes.shape == (3, 2, 4)
    for box, expected in zip(table.boxes[0], ([1, 2, 7, 5], [1, 2, 3, 4]), strict=True):
        assert box.tolist() == pytest.approx([each / 8 for each in expected], abs=0.04)
    assert not table.boxes[1:].any()
    assert CamTable(tmp_path / "cams.parquet", ["a", "b", "c"]).boxes.shape == (3, 0, 4)


def test_cams_of_several_sizes_are_refused(tmp_path: Path) -> None:
    rows = [cam_row("a", np.ones((4, 4))), cam_row("b", np.ones((4, 5)))]
    tables.write("cams", rows, tmp_path / "cams.parquet")
    with pytest.raises(UserError, match=r"maps of several sizes .*; rerun `gradcam`"):
        CamTable(tmp_path / "cams.parquet", ["a", "b"])
