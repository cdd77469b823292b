"""Grounding in two looks: the model's own Grad-CAM of the first draws boxes that the second chooses among.

The own Grad-CAM is that of the image score over the image's proposals. The boxes around it, thresholded,
are proposals of the expression beside those of the image, so how much of the object the map covers, which
attention mining is for, decides how well the best of them fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from camground.grounder.grounder import Grounder
from camground.grounder.regions import Proposals
from camground.grounder.seen_and_read import Grounded, Read, Seen
from camground.matcher import map_geometry

BOX_SIDE = 64  # maps are enlarged to so many cells before a box is drawn around them


@dataclass
class Looked:
    """Of P pairs: what the first look gave, the own CAM (P, H, W), the proposals with the boxes of the map
    after the others, their final scores (P, K + E) and tokens (P, K + E, width)."""

    first: Grounded
    cam: Tensor
    proposals: Proposals
    scores: Tensor
    regions: Tensor


@torch.no_grad()
def boxes_around(maps: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Boxes (P, E, 4) xyxy in [0, 1] around maps (P, H, W), at least 0, at each share of the maximum.

    The largest connected part counts; a map of zeros gives the whole image.
    """
    enlarged = map_geometry.enlarge(maps.float().cpu().numpy(), (BOX_SIDE, BOX_SIDE))
    found = [
        torch.from_numpy(map_geometry.threshold_boxes(enlarged, level, "largest"))
        for level in thresholds
    ]
    return torch.stack(found, 1).to(maps) / BOX_SIDE


@torch.no_grad()
def joint_map(cam: Tensor, shown: Tensor | None, known: Tensor) -> Tensor:
    """The own CAM (P, H, W) and, where it is known, the one shown (P, h, w), each scaled to maximum 1.

    On the finer grid of the two along each axis: a pretrained model's CAM has that model's grid.
    """
    own = cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-12)
    if shown is None:
        return own
    if shown.shape != own.shape:
        height, width = (max(sides) for sides in zip(own.shape[1:], shown.shape[1:], strict=True))
        own, shown = (
            functional.interpolate(one.unsqueeze(1), (height, width), mode="bilinear").squeeze(1)
            for one in (own, shown)
        )
    return own + shown * known[:, None, None]


def look_twice(
    model: Grounder, seen: Seen, read: Read, shown: Tensor, known: Tensor, order: str
) -> Looked:
    """Ground P pairs, row p of each input belonging to pair p.

    seen: of P images, its map with a gradient; shown (P, h, w) in [0, 1] and known (P,) bool: the CAM for
    the CAM encoder. `order`: of `Grounder.own_cam`. Without `model.map_boxes` there is no second look.
    """
    first = model.ground(seen, read, shown, known)
    cam = model.own_cam(first, seen.map, order)
    proposals, last = seen.proposals, first
    thresholds = model.config.map_boxes
    if thresholds:
        # a model without the CAM encoder has not seen the matcher's map, nor may its boxes
        joint = joint_map(cam, None if model.cam_encoder is None else shown, known)
        proposals = proposals.extended(boxes_around(joint, thresholds))
        last = model.ground(model.see_map(seen.map, proposals), read, shown, known)
    scores = model.rescore(last, cam, proposals)
    return Looked(first, cam, proposals, scores, last.regions)
