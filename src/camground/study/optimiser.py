"""How a network is trained: the keys that the matcher's training and the grounder's share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from camground.study.section import Section


class OptimiserConfig(Section):
    """AdamW, whose learning rate rises over the first epoch and then stays. Validated on captions, chosen and
    saved is a moving average of the weights, so a training's end does not depend on its limit, `epochs`."""

    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training images, at most."""
    min_steps: Annotated[int, Field(ge=0)] = 0
    """Where `epochs` passes are fewer steps than these, as over few images, the limit is as many passes as
    make them; and patience ends no training before."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Images in a batch."""
    per_image: Annotated[int, Field(ge=1)] = 1
    """Expressions of each image in a batch, at most."""
    images_per_epoch: Annotated[int, Field(ge=2)] | None = None
    """An epoch ends after so many images, drawn anew each time; null: all of them."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate after the first epoch."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass, validation's too. bfloat16 is faster on processors and GPUs that have it; on
    others it is float32 all the same."""
    patience: Annotated[int, Field(ge=0)] = 2
    """Epochs without a better val score that end a training; 0: the limit alone does."""
