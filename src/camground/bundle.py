"""A trained grounder, the matcher that it needs and their settings in one folder that can travel.

`camground.grounding` loads such a folder; the stage `tracking` makes it and logs it as a model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camground.study import tables

SETTINGS = "grounding.json"
GROUNDER, MATCHER = "grounder", "matcher"


def bundle(grounder: Path, matcher: Path, settings: Mapping[str, Any], folder: Path) -> Path:
    """Copy the checkpoints of `grounder` and `matcher` and the config's sections `proposals`, `gradcam` and
    `predict` into `folder`."""
    for name, source in ((GROUNDER, grounder), (MATCHER, matcher)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in ("checkpoint.safetensors", "config.yaml"):
            with tables.atomic(folder / name / file) as temporary:
                shutil.copyfile(source / file, temporary)
    chosen = {name: settings[name] for name in ("proposals", "gradcam", "predict")}
    with tables.atomic(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(chosen, indent=1))
    return folder
