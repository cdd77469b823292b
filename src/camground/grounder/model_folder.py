"""A model folder: all of a trained study that grounding needs, in one folder that can travel.

It holds the checkpoint of the grounder, that of the matcher whose Grad-CAM it is shown, the backbone where
the study tuned it, the calibration of its scores, the config's sections that grounding reads, and a card. The
stage `tracking` makes it, `camground.pipeline` opens it.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from camground.features.config import BACKBONE, FeaturesConfig
from camground.grounder.config import PredictConfig
from camground.matcher.config import GradcamConfig
from camground.proposals.config import ProposalsConfig
from camground.study import tables
from camground.study.checkpoints import CONFIG, WEIGHTS, load_config
from camground.study.errors import UserError
from camground.study.section import Section

SETTINGS = "grounding.json"
GROUNDER, MATCHER = "grounder", "matcher"
# A name on the hub: owner/model.
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
CALIBRATION, CARD = "calibration.json", "README.md"


class GroundingSettings(Section):
    """What SETTINGS holds: the sections of the study's config that grounding needs."""

    proposals: ProposalsConfig
    gradcam: GradcamConfig
    predict: PredictConfig


def save_model(
    grounder: Path,
    matcher: Path,
    calibration: Path,
    settings: GroundingSettings,
    folder: Path,
    card: Path | None = None,
) -> Path:
    """Make a model folder of the checkpoint folders of `grounder` and `matcher`, and of what the stages
    `predict` and `report` say of the former; returns it."""
    for name, source in ((GROUNDER, grounder), (MATCHER, matcher)):
        for file in (WEIGHTS, CONFIG):
            _copy(source / file, folder / name / file)
    _copy(calibration, folder / CALIBRATION)
    if card is None:
        (folder / CARD).unlink(missing_ok=True)
    else:
        _copy(card, folder / CARD)
    features = FeaturesConfig.parse(load_config(grounder).get("features", {}), "features")
    tuned = features.backbone.weights
    if tuned is None:
        (folder / BACKBONE).unlink(missing_ok=True)  # of an earlier study
    else:
        _copy(Path(tuned), folder / BACKBONE)
    with tables.atomic(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(settings.to_dict(), indent=1))
    return folder


def _copy(source: Path, target: Path) -> None:
    with tables.atomic(target) as temporary:
        shutil.copyfile(source, temporary)


def files_of(folder: Path) -> list[Path]:
    """The files of a model folder, relative to it, and none that somebody has put beside them."""
    parts = [Path(part) / file for part in (GROUNDER, MATCHER) for file in (WEIGHTS, CONFIG)]
    optional = [Path(BACKBONE), Path(CARD)]
    return [
        *(*parts, Path(SETTINGS), Path(CALIBRATION)),
        *(file for file in optional if (folder / file).is_file()),
    ]


def copy_model(folder: Path, target: Path) -> Path:
    """Copy a model folder's files into `target`, which it returns."""
    if target.exists() and (not target.is_dir() or target.samefile(folder)):
        raise UserError(f"{target}: is the model itself, or no folder; name another")
    for file in files_of(folder):
        _copy(folder / file, target / file)
    return target


def find_model(name: str | Path, revision: str | None = None) -> Path:
    """The model folder of that name, or that of the hub's model owner/model, downloaded once."""
    if Path(name).is_dir() or not isinstance(name, str) or not HUB_NAME.fullmatch(name):
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision))
    except (OSError, ValueError) as error:  # the hub's errors are either
        raise UserError(
            f"{name}: no such folder, and the hub does not give it ({first_line(error)}); without a network,"
            f" download it where there is one (hf download {name} --local-dir FOLDER) and give the folder"
        ) from None


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_settings(folder: Path) -> GroundingSettings:
    """The settings of a model folder; `UserError` when it is none, or of another version."""
    path = folder / SETTINGS
    if not path.is_file():
        raise UserError(f"{folder}: not a folder that the stage `tracking` made; it holds no {SETTINGS}")
    if not (folder / CALIBRATION).is_file():
        raise UserError(
            f"{folder}: holds no {CALIBRATION}; another version of camground made it: run the study's command"
            " again, whose stages `predict` and `tracking` add it"
        )
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the stage `tracking` again") from None
    try:
        return GroundingSettings.parse(settings)
    except UserError as error:
        raise UserError(f"{path}: {error}\n  if another version wrote it, run the stage `tracking`") from None
