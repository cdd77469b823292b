"""Tiny randomly initialised BLIP, CLIP and SigLIP in the folders that a user would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from camground.matcher.cam import open_cam
from camground.matcher.config import GradcamConfig
from camground.matcher.pretrained import PretrainedCam
from tiny_models import DEVIATION, MEAN, WORDS, clip_tokenizer, randomised, tokenizer, write_json

SIDE, PATCH = 32, 8
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 14,
}
# large enough that layers, heads and words differ
SCALES = {"scale": 0.35, "bias_scale": 0.1}


def blip(folder: Path) -> None:
    from transformers import BlipConfig, BlipForImageTextRetrieval, BlipImageProcessor

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    config = BlipConfig(
        text_config={**TEXT, "vocab_size": len(vocabulary), "encoder_hidden_size": 16, "pad_token_id": 0},
        vision_config=VISION,
        projection_dim=8,
        image_text_hidden_size=8,
    )
    randomised(BlipForImageTextRetrieval(config), **SCALES).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    size = {"height": SIDE, "width": SIDE}
    BlipImageProcessor(size=size, image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


def clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    special = clip_tokenizer(folder, WORDS)
    config = CLIPConfig(text_config={**TEXT, **special}, vision_config=VISION, projection_dim=8)
    randomised(CLIPModel(config), **SCALES).save_pretrained(folder)
    # crops the middle, as CLIP's own does: nothing of which may reach a map
    CLIPImageProcessor(
        size={"shortest_edge": SIDE + 8},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=MEAN,
        image_std=DEVIATION,
    ).save_pretrained(folder)


def siglip(folder: Path) -> None:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    count = tokenizer(folder, special, "$A </s>", "<pad>")
    config = SiglipConfig(
        text_config={**TEXT, "vocab_size": count, "projection_size": 16}, vision_config=VISION
    )
    model = randomised(SiglipModel(config), **SCALES)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    SiglipImageProcessor(size=size, image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


def make(kind: str, folder: Path) -> Path:
    """A checkpoint of the model type `kind`, which is a source of CAMs."""
    {"blip": blip, "clip": clip, "siglip": siglip}[kind](folder)
    return folder


KINDS = ("blip", "clip", "siglip")


def section(source: str, checkpoints: dict[str, str], **changes) -> dict:
    """The section `gradcam`: `changes` of the source's own keys, but for image_size."""
    size = {"image_size": changes.pop("image_size", None)}
    own = {"layer": 1, **changes} if source == "blip" else changes
    return {"source": source, "model": checkpoints[source], **size, source: own}


def opened(source: str, checkpoints: dict[str, str], **changes) -> PretrainedCam:
    """The CAM source of that checkpoint, with `changes` as of `section`."""
    cam = open_cam(
        GradcamConfig.parse(section(source, checkpoints, **changes), "gradcam"), torch.device("cpu")
    )
    assert isinstance(cam, PretrainedCam)
    return cam


def photographs_for(cam, count: int = 2) -> torch.Tensor:
    """Random photographs (count, 3, H, W) as the source reads them."""
    return torch.randn(count, 3, *cam.size, generator=torch.Generator().manual_seed(3))
