"""The decoder of the reconstruction loss: from attended proposals back to the expression."""

from __future__ import annotations

from torch import Tensor, nn


class ReconstructionDecoder(nn.Module):
    """A region vector -> the vector of the expression in the frozen language encoder's space."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, text_width)
        )

    def forward(self, region: Tensor) -> Tensor:
        """region (M, width) -> (M, text_width)."""
        decoded: Tensor = self.layers(region)
        return decoded
