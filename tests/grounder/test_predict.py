"""What `predict` writes: the predictions, and the scores of word swaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from camground.data.pairs import Pairs
from camground.features.config import FeaturesConfig
from camground.grounder.batches import GroundingData, ProposalTable
from camground.grounder.config import VotingConfig
from camground.grounder.grounder import Grounder
from camground.grounder.loading import TrainedGrounder, load_grounder
from camground.grounder.predict import in_chunks, swap_rows
from camground.grounder.read_out import read_out
from camground.matcher.maps import to_bytes
from camground.study import tables
from camground.study.checkpoints import save_checkpoint
from evaluation_study import SWAPS
from tiny_grounder import tiny_grounder
from tiny_study import RandomFeatures, make_study, run_predict

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_study(tmp_path_factory.mktemp("study"))


def checkpoint(folder: Path, model: Grounder, **mining: float) -> Path:
    """The checkpoint of an untrained grounder; `mining`: omega and sigma of the mask that erases."""
    saved = {
        "matcher": model.matcher.config.to_dict(),
        "grounder": model.config.to_dict(),
        "features": FeaturesConfig().to_dict(),
        "losses": {"attention_mining": {"omega": 10.0, "sigma": 0.4, **mining}},
        "train": {"tuned": {"backbone": 0, "language": 0}},
    }
    save_checkpoint(folder, model.state_dict(), saved)
    return folder


def read(path: Path) -> pd.DataFrame:
    return tables.read("predictions", path).set_index("expression_id")


@pytest.mark.parametrize("size", [2, 7, 64])
def test_each_swap_is_scored_beside_its_expression(paths: dict[str, Path], tmp_path: Path, size: int) -> None:
    model, store = tiny_grounder().float(), RandomFeatures()
    trained = TrainedGrounder(model, FeaturesConfig(), None, 10.0, 0.4)
    pairs = Pairs(paths["images"], paths["expressions"], "test", ["phrase"])
    proposals = ProposalTable(paths["images"], paths["proposals"])
    image_ids = tables.read("images", paths["images"])["image_id"].tolist()
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for chunk in in_chunks(pairs, size):
            assert 0 < len(chunk) <= max(size // 2, 1)
            rows += swap_rows(trained, pairs, store, proposals, chunk, CPU)  # type: ignore[arg-type]
    tables.write("swap_scores", rows, tmp_path / "swap_scores.parquet")
    table = tables.read("swap_scores", tmp_path / "swap_scores.parquet")
    table = table.set_index("expression_id")
    assert sorted(table.index) == [f"s{number}" for number in range(8)]
    text_of = tables.read("expressions", paths["expressions"]).set_index("expression_id")["text"]
    listed = tables.read("proposals", paths["proposals"])
    for name, row in table.iterrows():
        origin, word_class, false, *_ = SWAPS[int(str(name)[1:])]
        assert (row["swap_of"], row["word_class"]) == (origin, word_class)
        assert row["false_of_image"] == false
        assert (row["split"], row["image_id"]) == ("test", origin.replace("e", "i").split(".")[0])
        image = np.array([image_ids.index(row["image_id"])])
        own = listed[listed["image_id"] == row["image_id"]].sort_values("rank")
        boxes = own["box_xyxy"].tolist()
        for text, ending in ((text_of[origin], ""), (text_of[name], "_swap")):
            with torch.no_grad():
                visual = model.matcher.trunk(store.images(image))
                images = model.see(visual, proposals.take(image))
                alone = model.image_score(images, model.matcher.read(*store.texts([text])))
            assert row[f"image_score{ending}"] == pytest.approx(alone.logit.item(), abs=1e-4)
            scores = alone.proposal_scores[0, : len(boxes)].numpy()
            np.testing.assert_allclose(row[f"scores{ending}"], scores, atol=1e-4)
            if boxes:
                best = boxes[int(scores.argmax())]
                np.testing.assert_allclose(row[f"box_xyxy{ending}"], best, atol=1e-3)
            else:
                assert row[f"box_xyxy{ending}"] is None
    assert (table["image_score"] != table["image_score_swap"]).all()


def test_the_tables_hold_what_the_forward_pass_gives(paths: dict[str, Path], tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "train", tiny_grounder().float())
    output, _ = run_predict(paths, folder, tmp_path, splits=["test"], batch_size=5, map_boxes=[0.2, 0.8])
    table = read(output)
    trained = load_grounder(folder)
    pairs = Pairs(paths["images"], paths["expressions"], "test", ["phrase"])
    proposals = ProposalTable(paths["images"], paths["proposals"])
    store = trained.open_store(paths["features"], paths["images"])
    data = GroundingData(pairs, store, proposals, paths["cams"])
    (indices,) = pairs.in_order(64)
    batch = data.load(indices, CPU)
    arguments = (batch.features, batch.proposals, batch.tokens, batch.mask, batch.owner)
    with torch.no_grad():
        grounded = trained.model(*arguments, batch.matcher_cam, batch.has_cam, map_boxes=[0.2, 0.8])
    count = grounded.proposal_count
    assert grounded.scores.shape[1] == count + 2
    boxes = read_out(VotingConfig(), grounded.candidates, grounded.scores, count)
    # image 6 has no proposals: no answer, though its map has boxes
    answered = [name for name in pairs.expression_ids if not name.startswith("e6.")]
    assert 0 < len(answered) < len(pairs.expression_ids)
    assert sorted(answered) == sorted(table.index)
    for row, expression in enumerate(indices.expressions):
        name = pairs.expression_ids[expression]
        if name not in answered:
            continue
        prediction = table.loc[name]
        size = np.tile(proposals.sizes[pairs.image_rows[expression]], 2)
        np.testing.assert_allclose(prediction["box_xyxy"], boxes[row].numpy() * size, atol=1e-3)
        assert prediction["score"] == pytest.approx(grounded.scores[row].max().item(), abs=1e-4)
        chosen = int(grounded.scores[row].argmax())
        chosen_box = grounded.candidates.boxes[row, chosen].numpy() * size
        np.testing.assert_allclose(prediction["chosen_box_xyxy"], chosen_box, atol=1e-3)
        assert prediction["rank"] == (chosen if chosen < count else -1)
        image_score = grounded.image_score.logit[row].sigmoid().item()
        assert prediction["image_score"] == pytest.approx(image_score, abs=1e-5)
        own_cam = (grounded.own_cam[row] / grounded.own_cam[row].max()).numpy()
        cells = np.frombuffer(to_bytes(own_cam), np.uint8).astype(int)
        assert np.abs(np.frombuffer(prediction["cam"], np.uint8) - cells).max() <= 1


def test_the_erased_score_is_the_image_score_of_what_the_mask_leaves(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    """S(I*, q) and S(I, q) are one function: where the mask covers nothing they are equal."""
    model = tiny_grounder().float()
    nothing = checkpoint(tmp_path / "nothing", model, sigma=100.0)
    table = read(run_predict(paths, nothing, tmp_path)[0])
    np.testing.assert_allclose(table["erased_score"], table["image_score"], atol=1e-5)
    something = checkpoint(tmp_path / "something", model)
    table = read(run_predict(paths, something, tmp_path)[0])
    assert ((table["erased_score"] - table["image_score"]).abs() > 1e-4).all()


def test_the_stage_writes_both_tables_and_needs_no_targets(paths: dict[str, Path], tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "train", tiny_grounder().float())
    output, swaps = run_predict(paths, folder, tmp_path, batch_size=5, map_boxes=[])
    answered = set(read(output).index)
    scored = tables.read("swap_scores", swaps).set_index("expression_id")
    # image 6 has no proposals: no answer, but scores of the whole image
    assert not answered & {"e6.0", *scored.index}
    assert sorted(scored.index) == [f"s{number}" for number in range(9)]
    assert scored["split"].to_dict()["s8"] == "val"

    expressions = tables.read("expressions", paths["expressions"])
    some = expressions.assign(boxed=expressions["expression_id"].isin([*sorted(answered)[::2], "e6.0"]))
    tables.write("expressions", some, tmp_path / "expressions.parquet")
    output, swaps = run_predict(
        {**paths, "expressions": tmp_path / "expressions.parquet"}, folder, tmp_path, batch_size=5
    )
    assert set(read(output).index) == set(sorted(answered)[::2])
    assert sorted(tables.read("swap_scores", swaps)["expression_id"]) == sorted(scored.index)

    plain = expressions[expressions["kind"] != "swap"]
    tables.write("expressions", plain, tmp_path / "expressions.parquet")
    without = {**paths, "expressions": tmp_path / "expressions.parquet"}
    output, swaps = run_predict(without, folder, tmp_path, batch_size=5)
    assert set(read(output).index) == answered
    assert len(tables.read("swap_scores", swaps)) == 0
