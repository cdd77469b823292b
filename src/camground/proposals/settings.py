"""The checked section `proposals` of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from camground.study.errors import UserError

METHODS = ("selective_search", "ground_truth", "detector", "boxes_file")
MODES = ("fast", "quality")
NAME = "give its name on the hub, or its folder"
FILE = "give a JSON file of detections in COCO's format"


@dataclass(frozen=True)
class DetectorSettings:
    """model: name on the hub, or folder. queries: what an open-vocabulary detector looks for; None: things
    of any kind, where the model can. score: weaker detections are left out. batch_size: photographs that go
    through the model at a time."""

    model: str
    queries: tuple[str, ...] | None
    score: float
    batch_size: int


@dataclass(frozen=True)
class BoxesFileSettings:
    """path: the file, see `camground.proposals.boxes_file`. max_rejected_share: more entries that cannot be
    used, or images without an entry, stop the run."""

    path: str
    max_rejected_share: float


@dataclass(frozen=True)
class Settings:
    """count: proposals kept per image, the whole image among them. min_size: smallest side of a box, as a
    share of the image's. nms_iou: kept boxes overlap one another no more, the whole image excepted.
    whole_image: keep it always; where nothing is found it is kept anyway.

    Of selective search, input_size: longest side in pixels that it sees; smaller pictures are not
    enlarged; and its mode. `detector` and `boxes_file` are those methods' own, None for the others.
    """

    method: str
    count: int
    input_size: int
    mode: str
    min_size: float
    nms_iou: float
    whole_image: bool
    detector: DetectorSettings | None = None
    boxes_file: BoxesFileSettings | None = None


def read(config: dict[str, Any]) -> Settings:
    """`Settings` from `config["proposals"]`; `UserError` names the key that is wrong."""
    given = config.get("proposals")
    if not isinstance(given, dict):
        raise UserError("--config needs a section proposals")
    _check_keys("proposals", given, Settings)
    section = given | {"detector": None, "boxes_file": None}
    if section["method"] == "detector":
        section["detector"] = _detector("proposals.detector", given.get("detector"))
    elif section["method"] == "boxes_file":
        section["boxes_file"] = _boxes_file("proposals.boxes_file", given.get("boxes_file"))
    made = Settings(**section)
    _check(
        "proposals",
        section,
        ("method", made.method in METHODS, "one of " + ", ".join(METHODS)),
        ("mode", made.mode in MODES, "one of " + ", ".join(MODES)),
        ("count", _integer(made.count, 1), "an integer from 1"),
        ("input_size", _integer(made.input_size, 32), "an integer from 32"),
        ("min_size", _share(made.min_size), "a number from 0 to 1"),
        ("nms_iou", _share(made.nms_iou) and made.nms_iou > 0, "a number above 0, at most 1"),
        ("whole_image", isinstance(made.whole_image, bool), "true or false"),
    )
    return made


def _detector(path: str, section: Any) -> DetectorSettings:
    section = _section(path, section, "detector", DetectorSettings)
    queries = section["queries"]
    listed = isinstance(queries, list | tuple) and all(
        isinstance(query, str) and query.strip() for query in queries
    )
    _check(
        path,
        section,
        ("model", _text(section["model"]), f"set where proposals.method is detector: {NAME}"),
        ("queries", queries is None or (listed and queries), "null, or a list of phrases"),
        ("score", _share(section["score"]), "a number from 0 to 1"),
        ("batch_size", _integer(section["batch_size"], 1), "an integer from 1"),
    )
    return DetectorSettings(**section | {"queries": tuple(queries) if queries else None})


def _boxes_file(path: str, section: Any) -> BoxesFileSettings:
    section = _section(path, section, "boxes_file", BoxesFileSettings)
    _check(
        path,
        section,
        ("path", _text(section["path"]), f"set where proposals.method is boxes_file: {FILE}"),
        ("max_rejected_share", _share(section["max_rejected_share"]), "a number from 0 to 1"),
    )
    return BoxesFileSettings(**section)


def _section(path: str, section: Any, method: str, kind: type) -> dict[str, Any]:
    """A method's own section, which must be there and have all keys of the dataclass `kind`."""
    if not isinstance(section, dict):
        raise UserError(f"{path} is missing; proposals.method {method} needs it")
    _check_keys(path, section, kind)
    return dict(section)


def _check_keys(path: str, section: Mapping[str, Any], kind: type) -> None:
    known = [field.name for field in fields(kind)]
    optional = {field.name for field in fields(kind) if field.default is not MISSING}
    for key in (*known, *section):
        if key in section and key in known:
            continue
        if key not in optional:
            problem = "is missing" if key not in section else "is not a key"
            raise UserError(f"{path}.{key} {problem}; the keys are {', '.join(known)}")


def _check(path: str, section: Mapping[str, Any], *rules: tuple[str, Any, str]) -> None:
    """Each rule: a key, whether its value is good, and what it must be."""
    for key, good, wanted in rules:
        if not good:
            raise UserError(f"{path}.{key} is {section[key]!r}; it must be {wanted}")


def _integer(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
