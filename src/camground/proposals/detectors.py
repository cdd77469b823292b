"""Published object detectors of transformers, by hub name or folder, as finders of things of any kind.

Two families: detectors of fixed categories (DETR, RT-DETR, Deformable DETR, YOLOS ...), and open-vocabulary
ones that are told what to look for (OWL-ViT, OWLv2, Grounding DINO). The category is dropped; the score is
kept. OWLv2 also scores how much of an object anything is, and needs no queries.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camground.data.photographs import read_reduced
from camground.proposals.settings import DetectorSettings
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_tokenizer, opening

KEY = "proposals.detector"
OWL, GROUNDING_DINO = ("owlvit", "owlv2"), ("grounding-dino", "mm-grounding-dino")
THIN = 32  # a longer picture of one pixel more would have no width left in some image processors
EXAMPLES = (
    "such as facebook/detr-resnet-50, PekingU/rtdetr_r50vd or google/owlv2-base-patch16-ensemble"
)


@dataclass(frozen=True)
class Seen:
    """A photograph as the model sees it: named tensors with a batch dimension of 1; `shown`, width and
    height of what they are made from; `size`, those of the photograph."""

    path: Path
    tensors: dict[str, Tensor]
    shown: tuple[int, int]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Equal for photographs that can share a batch without padding."""
        return tuple((name, tuple(value.shape)) for name, value in self.tensors.items())


class Detector:
    """A frozen detector in evaluation mode. source: what the table `proposals` says of its boxes."""

    def __init__(
        self, settings: DetectorSettings, model: Any, processor: Any, queries: dict[str, Tensor]
    ) -> None:
        """`queries`: the encoded texts (Q, T) of one photograph; empty for a model without."""
        self.settings, self.model, self.processor, self.queries = (
            settings,
            model,
            processor,
            queries,
        )
        name = settings.model
        self.source = f"detector:{Path(name).resolve().name if Path(name).is_dir() else name}"
        self._accepted = set(inspect.signature(model.forward).parameters)

    def see(self, path: str | Path, size: tuple[int, int]) -> Seen:
        """A photograph, whose width and height the `images` table gives as `size`.

        Raises `UserError` for one that cannot be read, is of another size, or that the model cannot take.
        """
        picture = Image.fromarray(read_reduced(path, max(size), size))
        least = -(-max(size) // THIN)
        if min(size) < least:
            picture = picture.resize((max(size[0], least), max(size[1], least)))
        try:
            seen = self.processor(images=picture, return_tensors="pt")
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{path}: the image processor of {self.settings.model!r} cannot take it ({error})"
            ) from None
        wanted = ("pixel_values", "pixel_mask")
        tensors = {name: seen[name] for name in wanted if name in seen and name in self._accepted}
        return Seen(Path(path), tensors, picture.size, size)

    @torch.inference_mode()
    def detect(self, batch: Sequence[Seen]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of photographs of one `shape`, each one's boxes xyxy (N, 4) in its pixels, not cut to it, and their
        scores (N,) in [0, 1], all above `settings.score`."""
        where = next(self.model.parameters()).device
        tensors = {
            name: torch.cat([one.tensors[name] for one in batch]).to(where)
            for name in batch[0].tensors
        }
        try:
            said = self._forward(tensors, len(batch))
        except torch.OutOfMemoryError:
            raise UserError(
                f"{KEY}.batch_size: the GPU has no room for {len(batch)} photographs at a time; lower it"
            ) from None
        found = self.processor.post_process_object_detection(
            said,
            threshold=self.settings.score,
            target_sizes=[(height, width) for width, height in (one.shown for one in batch)],
        )
        results = []
        for one, part in zip(batch, found, strict=True):
            boxes = part["boxes"].float().cpu().numpy()
            scores = part["scores"].float().cpu().numpy()
            if not np.isfinite(boxes).all():
                raise UserError(
                    f"{one.path}: {self.settings.model!r} gives boxes that are not numbers; its weights"
                    " are damaged: download it again"
                )
            scale = np.array(one.size) / np.array(one.shown)
            results.append((boxes * np.tile(scale, 2), np.clip(scores, 0, 1)))
        return results

    def _forward(self, tensors: dict[str, Tensor], count: int) -> Any:
        texts = {
            name: value.to(tensors["pixel_values"].device).repeat(count, 1)
            for name, value in self.queries.items()
        }
        return self.model(**tensors, **texts)


class ObjectnessDetector(Detector):
    """OWLv2 without queries: how much of an object each of its boxes holds, whatever it is."""

    def _forward(self, tensors: dict[str, Tensor], count: int) -> Any:
        grid = self.model.image_embedder(tensors["pixel_values"])[0]
        cells = grid.flatten(1, 2)
        # the processor scales boxes of one class as it does those of many
        return SimpleNamespace(
            logits=self.model.objectness_predictor(cells).unsqueeze(-1),
            pred_boxes=self.model.box_predictor(cells, grid),
        )


def open_detector(settings: DetectorSettings, where: torch.device) -> Detector:
    """The detector that `proposals.detector` names, ready on the device `where`.

    Raises `UserError` when there is none, it cannot be read, it is of another kind, it lacks weights
    (transformers would fill them in at random), or the queries do not fit it.
    """
    import transformers

    name = settings.model
    files = "config.json, the weights and preprocessor_config.json (and a tokenizer's files)"
    with opening(f"{KEY}.model", name, "an object detector", files):
        config = transformers.AutoConfig.from_pretrained(name)
        if type(config) in transformers.MODEL_FOR_OBJECT_DETECTION_MAPPING:
            kind: Any = transformers.AutoModelForObjectDetection
        elif config.model_type in (*OWL, *GROUNDING_DINO):
            kind = transformers.AutoModelForZeroShotObjectDetection
        else:
            raise UserError(
                f"{KEY}.model: {name!r} is of type {config.model_type!r}, which is no object detector"
                f" that is known here; choose one, {EXAMPLES}"
            )
        model, found = kind.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        processor = transformers.AutoImageProcessor.from_pretrained(name)
        queries = _queries(settings, config, model)
    missing = sorted(found["missing_keys"])
    if missing:
        raise UserError(
            f"{KEY}.model: {name!r} lacks {len(missing)} weights of {type(model).__name__}, such as"
            f" {missing[0]}; choose a checkpoint that was trained to detect objects, {EXAMPLES}"
        )
    if not hasattr(processor, "post_process_object_detection"):
        raise UserError(
            f"{KEY}.model: the image processor of {name!r}, {type(processor).__name__}, makes no boxes of"
            f" what the model says; choose another detector, {EXAMPLES}"
        )
    model.requires_grad_(False).eval().to(where)
    any_kind = settings.queries is None and config.model_type in OWL
    return (ObjectnessDetector if any_kind else Detector)(settings, model, processor, queries)


def _queries(settings: DetectorSettings, config: Any, model: Any) -> dict[str, Tensor]:
    """The encoded queries; within `opening`. `UserError` where model and queries do not fit."""
    name, kind, wanted = settings.model, config.model_type, settings.queries
    if kind not in (*OWL, *GROUNDING_DINO):
        if wanted:
            raise UserError(
                f"{KEY}.queries: {name!r} is of type {kind!r}, which finds its own categories and takes no"
                " queries; set them to null"
            )
        return {}
    if wanted is None:
        if hasattr(model, "objectness_predictor"):
            return {}
        raise UserError(
            f"{KEY}.queries: {name!r} is of type {kind!r}, which must be told what to look for; list phrases"
            " such as [person, animal, vehicle], or take an OWLv2, which finds things of any kind"
        )
    tokenizer = load_tokenizer(name)
    if kind in OWL:
        room = int(config.text_config.max_position_embeddings)
        texts = list(wanted)
    else:
        room = min(int(config.max_text_len), int(config.text_config.max_position_embeddings))
        texts = [". ".join(query.strip().lower().rstrip(".") for query in wanted) + "."]
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    if max(lengths) > room:
        at = f"{wanted[lengths.index(max(lengths))]!r}" if kind in OWL else "all of them together"
        raise UserError(
            f"{KEY}.queries: {at} are {max(lengths)} tokens, but {name!r} has room for {room}; shorten them"
        )
    padding = {"padding": "max_length", "max_length": room} if kind in OWL else {"padding": True}
    return dict(tokenizer(texts, return_tensors="pt", **padding))
