"""Tiny randomly initialised checkpoints in the folders that a user would have, and a study to run them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from camground.features.store import FeatureStore
from camground.stages.features import features
from camground.study import tables

WORDS = ["a", "the", "red", "blue", "boat", "house", "left", "of", "small", "tree"]
TEXTS = ["red boat", "the small blue house left of the tree", "boat"]
MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def randomised(model: Any, scale: float = 0.3, bias_scale: float = 0.0) -> Any:
    """The model with weights large enough that pictures, words and places differ."""
    make = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=make) * scale)
            elif bias_scale and name.endswith(("bias", "class_embedding")):
                value.copy_(torch.randn(value.shape, generator=make) * bias_scale)
    return model


def write_json(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value))


def clip_tokenizer(folder: Path, words: list[str], pad: str | None = None, **settings: Any) -> dict[str, int]:
    """CLIP's byte-pair tokenizer, to which each word is one token; returns what a text tower must know of it.

    pad: a token of its own to pad with, number 0; None: the last token pads too.
    """
    letters = sorted(set("".join(words)))
    start, end = "<|startoftext|>", "<|endoftext|>"
    vocabulary = [*([pad] if pad else []), *letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in words:  # merges from the left until a word is one token
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts = [parts[0] + parts[1], *parts[2:]]
            vocabulary.append(parts[0])
    vocabulary = [*dict.fromkeys(vocabulary), start, end]
    ids = {token: number for number, token in enumerate(vocabulary)}
    write_json(folder, "vocab.json", ids)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(dict.fromkeys(merges)) + "\n")
    names = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": pad or end}
    kind = {"tokenizer_class": "CLIPTokenizer", **settings, **names}
    write_json(folder, "tokenizer_config.json", kind)
    special = {f"{role}_token_id": ids[names[f"{role}_token"]] for role in ("bos", "eos", "pad")}
    return {"vocab_size": len(vocabulary), **special}


def image_processor(folder: Path) -> None:
    from transformers import ConvNextImageProcessor

    ConvNextImageProcessor(image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


def backbone(kind: str, folder: Path) -> Path:
    """A checkpoint of a whole model of transformers, as the hub has it, with its image processor."""
    import transformers as t

    four: dict[str, Any] = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
    vit: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    made = {
        "resnet": lambda: t.ResNetForImageClassification(
            t.ResNetConfig(embedding_size=8, layer_type="basic", **four)
        ),
        "convnext": lambda: t.ConvNextModel(t.ConvNextConfig(layer_scale_init_value=1.0, **four)),
        "swin": lambda: t.SwinModel(
            t.SwinConfig(
                image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4
            )
        ),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(image_size=56, patch_size=14, **vit)),
        "vit": lambda: t.ViTModel(t.ViTConfig(image_size=64, intermediate_size=16, **vit)),
    }[kind]()
    randomised(made).save_pretrained(folder)
    image_processor(folder)
    return folder


def tokenizer(folder: Path, special: dict[str, str], template: str, pad: str | None) -> int:
    """A tokenizer of whole words; `special`: its tokens by their transformers name, of which `template`
    shows where they stand. Returns the number of its tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = list(dict.fromkeys(special.values()))
    vocabulary = {word: number for number, word in enumerate([*names, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        used = [(token, vocabulary[token]) for token in template.split() if token in vocabulary]
        inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    given = {**special, "pad_token": pad} if pad else special
    PreTrainedTokenizerFast(tokenizer_object=inner, **given).save_pretrained(folder)
    return len(vocabulary)


def text_encoder(kind: str, folder: Path) -> Path:
    """A checkpoint of a whole language model, as the hub has it, with its tokenizer."""
    import transformers as t

    bert = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    layers: dict[str, Any] = {**size, "intermediate_size": 24}
    if kind in ("bert", "distilbert"):
        count = tokenizer(folder, {"pad_token": "[PAD]", **bert}, "[CLS] $A [SEP]", "[PAD]")
        if kind == "bert":
            made = t.BertForMaskedLM(t.BertConfig(vocab_size=count, **layers))
        else:
            made = t.DistilBertModel(
                t.DistilBertConfig(vocab_size=count, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
            )
    elif kind == "roberta":
        # <pad> is number 1, from which RoBERTa counts its positions: 20 of them are room for 18 tokens
        special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        count = tokenizer(folder, special, "<s> $A </s>", "<pad>")
        made = t.RobertaForMaskedLM(
            t.RobertaConfig(vocab_size=count, max_position_embeddings=20, pad_token_id=1, **layers)
        )
    elif kind == "clip":
        count = tokenizer(folder, ends, "<s> $A </s>", "</s>")
        text = {**layers, "vocab_size": count, "max_position_embeddings": 14, "eos_token_id": 1}
        vision = {**layers, "image_size": 16, "patch_size": 8}
        made = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision))
    elif kind == "t5":
        special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        count = tokenizer(folder, special, "$A </s>", "<pad>")
        made = t.T5ForConditionalGeneration(
            t.T5Config(
                vocab_size=count, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
                decoder_start_token_id=0,
            )
        )  # fmt: skip
    elif kind == "gpt2":  # no token to pad with
        count = tokenizer(folder, {"eos_token": "</s>", "unk_token": "<unk>"}, "", None)
        made = t.GPT2Model(t.GPT2Config(vocab_size=count, n_embd=16, n_layer=2, n_head=2))
    else:
        raise ValueError(kind)
    randomised(made).save_pretrained(folder)
    return folder


def study(folder: Path, images: int = 3, side: int = 64) -> Path:
    """The tables `images` and `expressions` and their pictures, every text once, in train and val."""
    rng = np.random.default_rng(0)
    rows, expressions = [], []
    for split in ("train", "val"):
        for n in range(images):
            name = f"{split}{n}"
            pixels = rng.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
            picture.save(folder / f"{name}.png")
            row = {"image_id": name, "path": f"{name}.png", "width": side, "height": side}
            rows.append({**row, "split": split})
            text = {"expression_id": name, "image_id": name, "text": TEXTS[n % len(TEXTS)]}
            no_swap = dict.fromkeys(("boxed", "swap_of", "word_class", "false_of_image"))
            expressions.append({**text, **no_swap, "kind": "phrase", "split": split})
    tables.write("images", rows, folder / "images.parquet")
    tables.write("expressions", expressions, folder / "expressions.parquet")
    return folder


def arguments(folder: Path, section: dict[str, Any]) -> list[str]:
    """Of `camground features`."""
    return [
        *("--config", json.dumps({"features": section})),
        *("--images", str(folder / "images.parquet")),
        *("--expressions", str(folder / "expressions.parquet")),
        *("--output-dir", str(folder / "features")),
    ]


def run_features(folder: Path, section: dict[str, Any]) -> FeatureStore:
    """The stage `features` on `study(folder)`, and the store that it makes."""
    features(
        json.dumps({"features": section}),
        folder / "images.parquet",
        folder / "expressions.parquet",
        folder / "features",
        threads=3,
    )
    return FeatureStore(folder / "features")
