"""Tiny random grounders and batches for them, in double precision, so that equal numbers are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.grounder.batches import GroundingBatch, SwapBatch
from camground.grounder.config import GrounderConfig
from camground.grounder.grounder import Grounder, GroundingOutput, Images, ImageScore
from camground.grounder.regions import Labels, Proposals
from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher, Texts

torch.set_num_threads(1)  # tensors so small lose time to more

M = TypeVar("M", bound=nn.Module)

CHANNELS, TEXT_WIDTH, GRID, COUNT, PAIRS = 6, 10, 8, 5, 3
OFF: dict[str, Any] = {"enabled": False}
# differences of the grounder's config, each of which takes another way through the forward pass
SWITCHES: dict[str, dict[str, Any]] = {
    "full": {},
    "no_cam_encoder": {"cam_encoder": OFF},
    "no_transformer": {"transformer": OFF},
    "no_fusion": {"fusion": OFF},
    "no_relations": {"fusion": {"relations": 0}, "relations": 0},
    "regions_only": {"regions_only": True},
    "no_gate": {"own_gate": False},
}


def tiny_matcher(relations: int = 2) -> Matcher:
    """A random matcher in evaluation mode."""
    torch.manual_seed(0)
    config = MatcherConfig(width=16, blocks=1, dropout=0.0, temperature=0.1, relations=relations)
    return Matcher(config, CHANNELS, TEXT_WIDTH).double().eval()


def tiny_config(**changes: Any) -> GrounderConfig:
    """The grounder's config with small parts and some changes."""
    changes["transformer"] = {"grid": 2, **changes.get("transformer", {})}
    changes["cam_encoder"] = {"channels": 4, "tokens": 2, **changes.get("cam_encoder", {})}
    return GrounderConfig.parse(changes)


def fresh_grounder(relations: int = 2, reads_labels: bool = False, **changes: Any) -> Grounder:
    """An untrained grounder in evaluation mode; `relations` of its matcher, other changes of its config."""
    matcher = tiny_matcher(relations)
    torch.manual_seed(1)
    return Grounder(matcher, tiny_config(**changes), labels=reads_labels).double().eval()


def tiny_grounder(relations: int = 2, reads_labels: bool = False, **changes: Any) -> Grounder:
    """A random grounder, also where a fresh one starts from zero; arguments of `fresh_grounder`."""
    return without_zeros(fresh_grounder(relations, reads_labels, **changes))


def labelled(proposals: Proposals) -> Proposals:
    """The proposals with three random labels; the second of each image has none."""
    make = torch.Generator().manual_seed(3)
    vectors = functional.normalize(torch.randn(3, TEXT_WIDTH, generator=make).double(), dim=-1)
    index = torch.randint(0, 3, proposals.objectness.shape, generator=make)
    index[:, 1] = -1
    labels = Labels.of(proposals.boxes, proposals.objectness, index, vectors)
    return replace(proposals, labels=labels)


def without_zeros(model: M) -> M:
    """The model, its layers that start from zero drawn at random, so that they have an effect."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.any():
            layer.reset_parameters()
    return model


@dataclass
class Inputs:
    """PAIRS images with a text and a CAM each: what `Grounder.forward` reads."""

    features: Tensor
    proposals: Proposals
    tokens: Tensor
    mask: Tensor
    cam: Tensor

    def take(self, rows: Sequence[int]) -> Inputs:
        """The pairs at these rows."""
        at = torch.tensor(rows)
        return Inputs(
            self.features[at], self.proposals.take(at), self.tokens[at], self.mask[at], self.cam[at]
        )


def tiny_inputs(seed: int = 1, count: int = COUNT) -> Inputs:
    """Random inputs; `count` proposals each, texts of 4, 2 and 1 words."""
    make = torch.Generator().manual_seed(seed)
    corners = torch.rand(PAIRS, count, 2, generator=make).double() * 0.5
    sizes = 0.1 + 0.3 * torch.rand(PAIRS, count, 2, generator=make)
    proposals = Proposals(
        torch.cat([corners, corners + sizes], -1),
        torch.rand(PAIRS, count, generator=make).double(),
        torch.ones(PAIRS, count, dtype=torch.bool),
    )
    features = torch.randn(PAIRS, CHANNELS, GRID, GRID, generator=make).double()
    tokens = torch.randn(PAIRS, 4, TEXT_WIDTH, generator=make).double()
    mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True] + [False] * 3])
    cam = torch.rand(PAIRS, GRID, GRID, generator=make).double()
    return Inputs(features, proposals, tokens * mask[..., None], mask, cam)


def forward(
    model: Grounder,
    inputs: Inputs,
    show_cam: bool = True,
    order: str = "first",
    map_boxes: Sequence[float] = (),
) -> GroundingOutput:
    """The forward pass of each text in its own image, with the own CAM drawn."""
    output: GroundingOutput = model(
        inputs.features,
        inputs.proposals,
        inputs.tokens,
        inputs.mask,
        torch.arange(len(inputs.features)),
        inputs.cam if show_cam else None,
        order=order,
        map_boxes=map_boxes,
    )
    return output


def see(model: Grounder, inputs: Inputs) -> Images:
    """The images as the grounder's tokens."""
    return model.see(model.matcher.trunk(inputs.features), inputs.proposals)


def late_scores(model: Grounder, images: Images, texts: Texts) -> Tensor:
    """The contrastive logits of every image with every text."""
    return model.contrastive_logits(images, texts, model.all_similarities(images, texts))


def score_alone(model: Grounder, images: Images, row: int, texts: Texts) -> ImageScore:
    """The image score of one image, by its row, with one text."""
    return model.image_score(images.take(torch.tensor([row])), texts)


def tiny_batch(
    owner: Sequence[int] = (0, 1, 2), swapped: Sequence[int] = (), false: Sequence[bool] = ()
) -> GroundingBatch:
    """Three expressions of the images `owner`; those in `swapped` have a swap, which is false of the image
    where `false` says so."""
    inputs = tiny_inputs()
    images = torch.tensor(owner).unique()
    rows = torch.tensor(list(swapped), dtype=torch.long)
    owners, swaps = torch.tensor(owner), None
    if len(rows):
        swaps = SwapBatch(rows, -inputs.tokens[rows], inputs.mask[rows], torch.tensor(list(false)))
    return GroundingBatch(
        image_rows=images.numpy(),
        features=inputs.features[images],
        proposals=inputs.proposals.take(images),
        tokens=inputs.tokens,
        mask=inputs.mask,
        owner=owners,
        text_ids=torch.arange(PAIRS),
        matcher_cam=inputs.cam,
        has_cam=torch.ones(PAIRS, dtype=torch.bool),
        teacher_cam=inputs.cam,
        cam_boxes=torch.tensor([[[0.1, 0.1, 0.5, 0.6], [0.2, 0.2, 0.4, 0.5]]] * PAIRS).double(),
        taught=torch.ones(PAIRS, dtype=torch.bool),
        swaps=swaps,
        side_by_side=(owners == owners.unsqueeze(1)) & ~torch.eye(PAIRS, dtype=torch.bool),
    )
