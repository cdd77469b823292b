"""Config sections as dataclasses."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from camground.grounder.grounder import GrounderConfig
from camground.stages.features import FeaturesConfig
from camground.stages.gradcam import GradcamConfig
from camground.stages.matcher import MatcherStageConfig
from camground.stages.predict import PredictConfig
from camground.stages.train import TrainConfig
from camground.study.errors import UserError
from camground.study.sections import parse
from camground.training.objective import LossesConfig

SECTIONS = {
    "features": FeaturesConfig,
    "matcher": MatcherStageConfig,
    "gradcam": GradcamConfig,
    "model": GrounderConfig,
    "losses": LossesConfig,
    "train": TrainConfig,
    "predict": PredictConfig,
}


@pytest.mark.parametrize("name", SECTIONS)
def test_the_default_config_has_every_field_and_survives_the_way_there_and_back(name: str) -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
    assert asdict(parse(SECTIONS[name], config[name])) == config[name]


def test_left_out_keys_keep_their_default_at_every_depth() -> None:
    losses = parse(LossesConfig, {"attention_mining": {"omega": 3.0}})
    assert losses.attention_mining.omega == 3.0
    assert losses.attention_mining.sigma == LossesConfig().attention_mining.sigma
    assert losses.distillation == LossesConfig().distillation


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"AttentionMiningConfig: unknown keys \['omga'\].*omega"):
        parse(LossesConfig, {"attention_mining": {"omga": 3.0}})
