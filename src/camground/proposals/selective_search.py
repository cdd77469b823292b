"""Proposals of one picture: selective search, ranked by objectness, thinned by suppression."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from camground.proposals.candidates import SEARCHES, find
from camground.proposals.objectness import objectness
from camground.proposals.settings import Settings
from camground.proposals.thinning import WHOLE, Proposals, thin
from camground.study.errors import UserError

FOUND = "selective_search"


def load(path: str | Path, longest: int, size: tuple[int, int]) -> np.ndarray:
    """A photograph as (h, w, 3) uint8 RGB with its longest side at most `longest` pixels.

    `size` is the width and height that the `images` table gives. Raises `UserError` for a file that
    cannot be read or has another size.
    """
    try:
        with Image.open(path) as picture:
            if picture.size != tuple(size):
                found, known = ("x".join(map(str, one)) for one in (picture.size, size))
                raise UserError(
                    f"{path}: is {found} pixels but {known} in the images table; rerun `data`"
                )
            shrink = min(1.0, longest / max(size))
            small = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
            # A JPEG decoder can leave out what would be averaged away; other formats ignore this.
            picture.draft("RGB", (2 * small[0], 2 * small[1]))
            rgb = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a photograph ({error})") from None
    # Not Pillow's box filter: it takes whole pixels, which shows when little is averaged.
    return rgb if shrink == 1 else cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)


def propose(rgb: np.ndarray, settings: Settings, size: tuple[int, int]) -> Proposals:
    """Proposals of a picture (h, w, 3) uint8 RGB that stands for an image of `size` (width, height).

    At most `settings.count`. The whole image is one of them if `settings.whole_image` or if nothing
    else is found; its objectness is by the same formula, and it neither suppresses nor is suppressed.
    """
    height, width = rgb.shape[:2]
    candidates = find(rgb, SEARCHES[settings.mode])
    scores = objectness(candidates.evidence)
    kept = thin(candidates.boxes_xyxy, scores, settings, (width, height))
    whole = len(scores) - 1
    if settings.whole_image or not kept.size:
        kept = np.append(kept, whole)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
    scale = np.array([size[0] / width, size[1] / height] * 2)
    return Proposals(
        boxes_xyxy=(candidates.boxes_xyxy[kept] * scale).astype(np.float32),
        objectness=scores[kept].astype(np.float32),
        sources=[WHOLE if one == whole else FOUND for one in kept],
    )
