"""Grounding of a photograph from its file alone agrees with the stages' tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from camground.data import boxes
from camground.study import tables
from camground.study.errors import UserError
from conftest import Run, Workflow


@pytest.mark.workflow
def test_file_and_text_give_the_predictions_of_the_stages(smoke: tuple[Workflow, Run]) -> None:
    from camground.pipeline import Grounding

    root = smoke[0].folder / "results" / "smoke"
    images = tables.read("images", root / "data" / "images.parquet").set_index("image_id")
    expressions = tables.read("expressions", root / "data" / "expressions.parquet")
    expressions = expressions[(expressions["split"] == "test") & (expressions["kind"] == "phrase")]
    place = root / "data" / "images.parquet"
    frame = pd.DataFrame(
        {
            "image_path": [
                str(tables.image_path(place, images.loc[image, "path"]))
                for image in expressions["image_id"]
            ],
            "text": expressions["text"].tolist(),
        }
    )
    found = Grounding.load(root / "model").predict(frame)
    seed = int(
        (root / "model" / "grounder" / "config.yaml").read_text().split("seed: ")[1].split()[0]
    )
    predicted = tables.read("predictions", root / "full" / f"seed{seed}" / "predictions.parquet")
    wanted = predicted.set_index("expression_id").loc[expressions["expression_id"]]
    agree = [
        boxes.pairwise_iou(mine[None], np.asarray(theirs)[None])[0, 0] > 0.99
        for mine, theirs in zip(found.to_numpy()[:, :4], wanted["box_xyxy"], strict=True)
    ]
    # the cache rounds features to half precision and CAMs to bytes, so a tie may fall the other way
    assert np.mean(agree) > 0.9


@pytest.mark.workflow
def test_the_command_prints_boxes_and_draws_them(
    smoke: tuple[Workflow, Run], tmp_path: Path
) -> None:
    root = smoke[0].folder / "results" / "smoke"
    picture = next((root / "data" / "pictures" / "test").glob("*.png"))
    command = [sys.executable, "-m", "camground.cli", "ground", str(root / "model"), str(picture)]
    done = subprocess.run(
        [*command, "the red boat", "house", "--drawn", str(tmp_path / "drawn.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.strip().splitlines()
    assert lines[0] == "text,x1,y1,x2,y2,score"
    assert lines[1].startswith("the red boat,")
    assert len(lines) == 3
    assert (tmp_path / "drawn.png").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    from camground.pipeline import Grounding

    with pytest.raises(UserError, match="not a folder that the stage `tracking` made"):
        Grounding.load(tmp_path)
