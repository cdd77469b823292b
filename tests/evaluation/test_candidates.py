"""Methods without training see the candidates and the teacher that training does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import evaluation_study
from camground.data.pairs import Pairs
from camground.evaluation.baselines import Context, teacher
from camground.evaluation.candidates import teacher_scores
from camground.features.language import text_vectors
from camground.grounder.batches import GroundingData, ProposalTable
from camground.grounder.config import PredictConfig
from camground.grounder.map_boxes import boxes_around
from camground.grounder.read_out import read_out
from camground.study import tables
from camground.training import distillation
from camground.training.config import DistillationConfig
from tiny_study import RandomFeatures, make_study

CONFIGS = [
    DistillationConfig(),
    DistillationConfig(thresholds=(0.9,), objectness=0.0),
    DistillationConfig(box=0.0, contrast=0.0, ranking=1.0),
    DistillationConfig(label=2.0),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_teacher_is_that_of_training(tmp_path: Path, config: DistillationConfig) -> None:
    paths = make_study(tmp_path)
    noise, cams = np.random.default_rng(0), tables.read("cams", paths["cams"])
    cams["map"] = [noise.integers(0, 256, 12 * 12, dtype=np.uint8).tobytes() for _ in range(len(cams))]
    tables.write("cams", cams, paths["cams"])
    tables_of_study = {
        name: paths[name] for name in ("images", "expressions", "targets", "proposals", "cams")
    }
    proposals = tables.read("proposals", paths["proposals"])
    proposals["label"] = [("red boat", None, "dog")[row % 3] for row in range(len(proposals))]
    tables.write("proposals", proposals, paths["proposals"])
    truth = evaluation_study.ground_truth(tables_of_study, splits=("test",))
    predict = PredictConfig(map_boxes=(0.3, 0.6))
    store: Any = RandomFeatures()
    shares, around_map = teacher_scores(truth, config, predict.map_boxes, store)
    choice = teacher(Context(truth, 0, predict, 0.5, config, store))

    pairs = Pairs(paths["images"], paths["expressions"], "test", ["phrase"])
    table = ProposalTable(paths["images"], paths["proposals"], store)
    data = GroundingData(pairs, store, table, paths["cams"], config.thresholds)
    (indices,) = pairs.in_order(64)
    batch = data.load(indices, torch.device("cpu"))
    proposals = batch.proposals.take(batch.owner)
    candidates = proposals.extended(boxes_around(batch.teacher_cam, predict.map_boxes))
    count = proposals.boxes.shape[1]
    target = distillation.teacher(
        config, batch.teacher_cam, batch.cam_boxes, candidates, text_vectors(batch.tokens, batch.mask)
    )
    voted = read_out(predict.voting, candidates, target, count).numpy()
    assert choice.voted_xyxy is not None
    ranks = pd.Series(choice.rank, truth.ids)
    answered = set(truth.ids[choice.present])
    for row, expression in enumerate(indices.expressions):
        name = pairs.expression_ids[expression]
        known = bool(proposals.valid[row].any())
        assert (name in answered) == known  # image 6 has no proposals
        if known:
            best = int(target[row].argmax())
            assert ranks[name] == (best if best < count else -1)
            at = truth.ids.get_loc(name)
            mine = np.concatenate([shares[truth.proposals.owner == at], around_map.scores[at]])
            np.testing.assert_allclose(mine, target[row][candidates.valid[row]].numpy(), atol=1e-6)
            # and so is the box, that of a detector left as it is
            size = np.tile(truth.image_sizes[at], 2)
            np.testing.assert_allclose(choice.voted_xyxy[at], voted[row] * size, atol=1e-3)
            if best < count and candidates.labelled[row, best]:
                np.testing.assert_allclose(voted[row], candidates.boxes[row, best], atol=1e-6)
