"""Every trainable parameter of every variant that is shipped learns; one that no loss reaches is no part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from camground.grounder.erasing import erase
from camground.grounder.grounder import Grounder
from camground.matcher.matcher import Matcher
from camground.stages.config import StudyConfig, Variant
from camground.study.layers import merge, merged_files, read_yaml
from camground.training.objective import Objective
from tiny_grounder import CHANNELS, TEXT_WIDTH, labelled, tiny_batch

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STEPS = 6  # at every second of them there is mining, and what starts from zero has moved after two
LEAST = 1e-9  # of a gradient; rounding alone gives some 1e-16


def study(name: str, data_root: Path) -> StudyConfig:
    base = read_yaml(CONFIGS.parent / "config.yaml")
    values = merged_files(base, CONFIGS / f"{name}.yaml") if name else base
    (data_root / "dets.json").touch()
    given = {"data_root": str(data_root), "proposals": {"boxes_file": {"path": str(data_root / "dets.json")}}}
    return StudyConfig.parse(merge(values, given))


def has_labels(config: StudyConfig) -> bool:
    return config.proposals.method != "selective_search"


def objective(config: StudyConfig, variant: Variant) -> Objective:
    """As `train_grounder` builds it, but narrow."""
    torch.manual_seed(0)
    matcher = Matcher(config.matcher.model_copy(update={"width": 16}), CHANNELS, TEXT_WIDTH)
    losses = variant.losses
    parts = losses.of_candidates, has_labels(config), bool(losses.region_contrast)
    grounder = Grounder(matcher, variant.grounder, *parts)
    features = tiny_batch().features
    return (
        Objective(grounder, variant.losses, lambda rows, mask: erase(features[rows], mask)).double().train()
    )


def untrained(config: StudyConfig, variant: Variant) -> set[str]:
    """Names of the parameters that get no gradient in a few steps of training, with mining and without."""
    model = objective(config, variant)
    swapped = {"swapped": (0, 1, 2), "false": (True, False, True)} if config.data.kind == "scenes" else {}
    batch = tiny_batch(**swapped)
    if has_labels(config):
        batch.proposals = labelled(batch.proposals)
    waiting = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(STEPS):
        optimiser.zero_grad()
        model(batch, step, 9.0)["loss"].backward()
        optimiser.step()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        waiting -= {name for name, each in gradients.items() if each is not None and each.abs().max() > LEAST}
    return waiting


@pytest.mark.parametrize("name", ["", *sorted({path.stem for path in CONFIGS.glob("*.yaml")} - {"smoke"})])
def test_every_parameter_of_every_shipped_variant_gets_a_gradient(name: str, tmp_path: Path) -> None:
    config = study(name, tmp_path)
    for variant in config.variant_names:
        assert untrained(config, config.variant(variant)) == set(), variant


def test_only_scales_stay_as_they_start(tmp_path: Path) -> None:
    """Of the parameters that are no part of the training, none would have to be learnt to mean something; of
    a matcher's relations, which score cells, a model of regions alone has no use."""
    config = study("study", tmp_path)
    fixed = {
        variant: {
            name.removeprefix("grounder.")
            for name, parameter in objective(config, config.variant(variant)).named_parameters()
            if not parameter.requires_grad and ".relations." not in name
        }
        for variant in config.variant_names
    }
    assert fixed.pop("region_contrastive") == {
        *("matcher.scale", "image_bias", "region_scale", "objectness_weight")
    }
    assert fixed.pop("reconstruction") == {"matcher.scale", "image_bias", "contrastive_scale"}
    assert set.union(*fixed.values()) == {"matcher.scale"}


def test_no_distillation_is_compared_with_no_cam_encoder_fairly(tmp_path: Path) -> None:
    """Both lack the CAM encoder; what else the first lacks is what nothing would train."""
    config = study("study", tmp_path)
    without, other = (
        dict(objective(config, config.variant(name)).named_parameters())
        for name in ("no_distillation", "no_cam_encoder")
    )
    assert other.keys() - without.keys() == {"grounder.own_map.weight"}
    assert without.keys() < other.keys()
