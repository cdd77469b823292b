"""Every method of the registry through the stage, a new one, ground truth, and the section of the config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
from PIL import Image

from camground.proposals.config import ProposalsConfig
from camground.proposals.ground_truth import read_objects, write_true_boxes
from camground.proposals.methods import METHODS, Method
from camground.proposals.proposer import Photograph, Proposer, propose_one_image
from camground.proposals.thinning import WHOLE, Proposals, to_proposals
from camground.study import tables
from camground.study.errors import UserError
from proposals_stage import boxes_of, run_proposals, write_images


class Corners(Proposer):
    """A new method: one box, and a table `rejected`."""

    def propose(self, photographs: Sequence[Photograph]) -> Iterator[Proposals]:
        self.tables["rejected"].write_text("none")
        for photograph in photographs:
            box = np.array([[5, 5, 20, 20]])
            yield to_proposals(box, np.ones(1), "corners", self.config, photograph.size)


@pytest.fixture
def corners(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Method(f"{__name__}:Corners", writes=("rejected",))
    monkeypatch.setitem(METHODS, "corners", method)


def test_the_registry_names_a_class_for_each_method() -> None:
    sections = ProposalsConfig.model_fields
    for name, method in METHODS.items():
        assert issubclass(resolve_name(method.proposer), Proposer)
        for key in [key for key, _ in method.required] + [*method.user_files]:
            assert key in sections[name].annotation.model_fields


def test_a_new_method_is_a_class_and_an_entry(corners: None, tmp_path: Path) -> None:
    images = write_images(tmp_path, {"a.png": (50, 40), "b.png": (50, 40)})
    with pytest.raises(UserError, match=r"method is corners: give --rejected"):
        run_proposals(images, {"method": "corners"})
    table = run_proposals(images, {"method": "corners"}, rejected=tmp_path / "none")
    assert (tmp_path / "none").read_text() == "none"
    boxes, scores, sources = boxes_of(table, "b.png")
    assert boxes.tolist() == [[5, 5, 20, 20], [0, 0, 50, 40]]
    assert sources == ["corners", WHOLE]
    assert scores.tolist() == [1, 0]


def test_of_a_new_photograph_what_the_method_finds_or_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    sources = propose_one_image(ProposalsConfig(), tmp_path / "a.png", (50, 40)).sources
    assert set(sources) == {"selective_search", WHOLE}
    from_file = ProposalsConfig.parse({"method": "boxes_file", "boxes_file": {"path": "d.json"}})
    with pytest.raises(UserError, match=r"a\.png: .*boxes_file.*new photograph.*detector"):
        propose_one_image(from_file, tmp_path / "a.png", (50, 40))
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"b\.png: unreadable"):
        propose_one_image(ProposalsConfig(), tmp_path / "b.png", (50, 40))


def write_truth(folder: Path, expression_of: dict[str, str], targets: list[dict]) -> dict[str, Path]:
    """The paths of the tables `targets` and `expressions`; expression_of: the image of each expression."""
    no_swap = dict.fromkeys(("boxed", "swap_of", "word_class", "false_of_image"))
    expressions = [
        {"expression_id": e, "image_id": i, "text": "it", "kind": "phrase", "split": "test"} | no_swap
        for e, i in expression_of.items()
    ]
    tables.write("expressions", expressions, folder / "expressions.parquet")
    blank = dict.fromkeys(("mask", "flavour", "category", "distractors", "object_index"))
    tables.write("targets", [blank | one for one in targets], folder / "targets.parquet")
    return {name: folder / f"{name}.parquet" for name in ("targets", "expressions")}


def test_true_boxes_give_each_object_once_in_an_order_that_tells_nothing(tmp_path: Path) -> None:
    images = write_images(tmp_path, dict.fromkeys(("a.png", "b.png", "c.png", "d.png"), (50, 40)))
    rows = tables.read("images", images)
    rows["split"] = ["test"] * 3 + ["train"]  # whose boxes it does not give
    tables.write("images", rows, images)
    first, second = [4.0, 5.0, 20.0, 30.0], [1.0, 2.0, 10.0, 12.0]
    truth = write_truth(
        tmp_path,
        {"e0": "a.png", "e1": "a.png", "e2": "b.png", "e3": "d.png"},
        [
            {"expression_id": "e0", "boxes_xyxy": [first], "objects_xyxy": [first, second]},
            {"expression_id": "e1", "boxes_xyxy": [second], "objects_xyxy": [first, second]},
            {"expression_id": "e2", "boxes_xyxy": [second], "objects_xyxy": []},
            {"expression_id": "e3", "boxes_xyxy": [second], "objects_xyxy": []},
        ],
    )
    write_true_boxes(["test"], images, **truth, output=tmp_path / "evaluated.parquet")
    table = tables.read("proposals", tmp_path / "evaluated.parquet")
    boxes = {name: boxes_of(table, name)[0].tolist() for name in table["image_id"].unique()}
    assert boxes == {"a.png": [second, first], "b.png": [second], "c.png": [[0, 0, 50, 40]]}
    assert table["source"].tolist() == ["ground_truth"] * 3 + [WHOLE]
    assert (table["objectness"] == 1).all()


def test_the_order_of_ground_truth_does_not_depend_on_the_targets(tmp_path: Path) -> None:
    objects = np.random.default_rng(0).uniform(0, 20, (12, 4)) + [0, 0, 20, 20]
    orders = []
    for seed in range(2):
        shuffled = np.random.default_rng(seed).permutation(objects).tolist()
        target = {"expression_id": "e", "boxes_xyxy": shuffled[:1], "objects_xyxy": shuffled}
        truth = write_truth(tmp_path, {"e": "a.png"}, [target])
        orders.append(read_objects(**truth)["a.png"])
    assert np.array_equal(*orders)
    assert np.array_equal(orders[0][:, 0], np.sort(orders[0][:, 0]))


def test_only_a_method_that_writes_a_table_takes_it(tmp_path: Path) -> None:
    images = write_images(tmp_path, {"a.png": (8, 8)})
    with pytest.raises(UserError, match="method is selective_search: leave out --rejected"):
        run_proposals(images, {}, rejected=images)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "edge_boxes"}, r"proposals\.method: 'edge_boxes' is not one of selective_search, "),
        ({"method": "ground_truth"}, r"'ground_truth' is not one of selective_search, "),
        ({"count": 0}, r"proposals\.count"),
        ({"count": True}, r"must be a number, not true"),
        ({"input_size": 16}, r"proposals\.input_size"),
        ({"min_size": 2}, r"proposals\.min_size"),
        ({"nms_iou": 0}, r"proposals\.nms_iou"),
        ({"whole_image": "perhaps"}, r"proposals\.whole_image"),
        ({"cuont": 3}, r"proposals\.cuont: unknown key; did you mean `count`"),
    ],
)
def test_a_wrong_key_is_named(changes: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        ProposalsConfig.parse(changes, "proposals")
