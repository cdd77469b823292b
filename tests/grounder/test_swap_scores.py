"""What `predict` writes of word swaps."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from camground.grounder.swap_scores import chunks, swap_rows
from safetensors.torch import save_file
from test_grounder import CHANNELS, GRID, TEXT, make_model

from camground.data.pairs import Pairs
from camground.grounder.batches import ProposalTable
from camground.study import tables
from evaluation_study import SWAPS, make_with_swaps


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_with_swaps(tmp_path_factory.mktemp("study"))


class Store:
    """Stands for a FeatureStore: features of an image and vectors of a text, each its own."""

    def images(self, rows: np.ndarray) -> torch.Tensor:
        made = [torch.Generator().manual_seed(int(row)) for row in rows]
        return torch.stack([torch.randn(CHANNELS, GRID, GRID, generator=one) for one in made])

    def texts(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(len(text.split()) for text in texts)
        tokens, mask = torch.zeros(len(texts), longest, TEXT), torch.zeros(len(texts), longest)
        for row, text in enumerate(texts):
            for place, word in enumerate(text.split()):
                seed = sum(ord(letter) * 7**at for at, letter in enumerate(word))
                tokens[row, place] = torch.randn(
                    TEXT, generator=torch.Generator().manual_seed(seed)
                )
                mask[row, place] = 1
        return tokens, mask.bool()


def predict(config: dict, **options: Path) -> None:
    command = [sys.executable, "-m", "camground.stages.predict", "--config", json.dumps(config)]
    for name, path in options.items():
        command += [f"--{name}", str(path)]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("size", [2, 7, 64])
def test_predict_scores_each_swap_beside_its_expression(
    paths: dict[str, Path], tmp_path: Path, size: int
) -> None:
    model, store, where = make_model().float(), Store(), torch.device("cpu")
    pairs = Pairs(paths["images"], paths["expressions"], "test", ["phrase"])
    proposals = ProposalTable(paths["images"], paths["proposals"])
    image_ids = tables.read("images", paths["images"])["image_id"].tolist()
    rows = []
    for which in chunks(pairs, size):
        assert 0 < len(which) <= max(size // 2, 1)
        rows += swap_rows(model, pairs, store, proposals, image_ids, which, where)
    tables.write("swap_scores", rows, tmp_path / "swap_scores.parquet")
    found = tables.read("swap_scores", tmp_path / "swap_scores.parquet")
    found = found.set_index("expression_id")
    assert sorted(found.index) == [f"s{number}" for number in range(8)]
    text_of = tables.read("expressions", paths["expressions"]).set_index("expression_id")["text"]
    listed = tables.read("proposals", paths["proposals"])
    for name, row in found.iterrows():
        of, word_class, false, *_ = SWAPS[int(name[1:])]
        assert (row["swap_of"], row["word_class"], row["false_of_image"]) == (of, word_class, false)
        assert (row["split"], row["image_id"]) == ("test", of.replace("e", "i").split(".")[0])
        image = np.array([image_ids.index(row["image_id"])])
        own = listed[listed["image_id"] == row["image_id"]].sort_values("rank")
        boxes = own["box_xyxy"].tolist()
        for text, ending in ((text_of[of], ""), (text_of[name], "_swap")):
            seen = model.see(store.images(image), proposals.take(image))
            with torch.no_grad():
                alone = model.ground(seen, model.read(*store.texts([text])), None)
            assert row[f"image_score{ending}"] == pytest.approx(alone.image_logit.item(), abs=1e-4)
            scores = alone.scores[0, : len(boxes)].numpy()
            np.testing.assert_allclose(row[f"scores{ending}"], scores, atol=1e-4)
            if boxes:
                best = boxes[int(scores.argmax())]
                np.testing.assert_allclose(row[f"box_xyxy{ending}"], best, atol=1e-3)
            else:
                assert row[f"box_xyxy{ending}"] is None
    assert (found["image_score"] != found["image_score_swap"]).all()


def test_the_command_line_of_predict_writes_both_tables(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    """A made-up feature cache and an untrained checkpoint; no targets are given."""
    store, model = Store(), make_model().float()
    features, checkpoint = tmp_path / "features", tmp_path / "train"
    features.mkdir()
    count = len(tables.read("images", paths["images"]))
    np.save(features / "visual.npy", store.images(np.arange(count)).numpy().astype(np.float16))
    expressions = tables.read("expressions", paths["expressions"])
    texts = expressions["text"].unique().tolist()
    tokens = [store.texts([text])[0][0].numpy() for text in texts]
    np.save(features / "tokens.npy", np.concatenate(tokens).astype(np.float16))
    lengths = np.array([len(one) for one in tokens])
    spans = {"text": texts, "start": np.cumsum(lengths) - lengths, "length": lengths}
    tables.write("texts", pd.DataFrame(spans), features / "texts.parquet")
    (features / "features.json").write_text("{}")
    checkpoint.mkdir()
    save_file(model.state_dict(), checkpoint / "checkpoint.safetensors")
    saved = {"model": asdict(model.config), "losses": {}}
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(saved))
    given = {name: path for name, path in paths.items() if name != "targets"}
    given |= {"features": features, "checkpoint": checkpoint}
    output, swaps = tmp_path / "predictions.parquet", tmp_path / "swap_scores.parquet"
    config = {"predict": {"splits": ["val", "test"], "batch_size": 5}}
    predict(config, **given, output=output, swaps=swaps)
    answered = set(tables.read("predictions", output)["expression_id"])
    scored_swaps = tables.read("swap_scores", swaps)
    # image 6 has no proposals: no answer, but scores of the whole image
    assert not answered & {"e6.0", *scored_swaps["expression_id"]}
    assert sorted(scored_swaps["expression_id"]) == [f"s{number}" for number in range(9)]
    assert scored_swaps.set_index("expression_id")["split"].to_dict()["s8"] == "val"

    plain = expressions[expressions["kind"] != "swap"]
    tables.write("expressions", plain, tmp_path / "expressions.parquet")
    given["expressions"] = tmp_path / "expressions.parquet"
    predict(config, **given, output=output, swaps=swaps)
    assert set(tables.read("predictions", output)["expression_id"]) == answered
    assert len(tables.read("swap_scores", swaps)) == 0
