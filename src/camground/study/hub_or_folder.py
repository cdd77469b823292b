"""Opening a published model by its name on the hub or by its local folder, with errors that help."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from camground.study.errors import UserError

_BROKEN = (
    *(OSError, ValueError, RuntimeError, KeyError, EOFError),
    *(pickle.UnpicklingError, SafetensorError),
)


@contextmanager
def opening(key: str, name: str, what: str, files: str, hint: str = "") -> Iterator[None]:
    """Turn what goes wrong while `name` is loaded as `what` into a `UserError` that names the config's `key`.

    `files`: what a folder must hold. `hint`: added where a package is missing.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{key}: {name!r} needs a package that is not installed: {_first_line(error)};"
            f" pip install it{hint}"
        ) from None
    except _BROKEN as error:
        advice = (
            f"the folder must hold {files}"
            if Path(name).is_dir()
            else "if there is no network here, download it on a machine with one (hf download"
            f" {name} --local-dir FOLDER) and give the folder as {key}"
        )
        reason = _first_line(error)
        raise UserError(f"{key}: cannot load {name!r} as {what}: {reason}; {advice}") from None


def load_model(
    model_class: Any, key: str, name: str, optional: str = "", advice: str = "", **options: Any
) -> Any:
    """The frozen model of a hub name or folder, float32, in evaluation mode; within `opening`.

    Raises `UserError` that names the config's `key` when the checkpoint lacks weights of the class, which
    transformers would fill in at random; but for those whose names match the pattern `optional`.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # of weights that are on this machine
    model, loading = model_class.from_pretrained(name, dtype="float32", output_loading_info=True, **options)
    missing = sorted(loading["missing_keys"])
    if optional:
        missing = [weight for weight in missing if not re.search(optional, weight)]
    if missing:
        raise UserError(
            f"{key}: {name!r} lacks {len(missing)} weights of {type(model).__name__}, such as"
            f" {missing[0]}{advice}"
        )
    return model.requires_grad_(False).eval()


def load_processor(name: str) -> Any:
    """The image processor of a hub name or folder; within `opening`."""
    import transformers

    processors: Any = transformers.AutoImageProcessor
    return processors.from_pretrained(name)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a hub name or folder; within `opening`.

    Raises `ValueError` for one without words: of a folder that lacks its files transformers makes a tokenizer
    that knows the special tokens alone, to which all texts are equal.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ValueError("its tokenizer has no words; the tokenizer's files are missing")
    return tokenizer


def _first_line(error: Exception) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    # torch names the tensors that do not fit below a heading
    heading = lines[0].endswith(":") and len(lines) > 1
    reason = f"{lines[0]} {lines[1].strip()}" if heading else lines[0]
    return reason if len(reason) <= 240 else f"{reason[:240]} ..."
