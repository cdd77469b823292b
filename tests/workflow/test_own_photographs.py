"""One's own photographs, from captions alone to a model and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import copy_workflow


def captioned(folder: Path, count: int) -> Path:
    """So many photographs with captions, a red square on grey, as a person has them: no boxes."""
    (folder / "images").mkdir(parents=True)
    lines = ["image,caption"]
    for number in range(count):
        picture = np.full((80, 120, 3), 110, np.uint8)
        picture[10 + number : 36 + number, 20 + number : 46 + number] = 220, 30, 30
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        lines.append(f"{number}.png,a red square on a grey wall")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.workflow
def test_captions_alone_end_in_a_model_and_pictures(tmp_path: Path) -> None:
    """Everything after `evaluate` works without phrases.csv; a photograph mended later is taken in."""
    workflow = copy_workflow(tmp_path)
    root = captioned(tmp_path / "photographs", 24)
    (root / "images" / "3.png").rename(root / "3.png")
    study = (
        *("--configfile", "configs/own.yaml", "configs/smoke.yaml"),
        *("--config", f"data_root={root}", "variants_to_run=[full]", "dataset=own"),
        "data={kind: folder, max_rejected_share: 0.1}",
        "evaluate={splits: [val, test]}",
        "matcher={optimiser: {min_steps: 0}}",
        "train={optimiser: {min_steps: 0}}",
    )
    run = workflow.run(*study)
    results = workflow.folder / "results" / "own"
    assert "WARNING: no phrase has a box" in run.text
    assert "camground ground results/own/model PHOTO" in run.text
    assert (results / "model").is_dir()
    assert (results / "figures" / "gallery.png").stat().st_size > 0
    page = (results / "report.html").read_text()
    assert "Nothing is measured" in page
    assert 'class="box chosen"' in page
    # the rejected photograph, put in its place
    assert "--forcerun data" in run.text
    (root / "3.png").rename(root / "images" / "3.png")
    again = workflow.dry(*study, "--forcerun", "data")
    assert again.jobs["data"] == 1


@pytest.mark.workflow
def test_too_few_photographs_stop_before_any_other_job(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path)
    root = captioned(tmp_path / "photographs", 3)
    run = workflow.snakemake(
        "--cores", "2", "--configfile", "configs/own.yaml", "--config", f"data_root={root}"
    )
    assert run.status != 0
    assert "captions.csv (data.folder.captions) has usable captions of 3 photographs" in run.text
    assert not (workflow.folder / "results" / "own" / "proposals").exists()
