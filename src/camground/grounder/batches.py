"""What the grounder reads: features, proposals and CAMs of batches of image-sentence pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from camground.data.pairs import Batch, Pairs
from camground.features.store import FeatureStore
from camground.grounder import cam_control
from camground.grounder.own_boxes import boxes_around
from camground.grounder.regions import Proposals
from camground.matcher import maps
from camground.study import tables
from camground.study.errors import UserError


class ProposalTable:
    """Proposals of every image, padded to the largest number of them.

    boxes (N, K, 4) float32 xyxy as shares of the image, objectness (N, K), valid (N, K), in the order
    of the `images` table.
    """

    def __init__(self, images: str | Path, proposals: str | Path) -> None:
        table = tables.read("images", images, ["image_id", "width", "height"])
        found = tables.read("proposals", proposals).sort_values(["image_id", "rank"])
        rows = pd.Index(table["image_id"]).get_indexer(pd.Index(found["image_id"]))
        if (rows < 0).any():
            lost = found["image_id"].iloc[int(np.argmin(rows))]
            raise UserError(f"{proposals}: image {lost!r} is not in {images}; rerun `proposals`")
        rank = found["rank"].to_numpy()
        count = int(rank.max()) + 1 if len(found) else 1
        size = table[["width", "height"]].to_numpy(dtype=np.float32)
        self.boxes = np.zeros((len(table), count, 4), dtype=np.float32)
        self.objectness = np.zeros((len(table), count), dtype=np.float32)
        self.valid = np.zeros((len(table), count), dtype=bool)
        if len(found):
            boxes = np.array(found["box_xyxy"].tolist(), dtype=np.float32)
            self.boxes[rows, rank] = boxes / np.tile(size[rows], 2)
            self.objectness[rows, rank] = found["objectness"].to_numpy()
            self.valid[rows, rank] = True
        self.sizes = size

    def take(self, rows: np.ndarray) -> Proposals:
        return Proposals(
            torch.from_numpy(self.boxes[rows]),
            torch.from_numpy(self.objectness[rows]),
            torch.from_numpy(self.valid[rows]),
        )


class CamTable:
    """The matcher's CAMs of some expressions, and the box around each thresholded map.

    A missing CAM is a map of zeros and known False.
    """

    def __init__(
        self,
        path: str | Path,
        expression_ids: list[str],
        threshold: float,
    ) -> None:
        self._maps = maps.read_cams(path, pd.Index(expression_ids))
        self.known = self._maps.present
        sizes = np.unique(self._maps.sizes[self.known], axis=0)
        if len(sizes) > 1:
            raise UserError(f"{path}: maps of several sizes {sizes.tolist()}; rerun `gradcam`")
        self.size = tuple(sizes[0].tolist()) if len(sizes) else (1, 1)
        self.boxes = np.tile(np.array([0, 0, 1, 1], dtype=np.float32), (len(expression_ids), 1))
        present = np.flatnonzero(self.known)
        for start in range(0, len(present), 1024):
            which = present[start : start + 1024]
            maps_of = torch.from_numpy(self._maps.stack(which))
            self.boxes[which] = boxes_around(maps_of, [threshold])[:, 0].numpy()

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (M, h, w) float32 in [0, 1], known (M,) bool, boxes (M, 4) xyxy in [0, 1]."""
        cams = np.zeros((len(rows), *self.size), dtype=np.float32)
        there = self.known[rows]
        if there.any():
            cams[there] = self._maps.stack(rows[there])
        return torch.from_numpy(cams), torch.from_numpy(there), torch.from_numpy(self.boxes[rows])


@dataclass
class Loaded:
    """One batch: B images, M expressions. owner (M,) int64 and text_ids (M,) as in `Pairs`.

    cam (M, h, w) is each expression's own, which the distillation learns from; shown_cam (M, h, w) is what
    the CAM encoder sees: the same, or a control's. Both are known where cam_known is.

    swapped (M,) bool: the expression has a swap in this batch, of which swap_tokens, swap_mask (the text,
    of S of them in order) and swap_false (S,) bool (false of the image) are.
    """

    features: Tensor
    proposals: Proposals
    tokens: Tensor
    tokens_mask: Tensor
    owner: Tensor
    text_ids: Tensor
    cam: Tensor
    shown_cam: Tensor
    cam_known: Tensor
    cam_box: Tensor
    image_rows: np.ndarray
    swapped: Tensor
    swap_tokens: Tensor
    swap_mask: Tensor
    swap_false: Tensor


class GroundingData:
    """Pairs of one split with everything that the grounder needs of them.

    `control`: as `model.cam_encoder.control`.
    """

    def __init__(
        self,
        pairs: Pairs,
        store: FeatureStore,
        proposals: ProposalTable,
        cams: str | Path,
        threshold: float,
        control: str = "none",
    ) -> None:
        self.pairs, self.store, self.proposals = pairs, store, proposals
        self.cams = CamTable(cams, pairs.expression_ids, threshold)
        self.control = control
        if control == "shuffled":
            self._partners = cam_control.partners(pairs.image_rows, self.cams.known)

    def load(self, batch: Batch, where: torch.device) -> Loaded:
        tokens, mask = self.store.texts([self.pairs.texts[row] for row in batch.expressions])
        cam, known, box = self.cams.take(batch.expressions)
        swapped = batch.swaps >= 0
        swaps = batch.swaps[swapped]
        swap_tokens, swap_mask = self.store.texts([self.pairs.swaps.texts[row] for row in swaps])
        return Loaded(
            features=self.store.images(batch.images).to(where),
            proposals=self.proposals.take(batch.images).to(where),
            tokens=tokens.to(where),
            tokens_mask=mask.to(where),
            owner=torch.from_numpy(batch.owner).to(where),
            text_ids=torch.from_numpy(self.pairs.text_ids[batch.expressions]).to(where),
            cam=cam.to(where),
            shown_cam=self._shown(batch.expressions, cam).to(where),
            cam_known=known.to(where),
            cam_box=box.to(where),
            image_rows=batch.images,
            swapped=torch.from_numpy(swapped).to(where),
            swap_tokens=swap_tokens.to(where),
            swap_mask=swap_mask.to(where),
            swap_false=torch.from_numpy(self.pairs.swaps.false[swaps]).to(where),
        )

    def _shown(self, rows: np.ndarray, own: Tensor) -> Tensor:
        """What the CAM encoder is shown for these expressions, whose own CAMs are `own`."""
        if self.control == "none":
            return own
        if self.control == "shuffled":
            return self.cams.take(self._partners[rows])[0]
        return cam_control.fixed_map(self.control, *own.shape[-2:]).expand_as(own)
