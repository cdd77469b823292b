"""The training loop of the matcher and of the grounder, on a CPU or a GPU.

AdamW with linear warm-up and cosine decay, gradient clipping, selection on a validation score that
knows captions only, and a checkpoint after every epoch from which an interrupted run goes on to the
very bytes that an uninterrupted one would have written: the random numbers of an epoch depend on the
seed and the epoch alone.
"""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camground.study import tables
from camground.study.code_closure import code_files
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.provenance import config_digest, file_digest

EPOCHS = "epochs"  # folder of the epochs that a training was told to keep


@dataclass(frozen=True)
class OptimiserConfig:
    """`batch_size` counts images, `per_image` their expressions; `warmup_share` is of all steps.

    `images_per_epoch`: an epoch ends after so many images, drawn anew each time; None: every image once.
    `precision`: float32, or bfloat16 autocast. `patience`: epochs without a better validation score
    before training stops; 0 never stops early.
    """

    epochs: int = 10
    batch_size: int = 32
    per_image: int = 1
    images_per_epoch: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    clip_norm: float = 1.0
    precision: str = "float32"
    patience: int = 0


def device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare(seed: int, threads: int) -> None:
    """Fix the seeds and the number of threads of this process."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    # the math kernel alone has a double backward, which exact attention mining needs
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)


@dataclass
class Fit:
    """What `fit` reports: the best validation score, its epoch, seconds, and all logged values."""

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
    resume: Path | None = None,
    identity: str = "",
    label: str = "train",
    each_epoch: Callable[[int], None] | None = None,
    slow: Mapping[str, float] | None = None,
) -> Fit:
    """Train `model` in place and leave the parameters of the best epoch in it.

    `losses(batch, step, total)` returns named scalars with their sum under "loss" (other names are
    logged only, as means over the steps that have them); `step` counts from 0 to `total` over the whole
    training, so what depends on it survives an interruption. `validate()` returns named values; the
    epoch with the highest "score" wins. `resume` is the file to go on from and to keep up to date; one
    of another `identity` (see `identity_of`) is passed over. `each_epoch(n)` is called after the n-th
    epoch, from 1, with the model as it then is. `slow`: beginnings of parameters' names, and the share of
    the learning rate at which those learn.
    """
    where = device()
    model.to(where)
    optimiser = torch.optim.AdamW(
        _groups(model, config.learning_rate, slow or {}),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    total = max(1, config.epochs * steps_per_epoch)
    warmup = max(1, round(config.warmup_share * total))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    history: list[dict[str, Any]] = []
    best_score, best_epoch, first, step, spent = -math.inf, -1, 0, 0, 0.0
    best = {name: value.detach().clone() for name, value in model.state_dict().items()}
    saved = _resumable(resume, identity, where, label)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        best, history = saved["best"], saved["history"]
        best_score, best_epoch = saved["best_score"], saved["best_epoch"]
        first, step, spent = saved["epoch"] + 1, saved["step"], saved["seconds"]
        log.info("%s: going on after epoch %d of %d", label, first, config.epochs)

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
            with torch.autocast(where.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                values = losses(batch, step, total)
            loss = values["loss"]
            if not torch.isfinite(loss):
                raise UserError(
                    f"{label}: the loss is {loss.item()} at step {step}; lower the learning rate or"
                    " the weight of the newest loss term"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
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
            best_score, best_epoch = checked["score"], epoch
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        seconds = spent + time.monotonic() - began
        left = seconds / (epoch + 1) * (config.epochs - epoch - 1)
        log.info(
            "%s: epoch %d/%d, loss %.4f, val score %.4f, about %.0f s left",
            label,
            epoch + 1,
            config.epochs,
            means["train/loss"],
            checked["score"],
            left,
        )
        if resume is not None:
            state = {
                "model": model.state_dict(),
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
    model.load_state_dict(best)
    model.eval()
    return Fit(best_score, best_epoch, spent + time.monotonic() - began, history)


def _groups(model: nn.Module, rate: float, slow: Mapping[str, float]) -> list[dict[str, Any]]:
    """The optimiser's groups: of each learning rate the parameters that decay and those that do not."""
    groups: list[dict[str, Any]] = []
    begins = tuple(slow)
    for begin, share in {"": 1.0, **slow}.items():
        mine = [
            value
            for name, value in model.named_parameters()
            if value.requires_grad
            and (name.startswith(begin) if begin else not name.startswith(begins))
        ]
        for decays in (True, False):
            chosen = [value for value in mine if (value.ndim > 1) == decays]
            decay = {} if decays else {"weight_decay": 0.0}
            groups.append({"params": chosen, "lr": share * rate, **decay})
    return [group for group in groups if group["params"]]


def identity_of(module: str, config: dict[str, Any], inputs: list[Path]) -> str:
    """A digest of all that a training depends on: the code of `module`, its config and its inputs."""
    files = [*code_files(module), *inputs]
    return config_digest({"config": config, "files": [file_digest(file) for file in files]})


def _resumable(
    resume: Path | None, identity: str, where: torch.device, label: str
) -> dict[str, Any] | None:
    """What an interrupted run of the same identity left, or None."""
    if resume is None or not resume.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(resume, map_location=where, weights_only=False)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log.info("%s: %s cannot be read (%s); starting anew", label, resume, error)
        return None
    if saved.get("identity") != identity:
        log.info("%s: %s is of another config, code or data; starting anew", label, resume)
        return None
    return saved


def save_parameters(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write checkpoint.safetensors and the resolved config.yaml: what `load_checkpoint` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with tables.atomic(folder / "checkpoint.safetensors") as temporary:
        save_file(state, temporary)
    with tables.atomic(folder / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False))


def save_checkpoint(
    folder: Path, model: nn.Module, config: dict[str, Any], fitted: Fit, summary: dict[str, Any]
) -> None:
    """Write checkpoint.safetensors, the resolved config.yaml, history.parquet and summary.json."""
    save_parameters(folder, model, config)
    tables.write("history", fitted.history, folder / "history.parquet")
    summary = {
        "best_score": fitted.best_score,
        "best_epoch": fitted.best_epoch + 1,
        "seconds": round(fitted.seconds, 2),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **summary,
    }
    with tables.atomic(folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The resolved config and the parameters of a checkpoint folder."""
    folder = Path(folder)
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        return config, load_file(folder / "checkpoint.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: not a whole checkpoint ({error}); rerun its training") from None
