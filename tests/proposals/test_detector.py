"""Proposals by object detectors of transformers: tiny checkpoints, made here and loaded by their folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import tiny_detectors
from camground.data.boxes import area, clip, pairwise_iou
from camground.proposals.config import ProposalsConfig
from camground.proposals.detector import open_detector
from camground.proposals.proposer import propose_one_image
from camground.study.errors import UserError
from proposals_stage import boxes_of, labels_of, run_proposals, write_images

QUERIES = ["a dog", "red boat"]
OPEN = ("owlvit", "owlv2", "grounding-dino")
# neither all of one shape nor in an order in which equal ones meet; one too thin for a processor
SIZES = [(60, 30), (40, 90), (60, 30), (70, 70), (2, 500), (40, 90), (33, 64)]
# everything that is found is kept, so that it can be compared
ALL = {"count": 1000, "min_size": 0.0, "nms_iou": 1.0, "whole_image": False}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of the tiny checkpoints."""
    folder = tmp_path_factory.mktemp("detectors")
    return {kind: str(tiny_detectors.make(kind, folder / kind)) for kind in tiny_detectors.KINDS}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The table of photographs of `SIZES`."""
    for number, size in enumerate(SIZES):
        small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        picture.save(tmp_path / f"{number}.png")
    return write_images(tmp_path, {f"{number}.png": size for number, size in enumerate(SIZES)})


def section(model: str | None, changes: dict | None = None, **detector: object) -> dict:
    wanted = {"model": model, "queries": None, "score": 0.0, "batch_size": 2, **detector}
    return {"method": "detector", "detector": wanted} | (changes or {})


def run(images: Path, config: dict, threads: int = 2) -> pd.DataFrame:
    """What the stage writes."""
    return run_proposals(images, config, threads)


@cache
def loaded(folder: str, kind: str):
    import transformers

    if kind in OPEN:
        return transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    return transformers.AutoModelForObjectDetection.from_pretrained(folder).eval()


def expected(folder: str, kind: str, path: Path, queries: list[str] | None):
    """Boxes cut to the photograph and scores by the model itself, called for this photograph alone."""
    import transformers

    model = loaded(folder, kind)
    picture = Image.open(path).convert("RGB")
    seen = dict(transformers.AutoImageProcessor.from_pretrained(folder)(picture, return_tensors="pt"))
    if queries:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        if kind == "grounding-dino":
            seen |= tokenizer(["a dog. red boat."], return_tensors="pt")
        else:
            seen |= tokenizer(queries, padding="max_length", max_length=8, return_tensors="pt")
    elif kind == "owlv2":  # a query is needed, which the objectness does not hang on
        seen["input_ids"] = torch.tensor([[3, 4]])
    with torch.no_grad():
        said = model(**seen)
    if kind == "detr":
        scores = said.logits.softmax(-1)[..., :-1].amax(-1)[0]
    elif kind == "owlv2" and not queries:
        scores = said.objectness_logits.sigmoid()[0]
    else:
        scores = said.logits.sigmoid().amax(-1)[0]
    centre, side = said.pred_boxes[0].split(2, dim=-1)
    shares = torch.cat([centre - side / 2, centre + side / 2], -1).numpy()
    width, height = picture.size
    # OWLv2 pads a photograph to a square, at the right or the bottom
    scale = [max(picture.size)] * 4 if kind == "owlv2" else [width, height] * 2
    boxes = clip(shares * np.array(scale, float), width, height)
    keep = (area(boxes) > 0) & (area(boxes) <= 0.9 * width * height)
    return boxes[keep], scores.numpy()[keep]


@pytest.mark.parametrize(
    ("kind", "queries"),
    [("detr", None), ("rt_detr", None), ("owlv2", None), *((kind, QUERIES) for kind in OPEN)],
)
def test_the_stage_writes_what_the_model_finds_in_each_photograph(
    kind: str, queries: list[str] | None, checkpoints: dict[str, str], images: Path
) -> None:
    folder = checkpoints[kind]
    table = run(images, section(folder, ALL, queries=queries))
    assert table["image_id"].drop_duplicates().tolist() == [f"{n}.png" for n in range(len(SIZES))]
    compared = 0
    for number, size in enumerate(SIZES):
        name = f"{number}.png"
        boxes, scores, _ = boxes_of(table, name)
        low, high = boxes[:, :2], boxes[:, 2:]
        assert (low >= 0).all()
        assert (high <= size).all()
        assert (np.diff(scores) <= 0).all()
        if max(size) > 32 * min(size):  # it is shown wider than it is
            continue
        wanted, wanted_scores = expected(folder, kind, images.with_name(name), queries)
        if kind == "rt_detr":  # a box comes once for each category; keep its best
            boxes, first = np.unique(boxes, axis=0, return_index=True)
            scores = scores[first]
        near = np.abs(wanted[:, None] - boxes).max(-1) < 0.05
        agree = near & (np.abs(wanted_scores[:, None] - scores) < 1e-3)
        assert agree.any(0).all()  # nothing else is found
        if kind != "rt_detr":  # which takes the best pairs of box and category alone
            assert agree.any(1).all()  # and all that is found is there
        compared += len(boxes)
    assert compared > 20
    # nameless categories, or none
    named = {label for label in labels_of(table) if label is not None}
    assert named == (set() if queries is None else named & {"a dog", "red boat"})
    assert bool(named) == bool(queries)
    source = f"detector:{Path(folder).name}"
    assert set(table["source"]) - {"whole_image"} == {source}


def test_a_detr_of_known_answers_gives_them_in_pixels_of_the_photograph(
    checkpoints: dict[str, str], images: Path, tmp_path: Path
) -> None:
    """Heads that say the same of any photograph: a centre, a size and three categories."""
    from transformers import AutoImageProcessor, DetrForObjectDetection

    model = DetrForObjectDetection.from_pretrained(checkpoints["detr"])
    chance = torch.tensor([0.1, 0.6, 0.05, 0.05, 0.0999, 0.1001])  # the last: no object
    with torch.no_grad():
        model.class_labels_classifier.weight.zero_()
        model.class_labels_classifier.bias.copy_(chance.log())
        last = model.bbox_predictor.layers[-1]
        last.weight.zero_()
        last.bias.copy_(torch.logit(torch.tensor([0.5, 0.25, 0.2, 0.3])))
    model.config.id2label = {0: "N/A", 1: "Traffic_light", 2: "LABEL_2", 3: "dog", 4: "cat"}
    model.save_pretrained(tmp_path / "known")
    AutoImageProcessor.from_pretrained(checkpoints["detr"]).save_pretrained(tmp_path / "known")
    table = run(images, section(str(tmp_path / "known")))
    for number, (width, height) in enumerate(SIZES):
        boxes, scores, _ = boxes_of(table, f"{number}.png")
        found = [0.4 * width, 0.1 * height, 0.6 * width, 0.4 * height]
        assert np.allclose(boxes, [found, [0, 0, width, height]], atol=1e-3 * max(width, height))
        assert scores.tolist() == pytest.approx([0.6, 0.0], abs=1e-5)
    assert table["source"].tolist() == ["detector:known", "whole_image"] * len(SIZES)
    assert labels_of(table) == ["traffic light", None] * len(SIZES)
    stronger = run(images, section(str(tmp_path / "known"), score=0.61))
    assert set(stronger["source"]) == {"whole_image"}


def test_owlv2_of_known_answers_and_its_padded_square(
    checkpoints: dict[str, str], images: Path, tmp_path: Path
) -> None:
    """Boxes of a patch's size at the lower right corner of each patch, all of the same objectness."""
    from transformers import AutoImageProcessor, Owlv2ForObjectDetection

    model = Owlv2ForObjectDetection.from_pretrained(checkpoints["owlv2"])
    with torch.no_grad():
        for head, bias in ((model.box_head, 0.0), (model.objectness_head, 2.0)):
            head.dense2.weight.zero_()
            head.dense2.bias.fill_(bias)
    model.save_pretrained(tmp_path / "known")
    AutoImageProcessor.from_pretrained(checkpoints["owlv2"]).save_pretrained(tmp_path / "known")
    table = run(images, section(str(tmp_path / "known"), ALL))
    boxes, scores, _ = boxes_of(table, "0.png")  # 60 x 30, so patches of 15 x 15 pixels
    assert scores == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-5)
    corners = [(x, y) for x in (15, 30, 45, 60) for y in (15, 30)]
    wanted = [[x - 7.5, y - 7.5, min(x + 7.5, 60), min(y + 7.5, 30)] for x, y in corners]
    assert np.abs(pairwise_iou(boxes, np.array(wanted)).max(0) - 1).max() < 0.02
    assert len(boxes) == len(wanted)  # those of the padding are cut away


def test_grounding_dino_names_a_box_by_the_query_of_its_token(checkpoints: dict[str, str]) -> None:
    config = ProposalsConfig.parse(section(checkpoints["grounding-dino"], queries=QUERIES)).detector
    labels = open_detector(config, torch.device("cpu")).labels
    # [CLS] a dog . red boat . [SEP]
    assert labels == {1: "a dog", 2: "a dog", 4: "red boat", 5: "red boat"}


def test_batches_and_threads_change_nothing(checkpoints: dict[str, str], images: Path) -> None:
    """DETR pads what it gets together, and would see the padding."""
    found = [
        run(images, section(checkpoints["detr"], ALL, batch_size=size), threads)
        for size, threads in ((1, 1), (7, 2))
    ]
    one, many = (np.stack(table["box_xyxy"].tolist()) for table in found)
    assert np.allclose(one, many, atol=1e-3)
    assert found[0]["objectness"].tolist() == pytest.approx(found[1]["objectness"].tolist())


@pytest.mark.parametrize("whole_image", [True, False])
def test_a_photograph_in_which_nothing_is_found_gets_the_whole_of_it(
    whole_image: bool, checkpoints: dict[str, str], images: Path
) -> None:
    table = run(images, section(checkpoints["rt_detr"], {"whole_image": whole_image}, score=1.0))
    assert table["source"].tolist() == ["whole_image"] * len(SIZES)
    assert np.stack(table["box_xyxy"].tolist()).tolist() == [[0, 0, *size] for size in SIZES]
    assert (table["objectness"] == 0).all()


def test_count_size_and_overlap_are_kept_to(checkpoints: dict[str, str], images: Path) -> None:
    limits = {"count": 4, "min_size": 0.1, "nms_iou": 0.3, "whole_image": True}
    table = run(images, section(checkpoints["owlvit"], limits, queries=QUERIES))
    for number, size in enumerate(SIZES):
        rows = table[table["image_id"] == f"{number}.png"]
        assert rows["rank"].tolist() == list(range(len(rows)))
        assert len(rows) <= 4
        assert (rows["source"] == "whole_image").sum() == 1
        boxes = np.stack(rows["box_xyxy"].tolist())[(rows["source"] != "whole_image").to_numpy()]
        assert ((boxes[:, 2:] - boxes[:, :2]) >= 0.1 * np.array(size) - 1e-3).all()
        overlap = pairwise_iou(boxes, boxes)[np.triu_indices(len(boxes), 1)]
        assert (overlap <= 0.3 + 1e-6).all()
    assert len(table) > 2 * len(SIZES)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "CMYK"])
def test_photographs_of_every_mode(mode: str, checkpoints: dict[str, str], tmp_path: Path) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.new("RGB", (50, 30), "red").convert(mode).save(tmp_path / name)
    images = write_images(tmp_path, {name: (50, 30)})
    assert len(run(images, section(checkpoints["rt_detr"]))) > 1


def test_a_photograph_that_cannot_be_read_leaves_no_table(checkpoints: dict[str, str], images: Path) -> None:
    images.with_name("3.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"3\.png: unreadable"):
        run(images, section(checkpoints["rt_detr"]))
    assert [path.name for path in images.parent.glob("*parquet*")] == ["images.parquet"]


def test_models_that_cannot_be_used_are_named(
    checkpoints: dict[str, str], images: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig

    def refused(folder: Path | str, match: str, **detector: object) -> None:
        with pytest.raises(UserError, match=match):
            run(images, section(str(folder), **detector))
        assert not images.with_name("proposals.parquet").exists()

    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, r"proposals\.detector\.model: cannot load .*empty.*preprocessor_config\.json")
    reader = tmp_path / "reader"
    BertConfig().save_pretrained(reader)
    refused(reader, r"proposals\.detector\.model: .*'bert', which is no known object detector.*detr")
    folder = tmp_path / "headless"
    folder.mkdir()
    for file in Path(checkpoints["detr"]).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "bbox_predictor" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, r"lacks 6 weights of DetrForObjectDetection, such as bbox_predictor")
    broken = {name: value * float("nan") for name, value in weights.items() if "bbox" in name}
    save_file(weights | broken, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, r"\.png: .*headless.*not numbers.*download it again")
    (folder / "model.safetensors").write_bytes(b"cut short")
    refused(folder, r"cannot load .*headless")


@pytest.mark.parametrize(
    ("kind", "queries", "named"),
    [
        ("owlvit", None, r"proposals\.detector\.queries: .*'owlvit'.*list phrases"),
        ("grounding-dino", None, r"proposals\.detector\.queries: .*list phrases"),
        ("detr", ["dog"], r"proposals\.detector\.queries: .*'detr'.*set them to null"),
        ("owlv2", ["dog", "a " * 9], r"queries: 'a a.*11 tokens.* room for 8"),
        ("grounding-dino", ["red boat"] * 20, r"queries: all of them.*room for 32"),
    ],
)
def test_queries_that_do_not_fit_the_model_are_refused(
    kind: str, queries: list[str] | None, named: str, checkpoints: dict[str, str], images: Path
) -> None:
    with pytest.raises(UserError, match=named):
        run(images, section(checkpoints[kind], queries=queries))


def test_a_model_that_is_not_here_ends_the_stage_with_one_line(images: Path) -> None:
    config = json.dumps({"proposals": section("nobody/no-such-detector")})
    done = subprocess.run(
        [
            *(sys.executable, "-m", "camground.cli", "proposals", "--config", config),
            *("--images", str(images), "--output", str(images.with_name("out.parquet"))),
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nobody/no-such-detector" in done.stderr
    assert "give the folder as proposals.detector.model" in done.stderr
    assert not images.with_name("out.parquet").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": None}, r"proposals: method is detector, so set detector\.model: .*hub.*folder"),
        ({"queries": []}, r"proposals\.detector\.queries"),
        ({"queries": [" "]}, r"proposals\.detector\.queries"),
        ({"score": 2}, r"proposals\.detector\.score"),
        ({"batch_size": 0}, r"proposals\.detector\.batch_size"),
        ({"scroe": 0.1}, r"proposals\.detector\.scroe: unknown key; did you mean `score`"),
    ],
)
def test_a_wrong_key_is_named(changes: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        ProposalsConfig.parse(section(**{"model": "some/where", **changes}), "proposals")


def test_a_new_photograph_gets_the_boxes_that_the_stage_would_write(
    checkpoints: dict[str, str], images: Path
) -> None:
    config = section(checkpoints["rt_detr"])
    boxes, scores, sources = boxes_of(run(images, config), "1.png")
    for _ in range(2):
        alone = propose_one_image(ProposalsConfig.parse(config), images.with_name("1.png"), SIZES[1])
        assert np.allclose(alone.boxes_xyxy, boxes, atol=1e-3)
        assert np.allclose(alone.objectness, scores, atol=1e-5)
        assert alone.sources == sources


@pytest.mark.workflow
def test_the_workflow_hands_the_detector_on(workflow) -> None:
    given = "proposals={method: detector, detector: {model: some/where}}"
    done = workflow.dry("proposals", "--printshellcmds", "--config", given)
    assert done.jobs == dict.fromkeys(("data", "proposals"), 1), done.text
    assert '"model": "some/where"' in done.text
    assert "boxes_file" not in done.text
    refused = workflow.dry("proposals", "--config", "proposals={method: detector}")
    assert refused.status != 0
    assert "proposals: method is detector, so set detector.model" in refused.text
