"""A trained grounder from its checkpoint folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from camground.features.config import BACKBONE, FeaturesConfig
from camground.features.store import FeatureStore
from camground.features.tuned import PREFIX, TunedFeatures, TunedStore, trained_features
from camground.grounder.config import GrounderConfig
from camground.grounder.grounder import Grounder
from camground.matcher.matcher import Matcher
from camground.study.checkpoints import fitting, load_checkpoint


@dataclass
class TrainedGrounder:
    """A grounder in evaluation mode with what else its config says.

    features: the frozen networks that it reads; tuned: those of them that were trained along, on the
    grounder's device, or None; omega, sigma: of the soft mask that erases.
    """

    model: Grounder
    features: FeaturesConfig
    tuned: TunedFeatures | None
    omega: float
    sigma: float

    def open_store(self, features: Path, images: Path) -> FeatureStore:
        """The feature cache in the folder `features`, with the networks that were trained along in it."""
        if self.tuned is None:
            return FeatureStore(features)
        return TunedStore(features, images, self.tuned)


def _beside(features: FeaturesConfig, folder: Path) -> FeaturesConfig:
    """With the tuned backbone that a model folder holds beside its checkpoints, wherever it was made."""
    own = folder.parent / BACKBONE
    if features.backbone.weights is None or not own.is_file():
        return features
    backbone = features.backbone.model_copy(update={"weights": str(own)})
    return features.model_copy(update={"backbone": backbone})


def load_grounder(folder: str | Path, device: torch.device | str = "cpu") -> TrainedGrounder:
    """The grounder of a checkpoint folder, on `device`; `UserError` when the folder is not whole or
    of another version."""
    saved, state = load_checkpoint(folder)
    with fitting(folder):
        own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
        matcher = Matcher.like(saved, own, "matcher.")
        config = GrounderConfig.parse(saved["grounder"], "grounder")
        parts = ("own_map.weight", "label.weight", "region_contrast.scale")
        model = Grounder(matcher, config, *(part in own for part in parts))
        model.load_state_dict(own)
        features = _beside(FeaturesConfig.parse(saved["features"], "features"), Path(folder))
        tuned, mining = saved["train"]["tuned"], saved["losses"]["attention_mining"]
        networks = trained_features(features, tuned["backbone"], tuned["language"], state)
        return TrainedGrounder(
            model.eval().to(device),
            features,
            networks if networks is None else networks.to(device),
            mining["omega"],
            mining["sigma"],
        )
