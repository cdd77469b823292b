"""The training loop of the matcher and of the grounder, on a CPU or a GPU.

AdamW at a learning rate that rises over the first epoch and then stays, gradient clipping, and a moving
average of the weights, which is validated after every epoch on a score that knows captions only; the best
epoch's is left. A training ends once the score has not risen for `patience` epochs, and nothing in it depends
on its limit, `epochs`. After every epoch a checkpoint is written from which an interrupted run resumes and
ends with the very bytes that an uninterrupted one would have written: the random numbers of an epoch depend
on the seed and the epoch alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camground.data.pairs import PairBatch, Pairs
from camground.study import tables
from camground.study.checkpoints import save_checkpoint
from camground.study.code_closure import code_files
from camground.study.devices import autocast, use_threads
from camground.study.errors import UserError
from camground.study.optimiser import OptimiserConfig
from camground.study.progress import log
from camground.study.provenance import config_digest, file_digest
from camground.training.average import WeightAverage

WEIGHT_DECAY = 0.01  # of matrices; vectors do not decay
CLIP_NORM = 1.0
# What chooses the epoch: images of val, at most this share of those that an epoch trains on, so that it costs
# little beside it, but so many in any case; and expressions of each, at most.
VAL_SHARE, VAL_IMAGES, VAL_PER_IMAGE = 0.25, 100, 3


@dataclass(frozen=True)
class Validation:
    """What a model says of val: named values, of which "score" chooses the epoch, and, where it chooses
    boxes, those of the N expressions, (N, 4) xyxy in pixels, nan without a candidate."""

    values: dict[str, float]
    boxes: Tensor | None = None


@dataclass
class Fit:
    """What `fit` reports.

    best_score, best_epoch: the best validation score and its epoch from 0. epochs: how many were trained.
    limit_reached: they would have gone on but for the limit. history: all logged values. boxes: those of each
    epoch's `Validation`, if any.
    """

    best_score: float
    best_epoch: int
    epochs: int
    limit_reached: bool
    seconds: float
    history: list[dict[str, Any]]
    boxes: list[Tensor]


def fit(
    model: nn.Module,
    batches: Callable[[np.random.Generator], Iterator[Any]],
    steps_per_epoch: int,
    losses: Callable[[Any, int, float], dict[str, Tensor]],
    validate: Callable[[], Validation],
    config: OptimiserConfig,
    seed: int,
    *,
    label: str,
    resume: Path | None = None,
    identity: str = "",
    slow: Mapping[str, float] | None = None,
) -> Fit:
    """Train `model` in place and leave the average weights of the best epoch in it.

    `losses(batch, step, epoch)` returns named scalars with their sum under "loss" (other names are logged
    only, as means over the steps that have them); `step` counts from 0 over the whole training and `epoch` is
    how much of it is done, such as 1.5, so what depends on them survives an interruption. `validate()`,
    called without gradients, with the average weights and in the precision of training, says how good they
    are; the epoch with the highest "score" wins. `resume` is the file to resume from and to keep up to date;
    one with another `identity` (see `identity_of`) is ignored. `slow`: prefixes of parameters' names, and the
    share of the learning rate at which those learn. `UserError` when a loss, a gradient or a score is not
    finite.
    """
    device = use_threads(None)
    model.to(device)
    groups = _groups(model, config.learning_rate, slow or {})
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / max(1, steps_per_epoch))
    )
    average = WeightAverage(model)
    history: list[dict[str, Any]] = []
    boxes: list[Tensor] = []
    best_score, best_epoch, done, step, spent = -math.inf, -1, 0, 0, 0.0
    best = average.copy()
    saved = _resumable(resume, identity, device, label)
    if saved is not None:
        model.load_state_dict(saved["model"], strict=False)
        average.values = saved["average"]
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        best, history, boxes = saved["best"], saved["history"], saved["boxes"]
        best_score, best_epoch = saved["best_score"], saved["best_epoch"]
        done, step, spent = saved["done"], saved["step"], saved["seconds"]
        log.info("%s: resuming after epoch %d", label, done)

    def finite(name: str, value: float) -> float:
        if not math.isfinite(value):
            raise UserError(
                f"{label}: the {name} is {value} at step {step}; lower the learning rate or the weight of the"
                " newest loss term"
            )
        return value

    # few images make few steps a pass
    limit = max(config.epochs, math.ceil(config.min_steps / max(1, steps_per_epoch)))

    def out_of_patience() -> bool:
        waited = step >= config.min_steps  # a pass over few images changes little
        return waited and bool(config.patience) and done - 1 - best_epoch >= config.patience

    began = time.monotonic()
    while done < limit and not out_of_patience():
        torch.manual_seed(seed * 100_003 + done)
        rng = np.random.default_rng([seed, done])
        model.train()
        logged: dict[str, list[float]] = {}
        for batch in batches(rng):
            with autocast(config.precision, device):
                values = losses(batch, step, step / steps_per_epoch)
            optimiser.zero_grad(set_to_none=True)
            values["loss"].backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            finite("loss", values["loss"].item())
            finite("gradient", norm.item())
            optimiser.step()
            schedule.step()
            average.update(step)
            step += 1
            for name, value in {**values, "gradient_norm": norm}.items():
                logged.setdefault(name, []).append(float(value.detach()))
        model.eval()
        with torch.no_grad(), average.in_the_model(), autocast(config.precision, device):
            validation = validate()
        means = {f"train/{name}": float(np.mean(each)) for name, each in logged.items()}
        means |= {f"val/{name}": value for name, value in validation.values.items()}
        means["learning_rate"] = optimiser.param_groups[0]["lr"]
        history += [
            {"step": step, "epoch": float(done + 1), "name": name, "value": float(value)}
            for name, value in means.items()
        ]
        if validation.boxes is not None:
            boxes.append(validation.boxes.cpu())
        # a plain number: a resume file may hold nothing else
        score = finite("val score", float(validation.values["score"]))
        if score > best_score:
            best_score, best_epoch, best = score, done, average.copy()
        done += 1
        seconds = spent + time.monotonic() - began
        log.info(
            "%s: epoch %d of at most %d, loss %.4f, val score %.4f, epochs without a better one: %d, at most"
            " %.0f s left",
            *(label, done, limit, means["train/loss"], score, done - 1 - best_epoch),
            seconds / done * (limit - done),
        )
        if resume is not None:
            state = {
                "model": average.weights(),
                "average": average.values,
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "best": best,
                "history": history,
                "boxes": boxes,
                "best_score": best_score,
                "best_epoch": best_epoch,
                "done": done,
                "step": step,
                "seconds": seconds,
                "identity": identity,
            }
            # into a file of Python, whose errors say what is the matter with the disk
            with tables.atomic(resume) as temporary, temporary.open("wb") as file:
                torch.save(state, file)
    model.load_state_dict(best, strict=False)
    model.eval()
    seconds = spent + time.monotonic() - began
    return Fit(best_score, best_epoch, done, not out_of_patience(), seconds, history, boxes)


def run_training(
    model: nn.Module,
    train: Pairs,
    val: Pairs,
    losses: Callable[[PairBatch, int, float], dict[str, Tensor]],
    validate: Callable[[PairBatch], Validation],
    config: OptimiserConfig,
    seed: int,
    *,
    label: str,
    stage: str,
    inputs: list[Path],
    resolved: Mapping[str, Any],
    parameters: Callable[[], Mapping[str, Tensor]],
    output: Path,
    resume: Path | None,
    slow: Mapping[str, float] | None = None,
) -> None:
    """`fit` on the pairs of `train`; checkpoint, resolved config, history and summary go into `output`, and,
    of a model that chooses boxes, the table `val_boxes`.

    `validate(batch)`: of a batch of `val`; the means of its values choose the epoch. stage: the module whose
    code, with the files `inputs`, the parameters depend on. parameters: those of the checkpoint, as they then
    are. resume: the folder to resume an interrupted training from, emptied at the end.
    """
    images = min(len(train.images), config.images_per_epoch or len(train.images))
    chosen = max(VAL_IMAGES, round(VAL_SHARE * images))
    checks = list(val.epoch(config.batch_size, VAL_PER_IMAGE, np.random.default_rng(0), chosen))
    steps_per_epoch = train.batches_per_epoch(config.batch_size, config.images_per_epoch)
    resume_file = resume / "resume.pt" if resume else None
    fitted = fit(
        model,
        lambda rng: train.epoch(config.batch_size, config.per_image, rng, config.images_per_epoch),
        steps_per_epoch,
        losses,
        lambda: joined([validate(check) for check in checks]),
        config,
        seed,
        label=label,
        resume=resume_file,
        identity=identity_of(stage, resolved, inputs) if resume else "",
        slow=slow,
    )
    save_checkpoint(output, parameters(), resolved)
    tables.write("history", fitted.history, output / "history.parquet")
    if fitted.boxes:
        expressions = [val.expression_ids[row] for check in checks for row in check.expressions]
        rows = _box_rows(expressions, fitted.boxes, steps_per_epoch)
        tables.write("val_boxes", rows, output / "val_boxes.parquet")
    summary = {
        "best_score": fitted.best_score,
        "best_epoch": fitted.best_epoch + 1,
        "epochs": fitted.epochs,
        "steps": fitted.epochs * steps_per_epoch,
        "limit_reached": fitted.limit_reached,
        "seconds": round(fitted.seconds, 2),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "train_images": len(train.images),
        "train_expressions": len(train),
    }
    with tables.atomic(output / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    if resume_file is not None:
        resume_file.unlink(missing_ok=True)


def training_pairs(images: Path, expressions: Path, kinds: Sequence[str]) -> tuple[Pairs, Pairs]:
    """The pairs of train and val; `UserError` where a split has a single image, which has no negatives."""
    train, val = (Pairs(images, expressions, split, kinds) for split in ("train", "val"))
    for pairs in (train, val):
        if len(pairs.images) < 2:
            raise UserError(
                f"{expressions}: split {pairs.split!r} has {len(pairs.images)} images with"
                f" expressions of the kinds {list(kinds)}; training needs at least 2"
            )
    return train, val


def joined(parts: list[Validation]) -> Validation:
    """The means of the values of batches, and all their boxes."""
    values = {name: float(np.mean([part.values[name] for part in parts])) for name in parts[0].values}
    boxes = [part.boxes for part in parts if part.boxes is not None]
    return Validation(values, torch.cat(boxes) if boxes else None)


def _box_rows(expressions: list[str], by_epoch: list[Tensor], steps_per_epoch: int) -> list[dict[str, Any]]:
    """Rows of the table `val_boxes`."""
    return [
        {
            "epoch": epoch,
            "step": epoch * steps_per_epoch,
            "expression_id": expression,
            "box_xyxy": None if math.isnan(box[0]) else box,
        }
        for epoch, boxes in enumerate(by_epoch, 1)
        for expression, box in zip(expressions, boxes.tolist(), strict=True)
    ]


def identity_of(module: str, config: Mapping[str, Any], inputs: list[Path]) -> str:
    """A digest of all that a training depends on: the code of `module`, its config and its inputs."""
    files = [*code_files(module), *inputs]
    return config_digest({"config": config, "files": [file_digest(file) for file in files]})


def _groups(model: nn.Module, rate: float, slow: Mapping[str, float]) -> list[dict[str, Any]]:
    """The optimiser's groups: of each learning rate the parameters that decay and those that do not."""
    groups: list[dict[str, Any]] = []
    prefixes = tuple(slow)
    for prefix, share in {"": 1.0, **slow}.items():
        members = [
            value
            for name, value in model.named_parameters()
            if value.requires_grad and (name.startswith(prefix) if prefix else not name.startswith(prefixes))
        ]
        for decays in (True, False):
            chosen = [value for value in members if (value.ndim > 1) == decays]
            decay = {} if decays else {"weight_decay": 0.0}
            groups.append({"params": chosen, "lr": share * rate, **decay})
    return [group for group in groups if group["params"]]


def _resumable(resume: Path | None, identity: str, device: torch.device, label: str) -> dict[str, Any] | None:
    """What an interrupted run of the same identity left, or None."""
    if resume is None or not resume.exists():
        return None
    try:
        saved = torch.load(resume, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file may raise any of them
        log.info("%s: %s cannot be read (%s); starting from scratch", label, resume, error)
        return None
    if not isinstance(saved, dict) or saved.get("identity") != identity:
        log.info("%s: %s is from another config, code or data; starting from scratch", label, resume)
        return None
    return saved
