"""Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) of the matcher's score, through pytorch-grad-cam.

ReLU comes before the scaling to [0, 1], as in the paper: scaling first would turn a map of mere
counter-evidence into evidence.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.matcher.gated_map import gated
from camground.matcher.matcher import Matcher, Queries
from camground.study.errors import UserError

METHODS = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
    "eigengradcam": "EigenGradCAM",
}
TRUNK = "trunk"
GATED = "gated"  # Grad-CAM kept to the thing that is meant: see `model.gated_map`


class _PairedScore(nn.Module):
    """The matcher with its texts held fast: what pytorch-grad-cam can call with one tensor.

    From the trunk's output when `layer` is the trunk, so that one pass of the trunk serves all
    expressions of an image; from the backbone's features for a deeper layer.
    """

    def __init__(self, matcher: Matcher, layer: str) -> None:
        super().__init__()
        self.matcher = matcher
        self.entry = nn.Identity()
        self.from_trunk = layer == TRUNK
        if self.from_trunk:
            self.target_layer: nn.Module = self.entry
        else:
            try:
                self.target_layer = matcher.get_submodule(layer)
            except AttributeError:
                known = [name for name, _ in matcher.named_modules() if name.startswith("trunk")]
                raise UserError(
                    f"gradcam.layer: the matcher has no layer {layer!r}; one of {known}"
                ) from None
        self.queries: Queries | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        if self.queries is None:
            raise ValueError("no texts to score with")
        if self.from_trunk:
            scores = self.matcher.paired_from_trunk(x, self.queries)
        else:
            scores = self.matcher.paired(x, self.queries)
        return scores.unsqueeze(1)


class MatcherCam:
    """Grad-CAM maps of (image, text) pairs in batches.

    Use as a context manager: pytorch-grad-cam's hooks are released at its end.
    """

    def __init__(self, matcher: Matcher, method: str = "gradcam", layer: str = TRUNK) -> None:
        if method not in (*METHODS, GATED):
            known = sorted((*METHODS, GATED))
            raise UserError(f"gradcam.method: {method!r} is not one of {known}")
        self._scored = _PairedScore(matcher, layer)
        self._gated = method == GATED
        name = METHODS["gradcam" if method == GATED else method]
        cam_class = getattr(import_module("pytorch_grad_cam"), name)
        self._cam = cam_class(model=self._scored, target_layers=[self._scored.target_layer])
        # set here, since not every method's constructor passes it on
        self._cam.compute_input_gradient = True

    def __enter__(self) -> MatcherCam:
        return self

    def __exit__(self, *error: object) -> None:
        self._cam.activations_and_grads.release()

    def __call__(self, features: Tensor, owner: Tensor, tokens: Tensor, mask: Tensor) -> np.ndarray:
        """Maps (M, H, W) float32 in [0, 1]; an expression without any evidence gets zeros.

        features (B, C, H, W) of the images; owner (M,) int: the image of each expression; tokens
        (M, T, width), mask (M, T) of the expressions.
        """
        matcher = self._scored.matcher
        with torch.no_grad():
            queries = self._scored.queries = matcher.queries(tokens, mask)
            trunk = matcher.trunk(features)
        entry = trunk if self._scored.from_trunk else features
        targets = [lambda output: output[0]] * len(owner)
        found: np.ndarray = self._cam(input_tensor=entry[owner].contiguous(), targets=targets)
        if not self._gated:
            return found
        with torch.no_grad():
            place = matcher.cell_shares(trunk[owner], queries).unflatten(-1, trunk.shape[-2:])
            # a map has the side of its layer's input
            place = functional.interpolate(place.unsqueeze(1), found.shape[-2:])
            kept = gated(torch.from_numpy(found).to(place), place.squeeze(1))
        scaled: np.ndarray = kept.cpu().numpy()
        return scaled / np.maximum(scaled.max((1, 2), keepdims=True), 1e-12)
