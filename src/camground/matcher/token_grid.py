"""Grad-CAM of image encoders that are a grid of tokens with one vector per picture, through pytorch-grad-cam.

The map is taken at the normed input of one layer (or at what the pooling reads), the score is the model's
own logit of picture and text. The layers before that one run once per picture; only the rest, which the
gradient goes through, runs for every text.
"""

from __future__ import annotations

from abc import abstractmethod
from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.matcher.cam import OwnNetworks
from camground.matcher.config import CAM_CLASSES, GradcamConfig
from camground.matcher.pretrained import PretrainedCam

OUTPUT = "output"


class _Rest(nn.Module):
    """From the cells before a layer to the score, as a module that pytorch-grad-cam can call.

    The cells come as (M, width, grid height, grid width), since it takes the size of its map from them.
    """

    def __init__(self, cam: TokenGridCam, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.model = cam.model
        self._cam = [cam]  # in a list, since the cam holds this module
        self.class_tokens: Tensor | None = None
        self.texts: Tensor | None = None

    def forward(self, cells: Tensor) -> Tensor:
        if self.texts is None or self.class_tokens is None:
            raise ValueError("no texts to score with")
        hidden = torch.cat([self.class_tokens, cells.flatten(2).transpose(1, 2)], 1)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=None)
        (cam,) = self._cam
        picture = functional.normalize(cam.pool(hidden), dim=-1)
        return cam.logit((picture * self.texts).sum(-1)).unsqueeze(1)


class TokenGridCam(PretrainedCam):
    """Maps of a model with `vision_model.encoder.layers` of transformers' layout.

    class_tokens: how many tokens come before the cells. padding: of texts, see `tokens`.
    layer_words: `output`, where the picture's vector reads the cells of the last layer's output, so that the
    map may be taken there.
    """

    class_tokens: int
    padding: str = "longest"
    layer_words: tuple[str, ...] = ()

    def __init__(self, config: GradcamConfig, device: torch.device, own: OwnNetworks | None = None) -> None:
        super().__init__(config, device)
        layers = list(self.model.vision_model.encoder.layers)
        index = self.index("layer", len(layers), "layers", self.layer_words)
        self._before, after = layers[:index], layers[index:] if index is not None else []
        target = after[0].layer_norm1 if after else self.model.vision_model.post_layernorm
        self._rest = _Rest(self, after).eval()
        method = self.settings.method
        cam_class = getattr(import_module("pytorch_grad_cam"), CAM_CLASSES[method])
        self._cam = cam_class(model=self._rest, target_layers=[target], reshape_transform=self._as_grid)
        # the parameters are frozen, so the graph begins at the cells
        self._cam.compute_input_gradient = True
        layer = OUTPUT if index is None else index
        self.name = f"{self.kind}:{self.model_name}:{method}:layer={layer}"

    def release(self) -> None:
        self._cam.activations_and_grads.release()
        self._rest.texts = self._rest.class_tokens = None

    def encode(self, photographs: Tensor) -> Tensor:
        hidden = self.embed(photographs)
        for layer in self._before:
            hidden = layer(hidden, attention_mask=None)
        return hidden

    def maps(self, hidden: Tensor, texts: list[str]) -> np.ndarray:
        cells = self._cells_to_score(hidden, texts)
        targets = [lambda output: output[0]] * len(texts)
        with torch.enable_grad():
            maps: np.ndarray = self._cam(input_tensor=cells, targets=targets)
        return maps.astype(np.float32)

    @torch.no_grad()
    def scores(self, hidden: Tensor, texts: list[str]) -> Tensor:
        """The logits (M,) whose gradient the maps follow, from `encode`'s tokens (M, T, width)."""
        logits: Tensor = self._rest(self._cells_to_score(hidden, texts))
        return logits.squeeze(1)

    @torch.no_grad()
    def _cells_to_score(self, hidden: Tensor, texts: list[str]) -> Tensor:
        """The cells of the tokens, what else the rest needs to score them having been set."""
        tokens = self.tokens(texts, self.padding)
        self._rest.texts = functional.normalize(self.text_vectors(tokens), dim=-1)
        self._rest.class_tokens = hidden[:, : self.class_tokens]
        return self._as_grid(hidden).contiguous()

    def _as_grid(self, hidden: Tensor) -> Tensor:
        """Tokens (M, T, width) as cells (M, width, *grid), the class token dropped."""
        cells: Tensor = hidden[:, self.class_tokens :].transpose(1, 2).unflatten(2, self.grid)
        return cells

    @abstractmethod
    def embed(self, photographs: Tensor) -> Tensor:
        """Tokens (B, T, width) before the first layer."""

    @abstractmethod
    def pool(self, hidden: Tensor) -> Tensor:
        """The pictures' vectors (M, d) of the last layer's output (M, T, width)."""

    @abstractmethod
    def text_vectors(self, tokens: dict[str, Tensor]) -> Tensor:
        """The texts' vectors (M, d)."""

    @abstractmethod
    def logit(self, cosine: Tensor) -> Tensor:
        """The model's score (M,) of the cosine of picture and text."""
