"""Published object detectors of transformers, by hub name or folder, as finders of things of any kind.

Two families: detectors of fixed categories (DETR, RT-DETR, Deformable DETR, YOLOS ...), and open-vocabulary
ones that are told what to look for (OWL-ViT, OWLv2, Grounding DINO). A box's label is its category, or the
query that found it. OWLv2 also scores how much of an object anything is, and needs no queries.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camground.data.photographs import name_of, read_reduced
from camground.proposals.config import DetectorConfig, ProposalsConfig
from camground.proposals.proposer import Photograph, Proposer
from camground.proposals.thinning import Proposals, to_label, to_proposals
from camground.study.ahead import map_ahead
from camground.study.devices import use_threads
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_model, load_processor, load_tokenizer, opening
from camground.study.progress import log

KEY = "proposals.detector"
KIND = "an object detector"
FILES = "config.json, the weights and preprocessor_config.json (and a tokenizer's files)"
OWL, GROUNDING_DINO = ("owlvit", "owlv2"), ("grounding-dino", "mm-grounding-dino")
THIN = 32  # a longer picture of one pixel more would have no width left in some image processors
NAMELESS = re.compile(r"LABEL_\d+|N/A")  # what a category without a name is called
WINDOW = 2  # batches that photographs of one shape are gathered from
EXAMPLES = "such as facebook/detr-resnet-50, PekingU/rtdetr_r50vd or google/owlv2-base-patch16-ensemble"


@dataclass(frozen=True)
class Input:
    """A photograph as the model takes it: named tensors with a batch dimension of 1; `size`: width and height
    of what they are made from."""

    photograph: Photograph
    tensors: dict[str, Tensor]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Equal for photographs that can share a batch without padding."""
        return tuple((name, tuple(value.shape)) for name, value in self.tensors.items())


class DetectorProposer(Proposer):
    """The detector of `proposals.detector`, on the GPU where there is one; threads read photographs ahead."""

    def __init__(self, config: ProposalsConfig, tables: Mapping[str, Path], threads: int | None) -> None:
        super().__init__(config, tables, threads)
        self.device = use_threads(threads)
        self.detector = open_detector(config.detector, self.device)
        name = str(config.detector.model)
        self.source = f"detector:{Path(name).resolve().name if Path(name).is_dir() else name}"
        log.info("%s on %s", self.source, self.device)

    def propose(self, photographs: Sequence[Photograph]) -> Iterator[Proposals]:
        """A batch holds photographs that the image processor makes of one shape, so that none is padded:
        what is found in a photograph does not depend on which ones are beside it."""
        size = self.config.detector.batch_size
        threads = min(self.threads or 1, 8)
        inputs = map_ahead(self.detector.prepare, photographs, 2 * WINDOW * size, threads)
        while window := list(islice(inputs, WINDOW * size)):
            by_shape: dict[object, list[int]] = {}
            for index, each in enumerate(window):
                by_shape.setdefault(each.shape, []).append(index)
            proposals: dict[int, Proposals] = {}
            for indices in by_shape.values():
                for start in range(0, len(indices), size):
                    batch = indices[start : start + size]
                    detected = self._detect([window[index] for index in batch])
                    proposals.update(zip(batch, detected, strict=True))
            yield from (proposals[index] for index in range(len(window)))

    @torch.inference_mode()
    def _detect(self, batch: Sequence[Input]) -> Iterator[Proposals]:
        """Of photographs of one `shape`."""
        config = self.config.detector
        names = batch[0].tensors
        tensors = {name: torch.cat([each.tensors[name] for each in batch]) for name in names}
        try:
            outputs = self.detector.forward({name: value.to(self.device) for name, value in tensors.items()})
        except torch.OutOfMemoryError:
            raise UserError(
                f"{KEY}.batch_size: the GPU has no room for {len(batch)} photographs at a time; lower it"
            ) from None
        found = self.detector.read_boxes(outputs, batch, config.score)
        for each, (boxes, scores, numbers) in zip(batch, found, strict=True):
            labels = [self.detector.labels.get(number) for number in numbers]
            size = each.photograph.size
            yield to_proposals(boxes, scores, self.source, self.config, size, labels=labels)


@dataclass(frozen=True)
class Detector:
    """A frozen detector, called `name` by the config. queries: the encoded texts (Q, T) of one photograph;
    empty for a model without. labels: words of `to_label` by the number that the processor gives a box, where
    there are any."""

    name: str
    model: Any
    processor: Any
    queries: dict[str, Tensor] = field(default_factory=dict)
    labels: dict[int, str | None] = field(default_factory=dict)

    @cached_property
    def _accepted(self) -> set[str]:
        """What of an image processor's tensors the model takes."""
        return {"pixel_values", "pixel_mask"} & set(inspect.signature(self.model.forward).parameters)

    def prepare(self, photograph: Photograph) -> Input:
        """`UserError` for one that cannot be read, is of another size, or that the model cannot take."""
        width, height = photograph.size
        pixels = read_reduced(photograph.source, max(width, height), photograph.size)
        picture = Image.fromarray(pixels)
        least = -(-max(width, height) // THIN)
        if min(width, height) < least:
            picture = picture.resize((max(width, least), max(height, least)))
        try:
            processed = self.processor(images=picture, return_tensors="pt")
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{name_of(photograph.source)}: the image processor of {self.name!r} cannot take it ({error})"
            ) from None
        names = sorted(self._accepted & processed.keys())
        return Input(photograph, {name: processed[name] for name in names}, picture.size)

    def forward(self, tensors: dict[str, Tensor]) -> Any:
        """The model's output for a batch of photographs."""
        pixels = tensors["pixel_values"]
        texts = {name: value.to(pixels.device).repeat(len(pixels), 1) for name, value in self.queries.items()}
        return self.model(**tensors, **texts)

    def read_boxes(
        self, outputs: Any, shown: Sequence[Input], threshold: float
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[int]]]:
        """Of each entry of a batch's outputs, made from `shown`: boxes (K, 4) xyxy in pixels of the
        photograph, not cut to it, scores (K,) above the threshold, at most 1, and the numbers of the labels.

        Raises `UserError` where they are no numbers.
        """
        sizes = [(height, width) for width, height in (each.size for each in shown)]
        detections = self.processor.post_process_object_detection(
            outputs, threshold=threshold, target_sizes=sizes
        )
        damaged = outputs.logits.isnan().any()
        for each, detection in zip(shown, detections, strict=True):
            boxes = detection["boxes"].float().cpu().numpy()
            scores = detection["scores"].float().cpu().numpy().clip(0, 1)
            if damaged or not np.isfinite(boxes).all():
                raise UserError(
                    f"{name_of(each.photograph.source)}: {self.name!r} gives boxes that are not numbers;"
                    " its weights are damaged: download it again"
                )
            scale = np.tile(np.array(each.photograph.size) / np.array(each.size), 2)
            yield boxes * scale, scores, detection["labels"].tolist()


class ObjectnessDetector(Detector):
    """OWLv2 without queries: how much of an object each of its boxes holds, whatever it is."""

    def forward(self, tensors: dict[str, Tensor]) -> Any:
        grid = self.model.image_embedder(tensors["pixel_values"])[0]
        # the processor scales boxes of one class as it does those of many
        return SimpleNamespace(
            logits=self.model.objectness_predictor(grid.flatten(1, 2)).unsqueeze(-1),
            pred_boxes=self.model.box_predictor(grid.flatten(1, 2), grid),
        )


def open_detector(config: DetectorConfig, device: torch.device) -> Detector:
    """The detector that `proposals.detector` names, ready on the device.

    Raises `UserError` as `load_detector`, and where the queries do not fit it.
    """
    detector = load_detector(f"{KEY}.model", str(config.model), device)
    with opening(f"{KEY}.model", detector.name, KIND, FILES):
        queries, labels = _encode_queries(config, detector.model)
    any_kind = config.queries is None and detector.model.config.model_type in OWL
    kind = ObjectnessDetector if any_kind else Detector
    return kind(detector.name, detector.model, detector.processor, queries, labels)


def load_detector(key: str, name: str, device: torch.device) -> Detector:
    """The detector of a hub name or folder, which the config's `key` gives, on the device, without queries.

    Raises `UserError` when there is none, it cannot be read, it is of another kind, or it lacks weights
    (transformers would fill them in at random).
    """
    import transformers

    with opening(key, name, KIND, FILES):
        settings = transformers.AutoConfig.from_pretrained(name)
        if type(settings) in transformers.MODEL_FOR_OBJECT_DETECTION_MAPPING:
            kind: Any = transformers.AutoModelForObjectDetection
        elif settings.model_type in (*OWL, *GROUNDING_DINO):
            kind = transformers.AutoModelForZeroShotObjectDetection
        else:
            raise UserError(
                f"{key}: {name!r} is of type {settings.model_type!r}, which is no known object"
                f" detector; choose one, {EXAMPLES}"
            )
        advice = f"; choose a checkpoint that was trained to detect objects, {EXAMPLES}"
        model = load_model(kind, key, name, advice=advice)
        processor = load_processor(name)
    if not hasattr(processor, "post_process_object_detection"):
        raise UserError(
            f"{key}: the image processor of {name!r}, {type(processor).__name__}, makes no boxes of"
            f" what the model gives; choose another detector, {EXAMPLES}"
        )
    return Detector(name, model.to(device), processor)


def room_for_tokens(settings: Any) -> int:
    """The most tokens of a text that an open-vocabulary detector of these settings reads."""
    room = int(settings.text_config.max_position_embeddings)
    return min(int(settings.max_text_len), room) if settings.model_type in GROUNDING_DINO else room


def grounding_text(queries: Sequence[str]) -> str:
    """Queries as the one text that Grounding DINO reads: each ends with a full stop."""
    return ". ".join(query.strip().lower().rstrip(".") for query in queries) + "."


def encode_texts(tokenizer: Any, settings: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Texts (Q, T) as an open-vocabulary detector of these settings takes them, cut to its room."""
    padding = "max_length" if settings.model_type in OWL else "longest"
    room = room_for_tokens(settings)
    return dict(
        tokenizer(list(texts), return_tensors="pt", padding=padding, truncation=True, max_length=room)
    )


def _encode_queries(config: DetectorConfig, model: Any) -> tuple[dict[str, Tensor], dict[int, str | None]]:
    """The encoded queries and `Detector.labels`; within `opening`. `UserError` where model and queries do not
    fit."""
    name, settings, queries = str(config.model), model.config, config.queries
    kind = settings.model_type
    if kind not in (*OWL, *GROUNDING_DINO):
        if queries:
            raise UserError(
                f"{KEY}.queries: {name!r} is of type {kind!r}, which finds its own categories and takes no"
                " queries; set them to null"
            )
        named = settings.id2label.items()
        return {}, {number: to_label(label) for number, label in named if not NAMELESS.fullmatch(label)}
    if queries is None:
        if hasattr(model, "objectness_predictor"):
            return {}, {}
        raise UserError(
            f"{KEY}.queries: {name!r} is of type {kind!r}, which must be told what to look for; list phrases"
            " such as [person, animal, vehicle], or take an OWLv2, which finds things of any kind"
        )
    tokenizer = load_tokenizer(name)
    most = room_for_tokens(settings)
    texts = [grounding_text(queries)] if kind in GROUNDING_DINO else list(queries)
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    if max(lengths) > most:
        too_long = repr(queries[lengths.index(max(lengths))])
        too_long = too_long if kind in OWL else "all of them together"
        raise UserError(
            f"{KEY}.queries: {too_long} are {max(lengths)} tokens, but {name!r} has room for {most};"
            " shorten them"
        )
    encoded = encode_texts(tokenizer, settings, texts)
    if kind in OWL:
        return encoded, {number: to_label(query) for number, query in enumerate(queries)}
    # Grounding DINO names a box by the token that it fits best; the queries stand between full stops
    stop, position, labels = tokenizer.convert_tokens_to_ids("."), 0, {}
    for number, token in enumerate(encoded["input_ids"][0].tolist()):
        if token not in (stop, *tokenizer.all_special_ids):
            labels[number] = to_label(queries[min(position, len(queries) - 1)])
        position += token == stop
    return encoded, labels
