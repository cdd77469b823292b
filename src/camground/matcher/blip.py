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

from camground.matcher.cam import OwnNetworks
from camground.matcher.config import GradcamConfig
from camground.matcher.pretrained import PretrainedCam

MATCH = 1  # which of the matching head's two outputs says that picture and text belong together


class BlipCam(PretrainedCam):
    """Maps of a checkpoint of transformers' BlipForImageTextRetrieval."""

    kind = "blip"
    model_class = "BlipForImageTextRetrieval"

    def __init__(self, config: GradcamConfig, device: torch.device, own: OwnNetworks | None = None) -> None:
        super().__init__(config, device)
        layers = self.model.text_encoder.encoder.layer
        head_count = int(self.model.config.text_config.num_attention_heads)
        index = self.index("layer", len(layers), "layers")
        self._head = self.index("heads", head_count, "heads", ("mean",))
        self._attention: Tensor | None = None
        # the graph begins at this layer: those before it keep nothing for the gradient
        self._handles = [
            layers[index].register_forward_pre_hook(_begin_graph),
            layers[index].crossattention.self.register_forward_hook(self._keep),
        ]
        special = "with" if self.settings.special_tokens else "without"
        self.name = (
            f"blip:{self.model_name}:layer={index}:heads={self.settings.heads}"
            f":tokens={self.settings.tokens}:{special} special tokens"
        )

    def release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._attention = None

    def encode(self, photographs: Tensor) -> Tensor:
        output = self.model.vision_model(pixel_values=photographs, interpolate_pos_encoding=True)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def maps(self, hidden: Tensor, texts: list[str]) -> np.ndarray:
        tokens = self.tokens(texts)
        attention, gradient = self._attention_and_gradient(hidden, tokens)
        cells = hidden.shape[1] - self.grid[0] * self.grid[1]  # the class token comes first
        weighted = (attention * gradient.relu())[..., cells:]  # (M, heads, T, cells)
        by_token = weighted.mean(1) if self._head is None else weighted[:, self._head]
        pooled = self._pool(by_token, self._counted(tokens)).unflatten(-1, self.grid)
        maps: np.ndarray = pooled.cpu().numpy()
        top = maps.max((1, 2), keepdims=True)
        maps = np.divide(maps, top, out=np.zeros_like(maps), where=top > 0)
        return maps

    def _attention_and_gradient(self, hidden: Tensor, tokens: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The layer's cross-attention (M, heads, T, class token + cells) and, of the same shape, the
        gradient to it of the score that picture and text match."""
        with torch.enable_grad():
            output = self.model.text_encoder(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                encoder_hidden_states=hidden,
                encoder_attention_mask=hidden.new_ones(hidden.shape[:2], dtype=torch.long),
            )
            score = self.model.itm_head(output.last_hidden_state[:, 0])[:, MATCH].sum()
        attention, self._attention = self._attention, None
        if attention is None:
            raise RuntimeError("the layer's cross-attention has not run")
        (gradient,) = torch.autograd.grad(score, attention)
        return attention.detach(), gradient

    def _keep(self, module: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        self._attention = output[1]

    def _counted(self, tokens: dict[str, Tensor]) -> Tensor:
        """(M, T) bool: the tokens that count."""
        present = tokens["attention_mask"].bool()
        if self.settings.special_tokens:
            return present
        counted = present & ~tokens["special_tokens_mask"].bool()
        # an empty text has no other tokens
        return torch.where(counted.any(1, keepdim=True), counted, present)

    def _pool(self, by_token: Tensor, counted: Tensor) -> Tensor:
        """(M, cells) of (M, T, cells), over the tokens that count."""
        wanted = self.settings.tokens
        kept = by_token * counted.unsqueeze(-1)  # none of it is negative, so 0 is no maximum
        if wanted == "max":
            return kept.amax(1)
        count = counted.sum(1, keepdim=True)
        if wanted == "mean":
            return kept.sum(1) / count
        # the wanted-th token that counts, or the nearest
        from_start = wanted + count if wanted < 0 else torch.full_like(count, wanted)
        number = from_start.clamp(min=0).minimum(count - 1)
        index = ((counted.cumsum(1) == number + 1) & counted).int().argmax(1)
        return by_token[torch.arange(len(index), device=index.device), index]


def _begin_graph(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hook before a layer: its hidden states are where the graph begins, the parameters being frozen."""
    return (inputs[0].detach().requires_grad_(), *inputs[1:])
