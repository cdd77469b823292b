"""Pretrained vision-language checkpoints: the model, its tokenizer and its view of a photograph.

A checkpoint is named by its name on the hub or by a local folder. A photograph is squashed to the model's
size, never cropped, so that a map covers all of it; the means, deviations and the way of resizing are those
of the checkpoint's own image processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camground.data.photographs import read_photograph
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_tokenizer, opening


@dataclass(frozen=True)
class Checkpoint:
    """A frozen model in evaluation mode with its tokenizer and image processor, all of transformers."""

    name: str
    model: Any
    tokenizer: Any
    processor: Any


def load_checkpoint(name: str | None, source: str, model_class: str) -> Checkpoint:
    """The checkpoint `name`, a hub name or a folder, as transformers' class `model_class`.

    `source` is the model type that its config.json must give, as in `gradcam.source`. Raises `UserError`
    when there is none, it cannot be read, is of another type, or lacks weights of that class (transformers
    would fill them in at random).
    """
    if not name:
        raise UserError(
            f"gradcam.model: gradcam.source is {source}, so name its model: a hub name or a folder"
        )
    import transformers

    files = "config.json, the weights, the tokenizer's files and preprocessor_config.json"
    # SigLIP's own tokenizer needs sentencepiece, which SigLIP 2 and the others do without
    hint = " (the extra camground[siglip] brings what SigLIP needs)"
    with opening("gradcam.model", name, source, files, hint):
        config = transformers.AutoConfig.from_pretrained(name)
        if config.model_type != source:
            raise UserError(
                f"gradcam.model: {name!r} is of type {config.model_type!r}, but gradcam.source is"
                f" {source!r}; make them agree"
            )
        model, found = getattr(transformers, model_class).from_pretrained(
            name, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = load_tokenizer(name)
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    missing = sorted(found["missing_keys"])
    if missing:
        raise UserError(
            f"gradcam.model: {name!r} lacks {len(missing)} weights of {model_class}, such as"
            f" {missing[0]}; choose a checkpoint that was trained for matching images and texts"
        )
    model.requires_grad_(False)
    return Checkpoint(name, model.eval(), tokenizer, processor)


def picture_size(checkpoint: Checkpoint, asked: list[int] | None) -> tuple[int, int]:
    """(height, width) in pixels that photographs are squashed to: `asked`, or the processor's own size.

    Cut to whole patches: a model drops what is left of one at the right and the bottom edge, and the map
    would miss it. Raises `UserError` when no patch is left.
    """
    height, width = asked or _own_size(checkpoint.processor)
    patch = int(checkpoint.model.config.vision_config.patch_size)
    if min(height, width) < patch:
        raise UserError(
            f"gradcam.image_size: {height} x {width} is less than a patch of {checkpoint.name!r},"
            f" {patch} pixels"
        )
    return height // patch * patch, width // patch * patch


def _own_size(processor: Any) -> tuple[int, int]:
    """What the processor makes of a square photograph: its crop, its size, or its shortest edge."""
    cropped = getattr(processor, "do_center_crop", None) and processor.crop_size
    size = dict(cropped or processor.size)
    if size.get("height") and size.get("width"):
        return int(size["height"]), int(size["width"])
    side = int(size["shortest_edge"])
    return side, side


def read_picture(checkpoint: Checkpoint, path: str | Path, size: tuple[int, int]) -> Tensor:
    """A photograph as the model sees it, (3, *size) float32; `UserError` for one that cannot be read."""
    seen = checkpoint.processor(
        images=read_photograph(path),
        size={"height": size[0], "width": size[1]},
        do_resize=True,
        do_center_crop=False,
        return_tensors="pt",
    )
    pixels: Tensor = seen["pixel_values"][0]
    return pixels


def tokens_of(checkpoint: Checkpoint, texts: list[str], padding: str) -> dict[str, Tensor]:
    """input_ids, attention_mask and special_tokens_mask (B, T) int64; longer texts are cut to what the
    model has positions for. `padding`: "longest" or "max_length"."""
    encoded = checkpoint.tokenizer(
        texts,
        padding=padding,
        truncation=True,
        max_length=int(checkpoint.model.config.text_config.max_position_embeddings),
        return_tensors="pt",
        return_attention_mask=True,
        return_special_tokens_mask=True,
    )
    where = next(checkpoint.model.parameters()).device
    names = ("input_ids", "attention_mask", "special_tokens_mask")
    return {name: encoded[name].to(where) for name in names}
