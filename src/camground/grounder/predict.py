"""Grounding the phrases of the evaluated splits with a trained grounder, and scoring their word swaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from camground.data.pairs import PairBatch, Pairs
from camground.features.store import FeatureStore
from camground.grounder.batches import GroundingBatch, GroundingData, ProposalTable
from camground.grounder.config import PredictConfig
from camground.grounder.erasing import erase, soft_mask
from camground.grounder.grounder import GroundingOutput
from camground.grounder.loading import TrainedGrounder, load_grounder
from camground.grounder.presence import Calibration, calibrate, image_logits, other_phrases, write_calibration
from camground.grounder.read_out import read_out
from camground.matcher.maps import to_bytes
from camground.study import tables
from camground.study.progress import log, track


def predict(
    config: PredictConfig,
    splits: Sequence[str],
    images: Path,
    expressions: Path,
    proposals: Path,
    detected: Path,
    cams: Path,
    features: Path,
    checkpoint: Path,
    output: Path,
    swaps: Path,
    calibration: Path,
    device: torch.device,
) -> None:
    """Write the tables `predictions` (`output`), of the splits' phrases that can be measured, or of all of a
    split without boxes, and `swap_scores` (`swaps`), and the `calibration` of the image score, on val with
    the `detected` proposals, which are those that training saw and that there are of a new photograph."""
    trained = load_grounder(checkpoint, device)
    store = trained.open_store(features, images)
    labels = store if trained.model.label is not None else None
    table = ProposalTable(images, proposals, labels)
    val = Pairs(images, expressions, "val", ["phrase"])
    seen = table if detected == proposals else ProposalTable(images, detected, labels)
    calibrated = calibrate(trained, store, seen, val, config.batch_size, device)
    write_calibration(calibrated, calibration)
    control = trained.model.config.cam_encoder.control
    without = 0
    with (
        torch.no_grad(),
        tables.writer("predictions", output) as append_predictions,
        tables.writer("swap_scores", swaps) as append_swaps,
    ):
        for split in splits:
            pairs = Pairs(images, expressions, split, ["phrase"])
            data = GroundingData(pairs, store, table, cams, control=control)
            batches = list(pairs.in_order(config.batch_size, only=pairs.measured))
            others = other_phrases(pairs)
            if not pairs.measured.all():
                log.info("%s: %d of %d phrases have boxes", split, pairs.measured.sum(), len(pairs))
            for indices in track(batches, f"grounding {split} (batches)"):
                rows = prediction_rows(trained, data, indices, others, calibrated, config, device)
                without += len(indices.expressions) - len(rows)
                if len(rows):
                    append_predictions(rows)
            swap_batches = list(in_chunks(pairs, config.batch_size))
            for chunk in track(swap_batches, f"swaps of {split} (batches)"):
                append_swaps(swap_rows(trained, pairs, store, table, chunk, device))
    if without:
        log.info("%d expressions of images without proposals get no prediction", without)


def prediction_rows(
    trained: TrainedGrounder,
    data: GroundingData,
    indices: PairBatch,
    others: np.ndarray,
    calibration: Calibration,
    config: PredictConfig,
    device: torch.device,
) -> pd.DataFrame:
    """Rows of the `predictions` table of a batch; none for an image without proposals. others: of all of the
    split's expressions, as of `other_phrases`."""
    batch = data.load(indices, device)
    output: GroundingOutput = trained.model(*batch.inputs, map_boxes=config.map_boxes)
    erased = erased_scores(trained, batch, output).cpu().numpy()
    image_score = output.image_score.logit.sigmoid().cpu().numpy()
    other = others[indices.expressions]
    texts = [data.pairs.texts[row] for row in other]
    foreign = image_logits(trained, data.store, output.images, texts)
    presence, presence_other = (
        calibration.probability(logits).cpu().numpy() for logits in (output.image_score.logit, foreign)
    )
    best, chosen = (part.cpu().numpy() for part in output.choice.max(-1))
    count = output.proposal_count
    chosen_boxes = output.candidates.boxes.cpu().numpy()[np.arange(len(chosen)), chosen]
    boxes = read_out(config.voting, output.candidates, output.choice, count).cpu().numpy()
    assert output.own_cam is not None  # drawn whenever a model is not in training
    peak = output.own_cam.amax((1, 2), keepdim=True).clamp(min=1e-9)
    maps = (output.own_cam / peak).cpu().numpy()
    # an image without proposals gets no answer from any method, though its map may have a box
    kept = np.flatnonzero(output.images.proposals.valid.any(-1).cpu().numpy())
    expressions = indices.expressions[kept]
    sizes = np.tile(data.proposals.sizes[data.pairs.image_rows[expressions]], 2)
    return pd.DataFrame(
        {
            "expression_id": [data.pairs.expression_ids[row] for row in expressions],
            # beyond the image's proposals stand the boxes around the expression's maps
            "rank": np.where(chosen < count, chosen, -1)[kept],
            "box_xyxy": (boxes[kept] * sizes).tolist(),
            "chosen_box_xyxy": (chosen_boxes[kept] * sizes).tolist(),
            "score": best[kept],
            "cam_height": maps.shape[1],
            "cam_width": maps.shape[2],
            "cam": [to_bytes(each) for each in maps[kept]],
            "image_score": image_score[kept],
            "erased_score": erased[kept],
            "presence": presence[kept],
            "presence_other": np.where(other < 0, np.nan, presence_other)[kept],
        }
    )


def erased_scores(trained: TrainedGrounder, batch: GroundingBatch, output: GroundingOutput) -> torch.Tensor:
    """S(I*, q) (M,), probabilities, after erasing features under the own CAM, in every variant."""
    assert output.own_cam is not None
    model, mask = trained.model, soft_mask(output.own_cam, trained.omega, trained.sigma)
    erased = erase(output.stem[batch.owner], mask)
    proposals = batch.proposals.take(batch.owner).erased(mask)
    return model.score_images(erased, proposals, output.texts).logit.sigmoid()


def in_chunks(pairs: Pairs, size: int) -> Iterator[np.ndarray]:
    """Every row of `pairs.swaps` once, those of an image together, with about `size` texts to read in
    each chunk."""
    order = np.argsort(pairs.image_rows[pairs.swaps.origin], kind="stable")
    step = max(size // 2, 1)
    for start in range(0, len(order), step):
        yield order[start : start + step]


def swap_rows(
    trained: TrainedGrounder,
    pairs: Pairs,
    store: FeatureStore,
    proposals: ProposalTable,
    chunk: np.ndarray,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Rows of the `swap_scores` table of the swaps at the rows `chunk` (S,) of `pairs.swaps`.

    Each swap stands beside the expression that it was made from, both scored without the matcher's CAM,
    which belongs to the true expression alone, and before the own map speaks: the two differ in their words
    and in nothing else.
    """
    swaps, model = pairs.swaps, trained.model
    origins, origin = np.unique(swaps.origin[chunk], return_inverse=True)
    texts = [pairs.texts[row] for row in origins] + [swaps.texts[row] for row in chunk]
    image_rows = np.concatenate([pairs.image_rows[origins], pairs.image_rows[swaps.origin[chunk]]])
    images, owner = np.unique(image_rows, return_inverse=True)
    tokens, mask = store.texts(texts)
    visual = model.matcher.trunk(store.images(images).to(device))
    tokens_of_images = model.see(visual, proposals.take(images).to(device))
    score = model.image_score(
        tokens_of_images.take(torch.from_numpy(owner).to(device)),
        model.matcher.read(tokens.to(device), mask.to(device)),
    )
    logits, scores = score.logit.cpu().numpy(), score.proposal_scores.cpu().numpy()
    rows = []
    for number, swap in enumerate(chunk):
        image = int(pairs.image_rows[swaps.origin[swap]])
        valid = proposals.valid[image]
        boxes = proposals.boxes[image, valid] * np.tile(proposals.sizes[image], 2)
        row = {
            "expression_id": swaps.ids[swap],
            "swap_of": pairs.expression_ids[swaps.origin[swap]],
            "word_class": swaps.word_classes[swap],
            "false_of_image": bool(swaps.false[swap]),
            "split": pairs.split,
            "image_id": proposals.image_ids[image],
        }
        for ending, text in (("", origin[number]), ("_swap", len(origins) + number)):
            listed = scores[text, valid]
            row[f"image_score{ending}"] = float(logits[text])
            row[f"scores{ending}"] = listed.tolist()
            # an image without proposals leaves nothing to choose
            row[f"box_xyxy{ending}"] = boxes[listed.argmax()].tolist() if len(listed) else None
        rows.append(row)
    return rows
