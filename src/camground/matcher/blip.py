"""Grad-CAM of BLIP's image-text matching: gradient-weighted cross-attention per token, as ALBEF does it.

Li et al. 2021 ("Align before Fuse", section 6 and the visualisation code released with it): of one layer of
the text encoder, the cross-attention of each token to each patch, times the rectified gradient of the
matching score to it, averaged over the heads. ALBEF takes layer 8 of 12 and, to ground a phrase, the mean
over all its tokens. The map is divided by its maximum and nothing is subtracted, so that the shares of
proposals are ALBEF's. BLIP was trained on captions of COCO's photographs, and its retrieval checkpoints on
those of COCO or Flickr30k: it has seen photographs that RefCOCO and Flickr30k evaluate, though no box.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from camground.matcher.checkpoints import load_checkpoint, tokens_of
from camground.matcher.pretrained_cam import BlipCamConfig, PretrainedCam, layer_number
from camground.study.errors import UserError

MATCH = 1  # which of the matching head's two outputs says that picture and text belong together


class BlipCam(PretrainedCam):
    """Maps of a checkpoint of transformers' BlipForImageTextRetrieval."""

    def __init__(
        self,
        name: str | None,
        config: BlipCamConfig,
        image_size: list[int] | None = None,
        where: torch.device | None = None,
    ) -> None:
        super().__init__(load_checkpoint(name, "blip", "BlipForImageTextRetrieval"), image_size)
        self.model = self.checkpoint.model.to(where or torch.device("cpu"))
        self.config = config
        layers = self.model.text_encoder.encoder.layer
        heads = int(self.model.config.text_config.num_attention_heads)
        layer = _index(config.layer, len(layers), "gradcam.blip.layer", "layers", [])
        self._head = _index(config.heads, heads, "gradcam.blip.heads", "heads", ["mean"])
        try:
            self._token = None if config.tokens in ("mean", "max") else int(config.tokens)
        except ValueError:
            raise UserError(
                f"gradcam.blip.tokens: {config.tokens!r} is neither mean, max nor a number"
            ) from None
        self._attention: Tensor | None = None
        # the graph begins at this layer: those before it keep nothing for the gradient
        self._handles = [
            layers[layer].register_forward_pre_hook(_begin_graph),
            layers[layer].crossattention.self.register_forward_hook(self._keep),
        ]
        special = "with" if config.special_tokens else "without"
        self.source = (
            f"blip:{self.checkpoint.name}:layer={layer}:heads={config.heads}"
            f":tokens={config.tokens}:{special} special tokens"
        )

    def release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._attention = None

    def encode(self, pictures: Tensor) -> Tensor:
        seen = self.model.vision_model(pixel_values=pictures, interpolate_pos_encoding=True)
        hidden: Tensor = seen.last_hidden_state
        return hidden

    def maps(self, hidden: Tensor, texts: list[str]) -> np.ndarray:
        tokens = tokens_of(self.checkpoint, texts, "longest")
        attention, gradient = self.attention_and_gradient(hidden, tokens)
        cells = hidden.shape[1] - self.grid[0] * self.grid[1]  # the class token comes first
        weighted = (attention * gradient.relu())[..., cells:]  # (M, heads, T, cells)
        by_token = weighted.mean(1) if self._head is None else weighted[:, self._head]
        found = self._pool(by_token, self._counted(tokens)).unflatten(-1, self.grid)
        scaled: np.ndarray = found.cpu().numpy()
        top = scaled.max((1, 2), keepdims=True)
        return np.divide(scaled, top, out=np.zeros_like(scaled), where=top > 0)

    def attention_and_gradient(
        self, hidden: Tensor, tokens: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The layer's cross-attention (M, heads, T, class token + cells) and, of the same shape, the
        gradient to it of the score that picture and text match."""
        with torch.enable_grad():
            read = self.model.text_encoder(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                encoder_hidden_states=hidden,
                encoder_attention_mask=torch.ones(
                    hidden.shape[:2], dtype=torch.long, device=hidden.device
                ),
            )
            score = self.model.itm_head(read.last_hidden_state[:, 0])[:, MATCH].sum()
        attention, self._attention = self._attention, None
        if attention is None:
            raise RuntimeError("the layer's cross-attention has not run")
        (gradient,) = torch.autograd.grad(score, attention)
        return attention.detach(), gradient

    def _keep(self, module: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        self._attention = output[1]

    def _counted(self, tokens: dict[str, Tensor]) -> Tensor:
        """(M, T) bool: the tokens that count."""
        there = tokens["attention_mask"].bool()
        if self.config.special_tokens:
            return there
        counted = there & ~tokens["special_tokens_mask"].bool()
        # an empty text has no other tokens
        return torch.where(counted.any(1, keepdim=True), counted, there)

    def _pool(self, by_token: Tensor, counted: Tensor) -> Tensor:
        """(M, cells) of (M, T, cells), over the tokens that count."""
        if self._token is None:
            kept = by_token * counted.unsqueeze(-1)  # none of it is negative, so 0 is no maximum
            if self.config.tokens == "max":
                return kept.amax(1)
            return kept.sum(1) / counted.sum(1, keepdim=True)
        number = counted.sum(1)
        wanted = torch.full_like(number, self._token)
        wanted = torch.where(wanted < 0, number + wanted, wanted)
        wanted = wanted.clamp(min=0).minimum(number - 1)
        # the place of the wanted-th token that counts
        place = ((counted.cumsum(1) == (wanted + 1).unsqueeze(1)) & counted).int().argmax(1)
        return by_token[torch.arange(len(place), device=place.device), place]


def _begin_graph(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hook before a layer: its hidden states are where the graph begins, the parameters being frozen."""
    return (inputs[0].detach().requires_grad_(), *inputs[1:])


def _index(value: int | str, count: int, key: str, what: str, words: list[str]) -> int | None:
    """`value` as an index below `count`, None for one of `words`; `UserError` otherwise."""
    if value in words:
        return None
    number = layer_number(value, count)
    if number is None:
        also = "".join(f", or {word}" for word in words)
        raise UserError(
            f"{key}: {value!r}; the model has {count} {what}: 0 to {count - 1}, or -{count} to -1"
            f" from the end{also}"
        )
    return number
