"""What the pretrained vision-language models have in common as CAM sources: checkpoint, photograph, texts.

A checkpoint is named by its name on the hub or by a local folder. A photograph is squashed to the model's
size, never cropped, so that a map covers all of it; the means, deviations and the way of resizing are those
of the checkpoint's own image processor.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camground.data.photographs import Source, read_photograph
from camground.matcher.cam import CamSource, OwnNetworks
from camground.matcher.config import GradcamConfig
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_model, load_processor, load_tokenizer, opening

KEY = "gradcam.model"
FILES = "config.json, the weights, the tokenizer's files and preprocessor_config.json"
# SigLIP's own tokenizer needs sentencepiece, which SigLIP 2 and the others do without
HINT = " (the extra camground[siglip] brings what SigLIP needs)"
ENCODED = 16  # photographs that go through an image tower at a time; bounds its memory


class PretrainedCam(CamSource):
    """A pretrained vision-language model of transformers.

    kind: its model type, which is the source's name. model_class: the class of transformers that loads it.
    settings: the source's own section of the config. size: (height, width) of photographs in pixels. grid:
    (height, width) of the maps in patches.
    """

    kind: str
    model_class: str

    def __init__(self, config: GradcamConfig, device: torch.device, own: OwnNetworks | None = None) -> None:
        """Raises `UserError` when there is no such checkpoint, it cannot be read, is of another type or lacks
        weights, and as `index` does."""
        import transformers

        self.settings: Any = getattr(config, self.kind)
        self.device = device
        self.model_name = name = str(config.model)
        with opening(KEY, name, self.kind, FILES, HINT):
            model_type = transformers.AutoConfig.from_pretrained(name).model_type
            if model_type != self.kind:
                raise UserError(
                    f"{KEY}: {name!r} is of type {model_type!r}, but gradcam.source is {self.kind!r}; make"
                    " them agree"
                )
            advice = "; choose a checkpoint that was trained for matching images and texts"
            model_class = getattr(transformers, self.model_class)
            self.model: Any = load_model(model_class, KEY, name, advice=advice).to(device)
            self.tokenizer, self.processor = load_tokenizer(name), load_processor(name)
        patch = int(self.model.config.vision_config.patch_size)
        height, width = config.image_size or self._own_size()
        if min(height, width) < patch:
            raise UserError(
                f"gradcam.image_size: {height} x {width} is less than a patch of {name!r}, {patch} pixels"
            )
        # whole patches: a model drops what is left of one at the right and the bottom edge
        self.grid = (height // patch, width // patch)
        self.size = (self.grid[0] * patch, self.grid[1] * patch)

    def _own_size(self) -> tuple[int, int]:
        """What the processor makes of a square photograph: its crop, its size, or its shortest edge."""
        cropped = getattr(self.processor, "do_center_crop", None) and self.processor.crop_size
        size = dict(cropped or self.processor.size)
        side = size.get("shortest_edge") or 0
        return int(size.get("height") or side), int(size.get("width") or side)

    def read(self, photograph: Source) -> Tensor:
        processed = self.processor(
            images=read_photograph(photograph),
            size={"height": self.size[0], "width": self.size[1]},
            do_resize=True,
            do_center_crop=False,
            return_tensors="pt",
        )
        pixels: Tensor = processed["pixel_values"][0]
        return pixels

    def tokens(self, texts: list[str], padding: str = "longest") -> dict[str, Tensor]:
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
        names = ("input_ids", "attention_mask", "special_tokens_mask")
        return {name: encoded[name].to(self.device) for name in names}

    def __call__(self, images: Tensor, owner: Tensor, texts: list[str]) -> np.ndarray:
        with torch.no_grad():
            parts = images.to(self.device).split(ENCODED)
            hidden = torch.cat([self.encode(part) for part in parts])
        return self.maps(hidden[owner.to(self.device)], texts)

    @abstractmethod
    def encode(self, photographs: Tensor) -> Tensor:
        """Tokens (B, class tokens + cells, width) of photographs (B, 3, *size)."""

    @abstractmethod
    def maps(self, hidden: Tensor, texts: list[str]) -> np.ndarray:
        """As `__call__`, from the tokens (M, T, width) of each text's own photograph."""

    def index(self, key: str, count: int, what: str, words: tuple[str, ...] = ()) -> int | None:
        """The setting `key` as an index below `count`, None for one of `words`; `UserError` otherwise."""
        value = getattr(self.settings, key)
        if value in words:
            return None
        if not -count <= value < count:
            also = "".join(f", or {word}" for word in words)
            raise UserError(
                f"gradcam.{self.kind}.{key}: {value!r}; the model has {count} {what}: 0 to {count - 1}, or"
                f" -{count} to -1 from the end{also}"
            )
        return int(value) % count
