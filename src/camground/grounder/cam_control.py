"""Control CAMs: what the CAM encoder is shown in place of the expression's own CAM.

A model that gains from the CAM must lose that gain when it is shown another expression's (`shuffled`),
or a map that knows nothing of expression and image (`uniform`, `centre`). Only the encoder's input
changes: the teacher of the distillation keeps the expression's own CAM.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from camground.study.errors import UserError

SHUFFLE_SEED = 20180618  # one for all seeds of training, so that a variant always shows the same maps
CENTRE_SIGMA = 0.25  # of the side


def partners(image_rows: np.ndarray, has_cam: np.ndarray) -> np.ndarray:
    """For each expression the row whose CAM it is shown, (N,) int: a fixed random permutation.

    image_rows (N,): the image of each expression; has_cam (N,) bool. Those without one keep
    themselves; of the others none does, and none meets its own image unless one image has most of them.
    """
    rng = np.random.default_rng(SHUFFLE_SEED)
    rows = np.flatnonzero(has_cam)
    partner = np.arange(len(has_cam))
    if not len(rows):
        return partner
    if len(rows) == 1:
        raise UserError("grounder.cam_encoder.control: shuffled needs two expressions with a CAM in a split")
    rows = rng.permutation(rows)
    images, index, counts = np.unique(image_rows[rows], return_inverse=True, return_counts=True)
    # one image's expressions lie together, so a step past the largest group leaves the image
    rows = rows[np.argsort(rng.permutation(len(images))[index], kind="stable")]
    step = min(int(counts.max()), len(rows) // 2)
    partner[rows] = np.roll(rows, -step)
    return partner


def fixed_map(control: str, height: int, width: int) -> Tensor:
    """The map (height, width) of `uniform`, ones, or `centre`, a Gaussian; its maximum is 1."""
    if control == "uniform":
        return torch.ones(height, width)

    def along(cells: int) -> Tensor:
        middle = (torch.arange(cells) + 0.5) / cells - 0.5
        return torch.exp(-(middle**2) / (2 * CENTRE_SIGMA**2))

    gaussian = along(height).unsqueeze(1) * along(width)
    return gaussian / gaussian.max()


def shown_alone(control: str, cams: Tensor) -> Tensor:
    """What the encoder is shown for the texts of one photograph, whose own CAMs (M, H, W) are `cams`."""
    if control == "none":
        return cams
    if control == "shuffled":
        raise UserError(
            "grounder.cam_encoder.control: shuffled shows the CAM of another expression of a data split,"
            " which a single photograph does not have; ground it with a model trained with another control"
        )
    return fixed_map(control, *cams.shape[-2:]).to(cams).expand_as(cams)
