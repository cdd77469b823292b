"""A study's files as the grounder's batches: features, proposals and CAMs of image-text pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from camground.data.pairs import PairBatch, Pairs
from camground.features.store import FeatureStore
from camground.grounder import cam_control
from camground.grounder.map_boxes import boxes_around
from camground.grounder.regions import Labels, Proposals
from camground.matcher import maps
from camground.study import tables
from camground.study.errors import UserError


class ProposalTable:
    """Proposals of every image, padded to the largest number of them.

    boxes (N, K, 4) float32 xyxy as shares of the image, objectness (N, K), valid (N, K) bool, sizes (N, 2)
    float32, width and height in pixels; in the order of the `images` table, whose ids are image_ids.
    labelled (N, K) bool: which a detector has named. label_names: the distinct labels, which `store` gives
    vectors of; none without a store.
    """

    def __init__(self, images: str | Path, proposals: str | Path, store: FeatureStore | None = None) -> None:
        table = tables.read("images", images, ["image_id", "width", "height"])
        rows = tables.read("proposals", proposals).sort_values(["image_id", "rank"])
        image = pd.Index(table["image_id"]).get_indexer(pd.Index(rows["image_id"]))
        if (image < 0).any():
            stray = rows["image_id"].iloc[int(np.argmin(image))]
            raise UserError(f"{proposals}: image {stray!r} is not in {images}; rerun `proposals`")
        rank = rows["rank"].to_numpy()
        count = int(rank.max()) + 1 if len(rows) else 1
        self.image_ids: list[str] = table["image_id"].tolist()
        self.sizes = table[["width", "height"]].to_numpy(dtype=np.float32)
        self.boxes = np.zeros((len(table), count, 4), dtype=np.float32)
        self.objectness = np.zeros((len(table), count), dtype=np.float32)
        self.valid = np.zeros((len(table), count), dtype=bool)
        self.labelled = np.zeros((len(table), count), dtype=bool)
        if len(rows):
            boxes = np.array(rows["box_xyxy"].tolist(), dtype=np.float32)
            self.boxes[image, rank] = boxes / np.tile(self.sizes[image], 2)
            self.objectness[image, rank] = rows["objectness"].to_numpy()
            self.valid[image, rank] = True
            self.labelled[image, rank] = rows["label"].notna()
        self._store = store
        # in the order of the alphabet, -1 for none
        label, names = pd.factorize(rows["label"] if store is not None else rows["label"][:0], sort=True)
        self.label_names: list[str] = names.tolist()
        self._labels = np.full(self.valid.shape if self.label_names else (0, 0), -1, dtype=np.int64)
        if self.label_names and store is not None:
            self._labels[image, rank] = label
            store.vectors(self.label_names)  # which an encoder reads once, all together

    def take(self, rows: np.ndarray) -> Proposals:
        """The proposals of the images at these rows of the `images` table."""
        boxes, objectness = torch.from_numpy(self.boxes[rows]), torch.from_numpy(self.objectness[rows])
        valid, labelled = torch.from_numpy(self.valid[rows]), torch.from_numpy(self.labelled[rows])
        return Proposals(boxes, objectness, valid, self._take_labels(rows), labelled)

    def _take_labels(self, rows: np.ndarray) -> Labels | None:
        if not self.label_names or self._store is None:
            return None
        labels = self._labels[rows]
        present = np.unique(labels[labels >= 0])
        if not len(present):
            return None
        # a network that trains along reads those alone that the images have
        vectors = self._store.vectors([self.label_names[label] for label in present])
        index = np.where(labels < 0, -1, np.searchsorted(present, labels))
        boxes, scores = torch.from_numpy(self.boxes[rows]), torch.from_numpy(self.objectness[rows])
        return Labels.of(boxes, scores, torch.from_numpy(index), vectors)


class CamTable:
    """The matcher's CAMs of some expressions, and boxes around each at E shares of its maximum.

    has_cam (N,) bool: False where the CAM is missing or all zero, which says nothing of where to look; its
    boxes are empty, all zeros.
    """

    def __init__(self, path: str | Path, expression_ids: list[str], thresholds: Sequence[float] = ()) -> None:
        self._maps = maps.read_cams(path, pd.Index(expression_ids))
        self.has_cam = self._maps.nonzero
        sizes = np.unique(self._maps.sizes[self.has_cam], axis=0)
        if len(sizes) > 1:
            raise UserError(f"{path}: maps of several sizes {sizes.tolist()}; rerun `gradcam`")
        self.size = tuple(sizes[0].tolist()) if len(sizes) else (1, 1)
        self._thresholds = thresholds

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, E, 4) float32 xyxy in [0, 1]: the boxes around each map; drawn when first asked for."""
        boxes = np.zeros((len(self.has_cam), len(self._thresholds), 4), dtype=np.float32)
        present = np.flatnonzero(self.has_cam & bool(self._thresholds))
        for start in range(0, len(present), 1024):
            rows = present[start : start + 1024]
            stack = torch.from_numpy(self._maps.stack(rows))
            boxes[rows] = boxes_around(stack, self._thresholds).numpy()
        return boxes

    def take(self, rows: np.ndarray) -> Tensor:
        """Maps (M, h, w) float32 in [0, 1] of the expressions at these rows."""
        cams = np.zeros((len(rows), *self.size), dtype=np.float32)
        has_cam = self.has_cam[rows]
        if has_cam.any():
            cams[has_cam] = self._maps.stack(rows[has_cam])
        return torch.from_numpy(cams)


@dataclass
class SwapBatch:
    """The swaps of a batch's expressions: expression (S,) int64, the row of the expression that each was made
    from; tokens (S, T, text_width) with mask (S, T) bool; false (S,) bool: known to be false of the image."""

    expression: Tensor
    tokens: Tensor
    mask: Tensor
    false: Tensor


@dataclass
class GroundingBatch:
    """B images and M expressions.

    image_rows (B,): of the `images` table. features (B, C, H, W), proposals of the images; tokens
    (M, T, text_width) with mask (M, T) bool; owner (M,) int64: each expression's image; text_ids (M,): equal
    for equal texts. matcher_cam (M, h, w) in [0, 1]: what the CAM encoder sees, the expressions' CAMs or a
    control's; has_cam (M,): False where an expression's CAM is unknown or all zero, so that nothing is shown.
    teacher_cam (M, h, w) with cam_boxes (M, E, 4) xyxy in [0, 1] around each: what the teacher is made of;
    taught (M,): where it is known. swaps: None where no expression has one. side_by_side (M, M): of
    `Pairs.side_by_side`.
    """

    image_rows: np.ndarray
    features: Tensor
    proposals: Proposals
    tokens: Tensor
    mask: Tensor
    owner: Tensor
    text_ids: Tensor
    matcher_cam: Tensor
    has_cam: Tensor
    teacher_cam: Tensor
    cam_boxes: Tensor
    taught: Tensor
    swaps: SwapBatch | None
    side_by_side: Tensor

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What `Grounder.forward` reads, in its order."""
        images = self.features, self.proposals
        return *images, self.tokens, self.mask, self.owner, self.matcher_cam, self.has_cam


class GroundingData:
    """The pairs of one split with everything that the grounder needs of them.

    cams: the CAMs that the encoder sees; teacher_cams: those that the teacher is made of, by default cams;
    thresholds: of the boxes around the latter. `control`: as `grounder.cam_encoder.control`.
    """

    def __init__(
        self,
        pairs: Pairs,
        store: FeatureStore,
        proposals: ProposalTable,
        cams: str | Path,
        thresholds: Sequence[float] = (),
        control: str = "none",
        teacher_cams: str | Path | None = None,
    ) -> None:
        self.pairs, self.store, self.proposals = pairs, store, proposals
        self.cams = self.teacher = CamTable(cams, pairs.expression_ids, thresholds)
        if teacher_cams is not None and Path(teacher_cams) != Path(cams):
            self.teacher = CamTable(teacher_cams, pairs.expression_ids, thresholds)
        self.control = control
        if control == "shuffled":
            self._partners = cam_control.partners(pairs.image_rows, self.cams.has_cam)

    def load(self, batch: PairBatch, device: torch.device) -> GroundingBatch:
        """The batch's tensors on `device`."""
        rows = batch.expressions
        tokens, mask = self.store.texts([self.pairs.texts[row] for row in rows])
        cam = self.cams.take(rows)
        return GroundingBatch(
            image_rows=batch.images,
            features=self.store.images(batch.images).to(device),
            proposals=self.proposals.take(batch.images).to(device),
            tokens=tokens.to(device),
            mask=mask.to(device),
            owner=torch.from_numpy(batch.owner).to(device),
            text_ids=torch.from_numpy(self.pairs.text_ids[rows]).to(device),
            matcher_cam=self._shown(rows, cam).to(device),
            has_cam=torch.from_numpy(self.cams.has_cam[rows]).to(device),
            teacher_cam=self.teacher.take(rows).to(device),
            cam_boxes=torch.from_numpy(self.teacher.boxes[rows]).to(device),
            taught=torch.from_numpy(self.teacher.has_cam[rows]).to(device),
            swaps=self._swaps(batch, device),
            side_by_side=torch.from_numpy(self.pairs.side_by_side(batch)).to(device),
        )

    def _swaps(self, batch: PairBatch, device: torch.device) -> SwapBatch | None:
        expression = np.flatnonzero(batch.swaps >= 0)
        if not len(expression):
            return None
        swaps = batch.swaps[expression]
        tokens, mask = self.store.texts([self.pairs.swaps.texts[row] for row in swaps])
        return SwapBatch(
            torch.from_numpy(expression).to(device),
            tokens.to(device),
            mask.to(device),
            torch.from_numpy(self.pairs.swaps.false[swaps]).to(device),
        )

    def _shown(self, rows: np.ndarray, cam: Tensor) -> Tensor:
        """What the CAM encoder is shown for these expressions, whose own CAMs are `cam`."""
        if self.control == "shuffled":
            return self.cams.take(self._partners[rows])
        return cam_control.shown_alone(self.control, cam)
