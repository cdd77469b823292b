"""Whether what a phrase means is in the picture at all: the image score as a probability.

The image score S(I, q) ranks an image's own phrases above other images' well, but the losses that shape it
set each phrase against the hardest of its batch and against phrases with one word changed, so that its logit
answers no question of a user's. Platt's scaling (Platt 1999) of it, fitted on captions of val, is the
probability that a phrase is the image's own where own phrases and those of other images are as many. Like all
image scores it is computed without the matcher's CAM, with which it ranks worse (docs/experiments.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from camground.data.pairs import Pairs
from camground.features.store import FeatureStore
from camground.grounder.batches import ProposalTable
from camground.grounder.grounder import Images
from camground.grounder.loading import TrainedGrounder
from camground.grounder.model_folder import CALIBRATION
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log, track
from camground.study.section import Section

FILE = CALIBRATION
DRAWING_SEED = 19990326
ATTEMPTS = 100


class Calibration(Section):
    """What FILE holds. `own`, `other`: how many phrases of either kind it was fitted on; without any it
    leaves the image score as it is."""

    slope: Annotated[float, Field(ge=0)] = 1.0
    bias: float = 0.0
    own: int = 0
    other: int = 0

    def probability(self, logits: Tensor) -> Tensor:
        """That the phrases of these image scores, logits, are in the picture."""
        return (self.slope * logits + self.bias).sigmoid()


def other_phrases(pairs: Pairs) -> np.ndarray:
    """For each of the N expressions the row of another image's, (N,) int, whose text no expression of its own
    image has; -1 where there is none. Drawn in the same way in every study, seed and variant."""
    rng = np.random.default_rng(DRAWING_SEED)
    _, text = np.unique([text.casefold() for text in pairs.texts], return_inverse=True)
    key = pairs.image_rows * (text.max(initial=0) + 1)
    other = np.full(len(pairs), -1)
    for _ in range(ATTEMPTS):
        open_rows = np.flatnonzero(other < 0)
        if not len(open_rows):
            break
        drawn = rng.integers(len(pairs), size=len(open_rows))
        free = ~np.isin(key[open_rows] + text[drawn], key + text)
        other[open_rows[free]] = drawn[free]
    return other


def image_logits(trained: TrainedGrounder, store: FeatureStore, images: Images, texts: list[str]) -> Tensor:
    """S(I, q), logits (M,), of row m of what the grounder sees of M images with row m of `texts`."""
    device = images.map.device
    tokens, mask = store.texts(texts)
    read = trained.model.matcher.read(tokens.to(device), mask.to(device))
    return trained.model.image_score(images, read).logit


def calibrate(
    trained: TrainedGrounder,
    store: FeatureStore,
    proposals: ProposalTable,
    pairs: Pairs,
    batch_size: int,
    device: torch.device,
) -> Calibration:
    """Fitted on the pairs, which are captions of val, each image's own phrases against others'."""
    other, scores = other_phrases(pairs), []
    with torch.no_grad():
        for batch in track(list(pairs.in_order(batch_size)), "calibrating on val (batches)"):
            rows = batch.expressions
            visual = trained.model.matcher.trunk(store.images(batch.images).to(device))
            seen = trained.model.see(visual, proposals.take(batch.images).to(device))
            images = seen.take(torch.from_numpy(batch.owner).to(device))
            own = image_logits(trained, store, images, [pairs.texts[row] for row in rows])
            foreign = image_logits(trained, store, images, [pairs.texts[row] for row in other[rows]])
            drawn = torch.from_numpy(other[rows] >= 0)
            scores.append((own.cpu(), foreign.cpu()[drawn]))
    joined = [torch.cat(part).double().numpy() for part in zip(*scores, strict=True)]
    calibration = fit(*joined) if joined else Calibration()
    log.info(
        "image score calibrated on %d own and %d other phrases of val: slope %.2f, bias %.2f",
        *(calibration.own, calibration.other, calibration.slope, calibration.bias),
    )
    return calibration


def fit(own: np.ndarray, other: np.ndarray) -> Calibration:
    """Platt's scaling of logits (N,) of own phrases and (M,) of others, float64.

    The targets are smoothed as Platt does, so that a few pairs, or pairs that are told apart without an
    error, give no certainty; either kind weighs as much. The slope is never below 0: a model that ranks the
    wrong way knows nothing.
    """
    from scipy.optimize import minimize

    if not len(own) or not len(other):
        return Calibration()
    logits = np.concatenate([own, other])
    targets = np.repeat([(len(own) + 1) / (len(own) + 2), 1 / (len(other) + 2)], [len(own), len(other)])
    weights = np.repeat([0.5 / len(own), 0.5 / len(other)], [len(own), len(other)])

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * logits + parameters[1]
        error = weights * (1 / (1 + np.exp(-z)) - targets)
        return float(weights @ (np.logaddexp(0, z) - targets * z)), np.array([error @ logits, error.sum()])

    fitted = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)])
    slope, bias = (float(value) for value in fitted.x)
    return Calibration(slope=slope, bias=bias, own=len(own), other=len(other))


def write_calibration(calibration: Calibration, path: Path) -> None:
    """As JSON, atomically."""
    with tables.atomic(path) as temporary:
        temporary.write_text(json.dumps(calibration.to_dict(), indent=1) + "\n")


def read_calibration(path: Path) -> Calibration:
    """`UserError` where the file is missing or damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the study's command again") from None
    return Calibration.parse(found, FILE)
