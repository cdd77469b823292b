"""Reading photographs as tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camground.study.errors import UserError


def load_square(path: str | Path, size: int) -> Tensor:
    """A photograph as (3, size, size) uint8 RGB, each axis scaled on its own.

    Boxes as shares of width and height therefore hold at any size. Raises `UserError` for a file that
    cannot be read.
    """
    try:
        with Image.open(path) as picture:
            rgb = picture.convert("RGB")
            if rgb.size != (size, size):
                rgb = rgb.resize((size, size), Image.Resampling.BICUBIC)
            return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a photograph ({error})") from None
