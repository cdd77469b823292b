"""Features of networks that train along with the grounder (`train.tuned`), in place of the cached ones.

A checkpoint of such a grounder also holds those of their parameters that were trained; the others are
those of the networks that the config names. The matcher and its Grad-CAM stay on the frozen features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from camground.data.photographs import read_square
from camground.features.backbone import Backbone
from camground.features.config import FeaturesConfig
from camground.features.language import LanguageEncoder, text_vectors
from camground.features.store import FeatureStore
from camground.study import tables
from camground.study.errors import UserError

PREFIX = "features."  # of their parameters in a checkpoint


class TunedFeatures(nn.Module):
    """The networks that train: `backbone`, `language`, or None where the cache serves.

    backbone_stages, language_layers: how many of each, from the last, train; 0: none; as many as there are:
    the whole network, its first layers too.
    """

    def __init__(self, features: FeaturesConfig, backbone_stages: int, language_layers: int) -> None:
        super().__init__()
        # a grounder starts from the same parameters with and without them
        with torch.random.fork_rng(devices=[]):
            self.backbone = Backbone(features.backbone) if backbone_stages else None
            self.language = LanguageEncoder(features.language) if language_layers else None
        if self.backbone is not None:
            backbone, size = self.backbone, features.backbone.image_size
            train_last(backbone, backbone_stages, lambda: backbone(torch.zeros(1, 3, size, size)))
        if self.language is not None:
            language = self.language
            train_last(language, language_layers, lambda: language(["a"])[0])

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}


def train_last(network: nn.Module, count: int, output: Callable[[], Tensor]) -> None:
    """Let the `count` last stages of a frozen network train, and what follows them.

    Its stages are the parts of its largest list of modules: the blocks of a CNN, the layers of a transformer.
    What `output` does not depend on (levels beyond the used ones, a pooler) is no part of them.
    """
    network.requires_grad_(True)
    named = dict(network.named_parameters())
    with torch.enable_grad():
        gradients = torch.autograd.grad(output().sum(), list(named.values()), allow_unused=True)
    network.requires_grad_(False)
    used = [name for name, value in zip(named, gradients, strict=True) if value is not None]

    def inside(prefix: str) -> list[str]:
        return [name for name in used if name.startswith(prefix)]

    stages: list[str] = []
    largest = 0
    for path, module in network.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential | nn.ModuleDict):
            continue
        parts = [f"{path}.{child}." for child, _ in module.named_children()]
        parts = [part for part in parts if inside(part)]
        size = sum(named[name].numel() for part in parts for name in inside(part))
        if len(parts) > 1 and size > largest:
            stages, largest = parts, size
    first = used.index(inside(stages[-count])[0]) if count < len(stages) else 0
    for name in used[first:]:
        named[name].requires_grad_(True)


def trained_features(
    features: FeaturesConfig, backbone_stages: int, language_layers: int, state: Mapping[str, Tensor]
) -> TunedFeatures | None:
    """The networks of a checkpoint with its parameters `state`, frozen; None where none was trained.

    `UserError` when the parameters are of other networks."""
    if not backbone_stages and not language_layers:
        return None
    networks = TunedFeatures(features, backbone_stages, language_layers)
    saved = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
    trained = networks.trained()
    shapes = [{name: value.shape for name, value in each.items()} for each in (trained, saved)]
    if shapes[0] != shapes[1]:
        raise UserError(
            "the checkpoint's tuned backbone or language encoder is not the one that its config names;"
            " rerun its training"
        )
    networks.load_state_dict(saved, strict=False)
    return networks.requires_grad_(False)


class TunedStore(FeatureStore):
    """A feature cache whose images or texts come from networks instead, with a gradient where they train."""

    def __init__(self, folder: Path, images: Path, features: TunedFeatures) -> None:
        super().__init__(folder)
        self._features = features
        self._paths = tables.image_paths(images)

    def images(self, rows: np.ndarray | list[int]) -> Tensor:
        backbone = self._features.backbone
        if backbone is None:
            return super().images(rows)
        pixels = load_pixels(self._paths, rows, backbone)
        features: Tensor = backbone(pixels)
        return features

    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        language = self._features.language
        if language is None or not texts:
            return super().texts(texts)
        hidden, mask = language(texts)
        return hidden.float(), mask

    def vectors(self, texts: list[str]) -> Tensor:
        language = self._features.language
        if language is None:
            return super().vectors(texts)
        hidden, mask = language(texts)
        return text_vectors(hidden.float(), mask)


def load_pixels(paths: list[Path], rows: np.ndarray | list[int], backbone: Backbone) -> Tensor:
    """Photographs (B, 3, size, size) float32 in [0, 255] at these rows, on the backbone's device."""
    size = backbone.config.image_size
    pixels = torch.stack([read_square(paths[int(row)], size) for row in rows])
    return pixels.to(backbone.mean.device).float()


def backbone_pass(backbone: Backbone, pixels: Tensor, frozen: bool) -> Tensor:
    """The backbone's features of pixels; `frozen`: without a gradient to its parameters."""
    parameters = {name: value.detach() if frozen else value for name, value in backbone.named_parameters()}
    features: Tensor = functional_call(backbone, parameters, (pixels,))
    return features
