"""Checkpoints: a folder with checkpoint.safetensors and config.yaml, the config that it was made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from camground.study import tables
from camground.study.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CONFIG = "checkpoint.safetensors", "config.yaml"


def save_checkpoint(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write the parameters `state` and the plain values `config` into `folder`, each file atomically."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with tables.atomic(folder / WEIGHTS) as temporary:
        # by Python, whose errors say what is the matter with the disk; the library's own writer's do not
        temporary.write_bytes(save(plain))
    with tables.atomic(folder / CONFIG) as temporary:
        temporary.write_text(yaml.safe_dump(dict(config), sort_keys=False))


def load_config(folder: str | Path) -> dict[str, Any]:
    """The config of a checkpoint folder; `UserError` when it cannot be read."""
    try:
        config = yaml.safe_load((Path(folder) / CONFIG).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{folder}: not a whole checkpoint ({error}); rerun its training") from None
    if not isinstance(config, dict):
        raise UserError(f"{folder}: not a whole checkpoint ({CONFIG} is no mapping); rerun its training")
    return config


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the parameters of a checkpoint folder; `UserError` when it is not whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = load_config(folder)
    try:
        return config, load_file(Path(folder) / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: not a whole checkpoint ({error}); rerun its training") from None


@contextmanager
def fitting(folder: str | Path) -> Iterator[None]:
    """`UserError` where the network that is made of a checkpoint's config in the block is not that of its
    parameters, or one of the two lacks a name."""
    try:
        yield
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{folder}: {WEIGHTS} or {CONFIG} lacks {error}; rerun its training") from None
    except RuntimeError:
        raise UserError(
            f"{folder}: the parameters are not those of its config.yaml; rerun its training"
        ) from None
