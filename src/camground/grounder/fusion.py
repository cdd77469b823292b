"""The multi-modality fusion module: proposals attend to words, to the grid and to CAM tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from camground.grounder.attention import Block
from camground.grounder.config import FusionConfig
from camground.grounder.regions import Proposals
from camground.grounder.relations import Relations


class Fusion(nn.Module):
    """Joint features of each proposal, given the words, the image's grid and the CAM."""

    def __init__(self, config: FusionConfig, width: int, dropout: float) -> None:
        super().__init__()
        self.product = nn.Linear(width, width)
        self.kind = nn.Parameter(torch.randn(3, width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, dropout, cross=True) for _ in range(config.layers)
        )
        self.score = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        self.relations = Relations(width, config.relations) if config.relations else None

    def forward(
        self,
        regions: Tensor,
        proposals: Proposals,
        phrase: Tensor,
        words: Tensor,
        words_mask: Tensor,
        grid: Tensor,
        cam_regions: Tensor | None,
        cam_tokens: Tensor | None,
    ) -> Tensor:
        """Scores (B, K), logits, of the proposals.

        regions (B, K, width) of the proposals, phrase (B, width), words (B, T, width) with mask
        (B, T), grid (B, N, width), cam_regions (B, K, width) and cam_tokens (B, M, width) or None
        without a CAM encoder.
        """
        x = regions + self.product(regions * phrase.unsqueeze(1))
        memory = [words + self.kind[0], grid + self.kind[1]]
        if cam_regions is not None and cam_tokens is not None:
            x = x + cam_regions
            memory.append(cam_tokens + self.kind[2])
        always = torch.ones(
            len(x), sum(part.shape[1] for part in memory[1:]), dtype=torch.bool, device=x.device
        )
        mask = torch.cat([words_mask, always], 1)
        joined = torch.cat(memory, 1)
        for block in self.blocks:
            x = block(x, proposals.valid, joined, mask)
        scores: Tensor = self.score(x).squeeze(-1)
        if self.relations is not None:
            scores = scores + self.relations(
                regions, proposals.boxes, proposals.objectness, proposals.valid, words, words_mask
            )
        return scores
