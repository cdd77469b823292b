"""Word swaps: what `predict` writes of them, and what is counted, on numbers made by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from test_grounder import CHANNELS, GRID, TEXT, make_model
from test_report import CONFIG

import evaluation_study as made
import fake_study
from camground.data.pairs import Pairs
from camground.evaluation import ground_truth
from camground.evaluation.protocol import Protocol, settings
from camground.evaluation.word_swaps import NAMES, moved, wins
from camground.grounder.batches import ProposalTable
from camground.grounder.swap_scores import chunks, swap_rows
from camground.report.results import Results
from camground.report.word_swaps import by_class
from camground.stages import ablation
from camground.stages.evaluate import Evaluation, evaluate, evaluate_swaps
from camground.stages.report import main as report
from camground.study import tables
from camground.study.errors import UserError

# Image 6 has no proposals; images 1, 2, 5, 6 are of test, 0 of val, 3 of train. Proposal 1 of an image is
# the object of its first expression, proposal 2 that of its second.
# swap_of, class, false of the image, image scores, scores at the object, whether the box is another
SWAPS = [
    ("e1.0", "colour", True, (2.0, 1.0), (3.0, 4.0), False),
    ("e1.0", "colour", True, (1.0, 1.0), (2.0, 1.0), True),
    ("e1.1", "relation", False, (0.0, 9.0), (1.0, 1.0), False),
    ("e1.1", "location", False, (0.0, 9.0), (2.0, 1.0), True),
    ("e2.0", "landmark", False, (0.0, 9.0), (0.0, 9.0), True),
    ("e2.0", "landmark", True, (-1.0, 1.0), (5.0, 1.0), True),
    ("e6.0", "size", True, (-3.0, -4.0), None, None),
    ("e6.1", "pattern", False, (0.0, 9.0), None, None),
    ("e0.0", "colour", True, (0.0, 9.0), (0.0, 9.0), True),
    ("e3.0", "colour", True, (0.0, 9.0), (0.0, 9.0), True),
]
EXPECTED = {
    ("word_swap", "all"): (2.5 / 4, 4),
    ("word_swap", "word_class=colour"): (0.75, 2),
    ("word_swap", "word_class=landmark"): (0.0, 1),
    ("word_swap", "word_class=size"): (1.0, 1),
    ("word_swap_object", "all"): (3.5 / 5, 5),
    ("word_swap_object", "word_class=colour"): (0.5, 2),
    ("word_swap_object", "word_class=landmark"): (1.0, 1),
    ("word_swap_object", "word_class=relation"): (0.5, 1),
    ("word_swap_object", "word_class=location"): (1.0, 1),
    ("swap_moves", "all"): (0.5, 2),
    ("swap_moves", "word_class=relation"): (0.0, 1),
    ("swap_moves", "word_class=location"): (1.0, 1),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The made-up study with SWAPS among its expressions."""
    paths = made.make(tmp_path_factory.mktemp("study"))
    proposals = tables.read("proposals", paths["proposals"])
    tables.write("proposals", proposals[proposals["image_id"] != "i6"], paths["proposals"])
    rows = tables.read_arrow("expressions", paths["expressions"]).to_pylist()
    by_id = {row["expression_id"]: row for row in rows}
    for number, (of, word_class, false, *_) in enumerate(SWAPS):
        swap = {"expression_id": f"s{number}", "text": f"swap {number}", "kind": "swap"}
        swap |= {"swap_of": of, "word_class": word_class, "false_of_image": false}
        rows.append({**by_id[of], **swap})
    tables.write("expressions", rows, paths["expressions"])
    return paths


def scored(paths: dict[str, Path], folder: Path) -> pd.DataFrame:
    """The `swap_scores` table of SWAPS, shuffled."""
    split = tables.read("images", paths["images"]).set_index("image_id")["split"]
    rows = []
    for number, (of, word_class, false, image, at, elsewhere) in enumerate(SWAPS):
        image_id, place = of.replace("e", "i").split(".")
        scores = [[], []] if at is None else [[100.0] * 8, [-100.0] * 8]
        for listed, value in zip(scores, at or (), strict=False):
            listed[int(place) + 1] = value
        boxes = [None, None] if at is None else [[0, 0, 10, 10], [0, 0, 10, 4 if elsewhere else 5]]
        rows.append(
            {
                "expression_id": f"s{number}",
                "swap_of": of,
                "word_class": word_class,
                "false_of_image": false,
                "split": split[image_id],
                "image_id": image_id,
                "image_score": image[0],
                "image_score_swap": image[1],
                "box_xyxy": boxes[0],
                "box_xyxy_swap": boxes[1],
                "scores": scores[0],
                "scores_swap": scores[1],
            }
        )
    order = np.random.default_rng(0).permutation(len(rows))
    tables.write("swap_scores", [rows[i] for i in order], folder / "swap_scores.parquet")
    return tables.read("swap_scores", folder / "swap_scores.parquet")


@pytest.fixture(scope="module")
def evaluation(paths: dict[str, Path]) -> Evaluation:
    protocol = settings(Protocol, made.EVALUATE, "evaluate")
    return Evaluation(ground_truth.load(protocol, **paths))


def counted(
    evaluation: Evaluation, rows: pd.DataFrame, variant: str = "full"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    return evaluate_swaps(evaluation, rows, "swap_scores.parquet", "toy", variant, 0)


def test_ties_count_half_and_boxes_move_below_half_overlap() -> None:
    assert wins(np.array([2.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0])).tolist() == [1.0, 0.5, 0.0]
    box = np.array([[0.0, 0, 10, 10]] * 3)
    other = np.array([[0.0, 0, 10, 5], [0, 0, 10, 4.9], [np.nan] * 4])
    found = moved(box, other, settings(Protocol, made.EVALUATE, "evaluate"))
    np.testing.assert_array_equal(found, [0.0, 1.0, np.nan])


def test_means_by_class_of_numbers_made_by_hand(
    paths: dict[str, Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    outcomes, means = counted(evaluation, scored(paths, tmp_path))
    test = means[means["split"] == "test"].set_index(["metric", "group"])
    found = {key: (row["value"], row["n"]) for key, row in test.iterrows()}
    assert found == EXPECTED
    val = means[means["split"] == "val"]
    assert set(val["metric"]) == {"word_swap", "word_swap_object"}
    assert (val["value"] == 0).all()
    assert set(means["split"]) == {"val", "test"}
    # each counted swap once a metric, under its own id and its expression's image
    mine = outcomes[outcomes["expression_id"] == "s0"].set_index("name")
    assert mine["value"].to_dict() == {"word_swap": 1.0, "word_swap_object": 0.0}
    assert set(mine["image_id"]) == {"i1"}
    assert not outcomes.duplicated(["expression_id", "name"]).any()
    tables.write("outcomes", outcomes, tmp_path / "o.parquet")
    tables.write("metrics", means, tmp_path / "m.parquet")


def test_an_object_that_no_proposal_reaches_is_not_asked_about(
    paths: dict[str, Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    """Without the first proposals of image 1 nothing is left of 2.5 of its 4 swaps."""
    lost = Evaluation(evaluation.truth)
    lost.best_iou = np.where(evaluation.truth.rows["image_id"] == "i1", 0.49, lost.best_iou)
    _, means = counted(lost, scored(paths, tmp_path))
    found = means[(means["split"] == "test") & (means["metric"] == "word_swap_object")]
    assert set(found["group"]) == {"all", "word_class=landmark"}
    assert (found["n"] == 1).all()


def test_no_swap_is_evaluated(
    paths: dict[str, Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    rows = scored(paths, tmp_path)
    for left in (rows.iloc[:0], rows[rows["split"] == "train"]):
        outcomes, means = counted(evaluation, left)
        assert len(outcomes) == len(means) == 0


def test_bad_rows_are_named(paths: dict[str, Path], evaluation: Evaluation, tmp_path: Path) -> None:
    rows = scored(paths, tmp_path).set_index("expression_id", drop=False)
    mistakes = {
        "not in the study's": rows.replace({"expression_id": {"s0": "elsewhere"}}),
        "comes twice": pd.concat([rows, rows.loc[["s0"]]]),
        "s0 has scores of other": rows.assign(
            scores_swap=[s[:-1] for s in rows["scores_swap"]]
        ).loc[["s0"]],
        "swap s0 is not finite": rows.assign(image_score=np.inf).loc[["s0"]],
    }
    for said, changed in mistakes.items():
        with pytest.raises(UserError, match=said):
            counted(evaluation, changed.reset_index(drop=True))


def test_the_command_line_adds_them_where_there_are_any(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    config = {"dataset": "toy", "variant": "full", "seed": 3, "evaluate": made.EVALUATE}
    predictions = made.predict(paths, tmp_path / "p.parquet")
    scored(paths, tmp_path)
    tables.write("swap_scores", [], tmp_path / "empty.parquet")
    options = {"none": {}} | {
        name: {"swaps": tmp_path / f"{name}.parquet"} for name in ("empty", "swap_scores")
    }
    found = {}
    for name, swaps in options.items():
        files = {kind: tmp_path / f"{name}-{kind}.parquet" for kind in ("metrics", "outcomes")}
        done = made.run("evaluate", config, **paths, predictions=predictions, **swaps, **files)
        assert done.returncode == 0, done.stderr
        found[name] = tables.read("metrics", files["metrics"])
    pd.testing.assert_frame_equal(found["none"], found["empty"])
    assert not set(NAMES) & set(found["none"]["metric"])
    more = found["swap_scores"]
    pd.testing.assert_frame_equal(more.iloc[: len(found["none"])], found["none"])
    rows = more[(more["metric"] == "word_swap") & (more["split"] == "test")]
    assert rows.set_index("group").loc["all", ["value", "n", "seed"]].tolist() == [0.625, 4, 3]


def test_the_ablation_has_their_intervals(
    paths: dict[str, Path], evaluation: Evaluation, tmp_path: Path
) -> None:
    rows = scored(paths, tmp_path)
    given = tables.read("predictions", made.predict(paths, tmp_path / "p.parquet"))
    methods = []
    for variant, swaps in (
        ("full", rows),
        ("other", rows.assign(image_score_swap=10.0)),
        ("baseline", None),
    ):
        parts = [evaluate(evaluation, given, "p.parquet", "toy", variant, 0)]
        if swaps is not None:
            parts.append(counted(evaluation, swaps, variant))
        joined = [[pd.concat(tables_of)] for tables_of in zip(*parts, strict=True)]
        methods.append(ablation.Method(variant, *joined))
    config = settings(ablation.Settings, {**made.ABLATION, "resamples": 50}, "ablation")
    table = ablation.compare(methods, "toy", config)
    table = table[table["split"].eq("test") & table["metric"].eq("word_swap")]
    assert set(table["variant"]) == {"full", "other"}
    row = table[(table["variant"] == "other") & (table["group"] == "all")].iloc[0]
    assert row["difference"] == -0.625
    assert row["low"] <= row["difference"] <= row["high"]


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
    done = made.run("predict", config, **given, output=output, swaps=swaps)
    assert done.returncode == 0, done.stderr
    answered = set(tables.read("predictions", output)["expression_id"])
    scored_swaps = tables.read("swap_scores", swaps)
    # image 6 has no proposals: no answer, but scores of the whole image
    assert not answered & {"e6.0", *scored_swaps["expression_id"]}
    assert sorted(scored_swaps["expression_id"]) == [f"s{number}" for number in range(9)]
    assert scored_swaps.set_index("expression_id")["split"].to_dict()["s8"] == "val"

    plain = expressions[expressions["kind"] != "swap"]
    tables.write("expressions", plain, tmp_path / "expressions.parquet")
    given["expressions"] = tmp_path / "expressions.parquet"
    done = made.run("predict", config, **given, output=output, swaps=swaps)
    assert done.returncode == 0, done.stderr
    assert set(tables.read("predictions", output)["expression_id"]) == answered
    assert len(tables.read("swap_scores", swaps)) == 0


def test_the_report_shows_them_and_counts_no_swap_as_an_answer(tmp_path: Path) -> None:
    root = fake_study.make(tmp_path / "toy")
    results = Results(root, CONFIG)
    assert by_class(results) == []
    shares = results.cause_shares("full")
    path = root / "ablation.parquet"
    rows = tables.read_arrow("ablation", path).to_pylist()
    like = next(r for r in rows if r["variant"] == "full" and r["split"] == "test")
    for variant, mean in (("full", 0.875), ("baseline", 0.5)):
        for group, n in (("all", 1200), ("word_class=colour", 800), ("word_class=relation", 400)):
            if (variant, group) != ("baseline", "word_class=relation"):
                new = {"metric": "word_swap", "group": group, "mean": mean, "n": n}
                rows.append({**like, **new, "variant": variant, "deviation": 0.0123})
    tables.write("ablation", rows, path)
    path = root / "full" / "seed0" / "outcomes.parquet"
    outcomes = tables.read_arrow("outcomes", path).to_pylist()
    swap = {"expression_id": "e-swap0", "name": "word_swap", "value": 0.0, "split": "test"}
    tables.write("outcomes", [*outcomes, {**outcomes[0], **swap}], path)

    results = Results(root, CONFIG)
    (measured,) = by_class(results)
    assert measured.columns == [("all", 1200), ("colour", 800), ("relation", 400)]
    assert measured.rows == [
        ("full", [("87.5", "1.2")] * 3),
        ("baseline", [("50.0", "1.2")] * 2 + [("–", "")]),
    ]
    assert "Chance is 50" in measured.note
    assert results.cause_shares("full") == shares
    output = tmp_path / "report.html"
    report(["--config", json.dumps(CONFIG), "--root", str(root), "--output", str(output)])
    text = output.read_text()
    assert "Word-swap accuracy by word class" in text
    assert "n 1,200" in text
