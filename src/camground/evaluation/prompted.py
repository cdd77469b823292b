"""Open-vocabulary detectors that are prompted with the expressions: their best boxes as predictions.

OWL-ViT and OWLv2 see a photograph once for all of its expressions; Grounding DINO reads each together with
it. They have learnt from boxes, so what they answer is an upper reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from camground.data.boxes import Box, area, clip
from camground.evaluation.config import MethodConfig
from camground.evaluation.methods import questions, to_predictions
from camground.proposals.detector import (
    FILES,
    GROUNDING_DINO,
    KIND,
    OWL,
    Detector,
    Input,
    encode_texts,
    grounding_text,
    load_detector,
    room_for_tokens,
)
from camground.proposals.proposer import Photograph
from camground.study import tables
from camground.study.ahead import map_ahead
from camground.study.devices import use_threads
from camground.study.errors import UserError
from camground.study.hub_or_folder import load_tokenizer, opening
from camground.study.progress import log, track

EXAMPLES = "such as google/owlv2-base-patch16-ensemble or IDEA-Research/grounding-dino-tiny"
PHRASES = 4  # that Grounding DINO reads at a time, each beside the photograph
AHEAD = 8  # photographs that are read while others are looked at


def prompt_detector(
    name: str,
    config: MethodConfig,
    images: Path,
    expressions: Path,
    splits: Collection[str],
    rejected: Path,
    threads: int,
) -> pd.DataFrame:
    """Rows of the `predictions` table of method `name`, whose `detector` is shown each phrase of `splits`.

    The answer is the box of the highest score, cut to the photograph. An expression with no box in it of a
    score above 0 gets no row, which the evaluation counts as wrong; one of more tokens than the model reads
    is cut. The table `rejected` is left empty. Raises `UserError` as `load_detector`, for a detector that
    reads no phrases, and for a photograph that cannot be read.
    """
    key, model = f"methods.{name}.detector", str(config.detector)
    device = use_threads(threads)
    detector = load_detector(key, model, device)
    settings = detector.model.config
    if settings.model_type not in (*OWL, *GROUNDING_DINO):
        raise UserError(
            f"{key}: {model!r} is of type {settings.model_type!r}, which finds its own categories and reads"
            f" no expressions; choose one that does, {EXAMPLES}"
        )
    with opening(key, model, KIND, FILES):
        tokenizer = load_tokenizer(model)
    log.info("%s on %s", model, device)
    asked = questions(images, expressions, splits)
    if settings.model_type in GROUNDING_DINO:
        asked["text"] = [grounding_text([text]) for text in asked["text"]]
    room = room_for_tokens(settings)
    tokens = tokenizer(asked["text"].tolist(), verbose=False)["input_ids"]
    if too_long := sum(len(each) > room for each in tokens):
        cut = f"{too_long} of {len(asked)} expressions are cut to the {room} tokens that it reads"
        log.warning("%s: %s", model, cut)
    groups = [rows for _, rows in asked.groupby("image", sort=False)]
    columns = ["image", "width", "height"]
    firsts = [rows[columns].iloc[0] for rows in groups]
    photographs = [Photograph(path, path, (int(width), int(height))) for path, width, height in firsts]
    prepared = map_ahead(detector.prepare, photographs, AHEAD, min(threads, AHEAD))
    best: dict[str, tuple[float, Box]] = {}
    for rows, shown in track(zip(groups, prepared, strict=True), f"photographs of {name}", len(groups)):
        try:
            answers = list(_answers(detector, tokenizer, shown, rows["text"].tolist()))
        except torch.OutOfMemoryError:
            raise UserError(
                f"{key}: the GPU has no room for {model!r}; choose a smaller one, or set CUDA_VISIBLE_DEVICES"
                " to nothing, and it runs on the processor"
            ) from None
        found = zip(rows["expression_id"], answers, strict=True)
        best.update((expression, answer) for expression, answer in found if answer is not None)
    tables.write("rejected", [], rejected)
    return to_predictions(model, best, asked["expression_id"].tolist())


@torch.inference_mode()
def _answers(
    detector: Detector, tokenizer: Any, shown: Input, texts: Sequence[str]
) -> Iterator[tuple[float, Box] | None]:
    """Score and box of each text in the photograph; None where there is no box."""
    model = detector.model
    once = model.config.model_type in OWL
    pixels = {name: value.to(model.device) for name, value in shown.tensors.items()}
    step = len(texts) if once else PHRASES
    for start in range(0, len(texts), step):
        batch = texts[start : start + step]
        count = len(batch)
        read = encode_texts(tokenizer, model.config, batch)
        read = {name: value.to(model.device) for name, value in read.items()}
        if once:
            said = model(**pixels, **read)
            # (1, boxes, texts): as if each text had been read alone
            outputs: Any = SimpleNamespace(
                logits=said.logits[0].T.unsqueeze(-1), pred_boxes=said.pred_boxes.expand(count, -1, -1)
            )
        else:
            repeated = {name: value.expand(count, *value.shape[1:]) for name, value in pixels.items()}
            outputs = model(**repeated, **read)
        for boxes, scores, _ in detector.read_boxes(outputs, [shown] * count, threshold=0.0):
            inside = clip(boxes, *shown.photograph.size)
            scores = np.where(area(inside) > 0, scores, 0.0)
            if not scores.any():
                yield None
                continue
            index = int(scores.argmax())
            x1, y1, x2, y2 = inside[index].tolist()
            yield float(scores[index]), (x1, y1, x2, y2)
