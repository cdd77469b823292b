"""How a network is trained: the keys that the matcher's training and the grounder's share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from camground.study.section import Section


class OptimiserConfig(Section):
    """AdamW with linear warm-up and cosine decay, selected on val captions."""

    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training images, at most."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Images in a batch."""
    per_image: Annotated[int, Field(ge=1)] = 1
    """Expressions of each image in a batch, at most."""
    images_per_epoch: Annotated[int, Field(ge=2)] | None = None
    """An epoch ends after so many images, drawn anew each time; null: all of them."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass; bfloat16 is faster on processors and GPUs that have it."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better val score before training stops; 0: never early."""
