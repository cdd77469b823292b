"""Tiny randomly initialised object detectors in the folders that a user would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tiny_models import DEVIATION, MEAN, clip_tokenizer, randomised, write_json

WORDS = ["a", "the", "red", "blue", "boat", "house", "dog", "cat", "person", "tree"]


def detr(folder: Path, **changes: Any) -> None:
    """With a backbone of timm, as most DETRs of the hub have."""
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor

    config = DetrConfig(
        use_timm_backbone=True,
        use_pretrained_backbone=False,
        backbone="test_resnet",
        num_queries=12,
        num_labels=5,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        **changes,
    )
    randomised(DetrForObjectDetection(config)).save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    DetrImageProcessor(size=size, image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


def rt_detr(folder: Path) -> None:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 12, 16, 20],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        num_labels=5,
        d_model=16,
        encoder_hidden_dim=16,
        encoder_in_channels=[12, 16, 20],
        decoder_in_channels=[16, 16, 16],
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        decoder_layers=2,
        num_queries=12,
        num_denoising=0,
    )
    randomised(RTDetrForObjectDetection(config)).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def owl(kind: str, folder: Path) -> None:
    """OWL-ViT or OWLv2."""
    import transformers as t

    name = {"owlvit": "OwlViT", "owlv2": "Owlv2"}[kind]
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24}
    layers: dict[str, Any] = {**size, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = getattr(t, f"{name}Config")(
        text_config={
            **layers,
            **clip_tokenizer(folder, WORDS, pad="!", model_max_length=8),
            "max_position_embeddings": 8,
        },
        vision_config={**layers, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    randomised(getattr(t, f"{name}ForObjectDetection")(config)).save_pretrained(folder)
    processor = getattr(t, f"{name}ImageProcessor")
    side = {"height": 64, "width": 64}
    processor(size=side, image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


def grounding_dino(folder: Path) -> None:
    """The tokens [CLS], [SEP], `.` and `?` have BERT's own numbers, which the model's code knows."""
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        SwinConfig,
    )

    vocabulary = [f"[unused{number}]" for number in range(1030)]
    places = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    for token, number in {**places, ".": 1012, "?": 1029}.items():
        vocabulary[number] = token
    vocabulary += WORDS
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = {"tokenizer_class": "BertTokenizer", "model_max_length": 64}
    write_json(folder, "tokenizer_config.json", tokenizer)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        num_queries=12,
        d_model=32,  # its normalisation has 32 groups
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_text_len=32,
    )
    randomised(GroundingDinoForObjectDetection(config)).save_pretrained(folder)
    # with a side below two of the coarsest cells (64 pixels) its normalisation fails
    size = {"shortest_edge": 96, "longest_edge": 160}
    GroundingDinoImageProcessor(size=size, image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


def make(kind: str, folder: Path) -> Path:
    """A checkpoint of the model type `kind`, as the hub names it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)  # of the weights that `randomised` leaves
    if kind in ("owlvit", "owlv2"):
        owl(kind, folder)
    else:
        {"detr": detr, "rt_detr": rt_detr, "grounding-dino": grounding_dino}[kind](folder)
    return folder


KINDS = ("detr", "rt_detr", "owlvit", "owlv2", "grounding-dino")
