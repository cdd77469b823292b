"""Proposals and their labels; proposals on a grid: bilinear pooling as matrix products, which has the double
backward that torchvision's roi_align lacks; and the geometry of boxes.

Boxes here are xyxy as shares of the image's width and height, in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

RING = 1.5  # side of the context around a box, in sides of the box


@dataclass
class Labels:
    """What a detector says that J boxes of each of B images hold.

    boxes (B, J, 4) xyxy in [0, 1]; score (B, J) in [0, 1], 0 of a box without a label; index (B, J) int64,
    the label's row of vectors (L, text_width), the unit vectors of all labels.
    """

    boxes: Tensor
    score: Tensor
    index: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, boxes: Tensor, score: Tensor, index: Tensor, vectors: Tensor) -> Labels:
        """index: -1 where a box has no label, whatever its score."""
        return cls(boxes, score * (index >= 0), index.clamp(min=0), vectors)

    def take(self, rows: Tensor) -> Labels:
        return Labels(self.boxes[rows], self.score[rows], self.index[rows], self.vectors)

    def to(self, device: torch.device) -> Labels:
        parts = (self.boxes, self.score, self.index, self.vectors)
        return Labels(*(part.to(device) for part in parts))

    def evidence(self, boxes: Tensor, similarity: Tensor) -> Tensor:
        """What the labels say of boxes (B, K, 4) for M texts each, (B, M, K): the sum over the labelled boxes
        of score x similarity (B, M, L) of text and label, times the squared IoU of the two boxes."""
        index = self.index.unsqueeze(1).expand(-1, similarity.shape[1], -1)
        each = self.score.unsqueeze(1) * similarity.gather(2, index)  # (B, M, J)
        return each @ pairwise_iou(self.boxes, boxes).square()


@dataclass
class Proposals:
    """Proposals of B images, padded to K: boxes (B, K, 4) xyxy in [0, 1], objectness (B, K) in [0, 1],
    valid (B, K) bool; labels: None where there are none or nothing reads them. labelled (B, K) bool: which a
    detector has named, read or not; None stands for none.
    """

    boxes: Tensor
    objectness: Tensor
    valid: Tensor
    labels: Labels | None = None
    labelled: Tensor | None = None

    def take(self, rows: Tensor) -> Proposals:
        labels = None if self.labels is None else self.labels.take(rows)
        labelled = None if self.labelled is None else self.labelled[rows]
        return Proposals(self.boxes[rows], self.objectness[rows], self.valid[rows], labels, labelled)

    def extended(self, boxes: Tensor) -> Proposals:
        """With more boxes (B, E, 4) after the others, each as much an object as the one it overlaps most, and
        none at all where it overlaps none."""
        if not boxes.shape[1]:
            return self
        overlap = pairwise_iou(boxes, self.boxes).masked_fill(~self.valid.unsqueeze(1), -1)
        most, nearest = overlap.max(-1)
        objectness = self.objectness.gather(1, nearest) * (most > 0)
        valid = (boxes[..., 2:] > boxes[..., :2]).all(-1)
        return Proposals(
            torch.cat([self.boxes, boxes], 1),
            torch.cat([self.objectness, objectness], 1),
            torch.cat([self.valid, valid], 1),
            self.labels,
            None if self.labelled is None else torch.cat([self.labelled, torch.zeros_like(valid)], 1),
        )

    def to(self, device: torch.device) -> Proposals:
        labels = None if self.labels is None else self.labels.to(device)
        labelled = None if self.labelled is None else self.labelled.to(device)
        boxes, objectness, valid = (part.to(device) for part in (self.boxes, self.objectness, self.valid))
        return Proposals(boxes, objectness, valid, labels, labelled)

    def detach(self) -> Proposals:
        """Without the graph of the labels' vectors."""
        if self.labels is None:
            return self
        return replace(self, labels=replace(self.labels, vectors=self.labels.vectors.detach()))

    def erased(self, mask: Tensor) -> Proposals:
        """Where mask (B, H, W) in [0, 1] is erased from the images: a label's score is less by the share of
        its box that is gone."""
        if self.labels is None:
            return self
        cells = cell_overlap(self.labels.boxes, *mask.shape[-2:])
        gone = (cells @ mask.flatten(1).unsqueeze(-1)).squeeze(-1) / cells.sum(-1).clamp(min=1e-6)
        return replace(self, labels=replace(self.labels, score=self.labels.score * (1 - gone)))


def cell_overlap(boxes: Tensor, height: int, width: int) -> Tensor:
    """Share of each cell that each box covers: boxes (B, K, 4) -> (B, K, H * W) in [0, 1]."""

    def along(low: Tensor, high: Tensor, cells: int) -> Tensor:
        edges = torch.linspace(0, 1, cells + 1, device=boxes.device, dtype=boxes.dtype)
        covered = torch.minimum(high.unsqueeze(-1), edges[1:]) - torch.maximum(low.unsqueeze(-1), edges[:-1])
        return covered.clamp(min=0) * cells

    x = along(boxes[..., 0], boxes[..., 2], width)
    y = along(boxes[..., 1], boxes[..., 3], height)
    return (y.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)


def enlarge(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (..., 4) about their centres with sides `factor` times as long, cut to the image."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) / 2 * factor
    return torch.cat([centre - half, centre + half], -1).clamp(0, 1)


def inside_and_ring(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Pooling weights (B, 2 K, H * W) of each box's inside, and then of the ring around each; size (H, W).

    Each sums to 1 over the cells; the ring of a box as large as the image is empty and sums to 0.
    """
    inside = cell_overlap(boxes, *size)
    around = (cell_overlap(enlarge(boxes, RING), *size) - inside).clamp(min=0)
    weights = torch.cat([inside, around], 1)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


def covered(boxes: Tensor, cells: int) -> Tensor:
    """How many of the cells each box covers, (B, K): the mean inside times this is the sum inside."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) * cells


def geometry(boxes: Tensor) -> Tensor:
    """(B, K, 9): the corners, the centre, the logarithms of width and height, and the area."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    area = size.prod(-1, keepdim=True)
    return torch.cat([boxes * 2 - 1, centre * 2 - 1, size.log() / 3, area * 2 - 1], -1)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (B, M, K) of boxes (B, M, 4) with others (B, K, 4)."""
    boxes, others = boxes.unsqueeze(2), others.unsqueeze(1)
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (boxes, others)]
    return inter / (areas[0] + areas[1] - inter).clamp(min=1e-6)


PAIR_FEATURES = 11


def pair_geometry(boxes: Tensor) -> Tensor:
    """How box j lies to box i: (B, K, K, 11) of boxes (B, K, 4).

    The offset of the centres and its size on each axis, the distance, the logarithms of the ratios of
    widths, heights and areas, the IoU, and the shares of i and of j that both cover.
    """
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    offset = centre.unsqueeze(1) - centre.unsqueeze(2)  # [:, i, j] = centre j less centre i
    ratio = size.log().unsqueeze(1) - size.log().unsqueeze(2)
    low = torch.maximum(boxes[..., :2].unsqueeze(1), boxes[..., :2].unsqueeze(2))
    high = torch.minimum(boxes[..., 2:].unsqueeze(1), boxes[..., 2:].unsqueeze(2))
    shared = (high - low).clamp(min=0).prod(-1)
    area = size.prod(-1)
    own, other = area.unsqueeze(2), area.unsqueeze(1)
    distance = (offset.square().sum(-1, keepdim=True) + 1e-6).sqrt()
    covered = torch.stack([shared / (own + other - shared), shared / own, shared / other], -1)
    parts = [2 * offset, 2 * offset.abs(), distance, ratio, ratio.sum(-1, keepdim=True), covered]
    return torch.cat(parts, -1)


def map_features(cam: Tensor, boxes: Tensor, weights: Tensor | None = None) -> Tensor:
    """What a map says of each box: (B, K, 4) float.

    cam (B, H, W) at least 0; boxes (B, K, 4); weights: their `inside_and_ring`, of a caller that has it. The
    features are the mean inside, the mean in the ring, their difference, and the share of the map's mass
    inside, of the map scaled to maximum 1.
    """
    peak = cam.flatten(1).amax(-1).clamp(min=1e-6)
    flat = (cam / peak[:, None, None]).flatten(1).unsqueeze(-1)  # (B, H * W, 1)
    height, width = cam.shape[-2:]
    if weights is None:
        weights = inside_and_ring(boxes, (height, width))
    inside, around = (weights @ flat).squeeze(-1).chunk(2, 1)
    share = inside * covered(boxes, height * width) / flat.sum(1).clamp(min=1e-6)
    return torch.stack([inside, around, inside - around, share], -1)


def cell_features(similarity: Tensor, shares: Tensor, boxes: Tensor, weights: Tensor) -> Tensor:
    """What the cells' similarity with a text says of each box: (P, K, 4).

    similarity and shares (P, H * W), the latter sums to 1; boxes (P, K, 4) and their `inside_and_ring`. The
    features are the mean similarity inside, that in the ring, their difference, and the sum of the shares
    inside.
    """
    inside, around = (weights @ torch.stack([similarity, shares], -1)).chunk(2, 1)
    share = inside[..., 1] * covered(boxes, similarity.shape[-1])
    return torch.stack([inside[..., 0], around[..., 0], inside[..., 0] - around[..., 0], share], -1)
