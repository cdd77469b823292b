"""The CAM encoder: how the matcher's Grad-CAM enters the grounder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.grounder.config import CamEncoderConfig
from camground.grounder.regions import inside_and_ring, map_features


class CamEncoder(nn.Module):
    """Convolutions over the CAM, pooled in each proposal and on a coarse grid of tokens.

    A withheld CAM is one learnt vector everywhere, so that "no CAM" differs from "an empty CAM". What would
    raise all proposals' scores alike has no bias: no loss could train one.
    """

    def __init__(self, config: CamEncoderConfig, width: int, has_tokens: bool) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.convolution = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
        )
        self.region = nn.Sequential(
            nn.Linear(2 * channels + 4, width), nn.GELU(), nn.Linear(width, width, bias=False)
        )
        self.score = nn.Linear(4, 1, bias=False)
        self.token = nn.Linear(channels + 1, width) if has_tokens else None
        self.position = nn.Parameter(torch.randn(config.tokens**2, width) * 0.02) if has_tokens else None
        self.withheld = nn.Parameter(torch.randn(width) * 0.02)

    def withheld_from(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Region features (count, 1, width) and, of an encoder that has them, tokens (count, tokens ** 2,
        width) of withheld CAMs."""
        tokens = None if self.position is None else (self.withheld + self.position).expand(count, -1, -1)
        return self.withheld.expand(count, 1, -1), tokens

    def forward(self, cam: Tensor, has_cam: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """cam (P, H, W) in [0, 1], has_cam (P,) bool: False withholds it, boxes (P, K, 4) xyxy in [0, 1].

        Returns region features (P, K, width), a plain score (P, K) and tokens (P, tokens ** 2, width), None
        of an encoder without.
        """
        maps = self.convolution(cam.unsqueeze(1))  # (B, channels, H, W)
        flat = maps.flatten(2).transpose(1, 2)
        weights = inside_and_ring(boxes, (cam.shape[-2], cam.shape[-1]))
        numbers = map_features(cam, boxes, weights)
        region = self.region(torch.cat([*(weights @ flat).chunk(2, 1), numbers], -1))
        shown = has_cam[:, None, None]
        tokens = None
        if self.token is not None and self.position is not None:
            side = self.config.tokens
            coarse = functional.adaptive_avg_pool2d(torch.cat([maps, cam.unsqueeze(1)], 1), side)
            tokens = self.token(coarse.flatten(2).transpose(1, 2)) + self.position
            tokens = torch.where(shown, tokens, self.withheld + self.position)
        score = self.score(numbers).squeeze(-1) * has_cam[:, None]
        return torch.where(shown, region, self.withheld), score, tokens
