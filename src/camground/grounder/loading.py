"""A trained grounder from its checkpoint folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from camground.features.config import FeaturesConfig
from camground.features.store import FeatureStore
from camground.features.tuned import PREFIX, TunedFeatures, TunedStore, trained_features
from camground.grounder.config import GrounderConfig
from camground.grounder.grounder import Grounder
from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher
from camground.study.checkpoints import load_checkpoint


@dataclass
class TrainedGrounder:
    """A grounder in evaluation mode with what else its config says.

    features: the frozen networks that it reads; tuned: those of them that were trained along, or None;
    box_threshold: of the CAM's box; omega, sigma: of the soft mask that erases.
    """

    model: Grounder
    features: FeaturesConfig
    tuned: TunedFeatures | None
    box_threshold: float
    omega: float
    sigma: float

    def open_store(self, features: Path, images: Path, device: torch.device) -> FeatureStore:
        """The feature cache in the folder `features`, with the networks that were trained along in it."""
        if self.tuned is None:
            return FeatureStore(features)
        return TunedStore(features, images, self.tuned.to(device))


def load_grounder(folder: str | Path, device: torch.device | str = "cpu") -> TrainedGrounder:
    """The grounder of a checkpoint folder, on `device`; `UserError` when the folder is not whole."""
    saved, state = load_checkpoint(folder)
    model = build_grounder(saved, state).to(device)
    features = FeaturesConfig.parse(saved["features"], "features")
    tuned, mining = saved["train"]["tuned"], saved["losses"]["attention_mining"]
    return TrainedGrounder(
        model,
        features,
        trained_features(features, tuned["backbone"], tuned["language"], state),
        saved["box_threshold"],
        mining["omega"],
        mining["sigma"],
    )


def build_grounder(saved: dict, state: dict[str, Tensor]) -> Grounder:  # type: ignore[type-arg]
    """The grounder of a checkpoint's config and parameters, in evaluation mode."""
    own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
    channels = own["matcher.trunk.stem.weight"].shape[1]
    text_width = own["matcher.text.skip.weight"].shape[1]
    matcher = Matcher(MatcherConfig.parse(saved["matcher"], "matcher"), channels, text_width)
    grounder = Grounder(matcher, GrounderConfig.parse(saved["grounder"], "grounder"))
    grounder.load_state_dict(own)
    return grounder.eval()
