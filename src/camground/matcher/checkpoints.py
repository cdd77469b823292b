"""Pretrained vision-language checkpoints: the model, its tokenizer and its view of a photograph.

A checkpoint is named by its name on the hub or by a local folder. A photograph is squashed to the model's
size, never cropped, so that a map covers all of it; the means, deviations and the way of resizing are those
of the checkpoint's own image processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from camground.data.photographs import read_photograph
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_model, load_processor, load_tokenizer, opening


@dataclass(frozen=True)
class Checkpoint:
    """A frozen model in evaluation mode with its tokenizer and image processor, all of transformers."""

    name: str
    model: Any
    tokenizer: Any
    processor: Any

    @property
    def patch(self) -> int:
        """Side of a patch of the image encoder, in pixels."""
        return int(self.model.config.vision_config.patch_size)

    def size(self, image_size: Sequence[int] | None) -> tuple[int, int]:
        """(height, width) in pixels that photographs are squashed to: `image_size`, or the processor's own.

        Cut to whole patches: a model drops what is left of one at the right and the bottom edge, and the map
        would miss it. Raises `UserError` when no patch is left.
        """
        height, width = image_size or self._own_size()
        patch = self.patch
        if min(height, width) < patch:
            raise UserError(
                f"gradcam.image_size: {height} x {width} is less than a patch of {self.name!r},"
                f" {patch} pixels"
            )
        return height // patch * patch, width // patch * patch

    def _own_size(self) -> tuple[int, int]:
        """What the processor makes of a square photograph: its crop, its size, or its shortest edge."""
        cropped = getattr(self.processor, "do_center_crop", None) and self.processor.crop_size
        size = dict(cropped or self.processor.size)
        side = size.get("shortest_edge") or 0
        return int(size.get("height") or side), int(size.get("width") or side)

    def view(self, path: str | Path, size: tuple[int, int]) -> Tensor:
        """A photograph as the model sees it, (3, *size) float32; `UserError` where it cannot be read."""
        processed = self.processor(
            images=read_photograph(path),
            size={"height": size[0], "width": size[1]},
            do_resize=True,
            do_center_crop=False,
            return_tensors="pt",
        )
        pixels: Tensor = processed["pixel_values"][0]
        return pixels

    def tokens(self, texts: list[str], padding: str) -> dict[str, Tensor]:
        """input_ids, attention_mask and special_tokens_mask (B, T) int64 on the model's device.

        Longer texts are cut to what the model has positions for. `padding`: "longest" or "max_length".
        """
        encoded = self.tokenizer(
            texts,
            padding=padding,
            truncation=True,
            max_length=int(self.model.config.text_config.max_position_embeddings),
            return_tensors="pt",
            return_attention_mask=True,
            return_special_tokens_mask=True,
        )
        device = next(self.model.parameters()).device
        names = ("input_ids", "attention_mask", "special_tokens_mask")
        return {name: encoded[name].to(device) for name in names}


def load_checkpoint(name: str, kind: str, model_class: str) -> Checkpoint:
    """The checkpoint `name`, a hub name or a folder, as transformers' class `model_class`.

    `kind` is the model type that its config.json must give, as in `gradcam.source`. Raises `UserError`
    when there is none, it cannot be read, is of another type, or lacks weights of that class (transformers
    would fill them in at random).
    """
    import transformers

    files = "config.json, the weights, the tokenizer's files and preprocessor_config.json"
    # SigLIP's own tokenizer needs sentencepiece, which SigLIP 2 and the others do without
    hint = " (the extra camground[siglip] brings what SigLIP needs)"
    with opening("gradcam.model", name, kind, files, hint):
        config = transformers.AutoConfig.from_pretrained(name)
        if config.model_type != kind:
            raise UserError(
                f"gradcam.model: {name!r} is of type {config.model_type!r}, but gradcam.source is"
                f" {kind!r}; make them agree"
            )
        advice = "; choose a checkpoint that was trained for matching images and texts"
        model = load_model(getattr(transformers, model_class), "gradcam.model", name, advice=advice)
        return Checkpoint(name, model, load_tokenizer(name), load_processor(name))
