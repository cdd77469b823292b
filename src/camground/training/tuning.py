"""Training the backbone's last stages on the study's own image-sentence pairs, before features are cached.

A backbone that has learnt ImageNet's labels draws a map around the part that tells a class. Trained along
with a matcher on captions, its last stages learn what captions name, which every matcher and grounder of the
study then builds on. The matcher of this stage is thrown away: those of the study's seeds train on the cache.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from camground.features.backbone import Backbone
from camground.features.config import BACKBONE, FeaturesConfig
from camground.features.language import LanguageEncoder
from camground.features.tuned import TunedFeatures, load_pixels
from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher
from camground.study import tables
from camground.study.devices import prepare_torch
from camground.study.progress import log
from camground.training.config import TuningConfig
from camground.training.loop import run_training, training_pairs
from camground.training.matcher import MatcherObjective


class LiveFeatures:
    """What a `FeatureStore` gives, from the networks themselves; images with a gradient where they train."""

    def __init__(self, images: Path, backbone: Backbone, language: LanguageEncoder) -> None:
        self.paths = tables.image_paths(images)
        self.backbone, self.language = backbone, language

    def images(self, rows: np.ndarray | list[int]) -> Tensor:
        """Features (B, C, H, W) float32 of the images at these rows of the `images` table."""
        features: Tensor = self.backbone(load_pixels(self.paths, rows, self.backbone))
        return features

    @torch.no_grad()
    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token vectors (B, T, width) float32 and mask (B, T) bool."""
        hidden, mask = self.language(texts)
        return hidden.float(), mask


def tune_backbone(
    config: TuningConfig,
    features: FeaturesConfig,
    matcher: MatcherConfig,
    seed: int,
    images: Path,
    expressions: Path,
    output: Path,
    resume: Path | None,
    threads: int,
) -> None:
    """Train the last `config.stages` of the backbone; all its weights go into `output`/backbone.safetensors.

    `output`, `resume`: as of `run_training`.
    """
    device = prepare_torch(threads, seed)
    networks = TunedFeatures(features, config.stages, 0).to(device)
    backbone = networks.backbone
    assert backbone is not None
    language = LanguageEncoder(features.language).to(device)
    log.info("%d tensors of the backbone train", len(networks.trained()))
    train, val = training_pairs(images, expressions, matcher.kinds)
    torch.manual_seed(seed)
    model = Matcher(matcher, backbone.channels, language.width)
    objective = MatcherObjective(model, LiveFeatures(images, backbone, language), train, val)
    run_training(
        nn.ModuleDict({"matcher": model, "features": networks}),
        train,
        val,
        objective.losses,
        objective.validate,
        config.optimiser,
        seed,
        label="tuning",
        stage="camground.stages.tuning",
        inputs=[images, expressions],
        resolved={
            "seed": seed,
            "tuning": config.to_dict(),
            "matcher": matcher.to_dict(),
            "features": features.to_dict(),
        },
        parameters=networks.trained,
        output=output,
        resume=resume,
        slow={"features.": config.rate},
    )
    weights = {name: value.detach().cpu().contiguous() for name, value in backbone.body.state_dict().items()}
    with tables.atomic(output / BACKBONE) as temporary:
        temporary.write_bytes(save(weights))
