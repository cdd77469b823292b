"""Grad-CAM of image encoders that are a grid of tokens with one vector per picture, through pytorch-grad-cam.

The map is taken at the normed input of one layer (or at what the pooling reads), the score is the model's
own logit of picture and text. The layers before that one run once per picture; only the rest, which the
gradient goes through, runs for every text.
"""

from __future__ import annotations

from abc import abstractmethod
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.matcher.checkpoints import Checkpoint, tokens_of
from camground.matcher.gradcam import METHODS
from camground.matcher.pretrained_cam import PretrainedCam, layer_number
from camground.study.errors import UserError

OUTPUT = "output"


class _Rest(nn.Module):
    """From the cells before a layer to the score, as a module that pytorch-grad-cam can call.

    The cells come as (M, width, height, width of the grid), since it takes the size of its map from them.
    """

    def __init__(self, owner: TokenGridCam, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.model = owner.model
        self._owner = [owner]  # in a list, for a module would take it for its own
        self.class_tokens: Tensor | None = None
        self.texts: Tensor | None = None

    def forward(self, cells: Tensor) -> Tensor:
        if self.texts is None or self.class_tokens is None:
            raise ValueError("no texts to score with")
        hidden = torch.cat([self.class_tokens, cells.flatten(2).transpose(1, 2)], 1)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=None)
        (owner,) = self._owner
        picture = functional.normalize(owner.pool(hidden), dim=-1)
        return owner.logit((picture * self.texts).sum(-1)).unsqueeze(1)


class TokenGridCam(PretrainedCam):
    """Maps of a model with `vision_model.encoder.layers` of transformers' layout.

    class_tokens: how many tokens come before the cells. pooled: whether the picture's vector reads the
    cells of the last layer's output, so that `layer` may be "output". padding: see `tokens_of`.
    """

    class_tokens: int
    pooled: bool
    padding: str

    def __init__(
        self,
        checkpoint: Checkpoint,
        source: str,
        method: str,
        layer: int | str,
        image_size: list[int] | None,
        where: torch.device | None,
    ) -> None:
        super().__init__(checkpoint, image_size)
        self.model: Any = checkpoint.model.to(where or torch.device("cpu"))
        if method not in METHODS:
            raise UserError(f"gradcam.{source}.method: {method!r} is not one of {sorted(METHODS)}")
        layers = list(self.model.vision_model.encoder.layers)
        count = len(layers)
        number = count if self.pooled and layer == OUTPUT else layer_number(layer, count)
        if number is None:
            also = f", or {OUTPUT}" if self.pooled else ""
            raise UserError(
                f"gradcam.{source}.layer: {layer!r}; the model has {count} layers: 0 to {count - 1},"
                f" or -{count} to -1 from the end{also}"
            )
        self._before, after = layers[:number], layers[number:]
        target = after[0].layer_norm1 if after else self.model.vision_model.post_layernorm
        self._rest = _Rest(self, after).eval()
        cam_class = getattr(import_module("pytorch_grad_cam"), METHODS[method])
        self._cam = cam_class(
            model=self._rest, target_layers=[target], reshape_transform=self._as_grid
        )
        # the parameters are frozen, so the graph begins at the cells
        self._cam.compute_input_gradient = True
        at = number if after else OUTPUT
        self.source = f"{source}:{checkpoint.name}:{method}:layer={at}"

    def release(self) -> None:
        self._cam.activations_and_grads.release()
        self._rest.texts = self._rest.class_tokens = None

    def encode(self, pictures: Tensor) -> Tensor:
        hidden = self.embed(pictures)
        for layer in self._before:
            hidden = layer(hidden, attention_mask=None)
        return hidden

    def maps(self, hidden: Tensor, texts: list[str]) -> np.ndarray:
        tokens = tokens_of(self.checkpoint, texts, self.padding)
        with torch.no_grad():
            self._rest.texts = functional.normalize(self.read(tokens), dim=-1)
        self._rest.class_tokens = hidden[:, : self.class_tokens]
        cells = self._as_grid(hidden).contiguous()
        targets = [lambda output: output[0]] * len(texts)
        with torch.enable_grad():
            found: np.ndarray = self._cam(input_tensor=cells, targets=targets)
        return found.astype(np.float32)

    def scores(self, hidden: Tensor, texts: list[str]) -> Tensor:
        """The logits (M,) whose gradient the maps follow, from `encode`'s tokens (M, T, width)."""
        with torch.no_grad():
            tokens = tokens_of(self.checkpoint, texts, self.padding)
            self._rest.texts = functional.normalize(self.read(tokens), dim=-1)
            self._rest.class_tokens = hidden[:, : self.class_tokens]
            logits: Tensor = self._rest(self._as_grid(hidden))
        return logits.squeeze(1)

    def _as_grid(self, hidden: Tensor) -> Tensor:
        """Tokens (M, T, width) as cells (M, width, *grid), the class token dropped."""
        return hidden[:, self.class_tokens :].transpose(1, 2).unflatten(2, self.grid)

    @abstractmethod
    def embed(self, pictures: Tensor) -> Tensor:
        """Tokens (B, T, width) before the first layer."""

    @abstractmethod
    def pool(self, hidden: Tensor) -> Tensor:
        """The pictures' vectors (M, d) of the last layer's output (M, T, width)."""

    @abstractmethod
    def read(self, tokens: dict[str, Tensor]) -> Tensor:
        """The texts' vectors (M, d)."""

    @abstractmethod
    def logit(self, cosine: Tensor) -> Tensor:
        """The model's score (M,) of the cosine of picture and text."""
