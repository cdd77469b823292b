"""The config of a study: reading, merging, checking, and cutting out what each stage needs.

A study is `config.yaml` with a study file's differences merged in. Every key is described by
workflow/schemas/config.schema.yaml; a key that is not there is refused with the nearest known name.
A variant is a named difference of `model`, `losses` and `train`, so that all variants share the data,
the proposals, the matcher and its Grad-CAM.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from camground.study.errors import UserError

Config = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[3]
SCHEMA = REPOSITORY / "workflow" / "schemas" / "config.schema.yaml"
DEFAULT = REPOSITORY / "config.yaml"
VARIANT_SECTIONS = ("model", "losses", "train")
# Names that a variant's target or folder would take from a rule, a baseline or a stage's folder.
RESERVED = frozenset(
    (
        *("all", "data", "proposals", "features", "matcher", "gradcam", "train", "predict"),
        *("evaluate", "baselines", "ablation", "report", "tracking"),
        *("download", "leakage", "logs", "benchmarks", "figures", "resume"),
        *("random", "centre", "whole_image", "largest", "objectness"),
        *("gradcam_ranking", "gradcam_box", "oracle"),
    )
)


def read_yaml(path: str | Path) -> Config:
    """A YAML mapping; `UserError` names the file when it is none."""
    try:
        value = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold keys, not a {type(value).__name__}")
    return value


def merge(base: Mapping[str, Any], difference: Mapping[str, Any]) -> Config:
    """`base` with `difference` laid over it, mappings key by key; both are left as they are."""
    merged = copy.deepcopy(dict(base))
    for key, value in difference.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def load_config(study: str | Path | None = None, base: str | Path = DEFAULT) -> Config:
    """The checked config of a study file (None: the default study)."""
    config = read_yaml(base)
    if study is not None:
        config = merge(config, read_yaml(study))
    config = typed(config)
    validate(config)
    return config


def typed(config: Mapping[str, Any]) -> Config:
    """The config with text made the number, truth value or null that the schema wants in its place.

    `snakemake --config` gives everything inside {} and [] as text, and YAML takes 1e-4 for text.
    What does not fit stays as it is, for `validate` to name.
    """
    rules = schema()
    made: Config = _typed(config, rules)
    for difference in _mapping(made.get("variants")).values():
        for key, value in _mapping(difference).items():
            difference[key] = _typed(value, rules["properties"].get(key, {}))
    return made


def _typed(value: Any, rules: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        inner = rules.get("properties", {})
        return {key: _typed(item, inner.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, rules.get("items", {})) for item in value]
    if not isinstance(value, str) or not rules or "string" in rules.get("type", ""):
        return value
    if "enum" in rules:
        return next((option for option in rules["enum"] if str(option) == value), value)
    if _is_number_text(value):
        number = float(value)
        return int(value) if value.strip("+-").isdecimal() else number
    return {"true": True, "false": False, "null": None}.get(value.lower(), value)


@cache
def schema() -> Config:
    """The JSON schema of a study's config."""
    return read_yaml(SCHEMA)


def validate(config: Mapping[str, Any]) -> None:
    """Check a study's config; one `UserError` names every wrong key by its dotted path."""
    problems = [*schema_problems(config, schema())]
    for name, difference in _mapping(config.get("variants")).items():
        problems += _variant_problems(str(name), difference)
    if not problems:
        problems += _relation_problems(config)
    if problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise UserError("\n  ".join([f"the config has {count}:", *dict.fromkeys(problems)]))


def schema_problems(value: Any, rules: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What `value`, which stands at dotted `path`, breaks of the JSON schema `rules`."""
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(rules).iter_errors(value)
    for error in sorted(errors, key=lambda error: list(map(str, error.absolute_path))):
        at = _dotted(path, *error.absolute_path)
        if error.validator == "additionalProperties":
            for key in error.instance:
                if key not in error.schema.get("properties", {}):
                    yield unknown_key(_dotted(at, key), error.schema.get("properties", {}))
        elif "propertyNames" in error.absolute_schema_path:
            yield f"{at}: {error.instance!r} cannot be a name; use a-z, 0-9 and _"
        else:
            yield f"{at or 'config'}: {error.message}"


def unknown_key(path: str, known: Mapping[str, Any]) -> str:
    """The complaint about `path`, with the nearest of its `known` siblings or of all other keys."""
    key = path.rpartition(".")[2]
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    if not near:
        elsewhere = {full.rpartition(".")[2]: full for full in keys(schema())}
        near = [elsewhere[name] for name in difflib.get_close_matches(key, elsewhere, n=1)]
    if near:
        return f"{path}: unknown key; did you mean `{near[0]}`?"
    return f"{path}: unknown key; known here: {', '.join(known) or 'none'}"


def keys(rules: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The dotted path of every key that a schema describes."""
    for name, inner in rules.get("properties", {}).items():
        yield _dotted(path, name)
        yield from keys(inner, _dotted(path, name))


def variant_config(config: Mapping[str, Any], name: str) -> Config:
    """The config with the named variant's differences merged in."""
    variants = config["variants"]
    if name not in variants:
        raise UserError(unknown_key(f"variants.{name}", variants))
    problems = _variant_problems(name, variants[name])
    if problems:
        raise UserError("\n  ".join([f"variant {name}:", *problems]))
    return merge(config, variants[name])


def variants_to_run(config: Mapping[str, Any]) -> list[str]:
    """The variants of the study's table, in order: `variants_to_run`, or all that are defined."""
    return list(config["variants_to_run"] or config["variants"])


def section(config: Mapping[str, Any], *names: str, **extra: Any) -> str:
    """The named sections and `extra` as JSON text with sorted keys: a stage's `--config`.

    A section in full is `name`; one key of a section is `section.key`, at its place.
    """
    chosen: Config = {}
    for name in names:
        source, target = config, chosen
        *parents, last = name.split(".")
        for parent in parents:
            source, target = source[parent], target.setdefault(parent, {})
        target[last] = source[last]
    return json.dumps(chosen | extra, sort_keys=True)


def _variant_problems(name: str, difference: Any) -> list[str]:
    if not isinstance(difference, Mapping):
        return []  # the schema has said so
    problems = []
    path = f"variants.{name}"
    if name in RESERVED:
        problems.append(f"{path}: the name is taken by a stage or a baseline; choose another")
    for key, value in difference.items():
        if key in VARIANT_SECTIONS:
            problems += schema_problems(value, schema()["properties"][key], f"{path}.{key}")
        elif key in schema()["properties"]:
            allowed = ", ".join(VARIANT_SECTIONS)
            problems.append(f"{path}.{key}: a variant may change only {allowed}")
        else:
            known = dict.fromkeys(VARIANT_SECTIONS)
            problems.append(unknown_key(f"{path}.{key}", known))
    return problems


def _relation_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """What no single key shows: keys that must fit each other."""
    variants, ablation = config["variants"], config["ablation"]
    for name in config["variants_to_run"] or []:
        if name not in variants:
            yield unknown_key(f"variants_to_run.{name}", variants)
    if ablation["reference"] not in variants_to_run(config):
        yield f"ablation.reference: {ablation['reference']!r} is none of the variants that run"
    scenes = config["data"]["scenes"]
    if scenes["min_objects"] > scenes["max_objects"]:
        yield "data.scenes.min_objects: is above data.scenes.max_objects"
    for key in ("size_edges", "word_edges"):
        edges = config["evaluate"][key]
        if edges != sorted(set(edges)):
            yield f"evaluate.{key}: must ascend"
    for name in variants_to_run(config):
        varied = variant_config(config, name) if name in variants else config
        for key in ("width", "blocks") if varied["train"]["init"] == "matcher" else ():
            if varied["model"][key] != config["matcher"]["model"][key]:
                yield (
                    f"variant {name}: train.init is matcher, so model.{key} must be that of"
                    f" matcher.model.{key}; make them equal, or set train.init: random"
                )
        if varied["losses"]["reconstruction"] and varied["train"]["tuned"]["language"]:
            yield (
                f"variant {name}: losses.reconstruction rebuilds the language encoder's vectors, which"
                " train.tuned.language moves; set one of the two to 0"
            )
        if varied["losses"]["reconstruction"] and not varied["model"]["reconstruction"]:
            yield f"variant {name}: losses.reconstruction needs model.reconstruction: true"
    source, model = config["gradcam"]["source"], config["gradcam"]["model"]
    if source != "matcher" and model is None:
        yield f"gradcam.model: gradcam.source is {source}, so name its model: a hub name or a folder"
    yield from _proposal_problems(config["proposals"])
    if config["data"]["kind"] == "folder":
        root = config["data_root"]
        if root is None:
            yield "data_root: data.kind is folder, so give the folder: --config data_root=DIR"
        elif not Path(root).is_dir():
            yield f"data_root: no folder {root}"
    elif config["data"]["kind"] != "scenes" and config["data_root"] is None:
        kind = config["data"]["kind"]
        yield f"data_root: data.kind is {kind}, so give the data sets' folder: --config data_root=DIR"


def _proposal_problems(proposals: Mapping[str, Any]) -> Iterator[str]:
    """Keys that the method of the proposals needs and that are not given."""
    model, path = proposals["detector"]["model"], proposals["boxes_file"]["path"]
    if proposals["method"] == "detector" and model is None:
        yield (
            "proposals.detector.model: proposals.method is detector, so name its model: a hub name or a"
            " folder"
        )
    elif proposals["method"] == "boxes_file" and path is None:
        yield "proposals.boxes_file.path: proposals.method is boxes_file, so give the file of boxes"
    elif proposals["method"] == "boxes_file" and not Path(path).expanduser().is_file():
        yield f"proposals.boxes_file.path: no file {path}"


def _dotted(*parts: Any) -> str:
    return ".".join(str(part) for part in parts if part != "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True
