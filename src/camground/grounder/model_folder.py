"""A model folder: all of a trained study that grounding needs, in one folder that can travel.

It holds the checkpoint of the grounder, that of the matcher whose Grad-CAM it is shown, the backbone where
the study tuned it, and the config's sections that grounding reads. The stage `tracking` makes it,
`camground.pipeline` opens it.
"""

from __future__ import annotations

import json
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


class GroundingSettings(Section):
    """What SETTINGS holds: the sections of the study's config that grounding needs."""

    proposals: ProposalsConfig
    gradcam: GradcamConfig
    predict: PredictConfig


def save_model(grounder: Path, matcher: Path, settings: GroundingSettings, folder: Path) -> Path:
    """Make a model folder of the checkpoint folders of `grounder` and `matcher`; returns it."""
    for name, source in ((GROUNDER, grounder), (MATCHER, matcher)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in (WEIGHTS, CONFIG):
            with tables.atomic(folder / name / file) as temporary:
                shutil.copyfile(source / file, temporary)
    features = FeaturesConfig.parse(load_config(grounder).get("features", {}), "features")
    tuned = features.backbone.weights
    if tuned is None:
        (folder / BACKBONE).unlink(missing_ok=True)  # of an earlier study
    else:
        with tables.atomic(folder / BACKBONE) as temporary:
            shutil.copyfile(tuned, temporary)
    with tables.atomic(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(settings.to_dict(), indent=1))
    return folder


def read_settings(folder: Path) -> GroundingSettings:
    """The settings of a model folder; `UserError` when it is none, or of another version."""
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a folder that the stage `tracking` made ({error})") from None
    try:
        return GroundingSettings.parse(settings)
    except UserError as error:
        raise UserError(f"{path}: {error}\n  if another version wrote it, run the stage `tracking`") from None
