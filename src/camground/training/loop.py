"""The training loop of the matcher and of the grounder, on a CPU or a GPU.

AdamW with linear warm-up and cosine decay, gradient clipping, selection on a validation score that
knows captions only, and a checkpoint after every epoch from which an interrupted run resumes and ends
with the very bytes that an uninterrupted one would have written: the random numbers of an epoch depend on the
seed and the epoch alone.
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
from camground.study.devices import use_threads
from camground.study.errors import UserError
from camground.study.optimiser import OptimiserConfig
from camground.study.progress import log
from camground.study.provenance import config_digest, file_digest

WEIGHT_DECAY = 0.01  # of matrices; vectors do not decay
WARMUP_SHARE = 0.1  # of all steps
CLIP_NORM = 1.0
EPOCHS = "epochs"  # folder of the checkpoints that `train.keep_epochs` keeps


@dataclass
class Fit:
    """What `fit` reports: the best validation score, its epoch from 0, seconds, and all logged values."""

    best_score: float
    best_epoch: int
    seconds: float
    history: list[dict[str, Any]]


def fit(
    model: nn.Module,
    batches: Callable[[np.random.Generator], Iterator[Any]],
    steps_per_epoch: int,
    losses: Callable[[Any, int, int], dict[str, Tensor]],
    validate: Callable[[], dict[str, float]],
    config: OptimiserConfig,
    seed: int,
    *,
    label: str,
    resume: Path | None = None,
    identity: str = "",
    each_epoch: Callable[[int], None] | None = None,
    slow: Mapping[str, float] | None = None,
) -> Fit:
    """Train `model` in place and leave the parameters of the best epoch in it.

    `losses(batch, step, total)` returns named scalars with their sum under "loss" (other names are
    logged only, as means over the steps that have them); `step` counts from 0 to `total` over the whole
    training, so what depends on it survives an interruption. `validate()`, called without gradients, returns
    named values; the epoch with the highest "score" wins. `resume` is the file to resume from and to keep up
    to date; one with another `identity` (see `identity_of`) is ignored. `each_epoch(n)` is called after the
    n-th epoch, from 1, with the model as it then is. `slow`: prefixes of parameters' names, and the share
    of the learning rate at which those learn. `UserError` when a loss or gradient is not finite.
    """
    device = use_threads(None)
    model.to(device)
    groups = _groups(model, config.learning_rate, slow or {})
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=WEIGHT_DECAY)
    total = max(1, config.epochs * steps_per_epoch)
    warmup = max(1, round(WARMUP_SHARE * total))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    history: list[dict[str, Any]] = []
    best_score, best_epoch, first, step, spent = -math.inf, -1, 0, 0, 0.0
    best = _parameters(model)
    saved = _resumable(resume, identity, device, label)
    if saved is not None:
        model.load_state_dict(saved["model"], strict=False)
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        best, history = saved["best"], saved["history"]
        best_score, best_epoch = saved["best_score"], saved["best_epoch"]
        first, step, spent = saved["epoch"] + 1, saved["step"], saved["seconds"]
        log.info("%s: resuming after epoch %d of %d", label, first, config.epochs)

    began = time.monotonic()
    for epoch in range(first, config.epochs):
        if config.patience and epoch - best_epoch > config.patience:
            log.info("%s: no better score for %d epochs, stopping", label, config.patience)
            break
        torch.manual_seed(seed * 100_003 + epoch)
        rng = np.random.default_rng([seed, epoch])
        model.train()
        logged: dict[str, list[float]] = {}
        for batch in batches(rng):
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                values = losses(batch, step, total)
            optimiser.zero_grad(set_to_none=True)
            values["loss"].backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            for name, value in (("loss", values["loss"]), ("gradient", norm)):
                if not torch.isfinite(value):
                    raise UserError(
                        f"{label}: the {name} is {value.item()} at step {step}; lower the learning"
                        " rate or the weight of the newest loss term"
                    )
            optimiser.step()
            schedule.step()
            step += 1
            for name, value in {**values, "gradient_norm": norm}.items():
                logged.setdefault(name, []).append(float(value.detach()))
        model.eval()
        with torch.no_grad():
            checked = validate()
        means = {f"train/{name}": float(np.mean(each)) for name, each in logged.items()}
        means |= {f"val/{name}": value for name, value in checked.items()}
        means["learning_rate"] = optimiser.param_groups[0]["lr"]
        history += [
            {"step": step, "epoch": float(epoch + 1), "name": name, "value": float(value)}
            for name, value in means.items()
        ]
        if each_epoch is not None:
            each_epoch(epoch + 1)
        if checked["score"] > best_score:
            # a plain number: a resume file may hold nothing else
            best_score, best_epoch, best = float(checked["score"]), epoch, _parameters(model)
        seconds = spent + time.monotonic() - began
        log.info(
            "%s: epoch %d/%d, loss %.4f, val score %.4f, about %.0f s left",
            label,
            epoch + 1,
            config.epochs,
            means["train/loss"],
            checked["score"],
            seconds / (epoch + 1) * (config.epochs - epoch - 1),
        )
        if resume is not None:
            state = {
                "model": _parameters(model),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "best": best,
                "history": history,
                "best_score": best_score,
                "best_epoch": best_epoch,
                "epoch": epoch,
                "step": step,
                "seconds": seconds,
                "identity": identity,
            }
            with tables.atomic(resume) as temporary:
                torch.save(state, temporary)
    model.load_state_dict(best, strict=False)
    model.eval()
    return Fit(best_score, best_epoch, spent + time.monotonic() - began, history)


def run_training(
    model: nn.Module,
    train: Pairs,
    val: Pairs,
    losses: Callable[[PairBatch, int, int], dict[str, Tensor]],
    scores: Callable[[PairBatch], dict[str, float]],
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
    keep_epochs: bool = False,
    slow: Mapping[str, float] | None = None,
) -> None:
    """`fit` on the pairs of `train`; checkpoint, resolved config, history and summary go into `output`.

    `scores(batch)`: the values of a batch of `val`, whose means choose the epoch. stage: the module whose
    code, with the files `inputs`, the parameters depend on. parameters: those of the checkpoint, as they then
    are. resume: the folder to resume an interrupted training from, emptied at the end. keep_epochs: every
    epoch's checkpoint goes into the folder `EPOCHS` too.
    """
    checks = list(val.epoch(config.batch_size, 1, np.random.default_rng(0)))

    def keep(epoch: int) -> None:
        save_checkpoint(output / EPOCHS / f"{epoch:03d}", parameters(), resolved)

    resume_file = resume / "resume.pt" if resume else None
    fitted = fit(
        model,
        lambda rng: train.epoch(config.batch_size, config.per_image, rng, config.images_per_epoch),
        train.batches_per_epoch(config.batch_size, config.images_per_epoch),
        losses,
        lambda: mean_scores([scores(check) for check in checks]),
        config,
        seed,
        label=label,
        resume=resume_file,
        identity=identity_of(stage, resolved, inputs) if resume else "",
        each_epoch=keep if keep_epochs else None,
        slow=slow,
    )
    save_checkpoint(output, parameters(), resolved)
    tables.write("history", fitted.history, output / "history.parquet")
    summary = {
        "best_score": fitted.best_score,
        "best_epoch": fitted.best_epoch + 1,
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


def mean_scores(parts: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each value over batches."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def identity_of(module: str, config: Mapping[str, Any], inputs: list[Path]) -> str:
    """A digest of all that a training depends on: the code of `module`, its config and its inputs."""
    files = [*code_files(module), *inputs]
    return config_digest({"config": config, "files": [file_digest(file) for file in files]})


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters that train; frozen networks stay as they are."""
    named = model.named_parameters()
    return {name: value.detach().clone() for name, value in named if value.requires_grad}


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
