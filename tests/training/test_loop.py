"""The training loop: it learns, it resumes to the same bytes, and it refuses what it cannot use."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camground.study import devices
from camground.study.devices import prepare_torch
from camground.study.errors import UserError
from camground.study.optimiser import OptimiserConfig
from camground.training import loop
from camground.training.average import DECAY
from camground.training.loop import Fit, Validation, fit


class Interrupted(Exception):
    """Stands for a machine that goes down."""


def run(
    folder: Path, name: str, epochs: int = 4, stop_after: int | None = None, identity: str = "a"
) -> tuple[nn.Module, Fit]:
    """A small training with dropout, which keeps `name`.pt to go on from; interrupted before epoch
    `stop_after` is saved."""
    prepare_torch(1, seed=3)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    count = itertools.count(1)

    def validate() -> Validation:
        if stop_after is not None and next(count) > stop_after:
            raise Interrupted
        return Validation({"score": -float(((model(x) - y) ** 2).mean())}, model(x)[:4].T)

    fitted = fit(
        model,
        lambda rng: iter(np.split(rng.permutation(64), 8)),
        8,
        lambda batch, step, epoch: {"loss": ((model(x[batch]) - y[batch]) ** 2).mean()},
        validate,
        OptimiserConfig(epochs=epochs, learning_rate=0.02),
        seed=3,
        label=name,
        resume=folder / f"{name}.pt",
        identity=identity,
    )
    return model, fitted


def same_parameters(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_an_interrupted_training_goes_on_to_the_very_parameters(tmp_path: Path) -> None:
    whole, fitted = run(tmp_path, "whole")
    with pytest.raises(Interrupted):
        run(tmp_path, "broken", stop_after=2)
    assert torch.load(tmp_path / "broken.pt", weights_only=True)["done"] == 2
    resumed, again = run(tmp_path, "broken")
    assert same_parameters(whole, resumed)
    assert [row["value"] for row in fitted.history] == [row["value"] for row in again.history]
    assert fitted.best_epoch == again.best_epoch
    for before, after in zip(fitted.boxes, again.boxes, strict=True):
        assert torch.equal(before, after)


def test_a_resume_file_of_another_identity_or_a_torn_one_is_passed_over(tmp_path: Path) -> None:
    whole, fitted = run(tmp_path, "whole")
    with pytest.raises(Interrupted):
        run(tmp_path, "broken", stop_after=2, identity="of an older config")
    saved = torch.load(tmp_path / "broken.pt", weights_only=True)
    for value in saved["model"].values():
        value.zero_()
    torch.save(saved, tmp_path / "broken.pt")
    assert same_parameters(whole, run(tmp_path, "broken")[0])
    (tmp_path / "broken.pt").write_bytes(b"torn")
    again, fitted_again = run(tmp_path, "broken")
    assert fitted_again.best_epoch == fitted.best_epoch
    assert same_parameters(whole, again)


def test_a_training_is_known_by_its_code_its_config_and_its_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, code = (tmp_path / name for name in ("one", "other", "code.py"))
    for file in (one, other, code):
        file.write_text("same")
    monkeypatch.setattr(loop, "code_files", lambda module: [code])

    def identity(config: str = "a", data: Path = one) -> str:
        return loop.identity_of("module", {"key": config}, [data])

    before = identity()
    assert identity(data=other) == before, "a path does not count"
    assert identity(config="b") != before
    other.write_text("another")
    assert identity(data=other) != before
    code.write_text("edited")
    assert identity() != before


@pytest.mark.parametrize("seed", [3, 4])
def test_every_seed_and_epoch_draws_its_own_batches(seed: int) -> None:
    """Those of NumPy's generator of the two, so that no two are alike."""
    drawn: list[list[int]] = []
    model = nn.Linear(1, 1)

    def batches(rng: np.random.Generator) -> Iterator[int]:
        drawn.append(rng.permutation(16).tolist())
        yield 0

    fit(
        model,
        batches,
        1,
        lambda batch, step, epoch: {"loss": model(torch.ones(1)).sum()},
        lambda: Validation({"score": 0.0}),
        OptimiserConfig(epochs=2, min_steps=0, patience=0),
        seed=seed,
        label="draws",
    )
    own = [np.random.default_rng([seed, epoch]).permutation(16).tolist() for epoch in range(2)]
    assert drawn == own


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_resume_file_is_loaded_as_data_alone(tmp_path: Path) -> None:
    """Whoever can write the folder must not run code in the training."""
    whole, _ = run(tmp_path, "whole")
    torch.save({"identity": Malicious(tmp_path / "ran")}, tmp_path / "broken.pt")
    torch.load(tmp_path / "broken.pt", weights_only=False)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    assert same_parameters(whole, run(tmp_path, "broken")[0])
    assert not (tmp_path / "ran").exists()
    (tmp_path / "broken.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "ran"), protocol=2))
    assert same_parameters(whole, run(tmp_path, "broken")[0])
    assert not (tmp_path / "ran").exists()


def test_training_lowers_the_loss_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    _, fitted = run(tmp_path, "learn", epochs=8)
    scores = [row["value"] for row in fitted.history if row["name"] == "val/score"]
    assert max(scores) > scores[0] * 0.5
    assert fitted.best_score == max(scores) == scores[fitted.best_epoch]


class Number(nn.Module):
    """A network of one parameter of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


def fit_number(
    losses: Any, scores: Iterator[float] | None = None, steps: int = 4, **config: Any
) -> tuple[Number, Fit]:
    """Fit one number: losses(weight, step, epoch) gives the terms, `scores` what each validation says."""
    model = Number()
    fitted = fit(
        model,
        lambda rng: iter(range(steps)),
        steps,
        lambda batch, step, epoch: losses(model.weight, step, epoch),
        lambda: Validation({"score": next(scores) if scores else 0.0}),
        OptimiserConfig(**config),
        seed=0,
        label="a training",
    )
    return model, fitted


def test_few_images_are_passed_over_until_there_are_enough_steps() -> None:
    def fitted(**config: Any) -> Fit:
        return fit_number(lambda weight, *_: {"loss": weight.square()}, **config, patience=0)[1]

    assert fitted(epochs=1, min_steps=9, steps=4).epochs == 3
    assert fitted(epochs=5, min_steps=9, steps=4).epochs == 5
    # patience waits for as many
    scores = iter([1.0, *[0.0] * 9])
    _, ended = fit_number(
        lambda weight, *_: {"loss": weight.square()}, scores, epochs=9, min_steps=18, steps=4, patience=2
    )
    assert (ended.epochs, ended.best_epoch, ended.limit_reached) == (5, 0, False)


def test_a_value_of_some_steps_is_logged_as_its_mean_over_those_steps() -> None:
    def losses(weight: Tensor, step: int, epoch: float) -> dict[str, Tensor]:
        assert epoch == step / 4
        sometimes = {"mined": torch.tensor(float(step))} if step % 2 else {}
        return {"loss": weight.square(), **sometimes}

    _, fitted = fit_number(losses, epochs=2)
    mined = [row["value"] for row in fitted.history if row["name"] == "train/mined"]
    assert mined == [2.0, 6.0]  # steps 1 and 3, then 5 and 7


def test_training_stops_when_the_score_has_not_risen_for_patience_epochs() -> None:
    scores = iter([1.0, 3.0, 2.0, 2.5, 9.0, 9.0])
    _, fitted = fit_number(lambda weight, *_: {"loss": weight.square()}, scores, epochs=6, patience=2)
    assert [row["epoch"] for row in fitted.history if row["name"] == "val/score"] == [1, 2, 3, 4]
    assert (fitted.best_score, fitted.best_epoch) == (3.0, 1)


def test_the_parameters_of_the_best_epoch_are_left_in_the_model() -> None:
    kept = []

    def losses(weight: Tensor, step: int, epoch: float) -> dict[str, Tensor]:
        kept.append(weight.item())
        return {"loss": weight}

    model, fitted = fit_number(losses, iter([1.0, 5.0, 2.0]), epochs=3)
    assert fitted.best_epoch == 1
    # the average up to the third epoch's first step, which finds kept[8]
    average = kept[0]
    for step, weight in enumerate(kept[1:9]):
        decay = min(DECAY, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert model.weight.item() == pytest.approx(average, abs=1e-7)
    assert average > kept[8]


def test_the_average_is_validated_and_the_weights_train_on() -> None:
    model = Number()
    model.frozen = nn.Parameter(torch.zeros(()), requires_grad=False)
    found, validated = [], []

    def losses(batch: int, step: int, epoch: float) -> dict[str, Tensor]:
        found.append(model.weight.item())
        return {"loss": model.weight + model.frozen}

    def validate() -> Validation:
        validated.append(model.weight.item())
        return Validation({"score": float(len(validated))})

    fit(model, lambda rng: iter(range(2)), 2, losses, validate, OptimiserConfig(epochs=3), 0, label="it")
    assert found == sorted(found, reverse=True)  # no step from the average
    assert len(set(found)) == 6
    for epoch, average in enumerate(validated[:2], 1):
        assert found[2 * epoch] < average < found[0]
    assert model.weight.item() == validated[2]
    assert model.frozen.item() == 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_is_validated_in_the_precision_of_its_training(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(2, 1)
    seen: dict[str, torch.dtype] = {}

    def losses(batch: int, step: int, epoch: float) -> dict[str, Tensor]:
        output = model(torch.ones(1, 2))
        seen["training"] = output.dtype
        return {"loss": output.sum()}

    def validate() -> Validation:
        seen["validation"] = model(torch.ones(1, 2)).dtype
        return Validation({"score": 0.0})

    config = OptimiserConfig(epochs=1, precision=precision)
    monkeypatch.setattr(devices, "has_bfloat16", lambda device_type: True)
    fit(model, lambda rng: iter(range(2)), 2, losses, validate, config, 0, label="it")
    assert seen == {"training": getattr(torch, precision), "validation": getattr(torch, precision)}


def test_the_learning_rate_rises_over_the_first_epoch_and_stays() -> None:
    _, fitted = fit_number(lambda weight, *_: {"loss": weight.square()}, epochs=3, learning_rate=0.5)
    rates = [row["value"] for row in fitted.history if row["name"] == "learning_rate"]
    assert rates == [0.5] * 3
    steps: list[float] = []

    def losses(weight: Tensor, step: int, epoch: float) -> dict[str, Tensor]:
        steps.append(weight.item())
        return {"loss": weight}  # Adam's step is then the learning rate

    fit_number(losses, epochs=2, learning_rate=1e-3)
    moved = [before - after for before, after in pairwise(steps)]
    assert moved == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3, 1e-3], rel=0.05)


def test_a_training_that_ends_by_patience_does_not_depend_on_its_limit() -> None:
    scores = [1.0, 3.0, 2.0, 2.5, 9.0]
    trained = [
        fit_number(lambda weight, *_: {"loss": weight.square()}, iter(scores), epochs=limit, patience=2)
        for limit in (4, 10, 20)
    ]
    assert len({model.weight.item() for model, _ in trained}) == 1
    assert [fitted.history for _, fitted in trained] == [trained[0][1].history] * 3
    assert [(fitted.epochs, fitted.limit_reached) for _, fitted in trained] == [(4, False)] * 3


def test_each_epoch_says_how_far_it_is_and_how_long_nothing_was_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(loop.log, "info", lambda text, *values: lines.append(text % values))
    fit_number(lambda weight, *_: {"loss": weight.square()}, iter([1.0, 3.0, 2.0, 2.5]), epochs=9, patience=2)
    assert [line.partition(", loss")[0] for line in lines] == [
        f"a training: epoch {n} of at most 9" for n in (1, 2, 3, 4)
    ]
    assert [line.partition("a better one: ")[2][0] for line in lines] == ["0", "0", "1", "2"]


def test_a_training_that_would_have_gone_on_says_so() -> None:
    for patience in (0, 2):
        _, fitted = fit_number(
            lambda weight, *_: {"loss": weight.square()}, iter([1.0, 3.0, 2.0]), epochs=3, patience=patience
        )
        assert (fitted.epochs, fitted.limit_reached) == (3, True)


def test_a_score_that_is_not_finite_is_named() -> None:
    with pytest.raises(UserError, match="a training: the val score is nan at step 4; lower the"):
        fit_number(lambda weight, *_: {"loss": weight}, iter([float("nan")]), epochs=1)


def test_a_loss_that_is_not_finite_is_named() -> None:
    with pytest.raises(UserError, match="a training: the loss is nan at step 2"):
        fit_number(lambda weight, step, _: {"loss": weight * (float("nan") if step == 2 else 1.0)}, epochs=1)


class Unbounded(torch.autograd.Function):
    """A finite value without a finite gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * float("inf")


def test_a_gradient_that_is_not_finite_is_refused_before_it_reaches_the_parameters() -> None:
    model = Number()

    def losses(batch: int, step: int, epoch: float) -> dict[str, Tensor]:
        return {"loss": Unbounded.apply(model.weight) if step == 3 else model.weight * 0}

    with pytest.raises(UserError, match="a training: the gradient is inf at step 3; lower the"):
        fit(
            model,
            lambda rng: iter(range(2)),
            2,
            losses,
            lambda: Validation({"score": 0.0}),
            OptimiserConfig(epochs=2),
            seed=0,
            label="a training",
        )
    assert torch.isfinite(model.weight)


def test_parameters_of_a_slow_beginning_learn_at_their_share_of_the_rate() -> None:
    model = nn.ModuleDict({"slow": Number(), "fast": Number()})
    rates = []

    def losses(batch: int, step: int, epoch: float) -> dict[str, Tensor]:
        values = [model[name].weight.item() for name in ("slow", "fast")]
        rates.append(values)
        return {"loss": model["slow"].weight + model["fast"].weight}

    fit(
        model,
        lambda rng: iter(range(1)),
        1,
        losses,
        lambda: Validation({"score": float(len(rates))}),
        OptimiserConfig(epochs=2),
        seed=0,
        label="a training",
        slow={"slow.": 0.1},
    )
    slow, fast = (1 - value for value in rates[1])
    assert slow == pytest.approx(0.1 * fast, rel=1e-2)
