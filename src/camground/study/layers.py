"""The files of a study's config: reading them, and laying one over another.

A study is config.yaml with a study's file laid over it, which holds differences alone. Between the two lie
the files that it `extends`, as configs/photographs.yaml lies under every benchmark.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from camground.study.errors import UserError
from camground.study.section import at_home

EXTENDS = "extends"
# Where the studies lie that come with the code, unless it was installed without them.
CHECKOUT = Path(__file__).parents[3]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping; `UserError` names the file when it is none."""
    try:
        value = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    # ValueError: not UTF-8, or a date that is none
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold keys, not a {type(value).__name__}")
    return value


def merge(base: Mapping[str, Any], difference: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `difference` laid over it, mappings key by key; both are left as they are."""
    merged = copy.deepcopy(dict(base))
    for key, value in difference.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def find(path: str) -> str:
    """A study's file that a config names: below the working directory, or else in the checkout."""
    named = Path(at_home(path))
    return str(CHECKOUT / named if not named.exists() and (CHECKOUT / named).exists() else named)


def layers(config: Mapping[str, Any]) -> list[str]:
    """The files that a config extends, as `find` finds them, the lowest first.

    Raises `UserError` when one cannot be read or extends itself.
    """
    below: list[str] = []
    while (path := config.get(EXTENDS)) is not None:
        if not isinstance(path, str):
            raise UserError(f"{EXTENDS}: must be the path of a study's file, not {path!r}")
        path = find(path)
        if path in below:
            raise UserError(f"{EXTENDS}: {path} extends itself")
        below.insert(0, path)
        config = read_yaml(path)
    return below


def merged(study: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`config` with what a study extends laid over it, and the study on top."""
    below = dict(config or {})
    for layer in layers(study):
        below = merge(below, read_yaml(layer))
    return merge(below, study)


def merged_files(config: Mapping[str, Any], *paths: str | Path) -> dict[str, Any]:
    """What Snakemake makes of `--configfile paths`: `config`, what they extend, and themselves on top."""
    study: dict[str, Any] = {}
    for path in paths:
        study = merge(study, read_yaml(path))
    return merged(study, config)
