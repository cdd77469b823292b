"""The model that the repository ships answers README's first example."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from camground import GroundingPipeline
from camground.data.boxes import pairwise_iou

SHIPPED = Path(__file__).parents[2] / "models" / "scenes"
SNAIL = [26.0, 68.0, 98.0, 114.0]


def test_the_shipped_model_finds_what_is_there_and_doubts_what_is_not() -> None:
    ground = GroundingPipeline.from_pretrained(SHIPPED)
    snail, elephant = ground(SHIPPED / "example.png", ["the blue snail", "a purple elephant"])
    assert pairwise_iou(np.array([list(snail["box"].values())]), np.array([SNAIL]))[0, 0] > 0.5
    assert snail["score"] > 0.9
    assert elephant["score"] < 0.5
