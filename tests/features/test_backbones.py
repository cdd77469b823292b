"""Backbones of timm and transformers: tiny checkpoints through the stage `features`, and wrong ones."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

import tiny_models
from camground.data.photographs import read_square
from camground.features.backbone import Backbone
from camground.features.config import BackboneConfig
from camground.study.errors import UserError

SIZE = 56  # of which patches of 14 and strides of 8 are parts
AUTO = {  # levels, their channels, the finest grid
    "resnet": ([1, 2], [8, 12], 14),
    "convnext": ([1, 2], [8, 12], 14),
    "swin": ([1, 2], [8, 16], 14),
    "dinov2": ([1, 3], [16, 16], 4),
}
TIMM = {
    "resnet10t": ([1, 2], [64, 128], 14),
    "vit_tiny_patch16_224": ([3, 11], [192, 192], 4),
    "swin_tiny_patch4_window7_224": ([0, 1], [96, 192], 16),
    "convnext_atto": ([0, 1], [40, 80], 16),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tiny_models.study(tmp_path_factory.mktemp("study"))
    tiny_models.text_encoder("bert", folder / "bert")
    return folder


def section(study, **backbone):
    language = {"name": str(study / "bert"), "max_tokens": 8}
    fixed = {"output_stride": None, "grid": None, "image_size": SIZE}
    return {"backbone": {**fixed, **backbone}, "language": language, "batch_size": 2}


@pytest.fixture(scope="module")
def auto(tmp_path_factory):
    """Folders of the tiny checkpoints for AutoBackbone."""
    return {kind: tiny_models.backbone(kind, tmp_path_factory.mktemp(kind)) for kind in [*AUTO, "vit"]}


@pytest.mark.parametrize("kind", AUTO)
def test_the_stage_caches_what_an_auto_backbone_sees(kind, auto, study):
    from transformers import AutoConfig, AutoImageProcessor
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING as known

    levels, channels, grid = AUTO[kind]
    given = section(study, name=f"auto/{auto[kind]}", levels=levels)
    store = tiny_models.run_features(study, given)
    assert store.grid == (grid, grid)
    assert store.visual_channels == sum(channels)
    assert store.meta["visual"] == [6, sum(channels), grid, grid]
    # beside transformers' own model and image processor
    settings = AutoConfig.from_pretrained(auto[kind], out_indices=levels)
    model = known[type(settings)].from_pretrained(auto[kind], config=settings).eval()
    pixels = read_square(study / "train1.png", SIZE)
    seen = AutoImageProcessor.from_pretrained(auto[kind])(
        pixels, return_tensors="pt", do_resize=False, do_center_crop=False
    )
    with torch.no_grad():
        first = model(seen["pixel_values"]).feature_maps[0]
    assert first.shape == (1, channels[0], grid, grid)
    wanted = first * torch.rsqrt(first.square().mean(1, keepdim=True) + 1e-6)
    found = store.images([1])
    assert torch.allclose(found[:, : channels[0]], wanted, atol=5e-3)
    # the picture is seen: cells differ, and so do pictures
    assert found.std((2, 3)).mean() > 1e-2
    assert not torch.allclose(found, store.images([2]), atol=0.05)


@pytest.mark.parametrize("name", TIMM)
def test_the_stage_caches_what_a_timm_extractor_with_a_file_of_weights_sees(name, study, tmp_path):
    import timm

    levels, channels, grid = TIMM[name]
    size = 64 if grid in (4, 16) else SIZE
    # of the whole model, of another number of classes, in a folder as `hf download` makes it
    whole = timm.create_model(name, num_classes=7, **({"img_size": size} if "224" in name else {}))
    tiny_models.randomised(whole).eval()
    save_file({k: v.contiguous() for k, v in whole.state_dict().items()}, tmp_path / "model.safetensors")
    given = section(study, name=f"timm/{name}", checkpoint=str(tmp_path), levels=levels, image_size=size)
    store = tiny_models.run_features(study, given)
    assert store.grid == (grid, grid)
    assert store.visual_channels == sum(channels)
    pixels = read_square(study / "train1.png", size).unsqueeze(0).float() / 255
    settings = timm.get_pretrained_cfg(name)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (settings.mean, settings.std))
    with torch.no_grad():
        first = whole.forward_intermediates(
            (pixels - mean) / deviation, indices=levels, intermediates_only=True
        )[0]
    assert first.shape == (1, channels[0], grid, grid)
    wanted = first * torch.rsqrt(first.square().mean(1, keepdim=True) + 1e-6)
    assert torch.allclose(store.images([1])[:, : channels[0]], wanted, atol=5e-3)


def test_a_grid_of_the_config_wins_over_the_models():
    config = BackboneConfig(name="timm/resnet10t", image_size=64, levels=[2, 3], grid=5)
    assert Backbone(config)(torch.rand(1, 3, 64, 64) * 255).shape[-2:] == (5, 5)
    config = BackboneConfig(name="timm/resnet10t", image_size=96, levels=[2, 4], grid=None)
    assert Backbone(config).grid == 12  # level 2 has stride 8
    assert Backbone(BackboneConfig(image_size=96, levels=[3, 4], grid=None)).grid == 6


def test_random_weights_are_the_same_in_every_stage_and_draw_no_number_of_a_training():
    config = BackboneConfig(name="timm/resnet10t", image_size=32, levels=[1], grid=2)
    torch.manual_seed(5)
    first = Backbone(config).body.state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    again = Backbone(config).body.state_dict()
    assert all(torch.equal(first[name], value) for name, value in again.items())


WRONG = [
    ({"name": "resnet"}, r"name is 'resnet'; it must be efficientnet_lite0, timm/<model> or auto/"),
    ({"name": "timm/resnet10tt"}, r"name: .*no model 'resnet10tt'; did you mean timm/resnet10t"),
    ({"name": "timm/resnet50.nonsense"}, r"name: .*tag \(nonsense\)"),
    ({"name": "timm/resnet10t", "levels": [1, 7]}, r"levels: \[1, 7\], but .* levels 0 to 4"),
    ({"name": "timm/resnet10t", "levels": [1, 1]}, r"levels must be different numbers, not \[1, 1\]"),
    ({"name": "timm/resnet10t", "levels": [-1]}, r"levels\.0: must be at least 0"),
    (
        {"name": "timm/vit_tiny_patch16_224", "levels": [12], "image_size": 64},
        r"levels: \[12\], but .* levels 0 to 11",
    ),
    (
        {"name": "timm/vit_tiny_patch16_224", "levels": [1], "output_stride": 16},
        r"output_stride: the strides of vit_tiny.* null",
    ),
    (
        {"name": "timm/vit_tiny_patch16_224", "levels": [1]},
        r"image_size: .* would not see the edge of 56 x 56 .* set 48",
    ),
    (
        {"name": "timm/convnext_atto", "levels": [3], "image_size": 80},
        r"image_size: .* would not see the edge of 80 x 80 .* set 64",
    ),
    ({"name": "timm/resnet10t", "checkpoint": "nowhere.pth"}, r"checkpoint: no file nowhere\.pth"),
    ({"checkpoint": "mine.pth"}, r"checkpoint is for timm/<model> alone"),
    ({"name": "auto/x", "output_stride": 16}, r"the strides of auto/x are fixed"),
    ({"name": "auto/x", "checkpoint": "x"}, r"checkpoint is for timm/<model> alone"),
    ({"name": "auto/nobody/no-such-model"}, r"name: cannot load 'nobody/no-such-model'.*hf download"),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_what_cannot_be_is_refused_with_its_key(given, said, study, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=rf"features\.backbone(\.|: ){said}"):
        tiny_models.run_features(study, section(study, **given))


def test_auto_folders_that_are_no_backbone_are_refused(auto, study, tmp_path):
    fixed = {"image_size": SIZE, "output_stride": None, "grid": None}

    def refused(name, said, **more):
        with pytest.raises(UserError, match=said):
            Backbone(BackboneConfig(name=f"auto/{name}", **{**fixed, "levels": [1], **more}))

    refused(auto["vit"], r"name: .* of type 'vit', of which transformers makes no backbone")
    refused(study / "bert", r"name: .* of type 'bert'")
    refused(auto["dinov2"], r"levels: \[4\], but .*stages 0 stem, 1 stage1, .*3 stage3", levels=[4])
    refused(auto["dinov2"], r"image_size: .*edge of 64 x 64.*cells of 14.*set 56", image_size=64)
    refused(tmp_path, r"name: cannot load .* the folder must hold config\.json")
    # weights of another model under this one's config
    torn = tmp_path / "torn"
    tiny_models.backbone("resnet", torn)
    save_file({"fc.weight": torch.zeros(2, 2)}, torn / "model.safetensors", {"format": "pt"})
    refused(torn, r"name: .*lacks \d+ weights of ResNetBackbone, such as embedder")
    bare = tiny_models.backbone("resnet", tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    refused(bare, r"name: cannot load .*preprocessor_config\.json")


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    import timm

    def refused(said, name="resnet10t", levels=(1, 2)):
        config = BackboneConfig(
            name=f"timm/{name}", checkpoint=str(tmp_path / "w.pth"), image_size=64,
            levels=list(levels), output_stride=None,
        )  # fmt: skip
        with pytest.raises(UserError, match=rf"features\.backbone\.checkpoint: .*{said}"):
            Backbone(config)

    state = timm.create_model("resnet10t").state_dict()
    torch.save({"nothing.weight": torch.zeros(1)}, tmp_path / "w.pth")  # fits nothing
    refused(r"Missing key.*conv1")
    torch.save({k: v for k, v in state.items() if "layer2" not in k}, tmp_path / "w.pth")
    refused(r"Missing key.*layer2")
    torch.save(timm.create_model("convnext_atto").state_dict(), tmp_path / "w.pth")
    refused(r"Missing key")
    refused(r"Missing key", "vit_tiny_patch16_224")
    (tmp_path / "w.pth").write_bytes(b"torn")
    refused("cannot read .* as weights")
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    refused("no state dict")
    # what only the head lacks is enough
    torch.save({k: v for k, v in state.items() if not k.startswith("fc.")}, tmp_path / "w.pth")
    config = BackboneConfig(
        name="timm/resnet10t", checkpoint=str(tmp_path / "w.pth"), image_size=64, levels=[1, 2]
    )
    assert torch.equal(Backbone(config).body.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


def test_without_a_network_the_hubs_weights_end_the_stage_with_one_line(study):
    given = section(study, name="timm/resnet10t", checkpoint="hub", levels=[1, 2])
    done = subprocess.run(
        [sys.executable, "-m", "camground.cli", "features", *tiny_models.arguments(study, given)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(study / "empty")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "features.backbone.checkpoint: cannot load 'timm/resnet10t" in done.stderr
    assert "--local-dir FOLDER" in done.stderr


def test_the_config_takes_hub_names_and_checks_none_of_them():
    for given in (
        {"name": "auto/facebook/dinov2-small", "output_stride": None, "grid": None, "levels": [12]},
        {"name": "timm/resnet50.a1_in1k", "checkpoint": "hub"},
    ):
        assert BackboneConfig.parse(given).to_dict() == {**BackboneConfig().to_dict(), **given}
