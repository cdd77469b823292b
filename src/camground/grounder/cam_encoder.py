"""The CAM encoder: how the matcher's Grad-CAM enters the grounder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.grounder.regions import inside_and_ring, map_features
from camground.study.errors import UserError

CONTROLS = ("none", "shuffled", "uniform", "centre")


@dataclass(frozen=True)
class CamEncoderConfig:
    """`channels` of its convolutions; `tokens`: side of the grid of CAM tokens for the fusion;
    `dropout`: share of training pairs whose CAM is withheld. `control`: what the encoder is shown, one of
    `CONTROLS` (see `camground.cam_control`); "none": the expression's own CAM.
    """

    enabled: bool = True
    channels: int = 16
    tokens: int = 4
    dropout: float = 0.2
    control: str = "none"

    def __post_init__(self) -> None:
        if self.control not in CONTROLS:
            raise UserError(
                f"model.cam_encoder.control: {self.control!r} is none of {', '.join(CONTROLS)}"
            )


class CamEncoder(nn.Module):
    """Convolutions over the CAM, pooled in each proposal and on a coarse grid of tokens.

    A withheld CAM is one learnt vector everywhere, so that "no CAM" differs from "an empty CAM".
    """

    def __init__(self, config: CamEncoderConfig, width: int, ring: float) -> None:
        super().__init__()
        self.config, self.ring = config, ring
        channels = config.channels
        self.convolution = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
        )
        self.region = nn.Sequential(
            nn.Linear(2 * channels + 4, width), nn.GELU(), nn.Linear(width, width)
        )
        self.score = nn.Linear(4, 1)
        self.token = nn.Linear(channels + 1, width)
        self.place = nn.Parameter(torch.randn(config.tokens**2, width) * 0.02)
        self.withheld = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, cam: Tensor, known: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """cam (B, H, W) in [0, 1], known (B,) bool, boxes (B, K, 4) in [0, 1].

        Returns region features (B, K, width), a plain score (B, K) and tokens (B, tokens ** 2, width).
        """
        maps = self.convolution(cam.unsqueeze(1))  # (B, channels, H, W)
        flat = maps.flatten(2).transpose(1, 2)
        inside, around = inside_and_ring(boxes, (cam.shape[-2], cam.shape[-1]), self.ring)
        numbers = map_features(cam, boxes, self.ring)
        region = self.region(torch.cat([inside @ flat, around @ flat, numbers], -1))
        side = self.config.tokens
        coarse = functional.adaptive_avg_pool2d(torch.cat([maps, cam.unsqueeze(1)], 1), side)
        tokens = self.token(coarse.flatten(2).transpose(1, 2)) + self.place
        there = known[:, None, None]
        return (
            torch.where(there, region, self.withheld),
            self.score(numbers).squeeze(-1) * known[:, None],
            torch.where(there, tokens, self.withheld + self.place),
        )
