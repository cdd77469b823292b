"""What a detector's labels say: the term of the scores, its gradient, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from camground.features import store
from camground.features.language import text_vectors
from camground.grounder.batches import ProposalTable
from camground.grounder.grounder import Grounder
from camground.grounder.regions import Labels, Proposals
from camground.study import tables
from camground.study.checkpoints import load_checkpoint
from tiny_grounder import (
    COUNT,
    PAIRS,
    Inputs,
    forward,
    fresh_grounder,
    labelled,
    late_scores,
    see,
    tiny_batch,
    tiny_grounder,
    tiny_inputs,
)
from tiny_study import RandomFeatures, make_photograph_study, run_train


@pytest.fixture
def inputs() -> Inputs:
    made = tiny_inputs()
    return replace(made, proposals=labelled(made.proposals))


def unread(inputs: Inputs) -> Inputs:
    return replace(inputs, proposals=replace(inputs.proposals, labels=None))


def iou(one: list[float], other: list[float]) -> float:
    shared = 1.0
    for low in (0, 1):
        shared *= max(0.0, min(one[low + 2], other[low + 2]) - max(one[low], other[low]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def evidence(model: Grounder, inputs: Inputs, image: int, text: int, box: list[float]) -> float:
    """What the labels say of a box, word by word."""
    labels = inputs.proposals.labels
    assert labels is not None
    assert model.label is not None
    assert model.label_weight is not None
    vector = text_vectors(inputs.tokens, inputs.mask)[text]
    phrase = model.matcher.read(inputs.tokens, inputs.mask).phrase[text]
    total = 0.0
    for number in range(COUNT):
        if number == 1:  # has no label
            continue
        label = labels.vectors[labels.index[image, number]]
        fit = model.label_weight * (vector @ label) + phrase @ (model.label.weight @ label)
        score = inputs.proposals.objectness[image, number]
        total += (score * fit).item() * iou(box, labels.boxes[image, number].tolist()) ** 2
    return total


@pytest.mark.parametrize("make", [fresh_grounder, tiny_grounder], ids=["fresh", "learnt"])
def test_the_term_is_that_of_a_loop_for_proposals_and_boxes_around_the_map(make, inputs: Inputs) -> None:
    model = make(reads_labels=True)
    scores, plain = (forward(model, each, map_boxes=[0.3, 0.6]) for each in (inputs, unread(inputs)))
    # image scores differ, and with them the own map: compare what is scored of equal candidates
    assert torch.equal(scores.candidates.boxes[:, :COUNT], plain.candidates.boxes[:, :COUNT])
    images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
    extended = images.proposals.extended(scores.candidates.boxes[:, COUNT:].detach())
    seen = model.see(images.map, extended)
    bare = replace(seen, proposals=replace(extended, labels=None))
    similarity = model.matcher.similarity(images.map, texts)
    term = model.score(seen, texts, similarity) - model.score(bare, texts, similarity)
    for pair in range(PAIRS):
        for candidate, box in enumerate(extended.boxes[pair].tolist()):
            if not extended.valid[pair, candidate]:
                continue
            expected = model.region_scale.exp().item() * evidence(model, inputs, pair, pair, box)
            assert term[pair, candidate].item() == pytest.approx(expected, abs=1e-9)
    assert term[:, :COUNT].abs().max() > 0.1


def test_a_new_model_reads_the_cosine_alone(inputs: Inputs) -> None:
    model = fresh_grounder(reads_labels=True)
    labels, texts = inputs.proposals.labels, model.matcher.read(inputs.tokens, inputs.mask)
    assert labels is not None
    cosines = text_vectors(inputs.tokens, inputs.mask) @ labels.vectors.T
    assert torch.allclose(model.label_similarity(texts, labels), 2.0 * cosines)


def test_the_contrast_of_all_pairs_reads_labels_as_each_pair_does(inputs: Inputs) -> None:
    model = tiny_grounder(reads_labels=True, regions_only=True, transformer={"enabled": False})
    images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
    logits = late_scores(model, images, texts)
    temperature = model.matcher.config.temperature
    regions = nn.functional.normalize(images.regions, dim=-1)
    for image in range(PAIRS):
        for text in range(PAIRS):
            match = [
                (texts.phrase[text] @ regions[image, number]).item()
                + evidence(model, inputs, image, text, box)
                for number, box in enumerate(inputs.proposals.boxes[image].tolist())
            ]
            pooled = (torch.tensor(match).double() / temperature).exp().mean().log() * temperature
            expected = (model.contrastive_scale.exp() * pooled).item()
            assert logits[image, text].item() == pytest.approx(expected, abs=1e-6)


def test_gradients_of_the_image_score_and_of_the_contrast_reach_what_is_learnt(inputs: Inputs) -> None:
    model = fresh_grounder(reads_labels=True)
    assert model.label is not None
    learnt: list[Tensor] = [model.label.weight, model.label_weight]  # type: ignore[list-item]
    images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
    for value in (model.image_score(images, texts).logit, late_scores(model, images, texts)):
        gradients = torch.autograd.grad(value.square().sum(), learnt, retain_graph=True)
        assert all(gradient.abs().max() > 1e-6 for gradient in gradients)


def test_evidence_goes_with_what_is_erased(inputs: Inputs) -> None:
    labels = inputs.proposals.labels
    assert labels is not None
    mask = torch.zeros(PAIRS, 8, 8).double()
    assert torch.allclose(inputs.proposals.erased(mask).labels.score, labels.score)  # type: ignore[union-attr]
    gone = inputs.proposals.erased(mask + 1).labels
    assert gone is not None
    assert gone.score.abs().max() < 1e-9
    half = Labels(
        torch.tensor([[[0.0, 0.0, 1.0, 0.5]]]), torch.ones(1, 1), torch.zeros(1, 1).long(), torch.eye(2)
    )
    mask = torch.zeros(1, 8, 8)
    mask[:, :2] = 1
    plain = Proposals(half.boxes, half.score, half.score.bool(), half)
    assert plain.erased(mask).labels.score.item() == pytest.approx(0.5)  # type: ignore[union-attr]
    bare = replace(plain, labels=None)
    assert bare.erased(mask) is bare


def test_without_labels_nothing_is_made_and_nothing_is_drawn(inputs: Inputs) -> None:
    """Neither where none are found nor where they are not to be read; what both have starts the same."""
    plain = fresh_grounder()
    drawn = torch.random.get_rng_state()
    states = [plain.state_dict(), fresh_grounder(reads_labels=True, labels={"enabled": False}).state_dict()]
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert states[0].keys() == states[1].keys()
    reader = fresh_grounder(reads_labels=True).state_dict()
    assert reader.keys() - states[0].keys() == {"label_weight", "label.weight"}
    assert all(torch.equal(reader[name], value) for name, value in states[0].items())
    assert torch.equal(forward(plain, inputs).scores, forward(plain, unread(inputs)).scores)
    reading = fresh_grounder(reads_labels=True)
    assert torch.equal(forward(reading, unread(inputs)).scores, forward(plain, inputs).scores)


def test_the_table_gives_the_vectors_of_the_labels_that_the_images_have(tmp_path: Path) -> None:
    sizes = {"image_id": "", "path": "p", "width": 10, "height": 10, "split": "train"}
    tables.write("images", [{**sizes, "image_id": name} for name in "abc"], tmp_path / "i.parquet")
    box = {"box_xyxy": [0, 0, 5, 5], "objectness": 0.5, "source": "s"}
    rows = [("a", 0, "dog"), ("a", 1, None), ("b", 0, "red boat"), ("c", 0, None), ("c", 1, "dog")]
    listed = [{"image_id": image, "rank": rank, "label": label, **box} for image, rank, label in rows]
    tables.write("proposals", listed, tmp_path / "p.parquet")
    features = RandomFeatures()
    table = ProposalTable(tmp_path / "i.parquet", tmp_path / "p.parquet", features)  # type: ignore[arg-type]
    assert table.label_names == ["dog", "red boat"]
    labels = table.take(torch.tensor([2, 0]).numpy()).labels
    assert labels is not None
    assert torch.equal(labels.vectors, features.vectors(["dog"]))
    assert labels.score.tolist() == [[0.0, 0.5], [0.5, 0.0]]
    both = table.take(torch.tensor([1, 2]).numpy()).labels
    assert both is not None
    assert both.index[0, 0] == 1
    assert torch.equal(both.vectors, features.vectors(["dog", "red boat"]))
    unread = ProposalTable(tmp_path / "i.parquet", tmp_path / "p.parquet")
    assert unread.label_names == []
    plain = unread.take(torch.tensor([0]).numpy())
    assert plain.labels is None
    assert plain.labelled is not None
    assert plain.labelled.tolist() == [[True, False]]


def test_a_training_without_labels_is_the_same_bytes_and_reads_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_photograph_study(tmp_path)
    monkeypatch.setattr(store, "LanguageEncoder", None)
    on, off = (
        run_train(paths, tmp_path / str(enabled), epochs=1, grounder={"labels": {"enabled": enabled}})
        for enabled in (True, False)
    )
    name = "checkpoint.safetensors"
    assert (on / name).read_bytes() == (off / name).read_bytes()


def test_a_training_with_labels_learns_what_they_mean(tmp_path: Path) -> None:
    paths = make_photograph_study(tmp_path, ["boat", None, "dog"])
    _, state = load_checkpoint(run_train(paths, tmp_path / "on", epochs=1))
    assert state["label.weight"].any()
    assert state["label_weight"] != 2
    off = run_train(paths, tmp_path / "off", epochs=1, grounder={"labels": {"enabled": False}})
    assert not any("label" in name for name in load_checkpoint(off)[1])


def test_mining_with_a_frozen_scorer_leaves_the_labels_vectors_alone() -> None:
    """A language encoder that trains along gets no gradient but through the mask."""
    proposals = labelled(tiny_batch().proposals)
    assert proposals.labels is not None
    proposals.labels.vectors.requires_grad_()
    assert not proposals.detach().labels.vectors.requires_grad  # type: ignore[union-attr]
