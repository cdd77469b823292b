"""Features of networks that train along with the grounder (`train.tuned`), in place of the cached ones.

A checkpoint of such a grounder holds the parameters of theirs that were trained, beside its own; the rest is
what the config names. The matcher and its Grad-CAM stay on the frozen features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from camground.data.photographs import read_square
from camground.features.backbone import Backbone
from camground.features.language import LanguageEncoder
from camground.features.store import FeatureStore
from camground.grounder.grounder import Grounder
from camground.stages.features import FeaturesConfig
from camground.study import tables
from camground.study.errors import UserError
from camground.study.sections import parse

PREFIX = "features."  # of their parameters in a checkpoint


@dataclass(frozen=True)
class TunedConfig:
    """`backbone`, `language`: how many of the last stages of each train; 0: none, the features are cached;
    as many as there are: all of it, its first layers too. `rate`: their learning rate as a share of the
    grounder's."""

    backbone: int = 0
    language: int = 0
    rate: float = 0.1


class LiveFeatures(nn.Module):
    """The networks that train: `backbone`, `language`, or None where the cache serves."""

    def __init__(self, features: FeaturesConfig, tuned: TunedConfig) -> None:
        super().__init__()
        # a grounder begins alike with and without them
        with torch.random.fork_rng(devices=[]):
            self.backbone = Backbone(features.backbone) if tuned.backbone else None
            self.language = LanguageEncoder(features.language) if tuned.language else None
        if self.backbone is not None:
            backbone, size = self.backbone, features.backbone.image_size
            train_last(backbone, tuned.backbone, lambda: backbone(torch.zeros(1, 3, size, size)))
        if self.language is not None:
            language = self.language
            train_last(language, tuned.language, lambda: language(["a"])[0])

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
    used = [name for name, found in zip(named, gradients, strict=True) if found is not None]

    def inside(prefix: str) -> list[str]:
        return [name for name in used if name.startswith(prefix)]

    stages: list[str] = []
    largest = 0
    for place, module in network.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential | nn.ModuleDict):
            continue
        parts = [f"{place}.{child}." for child, _ in module.named_children()]
        parts = [part for part in parts if inside(part)]
        held = sum(named[name].numel() for part in parts for name in inside(part))
        if len(parts) > 1 and held > largest:
            stages, largest = parts, held
    first = used.index(inside(stages[-count])[0]) if count < len(stages) else 0
    for name in used[first:]:
        named[name].requires_grad_(True)


class WithFeatures(nn.Module):
    """A grounder and the networks that train with it. Its state is what was trained: the grounder's own
    names, and those of the networks' trained parameters behind `PREFIX`."""

    def __init__(self, grounder: Grounder, features: LiveFeatures) -> None:
        super().__init__()
        self.grounder, self.features = grounder, features

    def state_dict(self, *arguments: Any, **named: Any) -> dict[str, Any]:  # type: ignore[override]
        trained = self.features.trained().items()
        own = self.grounder.state_dict(*arguments, **named)
        return {**own, **{PREFIX + name: value.detach() for name, value in trained}}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        own, networks = split(state_dict)
        load_trained(self.features, networks)
        return self.grounder.load_state_dict(own, strict, assign)


def split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters of a checkpoint: the grounder's own, and those of its networks."""
    own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
    networks = {
        name.removeprefix(PREFIX): value for name, value in state.items() if name not in own
    }
    return own, networks


@torch.no_grad()
def load_trained(features: LiveFeatures, state: dict[str, Tensor]) -> None:
    """Copy trained parameters into the networks; `UserError` when they are of others."""
    mine = features.trained()
    shapes = [{name: tuple(value.shape) for name, value in one.items()} for one in (mine, state)]
    if shapes[0] != shapes[1]:
        raise UserError(
            "the checkpoint's tuned backbone or language encoder is not the one that its config names;"
            " rerun its training"
        )
    for name, value in state.items():
        mine[name].copy_(value)


def trained_features(saved: dict[str, Any], state: dict[str, Tensor]) -> LiveFeatures | None:
    """The networks of a checkpoint's resolved config and parameters, frozen; None where none was trained."""
    tuned = parse(TunedConfig, saved.get("train", {}).get("tuned", {}))
    if not tuned.backbone and not tuned.language:
        return None
    features = LiveFeatures(parse(FeaturesConfig, saved["features"]), tuned)
    load_trained(features, split(state)[1])
    return features.requires_grad_(False)


class LiveStore(FeatureStore):
    """A feature cache whose images or texts come from networks instead, with a gradient where they train."""

    def __init__(self, folder: Path, images: Path, features: LiveFeatures) -> None:
        super().__init__(folder)
        self._features = features
        self._paths = [
            tables.image_path(images, path) for path in tables.read("images", images)["path"]
        ]

    def pixels(self, indices: np.ndarray | list[int]) -> Tensor:
        """Photographs (B, 3, size, size) float32 in [0, 255], where the backbone is."""
        backbone = self._features.backbone
        assert backbone is not None
        size = backbone.config.image_size
        pixels = torch.stack([read_square(self._paths[int(row)], size) for row in indices])
        return pixels.to(backbone.mean.device).float()

    def images(self, indices: np.ndarray | list[int]) -> Tensor:
        backbone = self._features.backbone
        if backbone is None:
            return super().images(indices)
        found: Tensor = backbone(self.pixels(indices))
        return found

    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        language = self._features.language
        if language is None or not texts:
            return super().texts(texts)
        hidden, mask = language(texts)
        return hidden.float(), mask


def backbone_pass(backbone: Backbone, pixels: Tensor, frozen: bool) -> Tensor:
    """The backbone's features of pixels; `frozen`: without a gradient to its parameters."""
    named = dict(backbone.named_parameters())
    parameters = {name: value.detach() if frozen else value for name, value in named.items()}
    found: Tensor = functional_call(backbone, parameters, (pixels,))
    return found
