"""docs/tables.ipynb: its cells run one after the other, on a study, and draw what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fake_study


def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    root = fake_study.make(tmp_path / "toy")
    monkeypatch.setenv("STUDY", str(root))
    notebook = json.loads((repository / "docs" / "tables.ipynb").read_text())
    names: dict[str, Any] = {}
    figures = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
            figures += [names.pop("figure")] if "figure" in names else []
    assert names["reference"] == "full"
    assert set(names["tested"].index) == set(fake_study.VARIANTS[1:]) | {"gradcam_ranking"}
    assert names["by_size"].loc["full"].notna().all()
    assert names["counts"].to_numpy().sum() == len(names["pair"])
    differences, curves = figures
    assert len(differences.axes[0].get_yticks()) == len(names["tested"])
    assert len(curves.axes[0].lines) >= len(fake_study.VARIANTS) * len(fake_study.SEEDS)
